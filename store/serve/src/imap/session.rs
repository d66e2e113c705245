//! A session: the loop over what the client does, and which command goes where.
//!
//! The session's future is small, because a session waits nearly all its life: each command's own future is on the heap
//! while it runs.

use super::changes::Tell;
use super::config::{ImapConfig, ImapLogin};
use super::refusal::Refusal;
use super::selected::Selected;
use super::wire::{Outcome, Step, Stop, Wire};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{Command, Tag, capability, write};
use pigeon_store::{Account, MESSAGE_BYTES_MAX, Volume};
use std::future::Future;
use std::rc::Rc;

/// How a command ended.
pub(super) enum Reply {
    /// OK with this text, which may start with a response code.
    Ok(Refusal),
    /// NO with this text.
    No(Refusal),
    /// BAD with this text.
    Bad(&'static str),
    /// The command has answered itself.
    Done,
}

impl Reply {
    pub(super) fn ok(text: &'static str) -> Self {
        Reply::Ok(text.into())
    }

    pub(super) fn no(text: &'static str) -> Self {
        Reply::No(text.into())
    }
}

/// How a session ended, for the log and for counters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImapOutcome {
    /// LOGOUT, or why it ended otherwise.
    pub reason: String,
    /// Bytes received after the login.
    pub received: u64,
    /// Bytes sent after the login.
    pub sent: u64,
}

/// A session after its login.
pub(super) struct Session<S> {
    pub(super) wire: Wire<S>,
    pub(super) account: Account,
    pub(super) volume: Volume,
    pub(super) config: Rc<ImapConfig>,
    pub(super) selected: Option<Box<Selected>>,
    /// The largest message that this login may append, bytes.
    pub(super) message_bytes_max: u64,
    /// MODSEQ is told with every FETCH from here on (RFC 7162 section 3.1).
    pub(super) condstore: bool,
    session_id: u64,
    bad_commands: u32,
}

/// Serves one login over `stream` until the client logs out, goes, or is sent away. Sends the tagged OK of the login first.
/// Bytes that came behind the login's command must have been put back into the stream.
pub fn run<S: ByteStream>(
    stream: S,
    login: ImapLogin,
    config: Rc<ImapConfig>,
) -> impl Future<Output = ImapOutcome> + 'static {
    // What follows is made here and not in the future, which would keep room for all of it.
    let session = Session::start(stream, login, config);
    session.serve_to_the_end()
}

/// There is none: a session goes on until it stops.
pub(super) enum Never {}

impl<S: ByteStream> Session<S> {
    /// With the answer to the login to be sent.
    fn start(stream: S, login: ImapLogin, config: Rc<ImapConfig>) -> Self {
        let session_id = login.session_id;
        tracing::debug!(session = %format_args!("{session_id:016x}"), user = login.user, "imap session starts");
        login.account.set_limits(login.limits);
        let own_max = login.message_bytes_max.unwrap_or(u64::MAX);
        let message_bytes_max = own_max.min(config.message_bytes_max).min(MESSAGE_BYTES_MAX);
        let mut wire = Wire::new(stream, config.clone(), login.end);
        let capabilities = capability::after_login(message_bytes_max);
        write::tagged(
            &mut wire.out,
            &login.tag,
            "OK",
            &format!("[CAPABILITY {capabilities}] Logged in"),
        );
        Session {
            wire,
            account: login.account,
            volume: login.volume,
            config,
            selected: None,
            message_bytes_max,
            condstore: false,
            session_id,
            bad_commands: 0,
        }
    }

    async fn serve_to_the_end(mut self) -> ImapOutcome {
        let stop = match self.serve().await {
            Ok(never) => match never {},
            Err(stop) => stop,
        };
        Box::pin(self.stop(stop)).await
    }

