//! What a core counts: written by that core alone, read by the status port.

use crate::config::Service;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $help:literal;)*) => {
        /// Something that is counted from the start of the process on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $help] $variant,)*
        }

        impl Counter {
            /// All of them: `counter as usize` is the index.
            pub const ALL: &[Counter] = &[$(Counter::$variant,)*];

            /// As the metrics spell it, without the prefix `pigeon_` and the suffix `_total`.
            pub const fn name(self) -> &'static str {
                match self { $(Counter::$variant => $name,)* }
            }

            /// What it counts.
            pub const fn help(self) -> &'static str {
                match self { $(Counter::$variant => $help,)* }
            }
        }
    };
}

counters! {
    SessionsRefused = "sessions_refused", "Connections that were turned away because there were too many";
    SessionsWithoutRole = "sessions_without_role", "Connections that were turned away because the node has not the role, by control data";
    SessionsWhileDown = "sessions_while_down", "Connections that were turned away because the node is down, by control data";
    OwnersDown = "owners_down", "Logins and recipients whose node is down, by control data: it was not tried";
    SessionPanics = "session_panics", "Sessions that ended by a fault of the program";
    TlsHandshakes = "tls_handshakes", "TLS handshakes that succeeded";
    TlsFailures = "tls_failures", "TLS handshakes that failed";
    Logins = "logins", "Logins that succeeded";
    LoginFailures = "login_failures", "Logins that failed";
    SessionsRedirected = "sessions_redirected", "Sessions that were redirected to the node that has the mail";
    BackendsUnavailable = "backends_unavailable", "Attempts to redirect that found nobody, or were asked to come again";
    BackendPortsExhausted = "backend_ports_exhausted", "Attempts to redirect, or to bring mail to another node, for which no local port was left";
    ReferralsFollowed = "referrals_followed", "Redirects that a backend referred to another node, which was asked next";
    ReferralsAstray = "referrals_astray", "Redirects that a backend referred to where no node is, or once too often";
    BackendsMisconfigured = "backends_misconfigured", "Attempts to redirect where the backend refused this node, or was not the right one";
    RedirectedBytesIn = "redirected_bytes_in", "Bytes from clients to other nodes, of redirected sessions that have ended";
    RedirectedBytesOut = "redirected_bytes_out", "Bytes from other nodes to clients, of redirected sessions that have ended";
    RedirectedBytesSpliced = "redirected_bytes_spliced", "Of the bytes both ways, those that went through pipes instead of being copied";
    CopiesElsewhere = "copies_elsewhere", "Copies of messages that other nodes have taken over";
    CopiesElsewhereRefused = "copies_elsewhere_refused", "Copies of messages that other nodes refused, for good or for now";
    CopiesElsewhereUnreached = "copies_elsewhere_unreached", "Copies of messages that did not reach their node";
    CopiesElsewhereUnknown = "copies_elsewhere_unknown", "Copies of messages of which the node's answer was lost: it may have them";
    CopiesQueued = "copies_queued", "Copies of messages that wait here because their node could not take them";
    QueueTries = "queue_tries", "Tries to bring a message that waited";
    QueuedCopiesDelivered = "queued_copies_delivered", "Copies that waited and have been delivered";
    QueuedCopiesBounced = "queued_copies_bounced", "Copies that waited and were reported as undeliverable to the sender or the postmaster";
    QueuedCopiesKept = "queued_copies_kept", "Copies that waited and could neither be delivered nor reported: they are kept for a person to look at";
    QueuedPutAside = "queued_put_aside", "Messages in the queue that cannot be read, and were put aside";
    QueuedToPostmaster = "queued_to_postmaster", "Kept messages that went to a postmaster";
    QueuedPerhapsTwice = "queued_perhaps_twice", "Copies that waited and may be there twice: an answer was lost, and the key was forgotten by then";
    QueueFull = "queue_full", "Copies and recipients that were told to come later because too much mail waits";
    MailConnections = "mail_connections", "Connections for mail that were opened to other nodes";
    MailConnectionsFailed = "mail_connections_failed", "Connections for mail to other nodes, and attempts at them, that failed";
    RedirectorsRefused = "redirectors_refused", "Connections to a backend from where no node may redirect";
    RedirectsAccepted = "redirects_accepted", "Sessions that another node redirected to a backend here";
    RedirectsRefusedNode = "redirects_refused_node", "Redirects by a node that the server_map does not have, or without a key there";
    RedirectsRefusedKey = "redirects_refused_key", "Redirects by a node with a wrong key";
    RedirectsMalformed = "redirects_malformed", "Redirects without a user, or with a record that is not understood";
    RedirectsReferred = "redirects_referred", "Redirects of accounts that are another node's, as this one sees it: the redirecting node was told so";
    RedirectsAstray = "redirects_astray", "Redirects of accounts that are another node's, as this one sees it, or with no hop left";
    MovesBegun = "moves_begun", "Attempts to fetch an account from where control data says that it was";
    MovesDone = "moves_done", "Accounts that have come here from another node or volume";
    MovesFailed = "moves_failed", "Attempts to fetch an account that failed, and are made again";
    MovedMessages = "moved_messages", "Messages that were fetched with an account";
    MovedBytes = "moved_bytes", "Bytes of the messages that were fetched with an account";
    RecipientsAccepted = "recipients_accepted", "Recipients that were accepted";
    RecipientsRefused = "recipients_refused", "Recipients that were refused for good";
    RecipientsDeferred = "recipients_deferred", "Recipients that were told to come later";
    MessagesAccepted = "messages_accepted", "Messages acknowledged by SMTP and LMTP, durable for all recipients named in the reply";
    MessagesRefused = "messages_refused", "Messages that were refused for good";
    MessagesDeferred = "messages_deferred", "Messages that were told to come later";
    MessageBytesAccepted = "message_bytes_accepted", "Bytes of the acknowledged messages";
    Deliveries = "deliveries", "Copies put into mailboxes: messages by recipients";
}

