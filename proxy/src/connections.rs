//! How many connections a core takes, in all and from one client. Bounded: what is remembered is what is open.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::rc::Rc;

/// The counts of one core. A node's are these times its cores: the kernel spreads a client's connections over them.
#[derive(Clone)]
pub struct ConnectionLimits {
    inner: Rc<Inner>,
}

struct Inner {
    total_max: u32,
    address_max: u32,
    total: Cell<u32>,
    by_address: RefCell<HashMap<IpAddr, u32>>,
}

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The core has as many as it takes.
    Total,
    /// The client has.
    Address,
}

impl ConnectionLimits {
    /// At most `total_max` connections, at most `address_max` of one IPv4 address or IPv6 /64.
    pub fn new(total_max: u32, address_max: u32) -> ConnectionLimits {
        ConnectionLimits {
            inner: Rc::new(Inner {
                total_max,
                address_max,
                total: Cell::new(0),
                by_address: RefCell::default(),
            }),
        }
    }

    /// Takes a connection of `address`, until the permit is dropped. `unlimited` are those that count in total only: a
    /// balancer that says nothing of its clients, the own network.
    pub fn admit(&self, address: IpAddr, unlimited: bool) -> Result<ConnectionPermit, Crowded> {
        let inner = &self.inner;
        if inner.total.get() >= inner.total_max {
            return Err(Crowded::Total);
        }
        let client = (!unlimited).then(|| client(address));
        if let Some(client) = client {
            let mut by_address = inner.by_address.borrow_mut();
            let count = by_address.entry(client).or_insert(0);
            if *count >= inner.address_max {
                // Zero cannot stay behind: an entry of zero is over the bound only when the bound is zero.
                if *count == 0 {
                    by_address.remove(&client);
                }
                return Err(Crowded::Address);
            }
            *count += 1;
        }
        inner.total.set(inner.total.get() + 1);
        Ok(ConnectionPermit {
            limits: self.clone(),
            client,
        })
    }

    /// Connections now.
    pub fn count(&self) -> u32 {
        self.inner.total.get()
    }
}

/// Whoever has one IPv6 address has its /64 (RFC 6177).
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// A connection that counts until this is dropped.
pub struct ConnectionPermit {
    limits: ConnectionLimits,
    client: Option<IpAddr>,
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let inner = &self.limits.inner;
        inner.total.set(inner.total.get() - 1);
        let Some(client) = self.client else { return };
        let mut by_address = inner.by_address.borrow_mut();
        if let Some(count) = by_address.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_count_until_they_end() {
        let limits = ConnectionLimits::new(4, 2);
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let admit = |text: &str| limits.admit(address(text), false);
        let first = admit("192.0.2.1").ok().unwrap();
        let _second = admit("::ffff:192.0.2.1").ok().unwrap();
        assert_eq!(admit("192.0.2.1").err(), Some(Crowded::Address));
        let _unlimited = limits.admit(address("192.0.2.1"), true).ok().unwrap();
        let _third = admit("2001:db8::1").ok().unwrap();
        assert_eq!(admit("2001:db8:0:1::1").err(), Some(Crowded::Total));
        drop(first);
        assert_eq!(limits.count(), 3);
        let _fourth = admit("2001:db8::ffff").ok().unwrap();
        drop(_third);
        assert!(admit("2001:db8::2").is_ok());
        assert_eq!(limits.inner.by_address.borrow().len(), 2);
        assert_eq!(
            ConnectionLimits::new(1, 0).admit(address("::1"), false).err(),
            Some(Crowded::Address)
        );
    }
}
