//! What a core's SMTP sessions have done, for the status port. Plain cells: one core, no atomics.

use std::cell::Cell;

macro_rules! counters {
    ($($name:ident: $text:literal,)+) => {
        /// Counts since the start of the node; all but `sessions_open` only grow.
        #[derive(Debug, Default)]
        pub struct SmtpCounters {
            $(#[doc = $text] pub $name: Cell<u64>,)+
        }

        impl SmtpCounters {
            /// Gives every counter as name, meaning and value.
            pub fn each(&self, mut show: impl FnMut(&'static str, &'static str, u64)) {
                $(show(stringify!($name), $text, self.$name.get());)+
            }
        }
    };
}

counters! {
    sessions: "Sessions that have begun.",
    sessions_open: "Sessions that go on.",
    early_talkers: "Clients that spoke before they were greeted.",
    time_outs: "Sessions that ended because the client took too long.",
    tls_failures: "TLS handshakes by STARTTLS that failed.",
    messages_stored: "Messages answered with 250 (LMTP: for at least one recipient).",
    bytes_stored: "Bytes of those messages, as they were received.",
    copies_stored: "Copies stored, one for each account of each message.",
    messages_deferred: "Messages answered with 4xx.",
    messages_refused: "Messages answered with 5xx.",
    recipients_accepted: "Recipients answered with 250.",
    recipients_deferred: "Recipients answered with 4xx.",
    recipients_refused: "Recipients answered with 5xx.",
    authentications: "Successful authentications.",
    authentications_refused: "Refused authentications.",
}

/// Adds to a counter; stops at the top.
pub(super) fn add(counter: &Cell<u64>, count: u64) {
    counter.set(counter.get().saturating_add(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_shown() {
        let counters = SmtpCounters::default();
        add(&counters.bytes_stored, 7);
        let mut shown = Vec::new();
        counters.each(|name, meaning, value| shown.push((name, meaning, value)));
        assert!(shown.contains(&("bytes_stored", "Bytes of those messages, as they were received.", 7)));
        assert_eq!(shown.len(), 15);
    }
}
