//! CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE and STATUS.
//!
//! A new account has INBOX alone. Which other mailboxes there are, and what they are for, is the client's to say (CREATE-SPECIAL-USE):
//! names that a server makes up are in the wrong language for someone.

use super::refusal::{self, refusal};
use super::session::{Reply, Session};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::list::StatusItem;
use pigeon_proto::imap::{MailboxName, write};
use pigeon_store::{Flags, Mailbox, SpecialUse};

impl<S: ByteStream> Session<S> {
    pub(super) async fn create(&mut self, name: &MailboxName, special_uses: &[String]) -> Reply {
        let special_use = match special_uses {
            [] => None,
            [attribute] => match SpecialUse::parse(attribute) {
                Some(special_use) => Some(special_use),
                None => return Reply::no("[USEATTR] Special use not known"),
            },
            _ => return Reply::no("[USEATTR] A mailbox can have one special use"),
        };
        match self.account.create_mailbox(name.as_str(), special_use).await {
            Ok(_) => Reply::ok("CREATE completed"),
            Err(error) => Reply::No(refusal(&error)),
        }
    }

    pub(super) async fn delete(&mut self, name: &MailboxName) -> Reply {
        match self.account.delete_mailbox(name.as_str()).await {
            Ok(()) => Reply::ok("DELETE completed"),
            Err(error) => Reply::No(refusal(&error)),
        }
    }

    pub(super) async fn rename(&mut self, from: &MailboxName, to: &MailboxName) -> Reply {
        match self.account.rename_mailbox(from.as_str(), to.as_str()).await {
            Ok(()) => Reply::ok("RENAME completed"),
            Err(error) => Reply::No(refusal(&error)),
        }
    }

    /// SUBSCRIBE takes names that do not exist: a client may subscribe before it creates, and keeps what was deleted
    /// (RFC 3501 section 6.3.6).
    pub(super) async fn subscribe(&mut self, name: &MailboxName, subscribed: bool) -> Reply {
        match self.account.subscribe(name.as_str(), subscribed).await {
            Ok(()) if subscribed => Reply::ok("SUBSCRIBE completed"),
            Ok(()) => Reply::ok("UNSUBSCRIBE completed"),
            Err(error) => Reply::No(refusal(&error)),
        }
    }

    pub(super) fn status(&mut self, name: &MailboxName, items: &[StatusItem]) -> Reply {
        let mailbox = match self.account.mailbox(name.as_str()) {
            Some(mailbox) if mailbox.is_selectable() => mailbox,
            Some(_) => return Reply::no("[NONEXISTENT] Mailbox cannot be selected"),
            None => return Reply::No(refusal::NO_SUCH_MAILBOX),
        };
        if items.contains(&StatusItem::HighestModSeq) {
            self.enable_condstore();
        }
        self.write_status(&mailbox, name.as_str(), items);
        Reply::ok("STATUS completed")
    }

    /// `* STATUS name (...)`.
    pub(super) fn write_status(&mut self, mailbox: &Mailbox, name: &str, items: &[StatusItem]) {
        let status = mailbox.status();
        let out = &mut self.wire.out;
        out.extend_from_slice(b"* STATUS ");
        write::mailbox(out, name);
        for (index, item) in items.iter().enumerate() {
            out.extend_from_slice(if index == 0 { b" (" } else { b" " });
            out.extend_from_slice(item.name().as_bytes());
            out.push(b' ');
            let value = match item {
                StatusItem::Messages => u64::from(status.messages),
                StatusItem::Recent => u64::from(status.recent),
                StatusItem::UidNext => u64::from(status.uid_next.0),
                StatusItem::UidValidity => u64::from(status.uid_validity.0),
                StatusItem::Unseen => u64::from(status.unseen),
                StatusItem::Size => status.size,
                StatusItem::HighestModSeq => status.highest_mod_seq.0.max(1),
                StatusItem::AppendLimit => self.message_bytes_max,
                StatusItem::Deleted => u64::from(status.deleted),
                StatusItem::DeletedStorage if status.deleted == 0 => 0,
                StatusItem::DeletedStorage => deleted_bytes(mailbox).div_ceil(1024),
            };
            write::number(out, value);
        }
        out.extend_from_slice(b")\r\n");
    }
}

/// Bytes of the messages that are `\Deleted`.
fn deleted_bytes(mailbox: &Mailbox) -> u64 {
    mailbox.with_messages(|messages| {
        let deleted = messages.iter().filter(|message| message.flags.contains(Flags::DELETED));
        deleted.map(|message| u64::from(message.size)).sum()
    })
}