    /// Says why, when it can be said, and closes.
    async fn stop(mut self, stop: Stop) -> ImapOutcome {
        let mut last = Vec::new();
        let reason = match &stop {
            Stop::LoggedOut => "logged out".to_owned(),
            Stop::Bye(text) => {
                write::untagged(&mut last, "BYE", text);
                (*text).to_owned()
            }
            Stop::Lost(kind) => {
                // Nothing can be said any more.
                self.wire.literal_open = true;
                kind.to_string()
            }
        };
        let Session {
            wire,
            selected,
            account,
            session_id,
            ..
        } = self;
        drop((selected, account));
        let (received, sent) = wire.close(&last).await;
        tracing::debug!(session = %format_args!("{session_id:016x}"), reason, received, sent, "imap session ended");
        ImapOutcome { reason, received, sent }
    }

    async fn serve(&mut self) -> Outcome<Never> {
        loop {
            match self.wire.next().await? {
                Step::Command(tag, command) => {
                    self.bad_commands = 0;
                    Box::pin(self.command(tag, command)).await?;
                }
                Step::Append(message) => {
                    self.bad_commands = 0;
                    Box::pin(self.append(message)).await?;
                }
                Step::Bad(tag, reason) => self.bad(tag.as_ref(), reason)?,
                // Of an APPEND that has been refused, or a line that nobody asked for.
                Step::AppendData(_) | Step::AppendMessageEnd | Step::AppendEnd | Step::Line(_) => {}
            }
        }
    }

    /// BAD, and the end of the session when there are too many.
    pub(super) fn bad(&mut self, tag: Option<&Tag>, reason: &'static str) -> Outcome {
        write::bad(&mut self.wire.out, tag, reason);
        self.bad_commands += 1;
        if self.bad_commands >= self.config.bad_commands_max {
            return Err(Stop::Bye("Too many bad commands"));
        }
        Ok(())
    }

    /// Logs something that the client is told only in part.
    pub(super) fn warn(&self, what: &str, error: &dyn std::fmt::Display) {
        tracing::warn!(session = %format_args!("{:016x}", self.session_id), %error, "{what}");
    }

    async fn command(&mut self, tag: Tag, command: Command) -> Outcome {
        let uid = is_uid(&command);
        let tell = match &command {
            Command::Fetch { uid: false, .. } | Command::Search { uid: false, .. } => Tell::FlagsOnly,
            Command::Store(store) if !store.uid => Tell::FlagsOnly,
            _ => Tell::All,
        };
        let reply = self.execute(&tag, command).await?;
        let (condition, text) = match &reply {
            Reply::Ok(text) => ("OK", text.as_ref()),
            Reply::No(text) => ("NO", text.as_ref()),
            Reply::Bad(text) => ("BAD", *text),
            Reply::Done => return Ok(()),
        };
        if self
            .selected
            .as_ref()
            .is_some_and(|selected| selected.view.has_changes())
        {
            Box::pin(self.tell_changes(tell, uid)).await?;
        }
        write::tagged(&mut self.wire.out, &tag, condition, text);
        self.wire.flush_if_full().await
    }

