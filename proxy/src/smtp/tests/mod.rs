//! The driver over a stream in memory, with a store in memory and control data from LDIF text.

mod bodies;
mod confirmations;
mod nodes;
mod random;
mod recipients;
mod sessions;
mod sizes;
mod store;
mod submission;

use super::*;
use crate::session_id::SessionId;
use pigeon_datatree_cache::{Copy, CopyState, Snapshot};
use pigeon_engine::testing::{Dialogue, MemoryStream};
use pigeon_proto::smtp::{Mode, Options};
use std::rc::Rc;
use store::MemoryStore;

/// alice, bob (at most 300 bytes a message), carol (receives only), dave (disabled), erin (IMAP only), frank (LMTP only);
/// the groups staff (alice, bob, carol), mixed (alice, dave, erin, frank), outside, empty.
pub(super) const TREE: &str = "\
version: 1

dn: dc=example,dc=org
objectClass: pigeonDomain
associatedDomain: example.org
pigeonPostmaster: alice@example.org

dn: uid=alice,dc=example,dc=org
uid: alice
mail: alice@example.org
mailAlternateAddress: al@example.org

dn: uid=bob,dc=example,dc=org
mail: bob@example.org
mailSizeMax: 300

dn: uid=carol,dc=example,dc=org
mail: carol@example.org
accountStatus: noaccess

dn: uid=dave,dc=example,dc=org
mail: dave@example.org
accountStatus: disabled

dn: uid=erin,dc=example,dc=org
mail: erin@example.org
enabledService: imap

dn: uid=frank,dc=example,dc=org
mail: frank@example.org
enabledService: lmtp

dn: cn=staff,dc=example,dc=org
mail: staff@example.org
dnmember: uid=alice,dc=example,dc=org
dnmember: uid=bob,dc=example,dc=org
dnmember: uid=carol,dc=example,dc=org

dn: cn=mixed,dc=example,dc=org
mail: mixed@example.org
rfc822member: dave@example.org
rfc822member: erin@example.org
rfc822member: alice@example.org
rfc822member: frank@example.org

dn: cn=outside,dc=example,dc=org
mail: outside@example.org
rfc822member: alice@example.org
rfc822member: someone@elsewhere.example

dn: cn=empty,dc=example,dc=org
mail: empty@example.org
dnmember: uid=dave,dc=example,dc=org
";

pub(super) fn tree() -> Snapshot {
    Snapshot::from_ldif(TREE).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}

/// A listener of `mode`, its store and its copy of control data.
pub(super) struct Node {
    pub(super) context: SmtpContext,
    pub(super) store: MemoryStore,
    pub(super) copy: Copy,
}

impl Node {
    pub(super) fn new(mode: Mode) -> Node {
        Node::with_options(Options::new(mode, "mx.example.org"))
    }

    pub(super) fn with_options(options: Options) -> Node {
        let store = MemoryStore::default();
        let copy = Copy::new(tree());
        let context = SmtpContext::new(options, Rc::new(copy.for_core()), Rc::new(store.clone()), None);
        Node { context, store, copy }
    }

    pub(super) fn start(self) -> (Dialogue, MemoryStore, Rc<SmtpContext>) {
        self.start_over(|stream| stream)
    }

    pub(super) fn start_over(
        self,
        prepare: impl FnOnce(MemoryStream) -> MemoryStream,
    ) -> (Dialogue, MemoryStore, Rc<SmtpContext>) {
        let context = Rc::new(self.context);
        let shared = context.clone();
        let dialogue = Dialogue::start(move |stream| serve(prepare(stream), SessionId(0xabc), shared));
        (dialogue, self.store, context)
    }
}

/// Sends each line and gives the last answer.
pub(super) fn talk(dialogue: &mut Dialogue, lines: &[&str]) -> String {
    dialogue.take_output();
    for line in lines {
        dialogue.take_output();
        dialogue.send(format!("{line}\r\n").as_bytes());
    }
    dialogue.take_text()
}

pub(super) const MESSAGE: &str = "Subject: hi\r\n\r\n..dot\r\nbye\r\n.\r\n";
pub(super) const KEPT: &str = "Subject: hi\r\n\r\n.dot\r\nbye\r\n";

/// A whole session up to the greeting's answer, a message to `recipients`, and QUIT.
pub(super) fn session(hello: &str, recipients: &[&str], message: &str) -> String {
    let mut input = format!("{hello} client.example.net\r\nMAIL FROM:<carol@example.net>\r\n");
    for recipient in recipients {
        input.push_str(&format!("RCPT TO:<{recipient}>\r\n"));
    }
    input + "DATA\r\n" + message + "QUIT\r\n"
}
