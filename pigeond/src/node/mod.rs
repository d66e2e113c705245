//! The node: its roles wired together.

use crate::Start;
use crate::logs::Logs;

/// Runs the node until it is told to end.
pub fn run(start: Start, logs: Logs) -> Result<(), String> {
    let _ = (start, logs);
    Err("the roles of the node are not wired yet".to_owned())
}
