//! A store that keeps messages in memory, fails where a test wants it, and waits where a test wants it.

use crate::mail_store::{EnvelopeInfo, MailStore, Target, Transfer, TransferError};
use bytes::Bytes;
use futures_util::future::LocalBoxFuture;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A message as one account has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::smtp) struct Stored {
    pub(in crate::smtp) account: String,
    /// What stands in front of the message for this account.
    pub(in crate::smtp) prepend: String,
    pub(in crate::smtp) detail: Option<String>,
    pub(in crate::smtp) message: Vec<u8>,
    pub(in crate::smtp) key: Option<[u8; 16]>,
}

impl Stored {
    pub(in crate::smtp) fn text(&self) -> String {
        String::from_utf8_lossy(&self.message).into_owned()
    }

    /// Behind the trace lines, which end with the line that has the date.
    pub(in crate::smtp) fn body(&self) -> String {
        let text = self.text();
        let (_, rest) = text.split_once(" +0000\r\n").expect("there is a Received line");
        rest.to_owned()
    }
}

#[derive(Clone, Default)]
pub(in crate::smtp) struct MemoryStore {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    stored: RefCell<Vec<Stored>>,
    /// By main address, at the commit.
    failures: RefCell<HashMap<String, TransferError>>,
    begin_failure: RefCell<Option<TransferError>>,
    /// After so many writes the next one fails.
    write_failure: RefCell<Option<(u32, TransferError)>>,
    held: Cell<bool>,
    wakers: RefCell<Vec<Waker>>,
    pieces: RefCell<Vec<usize>>,
    open: Cell<i32>,
    aborted: Cell<u32>,
}

impl MemoryStore {
    pub(in crate::smtp) fn stored(&self) -> Vec<Stored> {
        self.inner.stored.borrow().clone()
    }

    pub(in crate::smtp) fn accounts(&self) -> Vec<String> {
        self.stored().into_iter().map(|stored| stored.account).collect()
    }

    pub(in crate::smtp) fn fail(&self, account: &str, error: TransferError) {
        self.inner.failures.borrow_mut().insert(account.to_owned(), error);
    }

    pub(in crate::smtp) fn fail_begin(&self, error: TransferError) {
        *self.inner.begin_failure.borrow_mut() = Some(error);
    }

    pub(in crate::smtp) fn fail_write(&self, after: u32, error: TransferError) {
        *self.inner.write_failure.borrow_mut() = Some((after, error));
    }

    /// Nothing ends before `release`.
    pub(in crate::smtp) fn hold(&self) {
        self.inner.held.set(true);
    }

    pub(in crate::smtp) fn release(&self) {
        self.inner.held.set(false);
        self.inner.wakers.take().into_iter().for_each(Waker::wake);
    }

    /// Bytes of each piece that was written.
    pub(in crate::smtp) fn pieces(&self) -> Vec<usize> {
        self.inner.pieces.borrow().clone()
    }

    /// Transfers that are open.
    pub(in crate::smtp) fn open(&self) -> i32 {
        self.inner.open.get()
    }

    /// Transfers that were dropped without a commit.
    pub(in crate::smtp) fn aborted(&self) -> u32 {
        self.inner.aborted.get()
    }

    async fn wait(&self) {
        poll_fn(|context| {
            if !self.inner.held.get() {
                return Poll::Ready(());
            }
            self.inner.wakers.borrow_mut().push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl MailStore for MemoryStore {
    fn begin(
        &self,
        _: &Rc<EnvelopeInfo>,
        recipients: Vec<Target>,
    ) -> LocalBoxFuture<'static, Result<Box<dyn Transfer>, TransferError>> {
        assert!(!recipients.is_empty(), "a transfer has recipients");
        let store = self.clone();
        Box::pin(async move {
            if let Some(error) = store.inner.begin_failure.borrow().clone() {
                return Err(error);
            }
            store.inner.open.set(store.inner.open.get() + 1);
            let transfer = MemoryTransfer {
                store,
                recipients,
                message: Vec::new(),
                committed: false,
                writes: 0,
            };
            Ok(Box::new(transfer) as Box<dyn Transfer>)
        })
    }
}

struct MemoryTransfer {
    store: MemoryStore,
    recipients: Vec<Target>,
    message: Vec<u8>,
    committed: bool,
    writes: u32,
}

impl Transfer for MemoryTransfer {
    fn write(&mut self, chunk: Bytes) -> LocalBoxFuture<'_, Result<(), TransferError>> {
        Box::pin(async move {
            self.store.wait().await;
            if let Some((after, error)) = &*self.store.inner.write_failure.borrow()
                && self.writes >= *after
            {
                return Err(error.clone());
            }
            self.writes += 1;
            self.store.inner.pieces.borrow_mut().push(chunk.len());
            self.message.extend_from_slice(&chunk);
            Ok(())
        })
    }

    fn commit(mut self: Box<Self>) -> LocalBoxFuture<'static, Vec<Result<(), TransferError>>> {
        Box::pin(async move {
            self.store.wait().await;
            self.committed = true;
            let mut results = Vec::new();
            for target in &self.recipients {
                let account = target.account.main_address().unwrap_or_default().to_owned();
                let failure = self.store.inner.failures.borrow().get(&account).cloned();
                results.push(match failure {
                    Some(error) => Err(error),
                    None => {
                        self.store.inner.stored.borrow_mut().push(Stored {
                            account,
                            prepend: String::from_utf8_lossy(&target.prepend).into_owned(),
                            detail: target.detail.as_deref().map(str::to_owned),
                            message: self.message.clone(),
                            key: target.key,
                        });
                        Ok(())
                    }
                });
            }
            results
        })
    }
}

impl Drop for MemoryTransfer {
    fn drop(&mut self) {
        self.store.inner.open.set(self.store.inner.open.get() - 1);
        if !self.committed {
            self.store.inner.aborted.set(self.store.inner.aborted.get() + 1);
        }
    }
}
