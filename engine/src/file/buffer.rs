//! Memory for direct files.

#![allow(unsafe_code)] // Aligned memory comes from the allocator by hand.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Alignment of positions, lengths and memory for direct files, bytes.
pub const DIRECT_ALIGNMENT: usize = 4096;

/// Memory aligned for direct files; its length is what was asked for, its capacity a multiple of `DIRECT_ALIGNMENT`.
pub struct AlignedBuffer {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it owns its memory alone, as a `Box<[u8]>` does.
unsafe impl Send for AlignedBuffer {}

// SAFETY: through a shared reference the memory can only be read.
unsafe impl Sync for AlignedBuffer {}

impl AlignedBuffer {
    /// Zeroed, `length` bytes, which is a multiple of `DIRECT_ALIGNMENT`. Panics for any other length.
    pub fn zeroed(length: usize) -> AlignedBuffer {
        assert!(
            length.is_multiple_of(DIRECT_ALIGNMENT),
            "direct files move whole blocks"
        );
        if length == 0 {
            return AlignedBuffer {
                start: NonNull::dangling(),
                length,
            };
        }
        let layout = layout(length);
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        let start = NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout));
        AlignedBuffer { start, length }
    }
}

fn layout(length: usize) -> Layout {
    Layout::from_size_align(length, DIRECT_ALIGNMENT).expect("lengths that fit an address space")
}

impl Drop for AlignedBuffer {
    fn drop(&mut self) {
        if self.length > 0 {
            // SAFETY: this memory was allocated in `zeroed`, with this layout, and is freed once.
            unsafe { dealloc(self.start.as_ptr(), layout(self.length)) };
        }
    }
}

impl std::ops::Deref for AlignedBuffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `length` bytes from `start` are ours and initialized; for 0 a dangling pointer will do.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl std::ops::DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and the exclusive reference makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}
