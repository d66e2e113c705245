//! Keeping what has arrived of an account: its messages are put behind those that were staged before, by the links by which mail
//! is put behind mail, so that a stage costs what is new and not what is there.
//!
//! What is staged has bodies, numbers and system flags; all else is in the last image alone.

use std::collections::BTreeMap;
use std::rc::Rc;

use pigeon_store_format::{Change, MailboxDefinition, MailboxId, MailboxImage, Message, StreamedStart, Uid};

use super::Import;
use crate::StoreError;
use crate::account::commit::{Pass, encode_fields, link_bytes};
use crate::body::PlacedBody;
use crate::journal::Purpose;
use crate::journal::outcome::Durable;

/// Messages in one link, at most.
const LINK_MESSAGES_MAX: usize = 512;
/// More than a message and its start take in a link.
const MESSAGE_BYTES: usize = 64;

/// Messages of one mailbox: of one link.
type Appended = (MailboxId, Vec<(Message, Rc<PlacedBody>)>);

impl Import {
    /// Puts what was placed behind what is staged, on its way to the disk. `None`, and nothing has happened: it does not fit
    /// behind it.
    pub(super) async fn stage_behind(&mut self) -> Result<Option<Durable>, StoreError> {
        let (cell, volume) = (self.account.cell.clone(), self.account.volume.clone());
        let pass = cell.pass_alone().await;
        // After a failed write things stay under way for ever.
        volume.journal.check(Purpose::Body)?;
        self.goes_on()?;
        let Some(steps) = self.steps() else {
            return Ok(None);
        };
        let (mailboxes, appends) = steps;
        if !mailboxes.is_empty() {
            for definition in mailboxes {
                let mailboxes = vec![definition];
                self.push(&pass, &Change::MailboxCreate { mailboxes }).await?;
            }
            volume.journal.hurry();
            volume.journal.durable_when().await?;
        }
        for (mailbox, messages) in appends {
            let mut starts = Vec::new();
            for (message, body) in &messages {
                pass.hold(body.clone());
                let end = message.body.position;
                starts.extend(body.start.map(|start| StreamedStart { end, start }));
            }
            let change = Change::Append {
                mailbox,
                keywords: Vec::new(),
                messages: messages.into_iter().map(|(message, _)| message).collect(),
                starts,
                key: None,
            };
            self.push(&pass, &change).await?;
        }
        self.placed.clear();
        Ok(Some(volume.journal.durable_when()))
    }

    async fn push(&self, pass: &Pass, change: &Change<'_>) -> Result<(), StoreError> {
        let volume = &self.account.volume;
        let fields = encode_fields(change);
        volume.journal.room(link_bytes(&fields), Purpose::Body).await?;
        volume.push_link(&self.account.cell, pass, Purpose::Body, change, &fields);
        Ok(())
    }

    /// The links that it takes, when the state goes on to the image by them: mailboxes that are new here, then messages.
    fn steps(&mut self) -> Option<(Vec<MailboxDefinition>, Vec<Appended>)> {
        let image = self.image.as_ref()?;
        let at_once = (self.account.volume.journal.payload_bytes_max() / 4 / MESSAGE_BYTES).clamp(1, LINK_MESSAGES_MAX);
        let mailboxes: BTreeMap<MailboxId, &MailboxImage<'_>> = image
            .mailboxes
            .iter()
            .map(|mailbox| (mailbox.definition.id, mailbox))
            .collect();
        let state = self.account.cell.state.borrow();
        let mut new = Vec::new();
        let mut appends: Vec<Appended> = Vec::new();
        let mut current: Option<MailboxId> = None;
        for ((id, uid), body) in &self.placed {
            self.looked_at += 1;
            // Gone since it was asked for: the next image does not have it either.
            let Some(mailbox) = mailboxes.get(id) else { continue };
            let Some(message) = message_of(mailbox, *uid) else {
                continue;
            };
            if current != Some(*id) {
                current = Some(*id);
                match state.mailboxes.get(id) {
                    Some(there) if there.uid_validity != mailbox.definition.uid_validity => return None,
                    Some(_) => {}
                    None if state.names.contains_key(&mailbox.definition.name) => return None,
                    None => new.push(mailbox.definition.clone()),
                }
            }
            let is_behind = |there: &Rc<crate::mailbox::state::MailboxCell>| *uid >= there.state.borrow().uid_next;
            if !state.mailboxes.get(id).is_none_or(is_behind) {
                return None;
            }
            let message = Message {
                body: body.reference(0),
                flags: message.flags.system(),
                ..*message
            };
            match appends.last_mut() {
                Some((of, messages)) if of == id && messages.len() < at_once => messages.push((message, body.clone())),
                _ => appends.push((*id, vec![(message, body.clone())])),
            }
        }
        Some((new, appends))
    }
}

fn message_of<'m>(mailbox: &'m MailboxImage<'_>, uid: Uid) -> Option<&'m Message> {
    let place = mailbox
        .messages
        .binary_search_by_key(&uid, |message| message.uid)
        .ok()?;
    mailbox.messages.get(place)
}
