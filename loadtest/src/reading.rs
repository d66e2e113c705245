//! The cores' part of reading back what was sent: first all accounts until all is there, then, once, all of them again when
//! nothing more should come.

use crate::command_line::VerifyOptions;
use crate::plan::Plan;
use crate::run::{Shared, with};
use crate::work::verify::{self, Findings};
use futures_util::future::join_all;
use pigeon_engine::{core_count, current_core};
use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

/// Accounts that are read back at once, on one core.
const READERS: usize = 16;

/// Numbers that are sorted by their accounts before others have a turn.
const NUMBERS_AT_ONCE: usize = 10_000;

/// By account: the messages that were acknowledged to it. Whoever reads the account takes them.
type Expected = HashMap<usize, BTreeSet<u64>>;

/// Which look it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Until all is there, or the patience is over.
    First,
    /// What is there now is what counts.
    Last,
}

/// Message `number` went to this one of so many accounts.
fn account_of(number: u64, users: usize) -> usize {
    usize::try_from(number % users as u64).expect("below a length")
}

fn sort_in(expected: &mut Expected, numbers: &[u64], users: usize) {
    for &number in numbers {
        expected.entry(account_of(number, users)).or_default().insert(number);
    }
}

/// This core's accounts.
pub(crate) async fn read(plan: Arc<Plan>, options: VerifyOptions, shared: Shared, look: Look, until: Instant) {
    let (core, cores) = (usize::from(current_core().0), usize::from(core_count()));
    let users = plan.users.len();
    let of_this_core = |number: &u64| account_of(*number, users) % cores == core;
    let own: Vec<u64> = with(&shared, |outcome| {
        outcome.acknowledged.iter().copied().filter(of_this_core).collect()
    });
    let mut expected = Expected::new();
    for numbers in own.chunks(NUMBERS_AT_ONCE) {
        sort_in(&mut expected, numbers, users);
        pigeon_engine::runtime::yield_now().await;
    }
    let expected = Rc::new(RefCell::new(expected));
    let next = Rc::new(RefCell::new((core..users).step_by(cores)));
    let readers = (0..READERS).map(|_| {
        let (plan, options, next, expected) = (plan.clone(), options.clone(), next.clone(), expected.clone());
        pigeon_engine::spawn(async move {
            let mut findings = Findings::default();
            loop {
                let account = next.borrow_mut().next();
                let Some(account) = account else {
                    return findings;
                };
                let expected = expected.borrow_mut().remove(&account).unwrap_or_default();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_account_has_its_own_numbers() {
        let mut expected = Expected::new();
        sort_in(&mut expected, &[0, 1, 3], 3);
        sort_in(&mut expected, &[4, u64::MAX], 3);
        let of = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
        // 2^64 - 1 is a multiple of 3.
        let all = [(0, of(&[0, 3, u64::MAX])), (1, of(&[1, 4]))];
        assert_eq!(expected, Expected::from(all));
    }
}