const COUNTERS: usize = Counter::ALL.len();
const SERVICES: usize = Service::ALL.len();

/// One core's counters. Apart from other cores' by two cache lines, so that counting costs no core anything but its own.
#[derive(Debug)]
#[repr(align(128))]
pub struct CoreCounters {
    counts: [AtomicU64; COUNTERS],
    sessions_started: [AtomicU64; SERVICES],
    sessions_ended: [AtomicU64; SERVICES],
    moves: AtomicU64,
}

/// What a core's counters said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// By `Counter as usize`.
    pub counts: [u64; COUNTERS],
    /// By `Service as usize`.
    pub sessions_started: [u64; SERVICES],
    /// By `Service as usize`.
    pub sessions_open: [u64; SERVICES],
    /// Accounts on their way to volumes of the core, as last published.
    pub moves: u64,
}

impl Default for Counts {
    /// All zero.
    fn default() -> Counts {
        Counts {
            counts: [0; COUNTERS],
            sessions_started: [0; SERVICES],
            sessions_open: [0; SERVICES],
            moves: 0,
        }
    }
}

impl Default for CoreCounters {
    fn default() -> CoreCounters {
        CoreCounters::new()
    }
}

impl CoreCounters {
    /// All zero.
    pub fn new() -> CoreCounters {
        CoreCounters {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            sessions_started: std::array::from_fn(|_| AtomicU64::new(0)),
            sessions_ended: std::array::from_fn(|_| AtomicU64::new(0)),
            moves: AtomicU64::new(0),
        }
    }

    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts several.
    pub fn add(&self, counter: Counter, several: u64) {
        self.counts[counter as usize].fetch_add(several, Ordering::Relaxed);
    }

    /// A session began. To be followed by one `session_ended`, on whichever core it ends.
    pub fn session_started(&self, service: Service) {
        self.sessions_started[service as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A session ended that began on this core.
    pub fn session_ended(&self, service: Service) {
        self.sessions_ended[service as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many accounts are on their way to volumes of this core.
    pub fn set_moves(&self, moves: usize) {
        self.moves.store(moves as u64, Ordering::Relaxed);
    }

    /// What they say now. Not one instant: each is read by itself.
    pub fn read(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        // The ends are read first, so that a session is never counted as ended before it began.
        let ended: [u64; SERVICES] = std::array::from_fn(|index| load(&self.sessions_ended[index]));
        let sessions_started: [u64; SERVICES] = std::array::from_fn(|index| load(&self.sessions_started[index]));
        Counts {
            counts: std::array::from_fn(|index| load(&self.counts[index])),
            sessions_started,
            sessions_open: std::array::from_fn(|index| sessions_started[index].saturating_sub(ended[index])),
            moves: load(&self.moves),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_indexed_by_the_enum() {
        for (index, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(*counter as usize, index);
            assert!(
                counter
                    .name()
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            );
        }
    }

    #[test]
    fn what_is_counted_is_read() {
        let counters = CoreCounters::new();
        counters.count(Counter::Logins);
        counters.add(Counter::MessageBytesAccepted, 4096);
        counters.session_started(Service::Imaps);
        counters.session_started(Service::Imaps);
        counters.session_ended(Service::Imaps);
        let counts = counters.read();
        assert_eq!(counts.counts[Counter::Logins as usize], 1);
        assert_eq!(counts.counts[Counter::MessageBytesAccepted as usize], 4096);
        assert_eq!(counts.sessions_started[Service::Imaps as usize], 2);
        assert_eq!(counts.sessions_open[Service::Imaps as usize], 1);
        // More ends than starts are somebody's mistake, and no panic.
        counters.session_ended(Service::Pop3);
        assert_eq!(counters.read().sessions_open[Service::Pop3 as usize], 0);
    }
}
