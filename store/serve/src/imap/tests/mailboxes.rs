//! Mailboxes: making, naming, listing, counting, and quota.

use super::{Scene, check};

#[test]
fn making_and_listing() {
    check(
        Scene::new(),
        r#"
C: a LIST "" ""
S: * LIST (\Noselect) "/" ""
S: a OK LIST completed
C: b LIST "" *
S: * LIST (\HasNoChildren) "/" INBOX
S: b OK LIST completed
C: c CREATE Work/2024/
S: c OK CREATE completed
C: d CREATE "Sent Items" (USE (\Sent))
S: d OK CREATE completed
C: e CREATE x (USE (\Foo))
S: e NO [USEATTR] Special use not known
C: f CREATE work
S: f OK CREATE completed
C: g CREATE Inbox
S: g NO [ALREADYEXISTS] Mailbox exists already
C: h LIST "" %
S: * LIST (\HasNoChildren) "/" INBOX
S: * LIST (\HasNoChildren \Sent) "/" "Sent Items"
S: * LIST (\HasChildren) "/" Work
S: * LIST (\HasNoChildren) "/" work
S: h OK LIST completed
C: i LIST Work/ %
S: * LIST (\HasNoChildren) "/" Work/2024
S: i OK LIST completed
C: j LIST (SPECIAL-USE) "" *
S: * LIST (\HasNoChildren \Sent) "/" "Sent Items"
S: j OK LIST completed
C: k RENAME Work Arbeit&APw-
S: k OK RENAME completed
C: l LIST "" Arbeit*
S: * LIST (\HasChildren) "/" Arbeit&APw-
S: * LIST (\HasNoChildren) "/" Arbeit&APw-/2024
S: l OK LIST completed
C: m DELETE Nowhere
S: m NO [NONEXISTENT] No such mailbox
C: n DELETE work
S: n OK DELETE completed
C: o LIST "" "w*" RETURN (CHILDREN)
S: o OK LIST completed
C: p LIST "" a&b
S: p OK LIST completed
"#,
    );
}

#[test]
fn names_and_validities() {
    check(
        Scene::new().messages(2),
        r#"
C: a CREATE one/two
S: a OK CREATE completed
C: b STATUS one (UIDVALIDITY UIDNEXT)
S: * STATUS one (UIDVALIDITY 2 UIDNEXT 1)
S: b OK STATUS completed
C: c RENAME one uno
S: c OK RENAME completed
C: d STATUS uno (UIDVALIDITY)
S: * STATUS uno (UIDVALIDITY 2)
S: d OK STATUS completed
C: e DELETE uno
S: e OK DELETE completed
C: f LIST "" uno* RETURN (STATUS (MESSAGES))
S: * LIST (\Noselect \HasChildren) "/" uno
S: * LIST (\HasNoChildren) "/" uno/two
S: * STATUS uno/two (MESSAGES 0)
S: f OK LIST completed
C: g SELECT uno
S: g NO [NONEXISTENT] Mailbox cannot be selected
C: h DELETE uno
S: ...h NO [CANNOT] ...
C: i CREATE uno
S: i OK CREATE completed
C: j STATUS uno (UIDVALIDITY)
S: * STATUS uno (UIDVALIDITY 4)
S: j OK STATUS completed
C: k RENAME uno uno/below
S: k NO [CANNOT] a mailbox cannot go below itself
C: l RENAME uno INBOX
S: l NO [ALREADYEXISTS] Mailbox exists already
C: m RENAME inbox old
S: m OK RENAME completed
C: n STATUS old (MESSAGES UIDNEXT UIDVALIDITY)
S: * STATUS old (MESSAGES 2 UIDNEXT 3 UIDVALIDITY 5)
S: n OK STATUS completed
C: o STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY)
S: * STATUS INBOX (MESSAGES 0 UIDNEXT 3 UIDVALIDITY 1)
S: o OK STATUS completed
C: p LIST "" iNb*
S: * LIST (\HasNoChildren) "/" INBOX
S: p OK LIST completed
C: q DELETE INBOX
S: ...q NO [CANNOT] ...
"#,
    );
}

#[test]
fn subscriptions() {
    check(
        Scene::new(),
        r#"
C: a CREATE a/b
S: a OK CREATE completed
C: b SUBSCRIBE a/b
S: b OK SUBSCRIBE completed
C: c SUBSCRIBE gone/x
S: c OK SUBSCRIBE completed
C: d LSUB "" *
S: * LSUB () "/" a/b
S: * LSUB () "/" gone/x
S: d OK LSUB completed
C: e LSUB "" %
S: * LSUB (\Noselect) "/" a
S: * LSUB (\Noselect) "/" gone
S: e OK LSUB completed
C: f LIST (SUBSCRIBED) "" *
S: * LIST (\Subscribed \HasNoChildren) "/" a/b
S: * LIST (\NonExistent \Subscribed \HasNoChildren) "/" gone/x
S: f OK LIST completed
C: g LIST (SUBSCRIBED RECURSIVEMATCH) "" %
S: * LIST (\HasChildren) "/" a ("CHILDINFO" ("SUBSCRIBED"))
S: * LIST (\NonExistent \HasNoChildren) "/" gone ("CHILDINFO" ("SUBSCRIBED"))
S: g OK LIST completed
C: h LIST "" (a/% INBOX) RETURN (SUBSCRIBED STATUS (MESSAGES))
S: * LIST (\HasNoChildren) "/" INBOX
S: * STATUS INBOX (MESSAGES 0)
S: * LIST (\Subscribed \HasNoChildren) "/" a/b
S: * STATUS a/b (MESSAGES 0)
S: h OK LIST completed
C: i UNSUBSCRIBE a/b
S: i OK UNSUBSCRIBE completed
C: j LSUB "" a*
S: j OK LSUB completed
"#,
    );
}

#[test]
fn status_and_quota() {
    check(
        Scene::new().messages(2).quota(Some(10_240), Some(5)),
        r#"
C: a STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE APPENDLIMIT DELETED DELETED-STORAGE)
S: * STATUS INBOX (MESSAGES 2 RECENT 2 UIDNEXT 3 UIDVALIDITY 1 UNSEEN 2 SIZE 100 APPENDLIMIT 100000 DELETED 0 DELETED-STORAGE 0)
S: a OK STATUS completed
C: b STATUS nowhere (MESSAGES)
S: b NO [NONEXISTENT] No such mailbox
C: c GETQUOTAROOT inbox
S: * QUOTAROOT INBOX ""
S: * QUOTA "" (STORAGE 1 10 MESSAGE 2 5)
S: c OK GETQUOTAROOT completed
C: d GETQUOTA ""
S: * QUOTA "" (STORAGE 1 10 MESSAGE 2 5)
S: d OK GETQUOTA completed
C: e GETQUOTA other
S: e NO [NONEXISTENT] No such quota root
C: f SETQUOTA "" (STORAGE 1)
S: f NO [NOPERM] Quotas are set by the administrator
"#,
    );
}

#[test]
fn no_quota() {
    check(
        Scene::new(),
        r#"
C: a GETQUOTA ""
S: a NO [NONEXISTENT] No such quota root
C: b GETQUOTAROOT INBOX
S: * QUOTAROOT INBOX
S: b OK GETQUOTAROOT completed
"#,
    );
}
