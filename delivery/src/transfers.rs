//! Large bodies on their way from another core: the open writers of this core, by a handle that the sending core keeps.
//! Each is ended by exactly one of `commit` or `abort`; a sender that goes away aborts.

use crate::mail_store::{DeliveryError, RecipientParts, deliver_finished};
use bytes::Bytes;
use pigeon_engine::{CoreId, current_core};
use pigeon_store::{AccountId, BodyWriter};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;

struct Open {
    volume: usize,
    writer: BodyWriter,
}

/// Names a transfer: chosen by the sending core, so that it can abort what it began even when it never saw an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    sender: CoreId,
    number: u64,
}

impl Handle {
    /// The next one of this core.
    pub(crate) fn next() -> Self {
        thread_local!(static NEXT: Cell<u64> = const { Cell::new(0) });
        let number = NEXT.get();
        NEXT.set(number + 1);
        Self {
            sender: current_core(),
            number,
        }
    }
}

thread_local! {
    /// `None` while a call has the writer in its hands. An entry that is gone was aborted: the call drops the writer then.
    static TRANSFERS: RefCell<HashMap<Handle, Option<Open>>> = RefCell::default();
}

/// Makes the entry. Called when the work arrives, before any of it waits, so that an abort behind it finds the entry.
pub(crate) fn announce(handle: Handle) {
    TRANSFERS.with_borrow_mut(|transfers| transfers.insert(handle, None));
}

/// Opens a writer on this core and writes `chunks`. After an error the transfer is gone.
pub(crate) async fn begin(
    handle: Handle,
    volume: usize,
    accounts: &[AccountId],
    chunks: Vec<Bytes>,
) -> Result<(), DeliveryError> {
    let opened = async {
        let store = crate::volumes::volume(volume).ok_or(DeliveryError::Unavailable("volume is not open".into()))?;
        let mut writer = store.begin_body(accounts).await?;
        for chunk in chunks {
            writer.write(chunk).await?;
        }
        Ok(writer)
    };
    match opened.await {
        Ok(writer) => {
            put_back(handle, Open { volume, writer });
            Ok(())
        }
        Err(error) => {
            abort(handle);
            Err(error)
        }
    }
}

/// Writes one more chunk. After an error the transfer is gone.
pub(crate) async fn write(handle: Handle, chunk: Bytes) -> Result<(), DeliveryError> {
    let mut open = take(handle)?;
    match open.writer.write(chunk).await {
        Ok(()) => {
            put_back(handle, open);
            Ok(())
        }
        Err(error) => {
            abort(handle);
            Err(error.into())
        }
    }
}

/// Ends the body and delivers it; returns when it is durable.
pub(crate) async fn commit(handle: Handle, recipients: Vec<RecipientParts>) -> Vec<Result<(), DeliveryError>> {
    let count = recipients.len();
    let open = take(handle);
    abort(handle);
    match open {
        Ok(open) => deliver_finished(open.volume, open.writer, recipients).await,
        Err(error) => vec![Err(error); count],
    }
}

/// Drops the entry, and the writer with it: what it wrote is dead space for compaction.
pub(crate) fn abort(handle: Handle) {
    let aborted = TRANSFERS.with_borrow_mut(|transfers| transfers.remove(&handle));
    drop(aborted);
}

fn take(handle: Handle) -> Result<Open, DeliveryError> {
    TRANSFERS
        .with_borrow_mut(|transfers| transfers.get_mut(&handle).and_then(Option::take))
        .ok_or_else(|| DeliveryError::Unavailable("the transfer has ended".into()))
}

fn put_back(handle: Handle, open: Open) {
    TRANSFERS.with_borrow_mut(|transfers| {
        if let Some(entry) = transfers.get_mut(&handle) {
            *entry = Some(open);
        }
    });
}
