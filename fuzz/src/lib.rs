//! Fuzz targets: each takes any bytes, and checks more than that nothing panics.
//!
//! A target is a function in a file of its own, with seeds in `seeds/NAME`. The last four bytes of an input steer (options,
//! cuts); what stands before them is the data, so that seeds are files that a person can read. `fuzz/run` builds all of them
//! into one program and runs each for a bounded time; the workspace's tests feed them their seeds. A crash that was found
//! becomes a seed.

mod address;
mod imap;
mod ldif;
mod message;
mod pop3;
mod proxy_protocol;
mod sasl;
mod search;
mod smtp;
mod steer;
mod store_checkpoint;
mod store_marker;
mod store_record;
mod transfer;

/// Takes an input; panics when what it checks does not hold.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: &[(&str, Target)] = &[
    ("address", address::run),
    ("imap", imap::run),
    ("ldif", ldif::run),
    ("message", message::run),
    ("pop3", pop3::run),
    ("proxy_protocol", proxy_protocol::run),
    ("sasl", sasl::run),
    ("search", search::run),
    ("smtp", smtp::run),
    ("store_checkpoint", store_checkpoint::run),
    ("store_marker", store_marker::run),
    ("store_record", store_record::run),
    ("transfer", transfer::run),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    #[test]
    fn every_target_has_seeds_and_takes_them() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        assert_eq!(
            fs::read_dir(&seeds).expect("seeds").count(),
            TARGETS.len(),
            "folders without a target"
        );
        for (name, target) in TARGETS {
            let mut count = 0;
            for seed in fs::read_dir(seeds.join(name)).expect(name) {
                let path = seed.expect(name).path();
                let input = fs::read(&path).expect("a readable seed");
                target(&input);
                // Other options and other cuts than its own.
                for steer in 0..100u32 {
                    let data = &input[..input.len().saturating_sub(4)];
                    target(&[data, &steer.wrapping_mul(2_654_435_761).to_be_bytes()].concat());
                }
                count += 1;
            }
            assert!(count > 0, "{name} has no seeds");
        }
    }
}
