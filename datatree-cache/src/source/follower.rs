//! Follows one source and publishes what it gives.

use super::{DataTree, Event, Handle, LoadError, Loaded, Report};
use crate::copy::Copy;
use crate::mistake::Mistakes;
use crate::snapshot::{Difference, Snapshot};
use std::sync::Arc;
use std::time::Duration;

/// How often snapshots that cores have let go are looked for, while there are any.
const SWEEP: Duration = Duration::from_secs(1);
/// Otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the follower tells as it goes. Called on its thread.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A snapshot is in force.
    Published {
        /// The snapshot.
        snapshot: &'a Arc<Snapshot>,
        /// What is different from the one before: whose sessions may have to end.
        difference: &'a Difference,
        /// What a person should look at.
        warnings: &'a Mistakes,
    },
    /// The source holds something that was not taken; the snapshot before stays in force.
    Refused(&'a LoadError),
}

/// A source and the copy that it feeds.
pub struct Follower {
    source: Box<dyn DataTree>,
    copy: Copy,
}

impl Follower {
    /// Loads the source for the first time, on the calling thread. Returns the follower, whose [`Follower::copy`]
    /// holds the first snapshot, and the warnings.
    pub fn start(mut source: Box<dyn DataTree>) -> Result<(Follower, Mistakes), LoadError> {
        let Loaded { snapshot, warnings } = source.load(&Snapshot::empty())?;
        Ok((
            Follower {
                source,
                copy: Copy::new(snapshot),
            },
            warnings,
        ))
    }

    /// The published cell.
    pub fn copy(&self) -> Copy {
        self.copy.clone()
    }

    /// How following goes, for a source that tells.
    pub fn report(&self) -> Option<Report> {
        self.source.report()
    }

    /// For SIGHUP and for the end.
    pub fn handle(&self) -> Handle {
        self.source.handle()
    }

    /// Watches and publishes until [`Handle::stop`]. Blocks: give it a thread that is no core.
    pub fn run(mut self, mut observe: impl FnMut(Notice<'_>)) {
        let mut held = 0;
        loop {
            let current = self.copy.current();
            let patience = if held > 0 { SWEEP } else { PATIENCE };
            match self.source.watch(&current, patience) {
                Event::Changed(loaded) => {
                    let Loaded { snapshot, warnings } = *loaded;
                    let difference = snapshot.difference(&current);
                    drop(current);
                    let snapshot = self.copy.publish(snapshot);
                    observe(Notice::Published {
                        snapshot: &snapshot,
                        difference: &difference,
                        warnings: &warnings,
                    });
                }
                Event::Refused(error) => observe(Notice::Refused(&error)),
                Event::Quiet => {}
                Event::Stopped => return,
            }
            held = self.copy.sweep();
        }
    }
}
