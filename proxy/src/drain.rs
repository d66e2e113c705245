//! The node's wish to stop, as sessions of one core see it: idle ones end at once, the others when they are idle.

use slab::Slab;
use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// One for the sessions of a core; clones are the same. Registering, waiting and leaving cost the same for any number of
/// sessions.
#[derive(Clone, Default)]
pub struct Drain {
    inner: Rc<Inner>,
}

#[derive(Default)]
struct Inner {
    begun: Cell<bool>,
    sessions: RefCell<Slab<Option<Waker>>>,
}

impl Drain {
    /// Not begun, without sessions.
    pub fn new() -> Drain {
        Drain::default()
    }

    /// Begins; every waiting session is woken. There is no way back.
    pub fn begin(&self) {
        self.inner.begun.set(true);
        let wakers: Vec<Waker> = {
            let mut sessions = self.inner.sessions.borrow_mut();
            sessions.iter_mut().filter_map(|(_, waker)| waker.take()).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.inner.begun.get()
    }

    /// Sessions that have not left.
    pub fn session_count(&self) -> usize {
        self.inner.sessions.borrow().len()
    }

    /// A session's own handle; it leaves when that is dropped.
    pub fn register(&self) -> DrainHandle {
        let key = self.inner.sessions.borrow_mut().insert(None);
        DrainHandle {
            drain: self.clone(),
            key,
        }
    }
}

/// A session's place.
pub struct DrainHandle {
    drain: Drain,
    key: usize,
}

impl DrainHandle {
    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        self.drain.has_begun()
    }

    /// Ends when it begins, at once when it has.
    pub fn begun(&self) -> impl Future<Output = ()> {
        poll_fn(|context| self.poll_begun(context))
    }

    /// As `begun`, for a wait that is polled by hand.
    pub fn poll_begun(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.has_begun() {
            return Poll::Ready(());
        }
        let mut sessions = self.drain.inner.sessions.borrow_mut();
        let place = &mut sessions[self.key];
        if !place.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *place = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

impl Drop for DrainHandle {
    fn drop(&mut self) {
        self.drain.inner.sessions.borrow_mut().remove(self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::Wake;

    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn waiting_sessions_are_woken_once() {
        let drain = Drain::new();
        let (first, second) = (drain.register(), drain.register());
        assert_eq!(drain.session_count(), 2);
        let count = Arc::new(Count(AtomicU32::new(0)));
        let waker = Waker::from(count.clone());
        let mut context = Context::from_waker(&waker);
        let mut waiting = pin!(first.begun());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        assert!(waiting.as_mut().poll(&mut context).is_pending());
        drain.begin();
        drain.begin();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert!(waiting.as_mut().poll(&mut context).is_ready());
        assert!(pin!(second.begun()).poll(&mut context).is_ready());
        drop(second);
        assert_eq!(drain.session_count(), 1);
    }
}
