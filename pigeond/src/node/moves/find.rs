//! Finding the place that has an account: every place that may know is asked, and what it points to.
//!
//! Invariant: `Nothing` is the outcome only when each place that control data names, and each that one of them points to, has said
//! that it has nothing; or a person has said that it is lost. One that is silent, or that says something else, is a failure. Of the
//! other nodes, which control data does not name, one may be silent as long as no other points to it; what one answers counts.

use super::source::{Source, There, Why};
use super::take::Moving;
use super::way::{before, is_seat, with_volume};
use super::{is_this, node_of, seat_name, this_node};
use crate::node::core::node;
use pigeon_datatree_cache::record::{BackendProtocol, Role};
use pigeon_proto::transfer::State;
use pigeon_store::{Account, MoveId, Standing};
use std::collections::{HashMap, HashSet, VecDeque};

/// Places that are asked, at most: more than a cluster has nodes. Where there are more, nothing is concluded.
const ASKED_MAX: usize = 1024;
/// No move.
pub(super) const NO_MOVE: MoveId = MoveId([0; 16]);

/// What the places said.
pub(super) enum Found {
    /// This one has it, or hands it over to this node by an attempt that is over.
    At(Box<Source>, String, Option<MoveId>),
    /// Nowhere is anything of it. These could still begin it.
    Nothing(Vec<Idle>),
}

/// A place where nothing of the account is, and where it could begin.
pub(super) struct Idle {
    pub(super) place: String,
    /// The move that it stands in, zero for none: whether anything has changed there since.
    pub(super) before: MoveId,
    /// Whether it would stand aside for this end.
    pub(super) agrees: bool,
}

/// Places on the way to the account.
#[derive(Default)]
struct Search {
    /// This end's volume.
    seat: Option<String>,
    queue: VecDeque<String>,
    asked: HashSet<String>,
    /// Those that control data names have been asked, and those that they point to.
    is_beyond: bool,
    /// Where nothing is.
    nothing: Vec<Idle>,
    /// Where nothing ever was.
    never: HashSet<String>,
    /// Where it was given, as a place says or this end knows; with what is said of that.
    given: Vec<(String, String)>,
    /// Where places point to that do not have it.
    ways: HashMap<String, String>,
    /// Those that have been asked twice.
    again: HashSet<String>,
    /// Those that others point to.
    pointed: HashSet<String>,
    /// Those that do not answer.
    silent: Vec<(String, Why)>,
    failed: Vec<Why>,
}

impl Search {
    /// Something of it is there, or was, as the place says that was asked.
    fn point(&mut self, to: String) {
        self.pointed.insert(to.clone());
        self.queue.push_front(to);
    }

    /// Fails where something else is known than that nowhere is anything. The `excused` may be silent, unless one points to them.
    fn check(&self, excused: &HashSet<String>) -> Result<(), Why> {
        let mut failed = self.failed.clone();
        let is_due = |place: &String| !excused.contains(place) || self.pointed.contains(place);
        let silent = self.silent.iter().filter(|(place, _)| is_due(place));
        failed.extend(silent.map(|(place, why)| match why.starts_with(place) {
            true => why.clone(),
            false => format!("{place}: {why}"),
        }));
        failed.extend(self.given.iter().filter_map(|(to, by)| {
            let end = self.end(to);
            self.never
                .contains(end)
                .then(|| format!("{by} {to}, and {end} does not have it"))
        }));
        match failed.is_empty() {
            true => Ok(()),
            false => Err(failed.join("; ")),
        }
    }

    /// Where one comes to who goes where places point to.
    fn end<'s>(&'s self, from: &'s str) -> &'s str {
        let mut end = from;
        for _ in 0..self.ways.len() {
            match self.ways.get(end) {
                Some(next) => end = next,
                None => break,
            }
        }
        end
    }
}

/// What to do after an answer.
enum Next {
    Done(Found),
    GoOn,
}

