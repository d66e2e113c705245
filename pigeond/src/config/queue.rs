//! How mail waits that another node cannot take now.

use super::period::Period;
use super::section::{Section, period};
use serde::Serialize;

/// How mail waits that another node of the cluster cannot take now: in the volumes of this node, as long as one of them takes
/// mail; without one the sender is told to come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How long a message waits before it is given up, and its sender is told. From 1s to 30d; default 5d (RFC 5321 section
    /// 4.5.4.1 has 4 to 5 days).
    pub life: Period,
    /// How long another node may take to answer before a message goes into the queue instead; an answer that comes later does
    /// no harm. From 1s to 10m; default 20s.
    pub answer_time: Period,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            life: Period::minutes(5 * 24 * 60),
            answer_time: Period::seconds(20),
        }
    }
}

impl Queue {
    pub(super) fn read(mut section: Section<'_, '_, '_>) -> Queue {
        let default = Queue::default();
        let life = Period::seconds(1)..=Period::minutes(30 * 24 * 60);
        let answer_time = Period::seconds(1)..=Period::minutes(10);
        let queue = Queue {
            life: section.or("life", default.life, period(life)),
            answer_time: section.or("answer_time", default.answer_time, period(answer_time)),
        };
        section.finish();
        queue
    }
}
