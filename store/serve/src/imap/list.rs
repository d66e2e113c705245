//! LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9, RFC 5258, RFC 5819, RFC 6154).
//!
//! Matching takes time in proportion to the names; every so many names other sessions get a turn.

use super::session::{Reply, Session};
use super::wire::Outcome;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_engine::runtime::yield_now;
use pigeon_proto::imap::list::{List, ListSelect};
use pigeon_proto::imap::mailbox_name::SEPARATOR;
use pigeon_proto::imap::pattern::Pattern;
use pigeon_proto::imap::write;
use pigeon_store::{Mailbox, SpecialUse};
use std::collections::BTreeMap;

/// Names matched in one turn.
const NAMES_A_TURN: usize = 64;

/// What is known of a name.
#[derive(Default)]
struct Entry {
    /// `None`: only subscribed to, or only a parent of such a name.
    mailbox: Option<Mailbox>,
    subscribed: bool,
}

impl Entry {
    fn special_use(&self) -> Option<SpecialUse> {
        self.mailbox.as_ref().and_then(Mailbox::special_use)
    }

    fn is_selectable(&self) -> bool {
        self.mailbox.as_ref().is_some_and(Mailbox::is_selectable)
    }

    /// Whether the selection options choose it.
    fn is_chosen(&self, select: &ListSelect) -> bool {
        (!select.subscribed || self.subscribed) && (!select.special_use || self.special_use().is_some())
    }
}

type Names = BTreeMap<String, Entry>;

/// Whether a name below `name` satisfies `accept`.
fn any_below(names: &Names, name: &str, accept: impl Fn(&Entry) -> bool) -> bool {
    let prefix = format!("{name}{SEPARATOR}");
    names
        .range(prefix.clone()..)
        .take_while(|(below, _)| below.starts_with(&prefix))
        .any(|(_, entry)| accept(entry))
}

impl<S: ByteStream> Session<S> {
    /// All mailboxes, and with `subscriptions` the names subscribed to with their parents.
    fn names(&self, subscriptions: bool) -> Names {
        let mut names = Names::new();
        for mailbox in self.account.mailboxes() {
            names.insert(
                mailbox.name(),
                Entry {
                    mailbox: Some(mailbox),
                    subscribed: false,
                },
            );
        }
        if subscriptions {
            for name in self.account.subscriptions() {
                for (end, _) in name.match_indices(SEPARATOR) {
                    names.entry(name[..end].to_owned()).or_default();
                }
                names.entry(name).or_default().subscribed = true;
            }
        }
        names
    }

    pub(super) async fn list(&mut self, list: List) -> Outcome<Reply> {
        const ROOT: &[u8] = b"* LIST (\\Noselect) \"/\" \"\"\r\n";
        if list.root_only {
            self.wire.out.extend_from_slice(ROOT);
            return Ok(Reply::ok("LIST completed"));
        }
        let List {
            select,
            returns,
            patterns,
            ..
        } = list;
        let restricted = select.subscribed || select.special_use;
        let names = self.names(select.subscribed || returns.subscribed);
        for (index, (name, entry)) in names.iter().enumerate() {
            if index % NAMES_A_TURN == NAMES_A_TURN - 1 {
                self.wire.flush_if_full().await?;
                yield_now().await;
            }
            let chosen = if restricted {
                entry.is_chosen(&select)
            } else {
                entry.mailbox.is_some()
            };
            let child_chosen = select.recursive_match && any_below(&names, name, |below| below.is_chosen(&select));
            if !(chosen || child_chosen) || !patterns.iter().any(|pattern| pattern.matches(name)) {
                continue;
            }
            let mut attributes: Vec<&str> = Vec::new();
            if entry.mailbox.is_none() {
                // It implies \Noselect (RFC 5258 section 3.4).
                attributes.push("\\NonExistent");
            } else if !entry.is_selectable() {
                attributes.push("\\Noselect");
            }
            if (select.subscribed || returns.subscribed) && entry.subscribed {
                attributes.push("\\Subscribed");
            }
            let has_children = any_below(&names, name, |below| below.mailbox.is_some());
            attributes.push(if has_children {
                "\\HasChildren"
            } else {
                "\\HasNoChildren"
            });
            attributes.extend(entry.special_use().map(SpecialUse::as_str));
            self.write_list("LIST", &attributes, name);
            if child_chosen {
                self.wire.out.extend_from_slice(b" (\"CHILDINFO\" (");
                let criteria = [
                    (select.subscribed, "\"SUBSCRIBED\""),
                    (select.special_use, "\"SPECIAL-USE\""),
                ];
                let named: Vec<&str> = criteria.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
                self.wire.out.extend_from_slice(named.join(" ").as_bytes());
                self.wire.out.extend_from_slice(b"))");
            }
            self.wire.out.extend_from_slice(b"\r\n");
            if let (false, Some(mailbox), true) = (returns.status.is_empty(), &entry.mailbox, entry.is_selectable()) {
                self.write_status(mailbox, name, &returns.status);
            }
        }
        if returns
            .status
            .contains(&pigeon_proto::imap::list::StatusItem::HighestModSeq)
        {
            self.enable_condstore();
        }
        Ok(Reply::ok("LIST completed"))
    }

    /// Names subscribed to. A parent that is not, matched by a pattern with `%` that does not reach its subscribed child, is
    /// told as `\Noselect`.
    pub(super) async fn lsub(&mut self, root_only: bool, pattern: Pattern) -> Outcome<Reply> {
        if root_only {
            self.wire.out.extend_from_slice(b"* LSUB (\\Noselect) \"/\" \"\"\r\n");
            return Ok(Reply::ok("LSUB completed"));
        }
        let names = self.names(true);
        for (index, (name, entry)) in names.iter().enumerate() {
            if index % NAMES_A_TURN == NAMES_A_TURN - 1 {
                self.wire.flush_if_full().await?;
                yield_now().await;
            }
            if !pattern.matches(name) {
                continue;
            }
            if entry.subscribed {
                let attributes: &[&str] = if entry.mailbox.is_some() && !entry.is_selectable() {
                    &["\\Noselect"]
                } else {
                    &[]
                };
                self.write_list("LSUB", attributes, name);
            } else if has_unmatched_subscription_below(&names, name, &pattern) {
                self.write_list("LSUB", &["\\Noselect"], name);
            } else {
                continue;
            }
            self.wire.out.extend_from_slice(b"\r\n");
        }
        Ok(Reply::ok("LSUB completed"))
    }

    /// `* LIST (attributes) "/" name`, without the line break.
    fn write_list(&mut self, response: &str, attributes: &[&str], name: &str) {
        let out = &mut self.wire.out;
        out.extend_from_slice(format!("* {response} ({}) \"{SEPARATOR}\" ", attributes.join(" ")).as_bytes());
        write::mailbox(out, name);
    }
}

fn has_unmatched_subscription_below(names: &Names, name: &str, pattern: &Pattern) -> bool {
    let prefix = format!("{name}{SEPARATOR}");
    let below = names
        .range(prefix.clone()..)
        .take_while(|(below, _)| below.starts_with(&prefix));
    below
        .into_iter()
        .any(|(below, entry)| entry.subscribed && !pattern.matches(below))
}