impl Moving {
    /// The place that has the account.
    pub(super) async fn find(&self, account: &Account) -> Result<Found, Why> {
        let mut search = Search {
            seat: seat_name(self.place),
            ..Search::default()
        };
        match account.standing() {
            Standing::Moved(other) => {
                search
                    .given
                    .push((other.place.clone(), "it went from here to".to_owned()));
                search.queue.push_back(other.place);
            }
            Standing::Incoming(other) | Standing::GivenUp(other) => {
                if other.id.is_of_fetch() {
                    search.given.push((other.place.clone(), "it was found at".to_owned()));
                }
                search.queue.push_back(other.place);
            }
            Standing::Here | Standing::Arrived(_) | Standing::HandingOver(_) => {}
        }
        search.queue.extend(before(&self.record, self.place));
        while let Some(place) = self.next(&mut search) {
            if let Next::Done(found) = self.ask_at(account, &mut search, place).await {
                return Ok(found);
            }
        }
        search.check(&HashSet::new())?;
        // Control data may have been changed twice, and name less than all. Whoever is silent of these is not waited for.
        search.is_beyond = true;
        let others = others();
        search.queue.extend(others.iter().cloned());
        search
            .queue
            .extend(super::give::other_volumes(account.id(), self.place).await);
        while let Some(place) = self.next(&mut search) {
            if let Next::Done(found) = self.ask_at(account, &mut search, place).await {
                return Ok(found);
            }
        }
        search.check(&others)?;
        Ok(Found::Nothing(search.nothing))
    }

    /// The next place that was not asked yet.
    fn next(&self, search: &mut Search) -> Option<String> {
        while let Some(place) = search.queue.pop_front() {
            let is_lost = self.record.is_lost_on(node_of(&place));
            if is_seat(&place, search.seat.as_deref()) || is_lost || search.asked.contains(&place) {
                continue;
            }
            if search.asked.len() >= ASKED_MAX {
                search.failed.push(format!("{place} is one place more than is asked"));
                search.queue.clear();
                return None;
            }
            search.asked.insert(place.clone());
            return Some(place);
        }
        None
    }

    async fn ask_at(&self, account: &Account, search: &mut Search, place: String) -> Next {
        let asked = async {
            let mut source = Source::open(&self.record, &place).await?;
            let there = source.ask(NO_MOVE).await?;
            Ok::<_, Why>((source, there))
        };
        match asked.await {
            Ok((source, there)) => self.take_in(account, search, place, source, there).await,
            Err(why) => {
                search.silent.push((place, why));
                Next::GoOn
            }
        }
    }

    async fn take_in(
        &self,
        account: &Account,
        search: &mut Search,
        place: String,
        mut source: Source,
        there: There,
    ) -> Next {
        // Whoever was told the node alone means the volume that it had placed the account in.
        let other = with_volume(&self.record, there.place.clone()).unwrap_or(there.place);
        let (is_here, agrees) = (is_seat(&other, search.seat.as_deref()), there.agrees);
        if there.state == State::Moved && !agrees {
            // It has nothing, but would go on from there, should control data want that.
            let (place, before) = (place.clone(), there.id);
            search.nothing.push(Idle { place, before, agrees });
        }
        match there.state {
            State::Unused => {
                search.never.insert(place.clone());
                // One that nobody names and that does not think the account its own begins nothing.
                if !search.is_beyond || search.pointed.contains(&place) {
                    let before = NO_MOVE;
                    search.nothing.push(Idle { place, before, agrees });
                }
            }
            State::Awaited => {
                search.never.insert(place.clone());
                let before = NO_MOVE;
                search.nothing.push(Idle { place, before, agrees });
            }
            State::Here | State::Arrived => return Next::Done(Found::At(Box::new(source), place, None)),
            State::HandingOver if is_here => match account.has_taken(there.id) {
                Some(false) => return Next::Done(Found::At(Box::new(source), place, Some(there.id))),
                // It was here, and has gone on since: where to, this end's own standing says.
                Some(true) => {
                    if let Err(why) = source.taken(there.id).await {
                        search.failed.push(format!("{place}: {why}"));
                    }
                }
                None => search.failed.push(format!(
                    "{place} hands it over by a move that is not known here any more"
                )),
            },
            State::HandingOver if is_this(node_of(&other)) => {
                // To another volume of this node, which control data does not want it in any more.
                match self.decline_for(&other, there.id, &mut source).await {
                    Ok(true) => search.queue.push_front(other),
                    Ok(false) if search.again.insert(place.clone()) => {
                        search.asked.remove(&place);
                        search.queue.push_front(place);
                    }
                    Ok(false) => search
                        .failed
                        .push(format!("{place} goes on handing it over to {other}")),
                    Err(why) => search.failed.push(format!("{place} hands it over to {other}: {why}")),
                }
            }
            State::HandingOver => {
                // Who has it of the two, they find out. If the other does, it can be fetched there already.
                search.failed.push(format!("{place} hands it over to {other}"));
                search.point(other);
            }
            State::Incoming | State::GivenUp => {
                if !is_here {
                    search.pointed.insert(other.clone());
                    search.ways.insert(place.clone(), other.clone());
                    if there.id.is_of_fetch() {
                        search.given.push((other.clone(), format!("{place} found it at")));
                    }
                    search.queue.push_back(other);
                }
                // What stands aside for this end already begins nothing.
                if !is_here || there.state == State::Incoming {
                    let before = there.id;
                    search.nothing.push(Idle { place, before, agrees });
                }
            }
            State::Moved if is_here => {
                // Then this end's own standing says where it went.
                match account.standing().counterpart() {
                    Some(on) => search.given.push((
                        on.place.clone(),
                        format!("{place} gave it here, and from here it went to"),
                    )),
                    None if account.has_taken(there.id) == Some(true) => {}
                    None => search
                        .failed
                        .push(format!("{place} gave it to this volume, which does not have it")),
                }
            }
            State::Moved => {
                search.ways.insert(place.clone(), other.clone());
                search.given.push((other.clone(), format!("{place} gave it to")));
                search.point(other);
            }
        }
        Next::GoOn
    }

