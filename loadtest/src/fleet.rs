//! Sessions that are opened and held: `idle` opens them once, some at a time; `storm` then drops all and opens all again at once,
//! round by round. All cores of a run begin and end each step together.

use crate::plan::Plan;
use crate::run::{Shared, finish, misbehaving, own_sessions, with};
use crate::tally::Tally;
use crate::work::hold;
use futures_util::future::join_all;
use pigeon_engine::{Task, core_count};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Sessions that one core opens at a time, when it does not open all at once.
const OPENERS: usize = 16;

/// After so many failures in a row a core opens no more, when it does not open all at once: each may take as long as a unit may.
pub(crate) const FAILURES_IN_A_ROW: u32 = 10;

/// Between two looks whether the other cores have come as far.
const MEETING_PAUSE: Duration = Duration::from_millis(1);

/// What the cores of a run share. Without sessions to hold, nothing.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    /// How often a core has come to a point where all wait for all.
    arrived: AtomicU64,
    /// The first opening, and each after a drop.
    rounds: Mutex<Vec<Round>>,
}

/// One opening of all sessions, over all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Round {
    /// When the first core began.
    began: Instant,
    /// When the last session was there, or known not to come.
    ended: Instant,
    /// Sessions that were there then, and until what is counted of the round was over.
    pub(crate) opened: u64,
}

impl Round {
    pub(crate) fn took(&self) -> Duration {
        self.ended.saturating_duration_since(self.began)
    }
}

impl Fleet {
    /// Waits until all cores are here; `true` for one of them, the last.
    pub(crate) async fn meet(&self) -> bool {
        let cores = u64::from(core_count());
        let place = self.arrived.fetch_add(1, Ordering::AcqRel);
        // None comes to the next point before all were at this one.
        let all = (place / cores + 1) * cores;
        while self.arrived.load(Ordering::Acquire) < all {
            pigeon_engine::sleep(MEETING_PAUSE).await;
        }
        place + 1 == all
    }

    fn note(&self, number: usize, own: Round) {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        match rounds.get_mut(number) {
            Some(round) => {
                round.began = round.began.min(own.began);
                round.ended = round.ended.max(own.ended);
                round.opened += own.opened;
            }
            // Every core is here before any is at the next.
            None => rounds.push(own),
        }
    }

    /// Of a run that is over, or of what was of it.
    pub(crate) fn rounds(&self) -> Vec<Round> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// This core's part of `idle`, or of a storm of so many rounds.
pub(crate) async fn hold_all(plan: &Arc<Plan>, shared: &Shared, rounds: Option<u32>) {
    let faults = misbehaving(plan);
    let own = Rc::new(Own {
        plan: plan.clone(),
        tally: RefCell::new(Tally::new()),
        standing: Cell::new(0),
        broken: Cell::new(false),
    });
    plan.fleet.meet().await;
    let began = pigeon_engine::now();
    let (mut held, never_opened) = own.open_some_at_a_time(rounds.is_none()).await;
    let ended = pigeon_engine::now();
    if plan.fleet.meet().await {
        // All are there, and nothing else is going on: what they cost the server.
        let usage = plan.server.usage();
        with(shared, |outcome| outcome.held = Some((usage, plan.live.held())));
    }
    plan.fleet.meet().await;
    pigeon_engine::sleep(plan.amount().duration).await;
    own.note(0, began, ended);
    for round in 1..=rounds.unwrap_or(0) as usize {
        plan.fleet.meet().await;
        held.into_iter().for_each(Task::cancel);
        let dropped = pigeon_engine::now();
        held = own.open_all(dropped).await;
        let ended = pigeon_engine::now();
        plan.fleet.meet().await;
        pigeon_engine::sleep(plan.amount().duration).await;
        own.note(round, dropped, ended);
    }
    // Nobody lets go while another core still holds.
    plan.fleet.meet().await;
    held.into_iter().for_each(Task::cancel);
    faults.into_iter().for_each(Task::cancel);
    with(shared, |outcome| {
        finish(outcome, std::slice::from_ref(&*own.tally.borrow()));
        outcome.never_begun += never_opened;
        if own.broken.get() {
            outcome.trouble = Some("a session of the generator broke: see above".to_owned());
        }
    });
}

/// Of one core.
struct Own {
    plan: Arc<Plan>,
    tally: RefCell<Tally>,
    /// Sessions that stand.
    standing: Cell<u64>,
    /// A task has panicked.
    broken: Cell<bool>,
}

/// A session that stands, here and in the live view.
struct Held(Rc<Own>);

impl Held {
    fn new(own: &Rc<Own>) -> Held {
        own.plan.live.held.fetch_add(1, Ordering::Relaxed);
        own.standing.set(own.standing.get() + 1);
        Held(own.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.plan.live.held.fetch_sub(1, Ordering::Relaxed);
        self.0.standing.set(self.0.standing.get() - 1);
    }
}

impl Own {
    /// At the end of a round: a session that the server has ended meanwhile is none of it.
    fn note(&self, number: usize, began: Instant, ended: Instant) {
        let opened = self.standing.get();
        self.plan.fleet.note(number, Round { began, ended, opened });
    }

