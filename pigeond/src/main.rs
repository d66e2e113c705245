//! The command line of `pigeond`. What the commands do is in the library.

use clap::{Parser, Subcommand};
use pigeon_engine::placement::{CpuSet, Placement};
use pigeond::Start;
use pigeond::config::{Config, FileMistake, check_certificates, check_files};
use pigeond::logs::Logs;
use pigeond::{node, quickstart};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A clustered mail system: SMTP in, POP3 and IMAP out, one io_uring engine.
#[derive(Parser)]
#[command(name = "pigeond", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a small node in a directory, or go on with the one that is there, and run it on loopback.
    Quickstart {
        /// The directory; it is made when it is not there.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// Added to each standard port: SMTP is at N + 25, IMAP at N + 143, the status port at N + 80. Without it 2000, or the
        /// next thousand with all ports free; a directory that is there keeps the ports of its configuration.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(..=i64::from(quickstart::PORT_OFFSET_MAX)))]
        port_offset: Option<u16>,
    },
    /// Run a node.
    Run {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Make the volumes whose directories are empty or not there.
        #[arg(long)]
        create_volumes: bool,
    },
    /// Check a configuration and the files it names: print it with every default filled in, or every mistake.
    Check {
        /// The configuration.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Quickstart { dir, port_offset } => quickstart::prepare(&dir, port_offset).and_then(run),
        Command::Run { config, create_volumes } => load(&config).and_then(|loaded| {
            run(Start {
                config: loaded,
                config_file: config,
                create_volumes,
                announcement: None,
            })
        }),
        Command::Check { config } => load(&config).and_then(|config| check(&config)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn load(file: &Path) -> Result<Config, String> {
    Config::load(file).map_err(|error| error.to_string())
}

fn check(config: &Config) -> Result<(), String> {
    let findings = check_files(config);
    for warning in findings.warnings {
        eprintln!("warning: {warning}");
    }
    none(&findings.mistakes)?;
    let (placement, shown) = (placement(config)?, config.to_toml());
    for warning in &placement.warnings {
        eprintln!("warning: {warning}");
    }
    print_all(&format!(
        "# On this machine the cores run on the CPUs {}, the control thread on {}.\n{shown}",
        CpuSet::of(placement.cores),
        CpuSet::of(placement.control)
    ))
}

fn placement(config: &Config) -> Result<Placement, String> {
    let available = CpuSet::available().map_err(|error| format!("the CPUs of this process cannot be read: {error}"))?;
    Ok(Placement::new(
        config.cores.as_ref(),
        config.control_cpus.as_ref(),
        &available,
    ))
}

/// To stdout. Who reads it may leave early.
fn print_all(text: &str) -> Result<(), String> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(format!("stdout: {error}")),
        _ => Ok(()),
    }
}

fn run(start: Start) -> Result<(), String> {
    // Control data and volumes say themselves what is wrong with them when they are opened.
    none(&check_certificates(&start.config))?;
    let logs = Logs::start(&start.config.log)?;
    node::run(start, logs)
}

fn none(mistakes: &[FileMistake]) -> Result<(), String> {
    match mistakes {
        [] => Ok(()),
        mistakes => Err(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}
