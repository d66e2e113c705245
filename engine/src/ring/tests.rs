//! The ring alone, without an executor: queues that overflow, and what the kernel then owes.

use super::{COMPLETION_ENTRIES, OperationKey, Payload, Ring, SUBMISSION_ENTRIES};
use crate::file::{AlignedBuffer, DIRECT_ALIGNMENT};
use crate::ring::BufferRing;
use rustix::fs::{Mode, OFlags};
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

const BYTES: u32 = 16;

fn read(ring: &mut Ring, file: &Rc<rustix::fd::OwnedFd>, byte: u8) -> OperationKey {
    let mut buffer = AlignedBuffer::zeroed(DIRECT_ALIGNMENT);
    buffer.fill(byte);
    ring.start_single(Payload::Read {
        file: file.clone(),
        buffer,
        offset: 0,
        length: BYTES,
        position: 0,
    })
}

#[test]
fn completions_beyond_the_queue_are_kept_and_none_is_lost() {
    let buffers = BufferRing::new(16, 1024).expect("memory is left");
    let mut ring = Ring::new(&buffers).expect("the kernel has what the engine needs");
    // Its reads complete as they are submitted, so nothing but reaping makes room in the queue.
    let zeros = rustix::fs::open("/dev/zero", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let zeros = Rc::new(zeros.expect("every system has it"));
    let count = COMPLETION_ENTRIES + 3 * SUBMISSION_ENTRIES;
    let keys: Vec<_> = (0..count)
        .map(|number| read(&mut ring, &zeros, number as u8 | 1))
        .collect();
    ring.enter(None);
    assert!(
        ring.wants_enter(),
        "{count} completions overflow {COMPLETION_ENTRIES} entries"
    );
    assert_eq!(ring.in_flight(), count as usize);
    let mut left = keys;
    while !left.is_empty() {
        // As the driver does: what is there is reaped, then the kernel is asked for the rest.
        while ring.next_event(&buffers).is_some() {}
        left.retain(|key| match ring.poll_single(*key, Waker::noop()) {
            None => true,
            Some(finished) => {
                assert_eq!(finished.result, BYTES.cast_signed());
                let Payload::Read { buffer, .. } = finished.payload else {
                    panic!("a read comes back as a read");
                };
                assert!(buffer[..BYTES as usize].iter().all(|byte| *byte == 0));
                false
            }
        });
        if ring.wants_enter() || ring.has_unsubmitted() {
            ring.enter(None);
        } else {
            // A completion that was kept would come at once, without the whole wait.
            ring.enter((!left.is_empty()).then_some(Duration::from_secs(60)));
        }
    }
    assert_eq!(
        (ring.in_flight(), ring.has_unsubmitted(), ring.wants_enter()),
        (0, false, false)
    );
}

#[test]
fn more_submissions_than_the_queue_takes_wait_their_turn() {
    let buffers = BufferRing::new(16, 1024).expect("memory is left");
    let mut ring = Ring::new(&buffers).expect("the kernel has what the engine needs");
    let (reader, writer) = std::io::pipe().expect("a descriptor is left");
    let pipe = Rc::new(rustix::fd::OwnedFd::from(reader));
    // Reads of an empty pipe stay under way until they are cancelled.
    let count = 4 * SUBMISSION_ENTRIES;
    let keys: Vec<_> = (0..count).map(|_| read(&mut ring, &pipe, 1)).collect();
    ring.enter(None);
    assert!(!ring.has_unsubmitted());
    assert_eq!(ring.in_flight(), count as usize);
    keys.iter().for_each(|key| ring.abandon_single(*key));
    while ring.in_flight() > 0 {
        ring.enter(Some(Duration::from_secs(60)));
        while ring.next_event(&buffers).is_some() {}
    }
    drop(writer);
    drop(pipe);
}
