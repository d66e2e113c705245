//! `pigeonctl`: writes control data for a person, as plain operations on the LDIF file or the directory.
//!
//! The node has no port for this: it sees what changed in the tree, as it sees anybody's change. Of the nodes themselves it
//! only reads the status ports. Exit codes: 0 done, 1 not
//! done (the reason is on stderr), 2 the command line is wrong.

mod amount;
mod change;
mod command_line;
mod commands;
mod entry;
mod secret;
mod shown;
mod source;
mod tree;

use clap::Parser;
use command_line::CommandLine;
use std::process::ExitCode;

/// Why nothing was done.
#[derive(Debug)]
enum Failure {
    /// It was understood, and not done.
    NotDone(String),
    /// It makes no sense.
    WrongUsage(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Failure {
        Failure::NotDone(why)
    }
}

fn main() -> ExitCode {
    match commands::run(CommandLine::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::NotDone(why)) => {
            eprintln!("{why}");
            ExitCode::from(1)
        }
        Err(Failure::WrongUsage(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}
