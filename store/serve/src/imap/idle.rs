//! IDLE (RFC 2177): the client waits, and is told at once what changes.

use super::changes::Tell;
use super::session::{Reply, Session};
use super::wire::{Outcome, Step, Waited};
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::imap::{Tag, write};

impl<S: ByteStream> Session<S> {
    /// Until DONE. Also without a mailbox, when there is nothing to tell.
    pub(super) async fn idle(&mut self, tag: &Tag) -> Outcome<Reply> {
        self.wire.out.extend_from_slice(b"+ idling\r\n");
        self.wire.reader.expect_line();
        loop {
            Box::pin(self.tell_changes(Tell::All, false)).await?;
            let waited = match &self.selected {
                Some(selected) => {
                    let changed = async {
                        let changed = selected.view.changed();
                        if !selected.view.has_changes() {
                            changed.await;
                        }
                    };
                    self.wire.next_or(changed).await?
                }
                None => Waited::Step(self.wire.next().await?),
            };
            match waited {
                Waited::Other => {}
                Waited::Step(Step::Line(line)) if line.eq_ignore_ascii_case(b"DONE") => {
                    return Ok(Reply::ok("IDLE completed"));
                }
                Waited::Step(Step::Line(_)) => {
                    self.bad(Some(tag), "DONE expected")?;
                    return Ok(Reply::Done);
                }
                // The line was too long.
                Waited::Step(Step::Bad(_, reason)) => {
                    write::bad(&mut self.wire.out, Some(tag), reason);
                    return Ok(Reply::Done);
                }
                Waited::Step(_) => unreachable!("the reader gives the expected line first"),
            }
        }
    }
}
