//! Reading a segment batch by batch: for recovery, and for compaction.

use std::io;
use std::rc::Rc;

use pigeon_engine::file::AlignedBuffer;
use pigeon_store_format::{BATCH_HEADER_BYTES, BLOCK_BYTES, BatchHeader, LogPosition, VolumeTag};

use crate::disk::DiskFile;

/// Reads a segment through a window that moves forward.
pub(crate) struct Walk {
    file: Rc<dyn DiskFile>,
    tag: VolumeTag,
    /// Of the segment's first byte.
    start: LogPosition,
    buffer: Option<AlignedBuffer>,
    window_bytes: usize,
    /// What the buffer holds: offset in the segment, and bytes.
    offset: u64,
    filled: usize,
    /// Bytes read from the disk.
    pub(crate) read_bytes: u64,
}

impl Walk {
    pub(crate) fn new(file: Rc<dyn DiskFile>, tag: VolumeTag, start: LogPosition, window_bytes: usize) -> Self {
        Self {
            file,
            tag,
            start,
            buffer: None,
            window_bytes,
            offset: 0,
            filled: 0,
            read_bytes: 0,
        }
    }

    /// Bytes of the segment from `offset`, a block's beginning: at least `least`, or what is there up to its end.
    pub(crate) async fn bytes_at(&mut self, offset: u64, least: usize) -> io::Result<&[u8]> {
        let end = self.offset + self.filled as u64;
        let least = least.min(usize::try_from(self.file.length().saturating_sub(offset)).unwrap_or(usize::MAX));
        if offset < self.offset || offset + least as u64 > end {
            self.fill(offset, least).await?;
        }
        let skip = (offset - self.offset) as usize;
        let buffer = self.buffer.as_deref().unwrap_or_default();
        Ok(buffer.get(skip..self.filled).unwrap_or_default())
    }

    async fn fill(&mut self, offset: u64, least: usize) -> io::Result<()> {
        let least = least.next_multiple_of(BLOCK_BYTES);
        let left = usize::try_from(self.file.length().saturating_sub(offset)).unwrap_or(usize::MAX - BLOCK_BYTES);
        // A file that was cut off may end within a block.
        let wanted = self.window_bytes.max(least).min(left.next_multiple_of(BLOCK_BYTES));
        match self.read(offset, wanted).await {
            // Something in the window cannot be read; perhaps nothing that is asked for.
            Err(_) if least < wanted => self.read(offset, least).await,
            result => result,
        }
    }

    async fn read(&mut self, offset: u64, wanted: usize) -> io::Result<()> {
        let buffer = match self.buffer.take() {
            Some(buffer) if buffer.len() >= wanted => buffer,
            _ => AlignedBuffer::zeroed(wanted),
        };
        let (result, buffer) = self.file.read(offset, buffer, wanted).await;
        self.buffer = Some(buffer);
        self.filled = 0;
        self.offset = offset;
        self.filled = result?.min(wanted);
        self.read_bytes += self.filled as u64;
        Ok(())
    }

    /// The header of the batch that begins at `offset`, if one does.
    pub(crate) async fn header_at(&mut self, offset: u64) -> io::Result<Option<BatchHeader>> {
        let position = LogPosition(self.start.0 + offset);
        let tag = self.tag.value();
        let bytes = self.bytes_at(offset, BATCH_HEADER_BYTES).await?;
        Ok(BatchHeader::decode(bytes, tag, position))
    }

    /// The header and all bytes of the batch that begins at `offset`, not verified beyond the header.
    pub(crate) async fn batch_at(&mut self, offset: u64) -> io::Result<Option<(BatchHeader, &[u8])>> {
        let Some(header) = self.header_at(offset).await? else {
            return Ok(None);
        };
        let bytes = self.bytes_at(offset, header.bytes as usize).await?;
        if bytes.len() < header.bytes as usize {
            return Ok(None);
        }
        Ok(Some((header, &bytes[..header.bytes as usize])))
    }
}
