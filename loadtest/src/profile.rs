//! Profiles of mixed load: shares of the kinds of sessions, sizes of messages, the course of a day. A mistake is told with
//! its line and column.

use crate::command_line::{ImapWork, MessageOptions, Sizes, duration, sizes};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;

/// See the module.
#[derive(Debug)]
pub(crate) struct Profile {
    /// At least one; shares are positive.
    pub(crate) shares: Vec<(Kind, f64)>,
    pub(crate) message: MessageOptions,
    /// At least one; shares are positive.
    pub(crate) sizes: Vec<(f64, Sizes)>,
    /// 24 of them.
    pub(crate) hours: Option<Vec<f64>>,
    /// How long `imap-idle` is in IDLE.
    pub(crate) idle: Option<Duration>,
}

/// A kind of session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Smtp,
    Lmtp,
    Pop3,
    Imap(ImapWork),
}

impl Kind {
    /// Those that speak IMAP.
    pub(crate) const IMAP: [Kind; 7] = [
        Kind::Imap(ImapWork::Login),
        Kind::Imap(ImapWork::Fetch),
        Kind::Imap(ImapWork::Bulk),
        Kind::Imap(ImapWork::Append),
        Kind::Imap(ImapWork::Flags),
        Kind::Imap(ImapWork::Sync),
        Kind::Imap(ImapWork::Idle),
    ];

    fn all() -> impl Iterator<Item = Kind> {
        [Kind::Smtp, Kind::Lmtp, Kind::Pop3].into_iter().chain(Kind::IMAP)
    }

