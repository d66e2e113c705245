//! Finding the place that has an account: every place that may know is asked, and what it points to.
//!
//! Invariant: `Nothing` is the outcome only when each place that control data names, and each that one of them points to, has said
//! that it has nothing; or a person has said that it is lost. One that is silent, or that says something else, is a failure.

use super::source::{Source, There, Why};
use super::take::Moving;
use super::way::before;
use super::{is_this, node_of, this_node};
use crate::node::core::node;
use pigeon_datatree_cache::record::{BackendProtocol, Role};
use pigeon_proto::transfer::State;
use pigeon_store::{Account, MoveId, Standing};
use std::collections::{HashSet, VecDeque};

/// Places that are asked, at most.
const ASKED_MAX: usize = 64;
/// No move.
pub(super) const NO_MOVE: MoveId = MoveId([0; 16]);

/// What the places said.
pub(super) enum Found {
    /// This one has it, or hands it over to this node by an attempt that is over.
    At(Box<Source>, String, Option<MoveId>),
    /// Nowhere is anything of it. These could still begin it; with the attempt by which one hands it over here.
    Nothing(Vec<(String, Option<MoveId>)>),
}

/// Places on the way to the account.
struct Search {
    /// This end, as control data names it.
    here: String,
    queue: VecDeque<String>,
    asked: HashSet<String>,
    /// Where nothing is.
    nothing: Vec<(String, Option<MoveId>)>,
    /// Where nothing ever was.
    never: HashSet<String>,
    /// Where others say that they have given it, with who says so.
    given: Vec<(String, String)>,
    failed: Vec<Why>,
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
            here: self.here(),
            queue: VecDeque::new(),
            asked: HashSet::new(),
            nothing: Vec::new(),
            never: HashSet::new(),
            given: Vec::new(),
            failed: Vec::new(),
        };
        if let Standing::Incoming(other) | Standing::Moved(other) | Standing::GivenUp(other) = account.standing() {
            search.queue.push_back(other.place);
        }
        search.queue.extend(before(&self.record, self.place));
        while let Some(place) = self.next(&mut search) {
            if let Next::Done(found) = self.ask_at(account, &mut search, place).await {
                return Ok(found);
            }
        }
        for (to, by) in &search.given {
            if search.never.contains(to) {
                search
                    .failed
                    .push(format!("{by} gave it to {to}, which does not have it"));
            }
        }
        if !search.failed.is_empty() {
            return Err(search.failed.join("; "));
        }
        // Control data may have been changed twice, and name less than all. Whoever is silent of these is not waited for.
        let named = search.nothing.len();
        search.queue.extend(others());
        while let Some(place) = self.next(&mut search) {
            if let Next::Done(found) = self.ask_at(account, &mut search, place).await {
                return Ok(found);
            }
        }
        search.nothing.truncate(named);
        Ok(Found::Nothing(search.nothing))
    }

    /// The next place that was not asked yet.
    fn next(&self, search: &mut Search) -> Option<String> {
        while let Some(place) = search.queue.pop_front() {
            let is_lost = self.record.is_lost_on(node_of(&place));
            if place == search.here || is_lost || search.asked.len() >= ASKED_MAX {
                continue;
            }
            if search.asked.insert(place.clone()) {
                return Some(place);
            }
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
                search.failed.push(match why.starts_with(&place) {
                    true => why,
                    false => format!("{place}: {why}"),
                });
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
        let other = there.place;
        let is_here = other == search.here;
        match there.state {
            State::Unused => {
                search.never.insert(place.clone());
                search.nothing.push((place, None));
            }
            State::Here | State::Arrived if there.untouched => search.nothing.push((place, None)),
            State::Here | State::Arrived => return Next::Done(Found::At(Box::new(source), place, None)),
            State::HandingOver if is_here => match account.has_taken(there.id) {
                Some(false) if there.untouched => search.nothing.push((place, Some(there.id))),
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
                    Ok(false) => {
                        search.asked.remove(&place);
                        search.queue.push_front(place);
                    }
                    Err(why) => search.failed.push(format!("{place} hands it over to {other}: {why}")),
                }
            }
            State::HandingOver => {
                // Who has it of the two, they find out. If the other does, it can be fetched there already.
                search.failed.push(format!("{place} hands it over to {other}"));
                search.queue.push_front(other);
            }
            State::Incoming | State::GivenUp => {
                if !is_here {
                    search.queue.push_back(other);
                }
            }
            State::Moved if is_here => {
                // Then this end's own standing says where it went.
                if account.standing() == Standing::Here && account.has_taken(there.id) != Some(true) {
                    search
                        .failed
                        .push(format!("{place} gave it to this volume, which does not have it"));
                }
            }
            State::Moved => {
                search.given.push((other.clone(), place));
                search.queue.push_front(other);
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
fn others() -> Vec<String> {
    let Some(node) = node() else { return Vec::new() };
    let snapshot = node.copy.snapshot();
    let this = this_node();
    let others = snapshot.servers().filter(|server| {
        let is_ours = server.backends(BackendProtocol::Status).next().is_some() && server.keys().next().is_some();
        this.as_deref() != Some(server.name()) && is_ours && server.has_role(Role::Store)
    });
    others.map(|server| server.name().to_owned()).collect()
}
