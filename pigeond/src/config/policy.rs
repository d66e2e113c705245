//! What is decided by taste.

use super::period::Period;
use super::section::{Section, boolean, choice, period};
use serde::Serialize;

/// What is decided by taste.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// A CR or LF alone within a message: `"refuse"` it (550 5.6.11; never a way to smuggle a second message), or
    /// `"normalise"` it to CRLF. Default refuse.
    pub bare_newline: BareNewline,
    /// Mail for an account over its quota: `"reject"` it (552 5.2.2, the sender learns at once), or `"defer"` it (452 4.2.2,
    /// the sender's server tries for some days). Default reject.
    pub over_quota: OverQuota,
    /// How long a client of a listener for `smtp` is watched before it is greeted. Senders of junk often do not wait; who
    /// speaks first is sent away (554 5.5.1). Every sender waits that long. From 0s, which only looks whether something is
    /// there already, to 30s; default 0s.
    pub greeting_delay: Period,
    /// In submission: whether MAIL must name an address of whoever logged in (553 5.7.1). `true` or `false`; default false.
    pub sender_must_match: bool,
    /// Whether clients may log in with SCRAM-SHA-256 (RFC 7677), which shows the node no password, beside PLAIN and LOGIN.
    /// Many clients take it wherever it is announced and fail with it where an account has no verifier in authPassword, so
    /// give every account one first. `true` or `false`; default false.
    pub scram_sha_256: bool,
    /// Whether each recipient's copy says in a Delivered-To line to which address it was sent. `true` or `false`; default
    /// true.
    pub delivered_to: bool,
}

/// See [`Policy::bare_newline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BareNewline {
    /// 550 5.6.11.
    Refuse,
    /// It becomes CRLF.
    Normalise,
}

/// See [`Policy::over_quota`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OverQuota {
    /// 552 5.2.2.
    Reject,
    /// 452 4.2.2.
    Defer,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            bare_newline: BareNewline::Refuse,
            over_quota: OverQuota::Reject,
            greeting_delay: Period::seconds(0),
            sender_must_match: false,
            scram_sha_256: false,
            delivered_to: true,
        }
    }
}

impl Policy {
    pub(super) fn read(mut section: Section<'_, '_, '_>) -> Policy {
        let default = Policy::default();
        let bare_newlines = &[("refuse", BareNewline::Refuse), ("normalise", BareNewline::Normalise)];
        let over_quotas = &[("reject", OverQuota::Reject), ("defer", OverQuota::Defer)];
        let policy = Policy {
            bare_newline: section.or("bare_newline", default.bare_newline, choice(bare_newlines)),
            over_quota: section.or("over_quota", default.over_quota, choice(over_quotas)),
            greeting_delay: section.or(
                "greeting_delay",
                default.greeting_delay,
                period(Period::seconds(0)..=Period::seconds(30)),
            ),
            sender_must_match: section.or("sender_must_match", default.sender_must_match, boolean),
            scram_sha_256: section.or("scram_sha_256", default.scram_sha_256, boolean),
            delivered_to: section.or("delivered_to", default.delivered_to, boolean),
        };
        section.finish();
        policy
    }
}