    /// In profiles and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Smtp => "smtp",
            Kind::Lmtp => "lmtp",
            Kind::Pop3 => "pop3",
            Kind::Imap(ImapWork::Login) => "imap-login",
            Kind::Imap(ImapWork::Fetch) => "imap-fetch",
            Kind::Imap(ImapWork::Bulk) => "imap-bulk",
            Kind::Imap(ImapWork::Append) => "imap-append",
            Kind::Imap(ImapWork::Flags) => "imap-flags",
            Kind::Imap(ImapWork::Sync) => "imap-sync",
            Kind::Imap(ImapWork::Idle) => "imap-idle",
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    shares: Spanned<BTreeMap<Spanned<String>, Spanned<f64>>>,
    message: Option<WrittenMessage>,
    imap: Option<WrittenImap>,
    day: Option<WrittenDay>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMessage {
    from: Option<Spanned<String>>,
    messages_per_session: Option<Spanned<u32>>,
    recipients: Option<Spanned<u32>>,
    pipelining: Option<Spanned<bool>>,
    bdat: Option<Spanned<bool>>,
    sizes: Option<Spanned<Vec<WrittenSize>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenImap {
    idle: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSize {
    octets: Spanned<String>,
    share: Spanned<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenDay {
    hours: Spanned<Vec<Spanned<f64>>>,
}

/// Where it is, and what.
type Mistake = (Range<usize>, String);

/// Shares and hours lie in these bounds, so that sums of them are finite and none is lost beside another.
fn share(number: &Spanned<f64>) -> Result<f64, Mistake> {
    match (0.000_001..=1_000_000.0).contains(number.get_ref()) {
        true => Ok(*number.get_ref()),
        false => Err((number.span(), "expected 0.000001 to 1000000".to_owned())),
    }
}

fn count(number: Option<Spanned<u32>>, most: u32) -> Result<u32, Mistake> {
    let Some(number) = number else { return Ok(1) };
    match (1..=most).contains(number.get_ref()) {
        true => Ok(*number.get_ref()),
        false => Err((number.span(), format!("expected 1 to {most}"))),
    }
}

impl Profile {
    /// Of `mix` where none is named.
    pub(crate) const BUILT_IN: &'static str = include_str!("../profiles/provider.toml");

    /// Reads a profile; a mistake names `file`, line and column.
    pub(crate) fn parse(text: &str, file: &str) -> Result<Profile, String> {
        let written = toml::from_str(text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            (span, error.message().to_owned())
        });
        written.and_then(Profile::checked).map_err(|(span, message)| {
            let before = &text.as_bytes()[..span.start.min(text.len())];
            let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
            let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            let column = 1 + String::from_utf8_lossy(&before[start..]).chars().count();
            format!("{file}:{line}:{column}: {message}")
        })
    }

    fn checked(written: Written) -> Result<Profile, Mistake> {
        let mut shares = Vec::new();
        let span = written.shares.span();
        for (name, share) in written.shares.into_inner() {
            let kind = Kind::all().find(|kind| kind.name() == name.get_ref());
            let known = || Kind::all().map(Kind::name).collect::<Vec<_>>().join(", ");
            let kind = kind.ok_or_else(|| (name.span(), format!("unknown kind, expected one of {}", known())))?;
            shares.push((kind, self::share(&share)?));
        }
        if shares.is_empty() {
            return Err((span, "expected at least one kind".to_owned()));
        }
        let mut profile = Profile {
            shares,
            message: MessageOptions {
                from: "load@sender.example".to_owned(),
                size: 4096..=4096,
                messages_per_session: 1,
                recipients: 1,
                no_pipelining: false,
                bdat: false,
            },
            sizes: vec![(1.0, 4096..=4096)],
            hours: written.day.map(hours).transpose()?,
            idle: None,
        };
        if let Some(time) = written.imap.and_then(|imap| imap.idle) {
            if !profile
                .shares
                .iter()
                .any(|(kind, _)| *kind == Kind::Imap(ImapWork::Idle))
            {
                return Err((time.span(), "means nothing without a share of imap-idle".to_owned()));
            }
            profile.idle = Some(duration(time.get_ref()).map_err(|why| (time.span(), why))?);
        }
        if let Some(message) = written.message {
            profile.take_message(message)?;
        }
        Ok(profile)
    }

    fn take_message(&mut self, written: WrittenMessage) -> Result<(), Mistake> {
        let has = |kinds: &[Kind]| self.shares.iter().any(|(kind, _)| kinds.contains(kind));
        let of_mail = [
            written.from.as_ref().map(Spanned::span),
            written.messages_per_session.as_ref().map(Spanned::span),
            written.recipients.as_ref().map(Spanned::span),
            written.pipelining.as_ref().map(Spanned::span),
            written.bdat.as_ref().map(Spanned::span),
        ];
        if let Some(span) = of_mail.into_iter().flatten().next()
            && !has(&[Kind::Smtp, Kind::Lmtp])
        {
            return Err((span, "means nothing without a share of smtp or lmtp".to_owned()));
        }
        if let Some(sizes) = &written.sizes
            && !has(&[Kind::Smtp, Kind::Lmtp, Kind::Imap(ImapWork::Append)])
        {
            return Err((
                sizes.span(),
                "means nothing without a share of smtp, lmtp or imap-append".to_owned(),
            ));
        }
        self.message.messages_per_session = count(written.messages_per_session, 1_000_000)?;
        self.message.recipients = count(written.recipients, 1000)?;
        self.message.no_pipelining = written.pipelining.is_some_and(|given| !given.into_inner());
        self.message.bdat = written.bdat.is_some_and(Spanned::into_inner);
        if let Some(from) = written.from {
            self.message.from = from.into_inner();
        }
        let Some(written) = written.sizes else { return Ok(()) };
        let span = written.span();
        self.sizes.clear();
        for size in written.into_inner() {
            let octets = sizes(size.octets.get_ref()).map_err(|why| (size.octets.span(), why))?;
            self.sizes.push((share(&size.share)?, octets));
        }
        match self.sizes.is_empty() {
            true => Err((span, "expected at least one size".to_owned())),
            false => Ok(()),
        }
    }
}

fn hours(written: WrittenDay) -> Result<Vec<f64>, Mistake> {
    let span = written.hours.span();
    let hours: Vec<f64> = written.hours.get_ref().iter().map(share).collect::<Result<_, _>>()?;
    match hours.len() {
        24 => Ok(hours),
        _ => Err((span, "expected 24 numbers, one for each hour".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_profile_is_one() {
        let profile = Profile::parse(Profile::BUILT_IN, "built in").expect("it is ours");
        assert_eq!((profile.shares.len(), profile.sizes.len()), (8, 4));
        assert_eq!(profile.message.messages_per_session, 3);
        assert_eq!(profile.idle, Some(Duration::from_secs(2)));
        assert_eq!(profile.hours.map(|hours| hours.len()), Some(24));
    }

    #[test]
    fn a_mistake_has_a_place() {
        for (text, place) in [
            ("", "f:1:1: "),
            ("[shares]\nsmtp = 1\nfax = 2\n", "f:3:1: unknown kind"),
            ("[shares]\nsmtp = 0\n", "f:2:8: expected 0.000001 to 1000000"),
            ("[shares]\nsmtp = inf\n", "f:2:8: expected 0.000001 to 1000000"),
            ("[shares]\nsmtp = 1e-20\n", "f:2:8: expected 0.000001 to 1000000"),
            (
                "[shares]\nsmtp = 1\n[day]\nhours = [1, 1e308]\n",
                "f:4:13: expected 0.000001 to 1000000",
            ),
            (
                "[shares]\nsmtp = 1\n[message]\nsizes = [{ octets = \"4096\", share = 1e308 }]\n",
                "f:4:37: expected 0.000001 to 1000000",
            ),
            ("[shares]\nsmtp = 1.5\n[message]\nsize = 3\n", "f:4:1: unknown field"),
            (
                "[shares]\nsmtp = 1\n[message]\nsizes = [{ octets = \"5-3\", share = 1 }]\n",
                "f:4:21: expected 300",
            ),
            (
                "[shares]\nsmtp = 1\n[message]\nrecipients = 0\n",
                "f:4:14: expected 1 to 1000",
            ),
            ("[shares]\nsmtp = 1\n[day]\nhours = [1, 2]\n", "f:4:9: expected 24"),
            (
                "[shares]\nsmtp = 1\nimap-idle = 1\n[imap]\nidle = \"5 days\"\n",
                "f:5:8: ",
            ),
            (
                "[shares]\nsmtp = 1\n[imap]\nidle = \"5s\"\n",
                "f:4:8: means nothing without",
            ),
            (
                "[shares]\npop3 = 1\n[message]\nbdat = true\n",
                "f:4:8: means nothing without a share of smtp or lmtp",
            ),
            (
                "[shares]\nimap-append = 1\n[message]\nrecipients = 1\n",
                "f:4:14: means nothing without a share of smtp or lmtp",
            ),
            (
                "[shares]\npop3 = 1\n[message]\nsizes = []\n",
                "f:4:9: means nothing without a share of smtp, lmtp or imap-append",
            ),
            ("[shares\n", "f:1:8: "),
            ("[shares]\n", "f:1:1: expected at least one kind"),
        ] {
            let said = Profile::parse(text, "f").expect_err(text);
            assert!(said.starts_with(place), "{text:?}: {said}");
        }
    }
}
