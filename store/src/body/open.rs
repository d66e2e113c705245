//! Bodies that are in the journal while no message refers to them yet: compaction must leave their segments alone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// All of them.
#[derive(Clone, Default)]
pub(crate) struct OpenBodies {
    /// Segment numbers, with how many bodies begin there.
    segments: Rc<RefCell<BTreeMap<u64, usize>>>,
}

/// Keeps a segment and all behind it; until dropped.
pub(crate) struct OpenBody {
    bodies: OpenBodies,
    segment: u64,
}

impl OpenBodies {
    /// A body begins in this segment.
    pub(crate) fn begin(&self, segment: u64) -> OpenBody {
        *self.segments.borrow_mut().entry(segment).or_insert(0) += 1;
        OpenBody {
            bodies: self.clone(),
            segment,
        }
    }

    /// Segments from this one on must stay.
    pub(crate) fn first_segment(&self) -> Option<u64> {
        self.segments.borrow().keys().next().copied()
    }
}

impl Drop for OpenBody {
    fn drop(&mut self) {
        let mut segments = self.bodies.segments.borrow_mut();
        if let Some(count) = segments.get_mut(&self.segment) {
            *count -= 1;
            if *count == 0 {
                segments.remove(&self.segment);
            }
        }
    }
}
