//! The table of operations under way: who waits for each, and what the kernel holds of it.
//!
//! A slot is given away again only after the operation's last completion, with a new generation.

#![allow(unsafe_code)] // Descriptors come out of completions as bare numbers.

use super::buffers::Buffer;
use crate::file::AlignedBuffer;
use crate::net::{ConnectionState, ListenerState};
use bytes::{Buf, Bytes};
use rustix::event::PollFlags;
use slab::Slab;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Waker;

/// Bytes of one send operation at most: what the kernel moves in one call (MAX_RW_COUNT, a page below 2 GiB).
const SEND_BYTES_MAX: usize = 0x7fff_f000;

/// Names one operation, for good: index of the slot and its generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OperationKey {
    index: u32,
    generation: u32,
}

impl OperationKey {
    pub(super) fn user_data(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.index)
    }

    pub(super) fn from_user_data(user_data: u64) -> Self {
        // The two halves, by design.
        OperationKey {
            index: user_data as u32,
            generation: (user_data >> 32) as u32,
        }
    }
}

/// What is under way, and for whom.
pub(crate) enum Operation {
    /// Multishot poll of the core's event descriptor.
    Watch,
    /// Multishot accept.
    Accept(Rc<ListenerState>),
    /// Multishot receive.
    Receive(Rc<ConnectionState>),
    /// One send; `data` is what has not been sent yet.
    Send {
        /// The connection that sends.
        connection: Rc<ConnectionState>,
        /// The bytes, shared with nobody who could change them.
        data: Bytes,
    },
    /// An operation with one completion, which its future fetches.
    Single(Box<Single>),
}

/// See `Operation::Single`.
pub(crate) struct Single {
    payload: Payload,
    result: Option<i32>,
    waker: Option<Waker>,
    abandoned: bool,
}

impl Single {
    pub(super) fn new(payload: Payload) -> Self {
        Single {
            payload,
            result: None,
            waker: None,
            abandoned: false,
        }
    }
}

/// What a single operation does, and owns meanwhile.
pub(crate) enum Payload {
    /// Connects `socket` to `address`.
    Connect {
        /// A fresh socket.
        socket: OwnedFd,
        /// Where to.
        address: SocketAddressBytes,
    },
    /// Waits until `connection`'s socket is ready.
    Poll {
        /// Kept, so that its descriptor stays what it is.
        connection: Rc<ConnectionState>,
        /// For what.
        events: PollFlags,
    },
    /// Writes `buffer[offset..offset + length]` durably at `position`.
    Write {
        /// The file, kept open.
        file: Rc<OwnedFd>,
        /// Memory that the kernel reads.
        buffer: AlignedBuffer,
        /// Where in the memory, bytes.
        offset: usize,
        /// How much, bytes.
        length: u32,
        /// Where in the file, bytes.
        position: u64,
    },
    /// Reads into `buffer[offset..offset + length]` from `position`.
    Read {
        /// The file, kept open.
        file: Rc<OwnedFd>,
        /// Memory that the kernel writes.
        buffer: AlignedBuffer,
        /// Where in the memory, bytes.
        offset: usize,
        /// How much, bytes.
        length: u32,
        /// Where in the file, bytes.
        position: u64,
    },
}

/// The outcome of a single operation.
pub(crate) struct Finished {
    /// What the kernel said: a count, or a negative errno.
    pub(crate) result: i32,
    /// What the operation owned.
    pub(crate) payload: Payload,
}

/// A completion that its owner has to act on.
pub(crate) enum Event {
    /// A connection was accepted, or accepting failed.
    Accepted {
        listener: Rc<ListenerState>,
        result: io::Result<OwnedFd>,
        more: bool,
    },
    /// Bytes came in (`buffer` holds them), the peer ended (0), or receiving failed (a negative errno).
    Received {
        connection: Rc<ConnectionState>,
        result: i32,
        more: bool,
        buffer: Option<Buffer>,
    },
    /// `data` is what is left to send.
    Sent {
        connection: Rc<ConnectionState>,
        result: i32,
        data: Bytes,
    },
    /// Another thread wants this one to look at its queues.
    Signalled { more: bool },
    /// Somebody who waited was woken; there is nothing more to do.
    Woken,
}

struct Slot {
    generation: u32,
    operation: Operation,
}

/// See the module.
pub(super) struct Operations {
    slots: Slab<Slot>,
    next_generation: u32,
}

