//! From what the store said to what the client is told.

use super::context::OverQuota;
use crate::mail_store::{MessageId, TransferError};
use pigeon_proto::smtp::{Enhanced, RecipientRefusal, Reply};
use std::fmt::Write as _;

/// The reply to an error that concerns the message or one account.
pub(super) fn refusal(error: &TransferError, over_quota: OverQuota) -> Reply {
    match error {
        TransferError::OverQuota => match over_quota {
            OverQuota::Refuse => Reply::new(552, Enhanced(5, 2, 2), "mailbox full"),
            OverQuota::Defer => Reply::new(452, Enhanced(4, 2, 2), "mailbox full"),
        },
        TransferError::TooLarge => Reply::new(552, Enhanced(5, 3, 4), "message too large"),
        TransferError::NoSpace => Reply::new(452, Enhanced(4, 3, 1), "insufficient system storage"),
        TransferError::Unavailable(_) => {
            Reply::new(451, Enhanced(4, 3, 0), "mail storage not available, try again later")
        }
        TransferError::Moved(_) | TransferError::Elsewhere => {
            Reply::new(451, Enhanced(4, 2, 1), "mailbox is being moved, try again later")
        }
        TransferError::OwnerAway(_) => RecipientRefusal::OwnerAway.reply(),
        TransferError::Answered(reply) => reply.clone(),
    }
}

/// The one reply for these results: what failed for now comes before what failed for good, and that before success.
pub(super) fn reply<'a>(
    results: impl Iterator<Item = &'a Result<(), TransferError>>,
    over_quota: OverQuota,
    id: MessageId,
) -> Reply {
    let (mut stored, mut all) = (0_usize, 0_usize);
    let mut worst: Option<Reply> = None;
    for result in results {
        all += 1;
        match result {
            Ok(()) => stored += 1,
            Err(error) => {
                let reply = refusal(error, over_quota);
                if worst
                    .as_ref()
                    .is_none_or(|worst| reply.is_temporary() && !worst.is_temporary())
                {
                    worst = Some(reply);
                }
            }
        }
    }
    match worst {
        None if stored > 0 => {
            let mut text = String::with_capacity(48);
            write!(text, "ok, stored as {id}").expect("writing to a string does not fail");
            Reply::new(250, Enhanced(2, 0, 0), text)
        }
        // Nobody is there who could have it: never said to be stored.
        None => refusal(&TransferError::Unavailable(String::new()), over_quota),
        Some(worst) if stored == 0 => worst,
        Some(worst) => {
            let enhanced = worst.enhanced().unwrap_or(Enhanced(4, 3, 0));
            let text = format!("{}; {stored} of {all} recipients have it ({id})", worst.text());
            Reply::new(worst.code(), enhanced, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session_id::SessionId;

    #[test]
    fn one_reply_loses_nothing() {
        let id = MessageId {
            session: SessionId(1),
            transaction: 1,
        };
        let ok = || Ok(());
        let full = || Err(TransferError::OverQuota);
        let large = || Err(TransferError::TooLarge);
        let later = || Err(TransferError::Unavailable("x".to_owned()));
        let cases: &[(&[Result<(), TransferError>], &str)] = &[
            (&[ok()], "250 2.0.0 ok, stored as 0000000000000001.1"),
            (&[ok(), ok()], "250 2.0.0 ok, stored as 0000000000000001.1"),
            (&[], "451 4.3.0 mail storage not available, try again later"),
            (&[full()], "552 5.2.2 mailbox full"),
            (&[full(), large()], "552 5.2.2 mailbox full"),
            (
                &[ok(), full()],
                "552 5.2.2 mailbox full; 1 of 2 recipients have it (0000000000000001.1)",
            ),
            (
                &[full(), later()],
                "451 4.3.0 mail storage not available, try again later",
            ),
            (
                &[full(), later(), ok()],
                "451 4.3.0 mail storage not available, try again later; 1 of 3 recipients have it (0000000000000001.1)",
            ),
        ];
        for (results, expected) in cases {
            assert_eq!(reply(results.iter(), OverQuota::Refuse, id).to_string(), *expected);
        }
        let deferred = reply([ok(), full()].iter(), OverQuota::Defer, id);
        assert_eq!(deferred.code(), 452);
    }

    #[test]
    fn every_error_has_its_code() {
        for (error, expected) in [
            (TransferError::OverQuota, "552 5.2.2"),
            (TransferError::TooLarge, "552 5.3.4"),
            (TransferError::NoSpace, "452 4.3.1"),
            (TransferError::Unavailable(String::new()), "451 4.3.0"),
            (TransferError::Moved(String::new()), "451 4.2.1"),
            (TransferError::OwnerAway(String::new()), "451 4.4.1"),
            (
                TransferError::Answered(Reply::new(554, Enhanced(5, 6, 0), "no")),
                "554 5.6.0",
            ),
        ] {
            let reply = refusal(&error, OverQuota::Refuse);
            assert!(reply.to_string().starts_with(expected), "{reply}");
            assert_eq!(reply.is_temporary(), error.is_temporary());
        }
    }
}
