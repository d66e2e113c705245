//! CPU time of a tree of processes that come and go.
//!
//! A process that ends leaves its time to its parent, when that waits for it; not every parent does, and one that has no parent in
//! the tree leaves it to nobody. So what was seen last of each is charged to the parent, and of that and what the parent really
//! was left the greater counts.

use std::collections::BTreeMap;

/// Of proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    state: u8,
    parent: u32,
    /// Its own user and system time, ticks.
    own: u64,
    /// That of its children that it has waited for.
    left: u64,
    /// When it began: tells two processes of one number apart.
    born: u64,
}

impl Stat {
    pub(super) fn parse(text: &str) -> Option<Stat> {
        // The second field is in parentheses and may hold anything.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let number = |place: usize| -> Option<u64> { fields.get(place)?.parse().ok() };
        Some(Stat {
            state: *fields.first()?.as_bytes().first()?,
            parent: fields.get(1)?.parse().ok()?,
            own: number(11)?.saturating_add(number(12)?),
            left: number(13)?.saturating_add(number(14)?),
            born: number(19)?,
        })
    }

    /// It has ended, and its parent has not looked.
    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }
}

#[derive(Debug)]
struct Process {
    stat: Stat,
    /// What it had been left when it was first seen.
    left_before: u64,
    /// What its children had when they were last seen that are gone since.
    charged: u64,
}

impl Process {
    fn ticks(&self) -> u64 {
        self.stat.own + self.stat.left.max(self.left_before + self.charged)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    living: BTreeMap<u32, Process>,
    /// Of those that are gone and left it to nobody here.
    kept: u64,
}

impl Ledger {
    /// Of all that belong to the tree now.
    pub(super) fn pids(&self) -> impl Iterator<Item = u32> {
        self.living.keys().copied()
    }

    /// Of all that ever belonged to it.
    pub(super) fn ticks(&self) -> u64 {
        self.kept + self.living.values().map(Process::ticks).sum::<u64>()
    }

    /// The next look. `Err`: this one of the named is gone.
    pub(super) fn take(&mut self, named: &[u32], there: &BTreeMap<u32, Stat>) -> Result<(), u32> {
        let is_there = |pid: &u32, born: u64| there.get(pid).is_some_and(|stat| stat.born == born);
        for pid in named {
            let known = self.living.get(pid).map(|process| process.stat.born);
            let born = known.or_else(|| there.get(pid).map(|stat| stat.born));
            if !born.is_some_and(|born| is_there(pid, born)) || there[pid].has_ended() {
                return Err(*pid);
            }
        }
        let gone: Vec<u32> = self
            .living
            .iter()
            .filter(|(pid, process)| !is_there(pid, process.stat.born))
            .map(|(pid, _)| *pid)
            .collect();
        self.charge(gone);
        let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (pid, stat) in there {
            children.entry(stat.parent).or_default().push(*pid);
        }
        // Those known before belong to it even when their parents are gone.
        let mut left: Vec<u32> = self.pids().chain(named.iter().copied()).collect();
        let mut seen = std::collections::BTreeSet::new();
        while let Some(pid) = left.pop() {
            let Some(stat) = there.get(&pid).filter(|_| seen.insert(pid)) else {
                continue;
            };
            let process = self.living.entry(pid).or_insert(Process {
                stat: *stat,
                left_before: stat.left,
                charged: 0,
            });
            process.stat = *stat;
            left.extend(children.get(&pid).into_iter().flatten());
        }
        Ok(())
    }

    /// Children before their parents: then a parent that is gone as well hands on what it was charged.
    fn charge(&mut self, mut gone: Vec<u32>) {
        gone.sort_by_key(|pid| std::cmp::Reverse(self.depth(*pid)));
        for pid in gone {
            let Some(process) = self.living.remove(&pid) else {
                continue;
            };
            match self.living.get_mut(&process.stat.parent) {
                Some(parent) => parent.charged += process.ticks(),
                None => self.kept += process.ticks(),
            }
        }
    }

    /// How many parents it has here.
    fn depth(&self, pid: u32) -> usize {
        let parent = |pid: &u32| self.living.get(pid).map(|process| process.stat.parent);
        // Numbers that were used twice might make a circle.
        std::iter::successors(Some(pid), parent)
            .take(self.living.len() + 1)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: u32, own: u64, left: u64, born: u64) -> Stat {
        Stat {
            state: b'S',
            parent,
            own,
            left,
            born,
        }
    }

    #[test]
    fn a_line_of_proc() {
        let line = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 4 6 20 0 1 0 99 1 1";
        assert_eq!(Stat::parse(line), Some(stat(1, 300, 10, 99)));
        assert_eq!(Stat::parse("nonsense"), None);
    }

    #[test]
    fn those_that_have_ended_keep_what_they_had() {
        let mut ledger = Ledger::default();
        // 10 is named; 11 is its child, 12 that one's; 20 is somebody else's.
        let all = BTreeMap::from([
            (10, stat(1, 100, 7, 1)),
            (11, stat(10, 40, 0, 2)),
            (12, stat(11, 5, 0, 3)),
            (20, stat(1, 900, 0, 4)),
        ]);
        ledger.take(&[10], &all).expect("it is there");
        assert_eq!(
            (ledger.ticks(), ledger.pids().collect::<Vec<_>>()),
            (152, vec![10, 11, 12])
        );
        // 11 ends, and 10 was left what it used, 3 more than was seen; 12 has no parent here any more, and a child.
        let later = BTreeMap::from([
            (10, stat(1, 110, 50, 1)),
            (12, stat(1, 6, 0, 3)),
            (13, stat(12, 1, 0, 5)),
        ]);
        ledger.take(&[10], &later).expect("it is there");
        assert_eq!(ledger.ticks(), 110 + 50 + 6 + 1);
        // 12 and 13 end, and nobody was left anything; another process has the number 12.
        let last = BTreeMap::from([(10, stat(1, 110, 50, 1)), (12, stat(1, 70, 0, 6))]);
        ledger.take(&[10], &last).expect("it is there");
        assert_eq!((ledger.ticks(), ledger.pids().collect::<Vec<_>>()), (167, vec![10]));
        // Many that come and go between two looks show in what 10 is left.
        ledger
            .take(&[10], &BTreeMap::from([(10, stat(1, 110, 80, 1))]))
            .expect("it is there");
        assert_eq!(ledger.ticks(), 197);
    }

    #[test]
    fn a_parent_that_does_not_wait_loses_nothing() {
        let mut ledger = Ledger::default();
        for round in 0..3 {
            let with = BTreeMap::from([(10, stat(1, 0, 0, 1)), (11 + round, stat(10, 30, 0, 2))]);
            ledger.take(&[10], &with).expect("it is there");
            ledger
                .take(&[10], &BTreeMap::from([(10, stat(1, 0, 0, 1))]))
                .expect("it is there");
        }
        assert_eq!(ledger.ticks(), 90);
    }

    #[test]
    fn one_of_the_named_that_is_gone_is_told() {
        let mut ledger = Ledger::default();
        let there = BTreeMap::from([(10, stat(1, 0, 0, 1))]);
        assert_eq!(ledger.take(&[10, 11], &there), Err(11));
        ledger.take(&[10], &there).expect("it is there");
        let another = BTreeMap::from([(10, stat(1, 0, 0, 2))]);
        assert_eq!(ledger.take(&[10], &another), Err(10));
        let ended = BTreeMap::from([(
            10,
            Stat {
                state: b'Z',
                ..stat(1, 0, 0, 1)
            },
        )]);
        assert_eq!(ledger.take(&[10], &ended), Err(10));
    }
}
