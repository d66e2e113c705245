//! GETQUOTA and GETQUOTAROOT (RFC 9208). An account has one quota root, the empty name, for all its mailboxes. Limits come
//! from control data; no client sets them.

use super::refusal;
use super::session::{Reply, Session};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{MailboxName, write};

/// STORAGE counts in units of this many bytes (RFC 9208 section 5.1).
const STORAGE_UNIT: u64 = 1024;

impl<S: ByteStream> Session<S> {
    pub(super) fn quota(&mut self, root: &[u8]) -> Reply {
        if !root.is_empty() {
            return Reply::no("[NONEXISTENT] No such quota root");
        }
        self.write_quota();
        Reply::ok("GETQUOTA completed")
    }

    pub(super) fn quota_root(&mut self, name: &MailboxName) -> Reply {
        if self.account.mailbox(name.as_str()).is_none() {
            return Reply::No(refusal::NO_SUCH_MAILBOX);
        }
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* QUOTAROOT ");
        write::mailbox(out, name.as_str());
        out.extend_from_slice(b" \"\"\r\n");
        self.write_quota();
        Reply::ok("GETQUOTAROOT completed")
    }

    /// Only resources with a limit are told. What is used is rounded up, so that a full quota looks full.
    fn write_quota(&mut self) {
        let (limits, usage) = (self.account.limits(), self.account.usage());
        let storage = limits.bytes.map(|limit| {
            format!(
                "STORAGE {} {}",
                usage.bytes.div_ceil(STORAGE_UNIT),
                limit.div_ceil(STORAGE_UNIT)
            )
        });
        let messages = limits
            .messages
            .map(|limit| format!("MESSAGE {} {limit}", usage.messages));
        let resources: Vec<String> = storage.into_iter().chain(messages).collect();
        let text = format!("* QUOTA \"\" ({})\r\n", resources.join(" "));
        self.wire.out.extend_from_slice(text.as_bytes());
    }
}
