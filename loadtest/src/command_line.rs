//! The command line: what load, on whom, how much of it.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Puts load on mail servers and reports what they did with it.
#[derive(Parser)]
#[command(name = "pigeon-load", version)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) machine: Machine,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Of this machine.
#[derive(Args, Clone)]
pub(crate) struct Machine {
    /// The CPUs to run on, as in `0-3`; without, all.
    #[arg(long, global = true, value_name = "CPUS")]
    pub(crate) cores: Option<String>,
    /// Write the summary to this file as JSON, too.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report with its plots to this file, which opens in any browser without a network.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Say nothing while it runs.
    #[arg(long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Work(Box<WorkCommand>),
    /// A server that answers everything and keeps nothing: what the generator itself can do.
    NullServer(NullServerOptions),
    /// Print the profile that `mix` uses without --profile: the beginning of one's own.
    Profile,
}

#[derive(Subcommand, Clone)]
pub(crate) enum WorkCommand {
    /// Messages by SMTP.
    Smtp(MailOptions),
    /// Messages by LMTP.
    Lmtp(MailOptions),
    /// IMAP sessions.
    Imap(ImapOptions),
    /// POP3 sessions: login, LIST, RETR of the last message, QUIT.
    Pop3(ReadOptions),
    /// IMAP sessions that log in one after the other and then wait in IDLE; with --server-pid, the memory of each.
    Idle(HoldOptions),
    /// The same, all at once.
    Storm(HoldOptions),
    /// Send messages of known content, read them back, and say what was lost, doubled or changed.
    Verify(Box<VerifyOptions>),
    /// All kinds of sessions beside each other, by a profile of their shares and sizes: without --profile a day of an
    /// internet provider.
    Mix(Box<MixOptions>),
}

impl WorkCommand {
    /// The accounts.
    pub(crate) fn users(&self) -> &Users {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.users,
            WorkCommand::Verify(verify) => &verify.mail.users,
            WorkCommand::Imap(imap) => &imap.read.users,
            WorkCommand::Pop3(read) => &read.users,
            WorkCommand::Idle(hold) | WorkCommand::Storm(hold) => &hold.read.users,
            WorkCommand::Mix(mix) => &mix.users,
        }
    }

    /// How much.
    pub(crate) fn amount(&self) -> &Amount {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.amount,
            WorkCommand::Verify(verify) => &verify.mail.amount,
            WorkCommand::Imap(imap) => &imap.read.amount,
            WorkCommand::Pop3(read) => &read.amount,
            WorkCommand::Idle(hold) | WorkCommand::Storm(hold) => &hold.read.amount,
            WorkCommand::Mix(mix) => &mix.amount,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            WorkCommand::Smtp(_) => "smtp",
            WorkCommand::Lmtp(_) => "lmtp",
            WorkCommand::Imap(_) => "imap",
            WorkCommand::Pop3(_) => "pop3",
            WorkCommand::Idle(_) => "idle",
            WorkCommand::Storm(_) => "storm",
            WorkCommand::Verify(_) => "verify",
            WorkCommand::Mix(_) => "mix",
        }
    }
}

/// How much, for how long.
#[derive(Args, Clone)]
pub(crate) struct Amount {
    /// Sessions at once, over all cores.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sessions: u32,
    /// How long to run, as in `30s`, `5m`; the warm-up comes before it.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// How long to run before anything is counted.
    #[arg(long, value_parser = duration, default_value = "0s")]
    pub(crate) warm_up: Duration,
    /// Units a second, begun when they are due whether or not earlier ones have ended as long as a session is free; a unit's
    /// latency counts from when it was due. Without, each session begins the next unit when it has ended one.
    #[arg(long, value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// End after so many units, if that comes before the end of the duration.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// How long one unit may take.
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub(crate) timeout: Duration,
    /// What is random is made of this. Without, of the time: then no two runs send the same messages.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A process of the server on this machine: its CPU time and memory are reported. May be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
}

/// On whom.
#[derive(Args, Clone)]
pub(crate) struct Targets {
    /// A server. Several share the sessions evenly.
    #[arg(long, required = true, value_name = "ADDRESS:PORT")]
    pub(crate) target: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) tls: TlsOptions,
}

