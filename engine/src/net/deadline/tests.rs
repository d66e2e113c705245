//! The wheel against a clock that the test turns.

use super::super::connection::ConnectionState;
use super::super::receive::Incoming;
use super::{BUCKETS, Place, TICK, Wheel};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

fn connection() -> Rc<ConnectionState> {
    let file = std::fs::File::open("/dev/null").expect("every system has it");
    ConnectionState::new(
        file.into(),
        SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        Incoming::default(),
    )
}

/// As `Connection::set_deadline`.
fn set(wheel: &mut Wheel, state: &Rc<ConnectionState>, deadline: Option<Instant>) {
    state.deadline.set(deadline);
    if let Some(deadline) = deadline {
        wheel.watch(state, deadline);
    }
}

/// As the task that turns the wheel: those whose deadline has passed.
fn turn(wheel: &mut Wheel, now: Instant) -> Vec<Rc<ConnectionState>> {
    let mut late = Vec::new();
    for state in wheel.due(now) {
        match state.deadline.get() {
            None => {}
            Some(deadline) if deadline <= now => late.push(state),
            Some(deadline) => wheel.watch(&state, deadline),
        }
    }
    late
}

fn held(wheel: &Wheel) -> usize {
    wheel.buckets.iter().map(Vec::len).sum()
}

fn ticks(count: u64) -> Duration {
    TICK * u32::try_from(count).expect("the tests turn for minutes")
}

#[test]
fn a_deadline_comes_up_once_and_late_rather_than_early() {
    for milliseconds in [0, 1, 249, 250, 251, 15_749, 15_750, 16_000, 16_001, 40_000, 300_000] {
        let mut wheel = Wheel::default();
        let start = wheel.start;
        let state = connection();
        set(&mut wheel, &state, Some(start + Duration::from_millis(milliseconds)));
        let up: Vec<u64> = (1..=1_300)
            .filter(|count| !turn(&mut wheel, start + ticks(*count)).is_empty())
            .collect();
        // One that is past already comes up at the next tick.
        assert_eq!(up, [milliseconds.div_ceil(250).max(1)], "{milliseconds} ms");
        assert_eq!((held(&wheel), state.place.get()), (0, Place::NONE));
    }
}

#[test]
fn a_deadline_that_moves_is_watched_where_it_is() {
    let mut wheel = Wheel::default();
    let start = wheel.start;
    let (sooner, later, gone) = (connection(), connection(), connection());
    for state in [&sooner, &later, &gone] {
        set(&mut wheel, state, Some(start + ticks(20)));
    }
    set(&mut wheel, &sooner, Some(start + ticks(5)));
    set(&mut wheel, &later, Some(start + ticks(100)));
    set(&mut wheel, &gone, None);
    assert_eq!(held(&wheel), 3, "each stands in one place");
    let mut up = Vec::new();
    for count in 1..=200 {
        for state in turn(&mut wheel, start + ticks(count)) {
            up.push((count, Rc::ptr_eq(&state, &sooner), Rc::ptr_eq(&state, &later)));
        }
    }
    assert_eq!(up, [(5, true, false), (100, false, true)]);
}

#[test]
fn whoever_is_taken_out_takes_nobody_along() {
    let mut wheel = Wheel::default();
    let deadline = wheel.start + ticks(3);
    let states: Vec<_> = (0..4).map(|_| connection()).collect();
    states.iter().for_each(|state| set(&mut wheel, state, Some(deadline)));
    // The last one moves into the place of the first, and is then taken out from there.
    for index in [0, 3, 3, 1] {
        wheel.remove(&states[index]);
    }
    let left = turn(&mut wheel, deadline);
    assert!(left.len() == 1 && Rc::ptr_eq(&left[0], &states[2]));
    states.iter().for_each(|state| wheel.remove(state));
    assert_eq!(held(&wheel), 0);
}

#[test]
fn after_a_long_sleep_everybody_late_comes_up() {
    let mut wheel = Wheel::default();
    let start = wheel.start;
    let states: Vec<_> = (0..3 * BUCKETS).map(|_| connection()).collect();
    for (count, state) in (1..).zip(&states) {
        set(&mut wheel, state, Some(start + ticks(count)));
    }
    assert_eq!(turn(&mut wheel, start + ticks(2 * BUCKETS)).len() as u64, 2 * BUCKETS);
    // What is set after it counts from then on.
    set(&mut wheel, &states[0], Some(start + ticks(2 * BUCKETS + 1)));
    assert_eq!(turn(&mut wheel, start + ticks(2 * BUCKETS + 1)).len(), 2);
    assert_eq!(turn(&mut wheel, start + ticks(100 * BUCKETS)).len() as u64, BUCKETS - 1);
    assert_eq!(held(&wheel), 0);
}

#[test]
fn many_that_come_move_and_go_agree_with_a_plain_map() {
    let mut wheel = Wheel::default();
    let start = wheel.start;
    let states: Vec<_> = (0..40).map(|_| connection()).collect();
    let mut model: BTreeMap<usize, Instant> = BTreeMap::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    for count in 1..5_000 {
        let now = start + ticks(count);
        for _ in 0..below(4) {
            let index = usize::try_from(below(40)).expect("below 40");
            match below(8) {
                0 => {
                    wheel.remove(&states[index]);
                    states[index].deadline.set(None);
                    model.remove(&index);
                }
                1 => {
                    set(&mut wheel, &states[index], None);
                    model.remove(&index);
                }
                _ => {
                    let deadline = now + Duration::from_millis(below(40_000));
                    set(&mut wheel, &states[index], Some(deadline));
                    model.insert(index, deadline);
                }
            }
        }
        let now = now + TICK;
        let mut late: Vec<usize> = turn(&mut wheel, now)
            .iter()
            .map(|found| {
                let same = states.iter().position(|state| Rc::ptr_eq(state, found));
                same.expect("only these are in the wheel")
            })
            .collect();
        late.sort_unstable();
        let expected: Vec<usize> = model
            .iter()
            .filter(|(_, deadline)| **deadline <= now)
            .map(|(index, _)| *index)
            .collect();
        assert_eq!(late, expected, "tick {count}");
        for index in late {
            states[index].deadline.set(None);
            model.remove(&index);
        }
    }
}
