//! Another parser of the same grammar (smtp-proto) over the same lines: what both accept they read alike, and what is
//! plainly right both accept.

use super::*;
use crate::address::Address;
use crate::smtp::command;
use smtp_proto::{MAIL_BODY_8BITMIME, MAIL_BODY_BINARYMIME, MAIL_SMTPUTF8, Request};

fn other(line: &str) -> Option<Request<String>> {
    let line = format!("{line}\r\n").into_bytes();
    Request::parse(&mut line.iter()).ok().map(Request::into_owned)
}

/// Every line of the parts that both accept says the same to both; gives how many those were.
fn agreeing(
    lines: impl Iterator<Item = String>,
    ours: impl Fn(&str) -> Option<String>,
    theirs: impl Fn(&str) -> Option<String>,
) -> usize {
    let mut both = 0;
    for line in lines {
        if let (Some(ours), Some(theirs)) = (ours(&line), theirs(&line)) {
            assert_eq!(ours, theirs, "{line}");
            both += 1;
        }
    }
    both
}

/// The other gives local parts without their quotes.
fn unquoted(address: &Address) -> String {
    format!("{}@{}", address.local(), address.domain())
}

const PATHS: &[&str] = &[
    "<>",
    "<carol@example.net>",
    "<a.b+c=d@example.net>",
    "<\"a b\"@example.net>",
    "<\"a\\\"b\"@example.net>",
    "<@relay.example:carol@example.net>",
    "<carol@[192.0.2.1]>",
    "<carol@[IPv6:2001:db8::1]>",
    "<jürgen@bücher.example>",
    "<carol@example.net",
    "carol@example.net",
    "<carol@@example.net>",
    "<carol example.net>",
    "<postmaster>",
];

#[test]
fn mail_is_read_alike() {
    let parameters = [
        "",
        " SIZE=1000",
        " SIZE=0",
        " SIZE=99999999999",
        " BODY=8BITMIME",
        " BODY=7bit",
        " body=BinaryMime SIZE=5",
        " SMTPUTF8",
        " ENVID=QQ314159",
        " ENVID=a+2Bb RET=FULL",
        " RET=HDRS",
        " SIZE=",
        " SIZE=1x",
        " BODY=x",
        " NOTHING",
        " SIZE=1 SMTPUTF8 BODY=8BITMIME",
    ];
    let lines = PATHS.iter().flat_map(|path| {
        parameters
            .iter()
            .map(move |parameters| format!("MAIL FROM:{path}{parameters}"))
    });
    let ours = |line: &str| {
        let event = command::mail(line.split_once(' ')?.1.as_bytes(), false).ok()?;
        let Event::Mail {
            reverse_path,
            parameters,
        } = event
        else {
            return None;
        };
        let address = reverse_path.as_ref().map(unquoted).unwrap_or_default();
        Some(format!(
            "{} {} {:?} {} {:?}",
            address.to_lowercase(),
            parameters.size.unwrap_or(0),
            parameters.body,
            parameters.smtp_utf8,
            parameters.envelope_id.as_deref(),
        ))
    };
    let theirs = |line: &str| match other(line)? {
        Request::Mail { from } => {
            let body = if from.flags & MAIL_BODY_BINARYMIME != 0 {
                BodyType::BinaryMime
            } else if from.flags & MAIL_BODY_8BITMIME != 0 {
                BodyType::EightBitMime
            } else {
                BodyType::SevenBit
            };
            Some(format!(
                "{} {} {:?} {} {:?}",
                from.address.to_lowercase(),
                from.size,
                body,
                from.flags & MAIL_SMTPUTF8 != 0,
                from.env_id.as_deref(),
            ))
        }
        _ => None,
    };
    assert!(agreeing(lines, ours, theirs) >= 60);
}

#[test]
fn rcpt_is_read_alike() {
    let parameters = [
        "",
        " NOTIFY=NEVER",
        " NOTIFY=SUCCESS,DELAY",
        " ORCPT=rfc822;a+2Bb@example.net",
        " NOTIFY=",
        " NOTIFY=ALWAYS",
        " ORCPT=x",
    ];
    let lines = PATHS.iter().flat_map(|path| {
        parameters
            .iter()
            .map(move |parameters| format!("RCPT TO:{path}{parameters}"))
    });
    let ours = |line: &str| match command::recipient(line.split_once(' ')?.1.as_bytes(), true, false).ok()? {
        Event::Recipient {
            path: ForwardPath::Address(address),
            ..
        } => Some(unquoted(&address)),
        _ => None,
    };
    let theirs = |line: &str| match other(line)? {
        Request::Rcpt { to } => Some(to.address.to_lowercase()),
        _ => None,
    };
    assert!(agreeing(lines, ours, theirs) >= 20);
}

#[test]
fn bdat_is_read_alike() {
    let arguments = [
        "0",
        "1",
        "86 LAST",
        "86 last",
        "0 LAST",
        "",
        "x",
        "1 FIRST",
        "-1",
        "18446744073709551616",
        "1  LAST",
    ];
    let lines = arguments.iter().map(|arguments| format!("BDAT {arguments}"));
    let ours = |line: &str| command::chunk(line.split_once(' ')?.1.as_bytes()).map(|chunk| format!("{chunk:?}"));
    let theirs = |line: &str| match other(line)? {
        Request::Bdat { chunk_size, is_last } => Some(format!("{:?}", (chunk_size as u64, is_last))),
        _ => None,
    };
    assert!(agreeing(lines, ours, theirs) >= 5);
}

#[test]
fn verbs_are_read_alike() {
    for line in [
        "EHLO a.example",
        "LHLO a.example",
        "HELO a.example",
        "DATA",
        "RSET",
        "NOOP",
        "QUIT",
        "VRFY a",
        "EXPN a",
        "HELP",
        "STARTTLS",
        "AUTH PLAIN",
    ] {
        let (verb, _) = command::parse(line.as_bytes()).unwrap();
        let name = command::VERBS.iter().find(|(_, known)| *known == verb).unwrap().0;
        assert_eq!(
            other(line).map(|request| request.name().to_owned()).as_deref(),
            Some(name),
            "{line}"
        );
    }
}
