//! The raw io_uring ring of one core: it submits operations, keeps what the kernel holds on to, and hands completions back.
//!
//! Invariants: everything the kernel may read or write (bytes to send, file memory, a socket address, the descriptor of a
//! file) is owned by the operation's slot from before its submission until its last completion, cancelled operations
//! included; a slot's generation is part of the user data, so a late completion cannot hit a slot that was given away
//! again; no submission is ever lost, whatever the kernel answers (they wait in `backlog`).
//!
//! It knows nothing of tasks' turns: when to submit and when to sleep is the business of `runtime::driver`.

#![allow(unsafe_code)] // Submitting an entry is unsafe by nature: the kernel takes raw pointers out of it.

mod buffers;
mod operation;

pub(crate) use self::buffers::{Buffer, BufferRing};
pub(crate) use self::operation::{Event, Finished, Operation, OperationKey, Payload, Single, SocketAddressBytes};

use self::operation::Operations;
use io_uring::{EnterFlags, IoUring, cqueue, opcode, squeue, types};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{IntoRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

/// Entries of the submission queue; a full one is submitted at once, so this only bounds the size of a batch.
const SUBMISSION_ENTRIES: u32 = 512;

/// Entries of the completion queue: the kernel keeps what does not fit (IORING_FEAT_NODROP), at a price.
const COMPLETION_ENTRIES: u32 = 8192;

/// User data of operations whose completion nobody waits for.
const UNWATCHED: u64 = u64::MAX;

/// The id of the core's only group of provided buffers.
const BUFFER_GROUP: u16 = 0;

/// MSG_WAITALL and MSG_NOSIGNAL of socket(7): the kernel itself continues a short send, and never raises SIGPIPE.
const SEND_FLAGS: i32 = 0x100 | 0x4000;

/// MSG_MORE of send(2): what follows may go out in the same segment.
const SEND_MORE: i32 = 0x8000;

/// SOCK_CLOEXEC. Not SOCK_NONBLOCK: only `splice` needs it, and a relay that begins to splice sets it. Receives and sends of the
/// ring wait on such a socket all the same; an accept would not.
const ACCEPT_FLAGS: i32 = 0o2_000_000;

/// IORING_RECVSEND_POLL_FIRST.
const POLL_FIRST: u16 = 0x1;

/// POLLIN of poll(2).
const POLL_IN: u32 = 0x1;

/// RWF_DSYNC of pwritev2(2): the write completes when its data is durable.
const RWF_DSYNC: i32 = 0x2;

/// The ring and its operations under way.
pub(crate) struct Ring {
    uring: IoUring,
    operations: Operations,
    /// Submissions that found the queue full and the kernel unwilling; they go first.
    backlog: VecDeque<squeue::Entry>,
}

impl Ring {
    /// A ring for the calling thread, which alone may use it. The provided buffers of `buffers` are registered for
    /// `start_receive`.
    pub(crate) fn new(buffers: &BufferRing) -> io::Result<Ring> {
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_clamp()
            .setup_cqsize(COMPLETION_ENTRIES)
            .build(SUBMISSION_ENTRIES)?;
        // SAFETY: the memory of the entries stays mapped until `BufferRing` is dropped, and `Core` drops the ring, which
        // ends the registration, before it lets go of the buffers.
        unsafe {
            uring
                .submitter()
                .register_buf_ring_with_flags(buffers.address(), buffers.count(), BUFFER_GROUP, 0)?
        };
        Ok(Ring {
            uring,
            operations: Operations::new(),
            backlog: VecDeque::new(),
        })
    }

    /// Operations that the kernel has not completed for the last time.
    pub(crate) fn in_flight(&self) -> usize {
        self.operations.len()
    }

    /// Whether submissions wait for the next `enter`.
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.backlog.is_empty() || !self.uring.submission().is_empty()
    }

    /// Whether the kernel has work that only an `enter` of this thread can do.
    pub(crate) fn wants_enter(&mut self) -> bool {
        let submission = self.uring.submission();
        submission.taskrun() || submission.cq_overflow()
    }

    /// Submits everything and lets the kernel run the work it deferred to this thread. With `wait`, goes to sleep until
    /// there is a completion, for at most that time; a completion that is there already ends it at once.
    pub(crate) fn enter(&mut self, wait: Option<Duration>) {
        self.move_backlog();
        loop {
            // More to submit than the queue takes: the sleep comes with the last of it.
            let wait = wait.filter(|_| self.backlog.is_empty());
            let entered = match wait {
                Some(wait) => {
                    let time = types::Timespec::from(wait);
                    let arguments = types::SubmitArgs::new().timespec(&time);
                    self.uring.submitter().submit_with_args(1, &arguments)
                }
                None => {
                    let unsubmitted = self.uring.submission().len();
                    let (count, flags) = (unsubmitted as u32, EnterFlags::GETEVENTS.bits());
                    // SAFETY: no argument structure is passed, and every entry in the queue is backed by its slot. The
                    // count is bounded by the queue's size, 512, so the cast loses nothing.
                    unsafe { self.uring.submitter().enter::<u64>(count, 0, flags, None) }
                }
            };
            // EBUSY and EAGAIN: the completion queue has to be reaped or memory is short; what was not taken stays in the
            // queue, and the driver comes back. EINTR and ETIME: the sleep has ended.
            if entered.is_err() || !self.move_backlog() {
                return;
            }
        }
    }

    /// The next completion as an event for its owner; `None` when the queue is empty.
    pub(crate) fn next_event(&mut self, buffers: &Rc<BufferRing>) -> Option<Event> {
        loop {
            let entry = self.uring.completion().next()?;
            // A buffer that the kernel picked is ours from here on, whoever the completion is for: made into an owned
            // value first, it goes back to the ring even if its connection is gone.
            let length = usize::try_from(entry.result()).unwrap_or(0);
            let buffer = cqueue::buffer_select(entry.flags()).map(|id| buffers.take(id, length));
            if entry.user_data() == UNWATCHED {
                continue;
            }
            let key = OperationKey::from_user_data(entry.user_data());
            if let Some(event) = self
                .operations
                .complete(key, entry.result(), cqueue::more(entry.flags()), buffer)
            {
                return Some(event);
            }
        }
    }

    /// Tells (`Event::Signalled`) whenever `event`, an event descriptor, is signalled.
    pub(crate) fn start_watch(&mut self, event: RawFd) -> OperationKey {
        let key = self.operations.insert(Operation::Watch);
        let poll = opcode::PollAdd::new(types::Fd(event), POLL_IN).multi(true).build();
        self.push(poll.user_data(key.user_data()));
        key
    }

    /// Accepts connections on `descriptor` until it fails or is cancelled; `operation` is `Operation::Accept`.
    pub(crate) fn start_accept(&mut self, descriptor: RawFd, operation: Operation) -> OperationKey {
        let key = self.operations.insert(operation);
        self.push(
            opcode::AcceptMulti::new(types::Fd(descriptor))
                .flags(ACCEPT_FLAGS)
                .build()
                .user_data(key.user_data()),
        );
        key
    }

    /// Receives into provided buffers until it fails, ends or is cancelled; `operation` is `Operation::Receive`.
    pub(crate) fn start_receive(&mut self, descriptor: RawFd, operation: Operation) -> OperationKey {
        let key = self.operations.insert(operation);
        self.push(
            opcode::RecvMulti::new(types::Fd(descriptor), BUFFER_GROUP)
                .build()
                .user_data(key.user_data()),
        );
        key
    }

    /// Receives once, at most `length` bytes into one provided buffer; `operation` is `Operation::Receive`. Waits before it
    /// looks: whoever asks has mostly just found the socket empty.
    pub(crate) fn start_single_receive(
        &mut self,
        descriptor: RawFd,
        length: u32,
        operation: Operation,
    ) -> OperationKey {
        let key = self.operations.insert(operation);
        self.push(
            opcode::Recv::new(types::Fd(descriptor), std::ptr::null_mut(), length)
                .ioprio(POLL_FIRST)
                .buf_group(BUFFER_GROUP)
                .build()
                .flags(squeue::Flags::BUFFER_SELECT)
                .user_data(key.user_data()),
        );
        key
    }

    /// Sends the bytes of `operation`, an `Operation::Send`, over `descriptor`; with `more`, the last of them may wait in
    /// the kernel for what follows, a FIN included.
    pub(crate) fn start_send(&mut self, descriptor: RawFd, operation: Operation, more: bool) -> OperationKey {
        let key = self.operations.insert(operation);
        let (pointer, length) = self.operations.send_bytes(key);
        self.push(
            opcode::Send::new(types::Fd(descriptor), pointer, length)
                .flags(SEND_FLAGS | if more { SEND_MORE } else { 0 })
                .build()
                .user_data(key.user_data()),
        );
        key
    }

    /// Starts the operation that `payload` describes; its result is fetched with `poll_single`.
    pub(crate) fn start_single(&mut self, payload: Payload) -> OperationKey {
        let key = self
            .operations
            .insert(Operation::Single(Box::new(Single::new(payload))));
        let entry = match self.operations.payload(key) {
            Payload::Connect { socket, address } => opcode::Connect::new(
                types::Fd(operation::raw(socket)),
                address.pointer().cast(),
                address.length(),
            )
            .build(),
            // A connection without a descriptor is none of the kernel's: that answers EBADF.
            Payload::Poll { connection, events } => opcode::PollAdd::new(
                types::Fd(connection.descriptor().unwrap_or(-1)),
                u32::from(events.bits()),
            )
            .build(),
            Payload::Write {
                file,
                buffer,
                offset,
                length,
                position,
            } => {
                let bytes = &buffer[*offset..*offset + *length as usize];
                opcode::Write::new(types::Fd(operation::raw(&**file)), bytes.as_ptr(), *length)
                    .offset(*position)
                    .rw_flags(RWF_DSYNC)
                    .build()
            }
            Payload::Read {
                file,
                buffer,
                offset,
                length,
                position,
            } => {
                let bytes = &mut buffer[*offset..*offset + *length as usize];
                opcode::Read::new(types::Fd(operation::raw(&**file)), bytes.as_mut_ptr(), *length)
                    .offset(*position)
                    .build()
            }
        };
        self.push(entry.user_data(key.user_data()));
        key
    }

    /// The outcome of a single operation when it is there; remembers the waker otherwise.
    pub(crate) fn poll_single(&mut self, key: OperationKey, waker: &std::task::Waker) -> Option<Finished> {
        self.operations.poll_single(key, waker)
    }

    /// Nobody waits for this single operation any more: it is cancelled, and its slot freed at its completion.
    pub(crate) fn abandon_single(&mut self, key: OperationKey) {
        if self.operations.abandon_single(key) {
            self.cancel(key);
        }
    }

    /// Asks the kernel to end an operation. Its last completion still comes.
    pub(crate) fn cancel(&mut self, key: OperationKey) {
        self.push(
            opcode::AsyncCancel::new(key.user_data())
                .build()
                .user_data(UNWATCHED)
                .flags(squeue::Flags::SKIP_SUCCESS),
        );
    }

    /// Closes a descriptor that no operation uses any more.
    pub(crate) fn close(&mut self, descriptor: OwnedFd) {
        let descriptor = types::Fd(descriptor.into_raw_fd());
        self.push(
            opcode::Close::new(descriptor)
                .build()
                .user_data(UNWATCHED)
                .flags(squeue::Flags::SKIP_SUCCESS),
        );
    }

    /// Appends to the submission queue; the next `enter` submits. Every pointer in `entry` must point into the slot that
    /// its user data names, which the callers above see to.
    fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            if self.try_push(&entry) {
                return;
            }
            self.enter(None);
            if self.try_push(&entry) {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Moves waiting submissions into the queue, oldest first. Says whether any was moved.
    fn move_backlog(&mut self) -> bool {
        let mut moved = false;
        while let Some(entry) = self.backlog.pop_front() {
            if !self.try_push(&entry) {
                self.backlog.push_front(entry);
                break;
            }
            moved = true;
        }
        moved
    }

    fn try_push(&mut self, entry: &squeue::Entry) -> bool {
        let mut submission = self.uring.submission();
        // SAFETY: what the entry points to is owned by its slot in `operations`, which keeps it until the last
        // completion; cancel and close entries point to nothing.
        unsafe { submission.push(entry) }.is_ok()
    }
}

#[cfg(test)]
mod tests;