impl Operations {
    pub(super) fn new() -> Self {
        Operations {
            slots: Slab::new(),
            next_generation: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn insert(&mut self, operation: Operation) -> OperationKey {
        // Below u32::MAX, so that no key equals the user data of unwatched operations.
        self.next_generation = self.next_generation.wrapping_add(1) & 0x7fff_ffff;
        let generation = self.next_generation;
        let index = self.slots.insert(Slot { generation, operation });
        OperationKey {
            index: u32::try_from(index).expect("memory ends before 2^32 operations"),
            generation,
        }
    }

    /// Takes a completion in. `None`: nobody is concerned.
    pub(super) fn complete(
        &mut self,
        key: OperationKey,
        result: i32,
        more: bool,
        buffer: Option<Buffer>,
    ) -> Option<Event> {
        let index = key.index as usize;
        let slot = self
            .slots
            .get_mut(index)
            .filter(|slot| slot.generation == key.generation)?;
        if more {
            return match &slot.operation {
                Operation::Watch => Some(Event::Signalled { more }),
                Operation::Accept(listener) => Some(Event::Accepted {
                    listener: listener.clone(),
                    result: accepted_socket(result),
                    more,
                }),
                Operation::Receive(connection) => Some(Event::Received {
                    connection: connection.clone(),
                    result,
                    more,
                    buffer,
                }),
                Operation::Send { .. } | Operation::Single(_) => None,
            };
        }
        if let Operation::Single(single) = &mut slot.operation {
            single.result = Some(result);
            let waker = single.waker.take();
            if single.abandoned {
                self.slots.remove(index);
            }
            if let Some(waker) = waker {
                waker.wake();
            }
            return Some(Event::Woken);
        }
        match self.slots.remove(index).operation {
            Operation::Watch => Some(Event::Signalled { more }),
            Operation::Accept(listener) => Some(Event::Accepted {
                listener,
                result: accepted_socket(result),
                more,
            }),
            Operation::Receive(connection) => Some(Event::Received {
                connection,
                result,
                more,
                buffer,
            }),
            Operation::Send { connection, mut data } => {
                data.advance(usize::try_from(result).unwrap_or(0).min(data.len()));
                Some(Event::Sent {
                    connection,
                    result,
                    data,
                })
            }
            Operation::Single(_) => unreachable!("handled above"),
        }
    }

    /// Where the bytes of a send lie; they stay there while the slot owns them.
    pub(super) fn send_bytes(&self, key: OperationKey) -> (*const u8, u32) {
        match &self.slots[key.index as usize].operation {
            // The minimum is below 2^31, so the cast loses nothing; the rest follows as a short send is continued.
            Operation::Send { data, .. } => (data.as_ptr(), data.len().min(SEND_BYTES_MAX) as u32),
            _ => unreachable!("only asked for sends"),
        }
    }

    pub(super) fn payload(&mut self, key: OperationKey) -> &mut Payload {
        match &mut self.slots[key.index as usize].operation {
            Operation::Single(single) => &mut single.payload,
            _ => unreachable!("only asked for single operations"),
        }
    }

    pub(super) fn poll_single(&mut self, key: OperationKey, waker: &Waker) -> Option<Finished> {
        let index = key.index as usize;
        let slot = self
            .slots
            .get_mut(index)
            .filter(|slot| slot.generation == key.generation)?;
        let Operation::Single(single) = &mut slot.operation else {
            return None;
        };
        if single.result.is_none() {
            single.waker = Some(waker.clone());
            return None;
        }
        match self.slots.remove(index).operation {
            Operation::Single(single) => Some(Finished {
                result: single.result.expect("checked above"),
                payload: single.payload,
            }),
            _ => unreachable!("checked above"),
        }
    }

    /// Says whether the kernel still has it.
    pub(super) fn abandon_single(&mut self, key: OperationKey) -> bool {
        let index = key.index as usize;
        let Some(slot) = self
            .slots
            .get_mut(index)
            .filter(|slot| slot.generation == key.generation)
        else {
            return false;
        };
        let Operation::Single(single) = &mut slot.operation else {
            return false;
        };
        if single.result.is_some() {
            self.slots.remove(index);
            return false;
        }
        single.abandoned = true;
        single.waker = None;
        true
    }
}

/// What an accept completion says.
fn accepted_socket(result: i32) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::from_raw_os_error(result.saturating_neg()));
    }
    // SAFETY: the kernel has just opened this descriptor for us, and tells of it only here.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// The raw number of a descriptor that the slot keeps open.
pub(super) fn raw(descriptor: &impl AsFd) -> RawFd {
    descriptor.as_fd().as_raw_fd()
}

/// A socket address as the kernel reads it (`sockaddr_in`, `sockaddr_in6`), on the heap so that it does not move.
pub(crate) struct SocketAddressBytes {
    bytes: Box<[u8; 28]>,
    length: u32,
}

impl SocketAddressBytes {
    /// `address` in the kernel's layout: family in host order, port in network order (ip(7), ipv6(7)).
    pub(crate) fn new(address: SocketAddr) -> Self {
        let mut bytes = Box::new([0; 28]);
        bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        let length = match address {
            SocketAddr::V4(v4) => {
                bytes[..2].copy_from_slice(&rustix::net::AddressFamily::INET.as_raw().to_ne_bytes());
                bytes[4..8].copy_from_slice(&v4.ip().octets());
                16
            }
            SocketAddr::V6(v6) => {
                bytes[..2].copy_from_slice(&rustix::net::AddressFamily::INET6.as_raw().to_ne_bytes());
                bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                bytes[8..24].copy_from_slice(&v6.ip().octets());
                bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                28
            }
        };
        SocketAddressBytes { bytes, length }
    }

    pub(super) fn pointer(&self) -> *const u8 {
        self.bytes.as_ptr()
    }

    pub(super) fn length(&self) -> u32 {
        self.length
    }
}