/// TLS.
#[derive(Args, Clone)]
pub(crate) struct TlsOptions {
    /// With TLS: from the first byte, or by STARTTLS (STLS in POP3). Certificates are not checked; every handshake is a
    /// whole one.
    #[arg(long, value_enum)]
    pub(crate) tls: Option<TlsMode>,
    /// The host name that is asked for.
    #[arg(long, value_name = "HOST", default_value = "mail.example.org")]
    pub(crate) tls_name: String,
}

/// When TLS begins.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMode {
    Implicit,
    Starttls,
}

/// Clients that misbehave beside the work, each again and again against the same servers; they count apart.
#[derive(Args, Clone)]
pub(crate) struct Faults {
    /// So many sessions at once that misbehave, as in `slow-reader=20`. Kinds: slow-reader (asks for much, reads a little now
    /// and then), abort (breaks off at each stage in turn), half-open (begins a line and falls silent), garbage (says nonsense).
    /// May be given once for each kind.
    #[arg(long, value_name = "KIND=COUNT", value_parser = fault)]
    pub(crate) fault: Vec<(Fault, u32)>,
}

/// How a client misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    SlowReader,
    Abort,
    HalfOpen,
    Garbage,
}

impl Fault {
    /// Its name on the command line and in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::SlowReader => "slow-reader",
            Fault::Abort => "abort",
            Fault::HalfOpen => "half-open",
            Fault::Garbage => "garbage",
        }
    }
}

/// Accounts.
#[derive(Args, Clone)]
pub(crate) struct Users {
    /// Accounts: `alice@example.org`, or many as in `user{1..1000}@example.org`. May be given several times.
    #[arg(long, required = true, value_name = "ADDRESS")]
    pub(crate) user: Vec<String>,
}

#[derive(Args, Clone)]
pub(crate) struct MailOptions {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) users: Users,
    #[command(flatten)]
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) message: MessageOptions,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MessageOptions {
    /// The sender.
    #[arg(long, default_value = "load@sender.example")]
    pub(crate) from: String,
    /// Octets of a message, or `LEAST-MOST`: then small ones are more frequent, evenly by their logarithm.
    #[arg(long, value_parser = sizes, default_value = "4096")]
    pub(crate) size: Sizes,
    /// Messages in a session before it ends and the next begins.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) messages_per_session: u32,
    /// Recipients of a message.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) recipients: u32,
    /// Wait for each answer instead of sending commands ahead (RFC 2920).
    #[arg(long)]
    pub(crate) no_pipelining: bool,
    /// BDAT instead of DATA (RFC 3030).
    #[arg(long)]
    pub(crate) bdat: bool,
}

#[derive(Args, Clone)]
pub(crate) struct ReadOptions {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) users: Users,
    /// The password of all accounts.
    #[arg(long)]
    pub(crate) password: String,
    #[command(flatten)]
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

/// `idle` and `storm`.
#[derive(Args, Clone)]
pub(crate) struct HoldOptions {
    #[command(flatten)]
    pub(crate) read: ReadOptions,
    /// Connect and do nothing more: what a connection costs before its login.
    #[arg(long)]
    pub(crate) silent: bool,
}

#[derive(Args, Clone)]
pub(crate) struct ImapOptions {
    #[command(flatten)]
    pub(crate) read: ReadOptions,
    /// What a unit is.
    #[arg(long, value_enum, default_value_t = ImapWork::Fetch)]
    pub(crate) work: ImapWork,
}

/// What one unit of IMAP is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ImapWork {
    /// Connect, login, LOGOUT.
    Login,
    /// Connect, login, SELECT, FETCH of the last message, LOGOUT.
    Fetch,
    /// FETCH of all messages of INBOX, in a session that stays.
    Bulk,
    /// APPEND of 4 KiB to INBOX, in a session that stays.
    Append,
    /// A flag of the last message set and taken away, in a session that stays.
    Flags,
    /// What a client with a copy does: connect, login, LIST, SELECT, the UIDs and flags of all messages, the messages that
    /// are new since its last time, LOGOUT.
    Sync,
}

#[derive(Args, Clone)]
pub(crate) struct VerifyOptions {
    #[command(flatten)]
    pub(crate) mail: MailOptions,
    /// The password of all accounts.
    #[arg(long)]
    pub(crate) password: String,
    /// Where they are read by IMAP. Several are used in turn.
    #[arg(long, value_name = "ADDRESS:PORT", required = true)]
    pub(crate) read: Vec<SocketAddr>,
    /// Speak LMTP.
    #[arg(long)]
    pub(crate) lmtp: bool,
    /// How long messages may be on their way after the last was acknowledged.
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub(crate) patience: Duration,
    /// How long to wait, once all is there, before the last look: what comes later is there twice.
    #[arg(long, value_parser = duration, default_value = "2s")]
    pub(crate) settle: Duration,
    /// With TLS where they are read.
    #[arg(long, value_enum)]
    pub(crate) read_tls: Option<TlsMode>,
}