    /// Opens session `index`, which was due `due`: a task that holds it. Where it is not `counted`, only what goes wrong is.
    async fn open(self: Rc<Self>, index: u64, due: Instant, counted: bool) -> Option<Task<()>> {
        let opened = hold::open(&self.plan, index).await;
        self.plan.live.add(opened.is_ok());
        let latency = pigeon_engine::now().saturating_duration_since(due);
        let result = opened.as_ref().map(|_| 0).map_err(|failure| *failure);
        self.plan.series.add(result, latency);
        if counted || result.is_err() {
            self.tally.borrow_mut().add(result, latency);
        }
        let mut client = opened.ok()?;
        let held = Held::new(&self);
        Some(pigeon_engine::spawn(async move {
            let failure = hold::hold(&mut client).await;
            drop(held);
            self.plan.series.add(Err(failure), Duration::ZERO);
            match counted {
                true => self.tally.borrow_mut().undo(failure),
                false => self.tally.borrow_mut().add(Err(failure), Duration::ZERO),
            }
        }))
    }

    /// Those that are held, and how many were not even tried.
    async fn open_some_at_a_time(self: &Rc<Self>, counted: bool) -> (Vec<Task<()>>, u64) {
        let next = Rc::new(RefCell::new(own_sessions(&self.plan)));
        let in_a_row = Rc::new(Cell::new(0));
        let openers = (0..OPENERS).map(|_| {
            let (own, next, in_a_row) = (self.clone(), next.clone(), in_a_row.clone());
            pigeon_engine::spawn(async move {
                let mut held = Vec::new();
                while in_a_row.get() < FAILURES_IN_A_ROW {
                    let Some(index) = next.borrow_mut().next() else { break };
                    let opened = own.clone().open(index, pigeon_engine::now(), counted).await;
                    in_a_row.set(if opened.is_some() { 0 } else { in_a_row.get() + 1 });
                    held.extend(opened);
                }
                held
            })
        });
        let held = self.all(openers.collect()).await;
        let left = next.borrow_mut().by_ref().count() as u64;
        (held.into_iter().flatten().collect(), left)
    }

    async fn open_all(self: &Rc<Self>, due: Instant) -> Vec<Task<()>> {
        let opening = own_sessions(&self.plan).map(|index| pigeon_engine::spawn(self.clone().open(index, due, true)));
        let opened = self.all(opening.collect()).await;
        opened.into_iter().flatten().collect()
    }

    async fn all<T>(&self, tasks: Vec<Task<T>>) -> Vec<T> {
        let ended = join_all(tasks).await;
        self.broken.set(self.broken.get() || ended.iter().any(Option::is_none));
        ended.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_lasts_from_the_first_core_to_the_last_session() {
        let start = Instant::now();
        let second = |count| start + Duration::from_secs(count);
        let round = |began, ended, opened| Round {
            began: second(began),
            ended: second(ended),
            opened,
        };
        let fleet = Fleet::default();
        fleet.note(0, round(2, 5, 10));
        fleet.note(0, round(1, 4, 7));
        fleet.note(1, round(6, 9, 1));
        fleet.note(1, round(7, 12, 2));
        assert_eq!(fleet.rounds(), [round(1, 5, 17), round(6, 12, 3)]);
        assert_eq!(fleet.rounds()[1].took(), Duration::from_secs(6));
    }
}
