//! The command line: what load, on whom, how much of it.

mod values;
mod work;

pub(crate) use values::{Sizes, duration, sizes};

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use values::{fault, rate};

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

impl Machine {
    /// Of a command that has nothing to report.
    pub(crate) fn refuse_reports(&self, command: &str) -> Result<(), String> {
        match self.json.is_some() || self.html.is_some() {
            true => Err(format!("--json and --html mean nothing to {command}")),
            false => Ok(()),
        }
    }
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
    /// IMAP sessions that log in, several at a time, and then wait in IDLE until all have been there for --duration; with
    /// --server-pid, the memory of each.
    Idle(HoldOptions),
    /// The same; then all connections are dropped at once and all sessions opened again at once, --rounds times, each time held
    /// for --duration. What counts is the opening again, from the moment of the drop.
    Storm(StormOptions),
    /// Send messages of known content, read them back, and say what was lost, doubled or changed.
    Verify(Box<VerifyOptions>),
    /// All kinds of sessions beside each other, by a profile of their shares and sizes: without --profile a day of an
    /// internet provider.
    Mix(Box<MixOptions>),
}

/// How much, for how long.
#[derive(Args, Clone)]
pub(crate) struct Amount {
    /// Sessions at once, over all cores.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) sessions: u32,
    /// How long to run, as in `30s`, `5m`; what comes before (the warm-up, the opening of sessions that are held) is not in it.
    #[arg(long, value_parser = duration, default_value = "30s")]
    pub(crate) duration: Duration,
    /// How long one unit may take.
    #[arg(long, value_parser = duration, default_value = "60s")]
    pub(crate) timeout: Duration,
    /// What is random is made of this. Without, of the time: then no two runs send the same messages.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// A process of the server on this machine: its CPU time and memory are reported, with those of all processes that come
    /// from it, also while it runs. May be given several times.
    #[arg(long, value_name = "PID")]
    pub(crate) server_pid: Vec<u32>,
}

/// When units begin, and how many: of work that consists of units.
#[derive(Args, Clone)]
pub(crate) struct Pacing {
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
    /// The host name that is asked for, with TLS; without this option mail.example.org.
    #[arg(long, value_name = "HOST")]
    pub(crate) tls_name: Option<String>,
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
    /// So many sessions at once that misbehave, as in `slow-reader=20`. Kinds: slow-reader (asks for more than sockets hold, again
    /// and again, and reads a little now and then), abort (breaks off at each stage in turn, those of TLS included), half-open
    /// (begins a line and falls silent), garbage (says nonsense). With --tls they misbehave behind the handshake. May be given
    /// once for each kind.
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
    pub(crate) pacing: Pacing,
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
pub(crate) struct LoginOptions {
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

#[derive(Args, Clone)]
pub(crate) struct ReadOptions {
    #[command(flatten)]
    pub(crate) login: LoginOptions,
    #[command(flatten)]
    pub(crate) pacing: Pacing,
}

/// `idle` and `storm`.
#[derive(Args, Clone)]
pub(crate) struct HoldOptions {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Accounts: `alice@example.org`, or many as in `user{1..1000}@example.org`. May be given several times.
    #[arg(long, required_unless_present = "silent", value_name = "ADDRESS")]
    pub(crate) user: Vec<String>,
    /// The password of all accounts.
    #[arg(long, required_unless_present = "silent")]
    pub(crate) password: Option<String>,
    #[command(flatten)]
    pub(crate) amount: Amount,
    #[command(flatten)]
    pub(crate) faults: Faults,
    /// Connect and do nothing more: what a connection costs before its login. It has no --user and no --password, but for
    /// --fault.
    #[arg(long)]
    pub(crate) silent: bool,
}

#[derive(Args, Clone)]
pub(crate) struct StormOptions {
    #[command(flatten)]
    pub(crate) hold: HoldOptions,
    /// How often all are dropped and opened again.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rounds: u32,
}

#[derive(Args, Clone)]
pub(crate) struct ImapOptions {
    #[command(flatten)]
    pub(crate) read: ReadOptions,
    /// What a unit is.
    #[arg(long, value_enum, default_value_t = ImapWork::Fetch)]
    pub(crate) work: ImapWork,
    /// How long a session is in IDLE, with --work idle; without this option 10s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) idle_time: Option<Duration>,
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
    /// Connect, login, SELECT, IDLE for --idle-time (which is no part of the latency) or until the run is over, LOGOUT.
    Idle,
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
    /// How long to wait, once all is there in all accounts, before the last look: what comes later is there twice.
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
    #[command(flatten)]
    pub(crate) pacing: Pacing,
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
    /// Octets of every message that it gives, by IMAP or POP3; without this option 4096.
    #[arg(long, value_parser = clap::value_parser!(u32).range(300..=1 << 30))]
    pub(crate) size: Option<u32>,
}

/// What the null server speaks.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NullProtocol {
    Smtp,
    Lmtp,
    Imap,
    Pop3,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        CommandLine::command().debug_assert();
    }
}
