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
        let resources = self.quota_resources();
        if !root.is_empty() || resources.is_empty() {
            return Reply::no("[NONEXISTENT] No such quota root");
        }
        self.write_quota(&resources);
        Reply::ok("GETQUOTA completed")
    }

    pub(super) fn quota_root(&mut self, name: &MailboxName) -> Reply {
        if self.account.mailbox(name.as_str()).is_none() {
            return Reply::No(refusal::NO_SUCH_MAILBOX);
        }
        let resources = self.quota_resources();
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* QUOTAROOT ");
        write::mailbox(out, name.as_str());
        if resources.is_empty() {
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(b" \"\"\r\n");
            self.write_quota(&resources);
        }
        Reply::ok("GETQUOTAROOT completed")
    }

    /// Only resources with a limit are told; without any there is no quota root, because a QUOTA response has at least one
    /// (RFC 9208 section 7). What is used is rounded up, so that a full quota looks full.
    fn quota_resources(&self) -> Vec<String> {
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
        storage.into_iter().chain(messages).collect()
    }

    fn write_quota(&mut self, resources: &[String]) {
        let text = format!("* QUOTA \"\" ({})\r\n", resources.join(" "));
        self.wire.out.extend_from_slice(text.as_bytes());
    }
}
