//! The two checkpoint files: always written both, one after the other, and what they say now.
//!
//! What a content allows is done only after `replace` has returned `Ok`. After an error either file may have the new content or
//! the old one; both are true then, since nothing was done yet.

use std::cell::RefCell;

use pigeon_engine::sync::Semaphore;
use pigeon_store_format::{CHECKPOINT_NAMES, Checkpoint};

use crate::StoreError;
use crate::disk::Disk;

/// See the module.
pub(crate) struct CheckpointFiles {
    /// What was written last, or tried to; `None` when the volume is not to be written.
    last: RefCell<Option<Checkpoint>>,
    /// One writing at a time.
    turn: Semaphore,
}

impl CheckpointFiles {
    pub(crate) fn new(last: Option<Checkpoint>) -> Self {
        Self {
            last: RefCell::new(last),
            turn: Semaphore::new(1),
        }
    }

    /// Changes what the files say; durable when it returns.
    pub(crate) async fn replace(
        &self,
        disk: &dyn Disk,
        change: impl FnOnce(&mut Checkpoint),
    ) -> Result<(), StoreError> {
        let _turn = self.turn.acquire(1).await;
        let next = {
            let mut last = self.last.borrow_mut();
            let Some(next) = last.as_mut() else {
                return Err(StoreError::ReadOnly("its checkpoint is not to be written".to_owned()));
            };
            change(next);
            next.number += 1;
            next.clone()
        };
        write_checkpoint_files(disk, &next).await
    }
}

/// Writes both files; durable when it returns.
pub(crate) async fn write_checkpoint_files(disk: &dyn Disk, checkpoint: &Checkpoint) -> Result<(), StoreError> {
    let bytes = checkpoint.encode();
    for name in CHECKPOINT_NAMES {
        let written = disk.write_small(name, bytes.clone()).await;
        written.map_err(|error| StoreError::Io(format!("writing {name}: {error}")))?;
    }
    Ok(())
}
