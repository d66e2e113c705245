//! How mail waits that another node cannot take now.

use super::period::Period;
use super::section::{Section, number, period, size};
use super::size::Size;
use serde::Serialize;

/// How mail waits that another node of the cluster cannot take now: in the volumes of this node, as long as one of them takes
/// mail; without one the sender is told to come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// How long a message waits before it is given up, and its sender is told. From 1s to 30d; default 5d (RFC 5321 section
    /// 4.5.4.1 has 4 to 5 days).
    pub life: Period,
    /// How long another node may take to answer before a message goes into the queue instead. An answer that comes later does no
    /// harm between nodes with a `pigeonKey`, which store a message once however often it is brought; a server without one
    /// (Dovecot, Cyrus) may have it twice then. From 1s to 10m; default 20s.
    pub answer_time: Period,
    /// The most that may wait on this node, in all its volumes together; what comes beyond is told to come later (452 4.3.1).
    /// Not set: what `share_max` allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_max: Option<Size>,
    /// The most that may wait in one volume, percent of its file system or of its `bytes_max`. From 1 to 100; default 50.
    pub share_max: u32,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            life: Period::minutes(5 * 24 * 60),
            answer_time: Period::seconds(20),
            bytes_max: None,
            share_max: 50,
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
            bytes_max: section.optional("bytes_max", size(Size::mib(1)..=Size::of_bytes(1 << 60))),
            share_max: section.or("share_max", default.share_max, number(1..=100)),
        };
        section.finish();
        queue
    }
}
