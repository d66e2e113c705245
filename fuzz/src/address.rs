//! Mail addresses: what was read and written is read as the same again.

use pigeon_proto::address::{Address, forward_path, reverse_path};

use crate::steer;

pub(crate) fn run(input: &[u8]) {
    let (data, _) = steer::split(input);
    if let Ok(address) = Address::parse(data) {
        let text = address.to_string();
        assert_eq!(Address::parse(text.as_bytes()).as_ref(), Ok(&address), "{text}");
    }
    if let Ok((_, rest)) = forward_path(data) {
        assert!(rest.len() < data.len());
    }
    if let Ok((_, rest)) = reverse_path(data) {
        assert!(rest.len() < data.len());
    }
}