    async fn execute(&mut self, tag: &Tag, command: Command) -> Outcome<Reply> {
        Ok(match command {
            Command::Noop => Reply::ok("NOOP completed"),
            Command::Check => match self.selected {
                Some(_) => Reply::ok("CHECK completed"),
                None => NOT_SELECTED,
            },
            Command::Capability => {
                let text = format!("* CAPABILITY {}\r\n", capability::after_login(self.message_bytes_max));
                self.wire.out.extend_from_slice(text.as_bytes());
                Reply::ok("CAPABILITY completed")
            }
            Command::Logout => {
                write::untagged(&mut self.wire.out, "BYE", "Logging out");
                write::tagged(&mut self.wire.out, tag, "OK", "LOGOUT completed");
                return Err(Stop::LoggedOut);
            }
            Command::Id(_) => {
                self.wire.out.extend_from_slice(
                    concat!(
                        "* ID (\"name\" \"PigeonAir\" \"version\" \"",
                        env!("CARGO_PKG_VERSION"),
                        "\")\r\n"
                    )
                    .as_bytes(),
                );
                Reply::ok("ID completed")
            }
            Command::Namespace => {
                self.wire
                    .out
                    .extend_from_slice(b"* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n");
                Reply::ok("NAMESPACE completed")
            }
            Command::StartTls | Command::Authenticate { .. } | Command::Login { .. } => Reply::Bad("Logged in already"),
            Command::Enable(names) => self.enable(&names),
            Command::Idle => self.idle(tag).await?,
            Command::Select {
                mailbox,
                read_only,
                condstore,
            } => self.select(&mailbox, read_only, condstore),
            Command::Close => Box::pin(self.close_mailbox()).await?,
            Command::Unselect => self.unselect(),
            Command::Expunge(set) => Box::pin(self.expunge(set)).await?,
            Command::Create { mailbox, special_uses } => Box::pin(self.create(&mailbox, &special_uses)).await,
            Command::Delete(mailbox) => Box::pin(self.delete(&mailbox)).await,
            Command::Rename { from, to } => Box::pin(self.rename(&from, &to)).await,
            Command::Subscribe(mailbox) => Box::pin(self.subscribe(&mailbox, true)).await,
            Command::Unsubscribe(mailbox) => Box::pin(self.subscribe(&mailbox, false)).await,
            Command::Status { mailbox, items } => self.status(&mailbox, &items),
            Command::List(list) => Box::pin(self.list(list)).await?,
            Command::Lsub { root_only, pattern } => Box::pin(self.lsub(root_only, pattern)).await?,
            Command::GetQuota(root) => self.quota(&root),
            Command::GetQuotaRoot(mailbox) => self.quota_root(&mailbox),
            Command::SetQuota => Reply::no("[NOPERM] Quotas are set by the administrator"),
            Command::Store(store) => Box::pin(self.store(store)).await?,
            Command::Copy { uid, set, to } => Box::pin(self.copy(uid, &set, &to)).await?,
            Command::Move { uid, set, to } => Box::pin(self.move_messages(uid, &set, &to)).await?,
            Command::Fetch {
                uid,
                set,
                items,
                changed_since,
            } => Box::pin(self.fetch(uid, &set, items, changed_since)).await?,
            Command::Search { uid, search } => Box::pin(self.search(tag, uid, search)).await?,
        })
    }

    fn enable(&mut self, names: &[String]) -> Reply {
        if names.iter().any(|name| name == "CONDSTORE") {
            self.enable_condstore();
            self.wire.out.extend_from_slice(b"* ENABLED CONDSTORE\r\n");
        } else {
            self.wire.out.extend_from_slice(b"* ENABLED\r\n");
        }
        Reply::ok("ENABLE completed")
    }

    /// The client uses mod-sequences. With a mailbox selected it is told the highest (RFC 7162 section 3.1).
    pub(super) fn enable_condstore(&mut self) {
        if std::mem::replace(&mut self.condstore, true) {
            return;
        }
        if let Some(selected) = &self.selected {
            let text = format!(
                "[HIGHESTMODSEQ {}] CONDSTORE enabled",
                selected.mailbox().highest_mod_seq().0.max(1)
            );
            write::untagged(&mut self.wire.out, "OK", &text);
        }
    }
}

/// For commands that need a mailbox.
pub(super) const NOT_SELECTED: Reply = Reply::Bad("No mailbox selected");

fn is_uid(command: &Command) -> bool {
    match command {
        Command::Fetch { uid, .. }
        | Command::Search { uid, .. }
        | Command::Copy { uid, .. }
        | Command::Move { uid, .. } => *uid,
        Command::Store(store) => store.uid,
        Command::Expunge(set) => set.is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pigeon_engine::stream::Stream;

    /// A session waits nearly all its life, and this is what it costs meanwhile, beside the stream's and the store's part.
    #[test]
    fn a_waiting_session_is_small() {
        fn size<F>(_: impl FnOnce(Stream, ImapLogin, Rc<ImapConfig>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = size(run::<Stream>);
        assert!(bytes <= 2048, "{bytes}");
    }
}
