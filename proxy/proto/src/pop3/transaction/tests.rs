use super::*;
use crate::pop3::transcript::check;

/// A session over messages of 100, 200 and 300 octets with the UIDs 11, 12 and 14; 12 is gone, 14 cannot be read.
fn run(pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    let maildrop = Maildrop::new(9, [(11, 100), (12, 200), (14, 300)].into_iter());
    let mut session = Transaction::new(maildrop, 10, Mechanisms::default(), &mut out);
    for mut piece in pieces.iter().copied() {
        while let Some(event) = session.next_event(&mut piece, &mut out) {
            match event {
                TransactionEvent::Flush => {}
                TransactionEvent::List(mut listing) => while !listing.fill(session.maildrop(), &mut out, 1) {},
                TransactionEvent::Retrieve { uid: 12, .. } => session.message_gone(&mut out),
                TransactionEvent::Retrieve { uid: 14, .. } => session.message_unreadable(&mut out),
                TransactionEvent::Retrieve { uid, bytes, body_lines } => {
                    write!(out, "(message {uid} of {bytes}, {body_lines:?})\r\n").unwrap();
                }
                TransactionEvent::Update => {
                    let uids: Vec<u32> = session.maildrop().deleted_uids().collect();
                    write!(out, "(delete {uids:?})\r\n").unwrap();
                    session.updated(!uids.contains(&14), &mut out);
                }
                TransactionEvent::Close => {
                    out.extend_from_slice(b"(closed)\r\n");
                    return out;
                }
            }
        }
    }
    out
}

#[test]
fn listings() {
    check(
        "S: +OK 3 messages (600 octets)
         C: STAT
         S: +OK 3 600
         C: LIST
         S: +OK 3 messages (600 octets)
         S: 1 100
         S: 2 200
         S: 3 300
         S: .
         C: UIDL
         S: +OK
         S: 1 9.11
         S: 2 9.12
         S: 3 9.14
         S: .
         C: LIST 2
         S: +OK 2 200
         C: UIDL 3
         S: +OK 3 9.14
         C: UIDL 4
         S: -ERR No such message
         C: DELE 2
         S: +OK Marked to be deleted
         C: DELE 2
         S: -ERR No such message
         C: LIST 2
         S: -ERR No such message
         C: RETR 2
         S: -ERR No such message
         C: TOP 2 1
         S: -ERR No such message
         C: UIDL
         S: +OK
         S: 1 9.11
         S: 3 9.14
         S: .
         C: STAT
         S: +OK 2 400
         C: RSET
         S: +OK
         C: STAT
         S: +OK 3 600",
        run,
    );
}

#[test]
fn retrieving_and_leaving() {
    check(
        "S: +OK 3 messages (600 octets)
         C: RETR 1
         S: (message 11 of 100, None)
         C: TOP 1 20
         S: (message 11 of 100, Some(20))
         C: RETR 2
         S: -ERR The message has been deleted by another session
         C: RETR 3
         S: -ERR [SYS/TEMP] The message cannot be read now
         C: DELE 1
         S: +OK Marked to be deleted
         C: QUIT
         S: (delete [11])
         S: +OK Bye
         S: (closed)
         C: NOOP",
        run,
    );
    check(
        "S: +OK 3 messages (600 octets)
         C: DELE 3
         S: +OK Marked to be deleted
         C: QUIT
         S: (delete [14])
         S: -ERR [SYS/TEMP] Some deleted messages were not removed
         S: (closed)",
        run,
    );
}

#[test]
fn bad_commands_end_the_session() {
    let long = "x".repeat(COMMAND_LINE_MAX);
    check(
        &format!(
            "S: +OK 3 messages (600 octets)
             C: {long}
             S: -ERR Line too long
             C: USER x
             S: -ERR Already logged in
             C: STLS
             S: -ERR Only before the login
             C: UTF8
             S: -ERR Only before the login
             C: LIST x
             S: -ERR Bad argument
             C: XTND
             S: -ERR Unknown command
             C: NOOP
             S: +OK
             C: 
             S: -ERR Unknown command
             C: 1
             S: -ERR Unknown command
             C: 2
             S: -ERR Unknown command
             C: 3
             S: -ERR Too many bad commands
             S: (closed)"
        ),
        run,
    );
}

#[test]
fn waiting_is_small() {
    assert!(size_of::<Transaction>() <= 160, "{}", size_of::<Transaction>());
}
