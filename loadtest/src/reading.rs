//! The cores' part of reading back what was sent: first all accounts until all is there, then, once, all of them again when
//! nothing more should come.

use crate::command_line::VerifyOptions;
use crate::plan::Plan;
use crate::run::{Shared, with};
use crate::work::verify::{self, Findings};
use futures_util::future::join_all;
use pigeon_engine::{core_count, current_core};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Accounts that are read back at once, on one core.
const READERS: usize = 16;

/// Which look it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Until all is there, or the patience is over.
    First,
    /// What is there now is what counts.
    Last,
}

/// This core's accounts.
pub(crate) async fn read(plan: Arc<Plan>, options: VerifyOptions, shared: Shared, look: Look, until: Instant) {
    let acknowledged = with(&shared, |outcome| outcome.acknowledged.clone());
    let (core, cores) = (usize::from(current_core().0), usize::from(core_count()));
    let own: Vec<usize> = (core..plan.users.len()).step_by(cores).collect();
    let next = Rc::new(RefCell::new(own.into_iter()));
    let readers = (0..READERS).map(|_| {
        let (plan, options, next, acknowledged) = (plan.clone(), options.clone(), next.clone(), acknowledged.clone());
        pigeon_engine::spawn(async move {
            let mut findings = Findings::default();
            loop {
                let account = next.borrow_mut().next();
                let Some(account) = account else {
                    return findings;
                };
                let of_account = |number: &u64| *number % plan.users.len() as u64 == account as u64;
                let expected = acknowledged.iter().copied().filter(of_account).collect();
                match look {
                    Look::First => verify::wait_for(&plan, &options, account, &expected, until).await,
                    Look::Last => findings.merge(verify::judge(&plan, &options, account, &expected, until).await),
                }
            }
        })
    });
    for findings in join_all(readers.collect::<Vec<_>>()).await {
        with(&shared, |outcome| match findings {
            Some(findings) => outcome.findings.merge(findings),
            None => outcome.trouble = Some("a session of the generator broke: see above".to_owned()),
        });
    }
}
