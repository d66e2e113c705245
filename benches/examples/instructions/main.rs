//! Units of work without a socket, a disk and a clock, for a program that counts instructions: `benches/instructions/run`.
//!
//! `instructions` prints the names of the units and how many are done within `measured`; `instructions NAME` sets one up, does it
//! a few times, and then so often within `measured`, which is all that is counted. Inputs are fixed. What is left to chance is the order in hash tables of the
//! standard library, far below the tolerance.

mod imap;
mod lookup;
mod memory_disk;
mod smtp;
mod store;

use std::process::ExitCode;

/// Rounds within `measured`.
const ROUNDS: usize = 20;

/// How often before: first uses, tables and buffers on their way to their size.
const WARM_ROUNDS: usize = 20;

/// Does the unit once, or as often as its line in `UNITS` says.
type Round = Box<dyn FnMut()>;

/// A unit by its name, how many a round does, and what sets it up.
type Unit = (&'static str, usize, fn() -> Round);

const UNITS: &[Unit] = &[
    ("smtp-message", 1, smtp::message),
    ("smtp-session", 1, smtp::session),
    ("imap-commands", 1, imap::commands),
    ("imap-session", 1, imap::session),
    ("lookup-recipient", lookup::LOOKUPS, lookup::recipient),
    ("lookup-detail", lookup::LOOKUPS, lookup::detail),
    ("lookup-unknown", lookup::LOOKUPS, lookup::unknown),
    ("lookup-login", lookup::LOOKUPS, lookup::login),
    ("journal-append", 1, store::append),
    ("journal-delivery", 1, store::delivery),
    ("journal-delivery-of-16", store::AT_ONCE, store::deliveries),
];

fn main() -> ExitCode {
    let Some(name) = std::env::args().nth(1) else {
        for (name, units, _) in UNITS {
            println!("{name} {}", units * ROUNDS);
        }
        return ExitCode::SUCCESS;
    };
    let Some((_, _, set_up)) = UNITS.iter().find(|(unit, ..)| *unit == name) else {
        eprintln!("instructions: {name:?} is none of the units");
        return ExitCode::from(2);
    };
    let mut round = set_up();
    for _ in 0..WARM_ROUNDS {
        round();
    }
    measured(&mut *round);
    ExitCode::SUCCESS
}

/// What is counted, found by its name.
#[inline(never)]
fn measured(round: &mut dyn FnMut()) {
    for _ in 0..ROUNDS {
        round();
    }
}