#[derive(Args, Clone)]
pub(crate) struct MixOptions {
    /// Where mail is sent by SMTP. Several share the sessions evenly; so below.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) smtp: Vec<SocketAddr>,
    /// Where it is sent by LMTP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) lmtp: Vec<SocketAddr>,
    /// Where it is read by IMAP.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) imap: Vec<SocketAddr>,
    /// Where it is read by POP3.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) pop3: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) tls: TlsOptions,
    #[command(flatten)]
    pub(crate) users: Users,
    /// The password of all accounts.
    #[arg(long)]
    pub(crate) password: String,
    #[command(flatten)]
    pub(crate) amount: Amount,
    /// Shares, sizes and the course of the day (TOML); `pigeon-load profile` prints the one that is used without.
    #[arg(long, value_name = "FILE")]
    pub(crate) profile: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) faults: Faults,
}

#[derive(Args, Clone)]
pub(crate) struct NullServerOptions {
    /// What it speaks.
    #[arg(long, value_enum)]
    pub(crate) protocol: NullProtocol,
    /// Where it listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// Octets of every message that it gives.
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1 << 30))]
    pub(crate) size: u32,
}

/// What the null server speaks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NullProtocol {
    Smtp,
    Lmtp,
    Imap,
    Pop3,
}

/// Octets of a message: between two bounds, where small ones are more frequent.
pub(crate) type Sizes = RangeInclusive<u32>;

/// The biggest message that is made.
const SIZE_MAX: u32 = 1 << 30;

/// The smallest message: its header needs so much.
const SIZE_MIN: u32 = 300;

pub(crate) fn sizes(text: &str) -> Result<Sizes, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| {
        let number: u32 = text
            .trim()
            .parse()
            .map_err(|_| format!("{text:?} is no number of octets"))?;
        match (SIZE_MIN..=SIZE_MAX).contains(&number) {
            true => Ok(number),
            false => Err(format!("expected {SIZE_MIN} to {SIZE_MAX} octets")),
        }
    };
    let (least, most) = (number(least)?, number(most)?);
    match least <= most {
        true => Ok(least..=most),
        false => Err("expected the smaller size first".to_owned()),
    }
}

fn fault(text: &str) -> Result<(Fault, u32), String> {
    let form = || "expected KIND=COUNT, with slow-reader, abort, half-open or garbage".to_owned();
    let (kind, count) = text.split_once('=').ok_or_else(form)?;
    let kind = Fault::from_str(kind, false).map_err(|_| form())?;
    match count.parse() {
        Ok(count @ 1..=100_000) => Ok((kind, count)),
        _ => Err("expected a count of 1 to 100000".to_owned()),
    }
}

/// Units a second. The least is less than one in the longest run.
fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    match (0.000_001..=10_000_000.0).contains(&number) {
        true => Ok(number),
        false => Err("expected 0.000001 to 10000000 units a second".to_owned()),
    }
}

/// `500ms`, `30s`, `5m`, `1h`, or a number of seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number
        .parse()
        .map_err(|_| "expected a time as in 30s or 5m".to_owned())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("{unit:?} is none of ms, s, m, h")),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(7 * 24 * 3600))
        .ok_or_else(|| "expected at most a week".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for text in ["", "s", "5x", "-1s", "8000h"] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(sizes("4096"), Ok(4096..=4096));
        assert_eq!(sizes("1000-100000"), Ok(1000..=100_000));
        for text in ["", "1", "5000-1000", "2000000000", "x"] {
            assert!(sizes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn rates() {
        assert_eq!(rate("0.000001"), Ok(0.000_001));
        assert_eq!(rate("1e7"), Ok(10_000_000.0));
        for text in ["", "x", "0", "-1", "1e-20", "1e-300", "1e8", "inf", "NaN"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn faults() {
        assert_eq!(fault("half-open=7"), Ok((Fault::HalfOpen, 7)));
        for text in ["", "abort", "abort=0", "abort=x", "sleep=1"] {
            assert!(fault(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
