//! The core's receive buffers, provided to the kernel as a ring (IORING_REGISTER_PBUF_RING): the kernel picks one when
//! bytes arrive, so a waiting connection holds none.
//!
//! Invariant: a buffer is either in the ring, where the kernel may write it, or in exactly one `Buffer`, where it is ours
//! to read; dropping that gives it back.

#![allow(unsafe_code)] // Memory shared with the kernel, and its ring of entries.

use io_uring::types::BufRingEntry;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use std::cell::Cell;
use std::io;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Pages of anonymous memory, unmapped when dropped.
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

impl Mapping {
    fn new(length: usize) -> io::Result<Mapping> {
        // SAFETY: a new private mapping at an address of the kernel's choice touches no memory of ours.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Mapping { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping made in `new`, and whoever borrowed from it is gone: `Buffer` keeps the owner alive.
        let unmapped = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
        debug_assert!(unmapped.is_ok(), "a mapping of ours can be unmapped");
    }
}

/// See the module.
pub(crate) struct BufferRing {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    buffer_bytes: u32,
    tail: Cell<u16>,
    held: Cell<u16>,
}

impl BufferRing {
    /// `count` buffers, a power of two up to 32768, of `buffer_bytes` each. Pages are touched when first used.
    pub(crate) fn new(count: u16, buffer_bytes: u32) -> io::Result<Rc<BufferRing>> {
        if !count.is_power_of_two() || buffer_bytes == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the number of receive buffers must be a power of two, and their size more than 0",
            ));
        }
        let entries = Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?;
        let memory = Mapping::new(usize::from(count) * buffer_bytes as usize)?;
        let ring = BufferRing {
            entries,
            memory,
            count,
            buffer_bytes,
            tail: Cell::new(0),
            held: Cell::new(0),
        };
        (0..count).for_each(|id| ring.provide(id));
        Ok(Rc::new(ring))
    }

    /// Where the entries lie, for the registration.
    pub(super) fn address(&self) -> u64 {
        self.entries.start.as_ptr().addr() as u64
    }

    /// The size of each, bytes.
    pub(crate) fn buffer_bytes(&self) -> u32 {
        self.buffer_bytes
    }

    /// How many buffers there are.
    pub(crate) fn count(&self) -> u16 {
        self.count
    }

    /// How many buffers are in the ring as far as completions told: those that the kernel picked for completions not
    /// reaped yet are counted as well.
    pub(crate) fn available(&self) -> u16 {
        self.count - self.held.get()
    }

    /// The buffer that a completion names.
    pub(super) fn take(self: &Rc<Self>, id: u16, length: usize) -> Buffer {
        assert!(id < self.count, "the kernel picks from the buffers that it was given");
        self.held.set(self.held.get() + 1);
        Buffer {
            ring: self.clone(),
            id,
            length: length.min(self.buffer_bytes as usize) as u32,
        }
    }

    fn give_back(&self, id: u16) {
        self.held.set(self.held.get() - 1);
        self.provide(id);
    }

    /// Puts a buffer at the tail of the ring.
    fn provide(&self, id: u16) {
        let tail = self.tail.get();
        let base = self.entries.start.cast::<BufRingEntry>();
        let index = usize::from(tail & (self.count - 1));
        // SAFETY: the index is below the number of entries that were mapped.
        let entry = unsafe { base.add(index) };
        // SAFETY: entries behind the tail are ours until the tail is moved over them; the mapping is zeroed at first, which
        // is a valid entry, and page-aligned.
        let entry = unsafe { &mut *entry.as_ptr() };
        let offset = usize::from(id) * self.buffer_bytes as usize;
        entry.set_addr((self.memory.start.as_ptr().addr() + offset) as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(id);
        // SAFETY: `base` is the first entry of the ring, mapped and initialized.
        let tail_field = unsafe { BufRingEntry::tail(base.as_ptr()) };
        // SAFETY: the tail lies in the mapping, is aligned to 2, and the kernel accesses it atomically.
        let tail_field = unsafe { AtomicU16::from_ptr(tail_field.cast_mut()) };
        let tail = tail.wrapping_add(1);
        self.tail.set(tail);
        // Release: the kernel sees the entry before it sees the tail behind it.
        tail_field.store(tail, Ordering::Release);
    }
}

/// A filled receive buffer; goes back to the ring when dropped.
pub(crate) struct Buffer {
    ring: Rc<BufferRing>,
    id: u16,
    length: u32,
}

impl std::ops::Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        let offset = usize::from(self.id) * self.ring.buffer_bytes as usize;
        // SAFETY: the id was checked when it was taken, so the offset lies in the mapping.
        let start = unsafe { self.ring.memory.start.add(offset) };
        // SAFETY: `length` bytes from there are inside the buffer, the mapping lives as long as `ring`, and the kernel does
        // not write a buffer that is not in its ring.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), self.length as usize) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.ring.give_back(self.id);
    }
}
