//! `pigeon-load`: puts load on any server that speaks SMTP, LMTP, POP3 or IMAP, and says what it did: units a second,
//! latencies from the moment a unit was due, failures by kind, and, of processes on this machine, CPU time and memory.
//!
//! It runs on the node's own engine. It never judges a server: `verify` alone compares what was promised with what is there.

mod client;
mod command_line;
mod content;
mod door;
mod failure;
mod fleet;
mod null_server;
mod output;
mod pace;
mod plan;
mod plot;
mod processes;
mod profile;
mod reading;
mod report;
mod run;
mod series;
mod tally;
mod users;
mod work;

use clap::Parser;
use command_line::{Command, CommandLine, Machine};
use std::process::ExitCode;

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = match line.command {
        Command::Profile => print_profile(&line.machine).map(|()| true),
        Command::NullServer(options) => null_server::serve(&line.machine, options).map(|()| true),
        Command::Work(work) => plan::Plan::new(*work).and_then(|plan| run::run(&line.machine, plan)),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            output::mention(format_args!("pigeon-load: {message}"));
            ExitCode::from(2)
        }
    }
}

fn print_profile(machine: &Machine) -> Result<(), String> {
    machine.refuse_reports("profile")?;
    if machine.quiet || machine.cores.is_some() {
        return Err("--quiet and --cores mean nothing to profile".to_owned());
    }
    output::say(profile::Profile::BUILT_IN)
}