    /// Ends an attempt of another volume of this node. True when the account is there by it.
    async fn decline_for(&self, other: &str, id: MoveId, source: &mut Source) -> Result<bool, Why> {
        let mut there = Source::open(&self.record, other).await?;
        if there.ask(id).await?.taken != Some(false) {
            return Ok(true);
        }
        there.abandon(id).await?;
        source.declined(id).await?;
        Ok(false)
    }
}

/// All other nodes of ours that may keep mail.
fn others() -> HashSet<String> {
    let Some(node) = node() else { return HashSet::new() };
    let snapshot = node.copy.snapshot();
    let this = this_node();
    let others = snapshot.servers().filter(|server| {
        let is_ours = server.backends(BackendProtocol::Status).next().is_some() && server.keys().next().is_some();
        this.as_deref() != Some(server.name()) && is_ours && server.has_role(Role::Store)
    });
    others.map(|server| server.name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(places: &[&str]) -> HashSet<String> {
        places.iter().map(|place| (*place).to_owned()).collect()
    }

    #[test]
    fn one_that_control_data_does_not_name_may_be_silent() {
        let search = Search {
            silent: vec![("n1".to_owned(), "it is down".to_owned())],
            ..Search::default()
        };
        assert_eq!(search.check(&set(&["n1", "n2"])), Ok(()));
        assert_eq!(search.check(&set(&["n2"])), Err("n1: it is down".to_owned()));
    }

    #[test]
    fn one_that_another_points_to_may_not() {
        for silent in ["n2", "n2/v1"] {
            let mut search = Search::default();
            search.point(silent.to_owned());
            search.given.push((silent.to_owned(), "n1 gave it to".to_owned()));
            search.silent.push((silent.to_owned(), "it is down".to_owned()));
            assert_eq!(search.check(&set(&["n1", "n2"])), Err(format!("{silent}: it is down")));
        }
    }

    #[test]
    fn what_one_answers_counts_whether_or_not_control_data_names_it() {
        let handing_over = Search {
            failed: vec!["n1 hands it over to n2".to_owned()],
            ..Search::default()
        };
        assert!(handing_over.check(&set(&["n1", "n2"])).is_err());
        let given = Search {
            given: vec![("n2".to_owned(), "n1 gave it to".to_owned())],
            never: set(&["n2"]),
            ..Search::default()
        };
        let why = "n1 gave it to n2, and n2 does not have it".to_owned();
        assert_eq!(given.check(&set(&["n1", "n2"])), Err(why));
    }

    #[test]
    fn whoever_it_was_given_to_may_have_passed_it_on_but_not_to_one_that_never_had_it() {
        let mut search = Search {
            given: vec![("n2".to_owned(), "n1 gave it to".to_owned())],
            ways: [("n1", "n2"), ("n2", "n3")]
                .map(|(from, to)| (from.to_owned(), to.to_owned()))
                .into(),
            ..Search::default()
        };
        assert_eq!(search.check(&HashSet::new()), Ok(()));
        search.never.insert("n3".to_owned());
        let why = "n1 gave it to n2, and n3 does not have it".to_owned();
        assert_eq!(search.check(&HashSet::new()), Err(why));
        // In a circle nobody is the last; it comes to an end all the same.
        search.ways.insert("n3".to_owned(), "n1".to_owned());
        assert_eq!(search.end("n1"), "n1");
    }
}
