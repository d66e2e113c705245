//! What one session does, unit by unit.

pub(crate) mod faults;
pub(crate) mod hold;
pub(crate) mod imap;
mod mail;
mod pop3;
pub(crate) mod verify;

use crate::content::chosen;
use crate::failure::Failure;
use crate::plan::{Plan, Task};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One of the sessions that are there at once: of each job of the plan it has one, and does a unit of one at a time.
/// Dropping it drops its connections.
pub(crate) struct Worker {
    plan: Arc<Plan>,
    jobs: Vec<Job>,
    /// What comes next is made of it.
    state: u64,
}

/// How a unit has ended.
pub(crate) struct Ended {
    /// Its place in the plan.
    pub(crate) job: usize,
    /// Octets of messages that it carried.
    pub(crate) result: Result<u64, Failure>,
    /// For so long it waited as it was told to.
    pub(crate) rested: Duration,
}

enum Job {
    Mail(mail::Mail),
    Imap(imap::Imap),
    Pop3(pop3::Pop3),
}

impl Worker {
    /// Session `index` of all. `None`: this work has no units.
    pub(crate) fn new(plan: &Arc<Plan>, index: u64) -> Option<Worker> {
        let own = |(place, job): (usize, &crate::plan::Job)| match &job.task {
            Task::Mail { message, lmtp } => Some(Job::Mail(mail::Mail::new(plan, place, message, *lmtp, index))),
            Task::Imap { work, password, idle } => {
                Some(Job::Imap(imap::Imap::new(plan, place, *work, password, *idle, index)))
            }
            Task::Pop3 { password } => Some(Job::Pop3(pop3::Pop3::new(plan, place, password, index))),
            Task::Hold { .. } => None,
        };
        Some(Worker {
            plan: plan.clone(),
            jobs: plan.jobs.iter().enumerate().map(own).collect::<Option<_>>()?,
            state: plan.seed ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        })
    }

    /// One unit. After a failure the connection is given up, and the next unit makes a new one. `until`: the end of the run,
    /// for a unit that would wait longer.
    pub(crate) async fn unit(&mut self, until: Instant) -> Ended {
        let job = match self.jobs.len() {
            1 => 0,
            _ => chosen(self.plan.jobs.iter().map(|job| job.share), &mut self.state),
        };
        let mut rested = Duration::ZERO;
        let result = match &mut self.jobs[job] {
            Job::Mail(mail) => mail.unit().await,
            Job::Imap(imap) => imap.unit(until, &mut rested).await,
            Job::Pop3(pop3) => pop3.unit().await,
        };
        Ended { job, result, rested }
    }

    /// Ends the session in order; the numbers of the messages that were acknowledged, where they are read back.
    pub(crate) async fn end(self) -> Vec<u64> {
        let mut acknowledged = Vec::new();
        for job in self.jobs {
            match job {
                Job::Mail(mail) => acknowledged.extend(mail.end().await),
                Job::Imap(imap) => imap.end().await,
                Job::Pop3(_) => {}
            }
        }
        acknowledged
    }
}
