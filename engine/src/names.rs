//! Addresses of host names, for connections of a core: looked up off the core, on a pool with a bounded number of threads,
//! and kept for a while.
//!
//! Invariants:
//! - Nobody waits beyond a deadline, and one look-up of a name is under way at a time, which goes on when nobody waits for it.
//! - A name that had an address keeps it while look-ups fail or take long: a name server that is gone takes no node away.
//!
//! What the system's resolver says is taken as it is; its times to live are not known here.

use crate::blocking::BlockingPool;
use crate::sync::Notify;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an address is kept before it is asked for again.
const LIFE: Duration = Duration::from_secs(30);
/// After a look-up that failed, before the next.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a new look-up is waited for by somebody who has an old address.
const PATIENCE: Duration = Duration::from_millis(500);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Names that are kept; there are as many as control data has.
const NAMES_MAX: usize = 4096;

/// Asks the system, and blocks.
pub type LookUp = Arc<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

/// Of one core. Cheap to clone.
#[derive(Clone)]
pub struct Names {
    inner: Rc<Inner>,
}

struct Inner {
    pool: BlockingPool,
    look_up: LookUp,
    life: Duration,
    names: RefCell<HashMap<String, Rc<Name>>>,
}

#[derive(Default)]
struct Name {
    state: RefCell<State>,
    ended: Notify,
}

#[derive(Default)]
struct State {
    /// In the order to be tried.
    addresses: Vec<IpAddr>,
    /// Why there is none, or why it is old.
    failure: Option<String>,
    /// Until then nobody asks.
    until: Option<Instant>,
    asking: bool,
}

impl Names {
    /// By the system's resolver, in the threads of `pool`.
    pub fn new(pool: BlockingPool) -> Names {
        let look_up = |host: &str| {
            let addresses = (host, 0).to_socket_addrs()?;
            Ok(addresses.map(|address| address.ip()).take(ADDRESSES_MAX).collect())
        };
        Names::with(pool, Arc::new(look_up), LIFE)
    }

    /// By another one; addresses are asked for again after `life`.
    pub fn with(pool: BlockingPool, look_up: LookUp, life: Duration) -> Names {
        Names {
            inner: Rc::new(Inner {
                pool,
                look_up,
                life,
                names: RefCell::default(),
            }),
        }
    }

    /// The addresses of a host, which may be an IP address: at least one, in the order to be tried. Waits until `deadline` at
    /// most.
    pub async fn find(&self, host: &str, port: u16, deadline: Instant) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let name = self.name(host);
        let now = crate::now();
        let (is_known, is_fresh) = {
            let state = name.state.borrow();
            (
                !state.addresses.is_empty(),
                state.until.is_some_and(|until| now < until),
            )
        };
        if !is_fresh {
            let ended = name.ended.notified();
            self.ask(host, &name);
            let until = if is_known {
                deadline.min(now + PATIENCE)
            } else {
                deadline
            };
            // In vain: what was known is taken.
            let _ = crate::timeout(until.saturating_duration_since(now), ended).await;
        }
        let state = name.state.borrow();
        if !state.addresses.is_empty() {
            let addresses = state.addresses.iter();
            return Ok(addresses.map(|address| SocketAddr::new(*address, port)).collect());
        }
        match &state.failure {
            Some(why) => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("the name {host} cannot be looked up: {why}"),
            )),
            None => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("the name {host} was looked up for too long"),
            )),
        }
    }

    fn name(&self, host: &str) -> Rc<Name> {
        let mut names = self.inner.names.borrow_mut();
        if let Some(name) = names.get(host) {
            return name.clone();
        }
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.entry(host.to_owned()).or_default().clone()
    }

    fn ask(&self, host: &str, name: &Rc<Name>) {
        {
            let mut state = name.state.borrow_mut();
            // Whoever comes while this takes long is not to wait as well.
            if !state.addresses.is_empty() {
                state.until = Some(crate::now() + PATIENCE + AGAIN);
            }
            if std::mem::replace(&mut state.asking, true) {
                return;
            }
        }
        let (inner, name, host) = (self.inner.clone(), name.clone(), host.to_owned());
        drop(crate::spawn(async move {
            let look_up = inner.look_up.clone();
            let found = inner.pool.run(move || look_up(&host)).await;
            let found = match found {
                Err(_) => Err(io::Error::other("no thread is free")),
                Ok(Ok(addresses)) if addresses.is_empty() => Err(io::Error::other("it has no address")),
                Ok(found) => found,
            };
            let now = crate::now();
            {
                let mut state = name.state.borrow_mut();
                state.asking = false;
                match found {
                    Ok(addresses) => {
                        (state.addresses, state.failure) = (addresses, None);
                        state.until = Some(now + inner.life);
                    }
                    Err(error) => (state.failure, state.until) = (Some(error.to_string()), Some(now + AGAIN)),
                }
            }
            name.ended.notify_all();
        }));
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}
