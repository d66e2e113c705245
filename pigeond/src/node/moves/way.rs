//! Where an account is served right now, whatever control data says it is to be: what its standing in a volume means for a
//! session or a message that comes for it, and whether its move has something to do there.

use super::{begin, is_last, is_owner, is_this, known, node_of, place_on, seat_name, seat_of, wanted_at};
use crate::node::core::node;
use futures_util::future::join_all;
use pigeon_datatree_cache::Account as Record;
use pigeon_datatree_cache::record::Server;
use pigeon_delivery::Place;
use pigeon_store::{Account, AccountId, Standing};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// For the last part of a move: sessions and mail that come meanwhile wait so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Volumes that are asked for an account, one after the other.
const VOLUMES_MAX: u8 = 3;
/// Between two looks whether it is over.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

/// Where an account is served right now.
pub(crate) enum Way {
    /// In the volume that was asked.
    Here,
    /// In another volume of this node.
    Volume(Place),
    /// On another node.
    Node(Arc<Server>),
    /// Nowhere for now; the text is for the log.
    Nowhere(String),
}

pub(super) enum Step {
    Way(Way),
    Wait,
}

/// The volume of this node in which to look for an account: the one that it is to be in, or was in before it goes to
/// another node. `None`: by the table's own rule.
pub(crate) fn volume_of(record: &Record) -> Option<&str> {
    if is_owner(record) {
        return record.volume();
    }
    match record.previous().find(|previous| is_this(previous.node)) {
        Some(previous) => previous.volume,
        None => record.volume(),
    }
}

/// Where an account is served, asked on the core of `place`. Waits while a move is in its last part, and begins one that is due.
pub(crate) async fn way(record: &Arc<Record>, account: &Account, place: Place) -> Way {
    let until = pigeon_engine::now() + PATIENCE;
    loop {
        match step(record, account, place) {
            Step::Way(way) => return way,
            Step::Wait if pigeon_engine::now() >= until => {
                return Way::Nowhere("its move takes long to end".to_owned());
            }
            Step::Wait => pigeon_engine::sleep(LOOK_PAUSE).await,
        }
    }
}

/// One look at it. Begins what is to be done about its move.
pub(super) fn step(record: &Arc<Record>, account: &Account, place: Place) -> Step {
    let record = &known(record);
    let is_due = wanted_at(record, place);
    match account.standing() {
        // While the first word of a move hither is being written, it is not here yet.
        Standing::Here if account.is_unused_durably() => unused(record, place, is_due),
        Standing::Here => Step::Way(Way::Here),
        Standing::Arrived(_) => {
            if is_due {
                begin(record, place);
            }
            Step::Way(Way::Here)
        }
        Standing::Incoming(from) => {
            // Not wanted here any more: then it is given up.
            begin(record, place);
            let is_here = is_seat(&from.place, seat_name(place).as_deref());
            match is_here || is_last(record.id(), place) || record.is_lost_on(node_of(&from.place)) {
                true => Step::Wait,
                false => Step::Way(way_to(&from.place)),
            }
        }
        Standing::HandingOver(to) if is_wanted_there(record, &to.place) => match is_this(node_of(&to.place)) {
            true => Step::Wait,
            false => Step::Way(way_to(&to.place)),
        },
        // Control data wants it somewhere else by now: who has it must be found out.
        Standing::HandingOver(_) => {
            begin(record, place);
            Step::Wait
        }
        // It was to begin here, for all that had it are lost, and did not.
        Standing::GivenUp(other) if is_seat(&other.place, seat_name(place).as_deref()) => {
            if is_due {
                begin(record, place);
                return Step::Wait;
            }
            next(record, place).map_or(Step::Wait, |next| Step::Way(way_to(&next)))
        }
        Standing::Moved(other) | Standing::GivenUp(other) => {
            // Which of its own volumes has it is this node's business while control data names none. For one that has given it up or
            // stands aside, it may be nowhere yet.
            let has_it = matches!(account.standing(), Standing::Moved(_));
            let may_stay_there = has_it && is_this(node_of(&other.place)) && record.volume().is_none();
            if is_due && !may_stay_there {
                begin(record, place);
            }
            match is_due && record.is_lost_on(node_of(&other.place)) {
                true => Step::Wait,
                false => Step::Way(way_to(&other.place)),
            }
        }
    }
}

/// Nothing of it was ever here.
fn unused(record: &Arc<Record>, place: Place, is_due: bool) -> Step {
    if is_due && may_be_elsewhere(record, place) {
        begin(record, place);
        return match before(record, place).first() {
            // The first of those where it may be: who was there knows whether it has gone on.
            Some(first) => Step::Way(way_to(first)),
            // All that had it are lost; others may have something yet.
            None => Step::Wait,
        };
    }
    // One of those where it may be sends on to the next one, and the last one serves it: so nobody is sent round in a circle.
    match next(record, place) {
        Some(next) => Step::Way(way_to(&next)),
        None => Step::Way(Way::Here),
    }
}

/// Whether something of the account may be in another place than this one, as control data says.
pub(super) fn may_be_elsewhere(record: &Record, place: Place) -> bool {
    !before(record, place).is_empty() || record.lost().next().is_some()
}

/// Where control data says that the account was, as far as that is not this place: nodes, or nodes and volumes.
pub(super) fn before(record: &Record, place: Place) -> Vec<String> {
    let here = seat_name(place);
    let mut all = named(record);
    all.retain(|name| !is_seat(name, here.as_deref()));
    all
}

/// Who is asked next for an account of which nothing is in this place: of those where it may be, the one behind this; beside them, the
/// first, or the owner. `None`: nobody is.
fn next(record: &Record, place: Place) -> Option<String> {
    let (all, here) = (named(record), seat_name(place));
    match all.iter().position(|name| is_seat(name, here.as_deref())) {
        // A node alone goes by any name.
        Some(index) => all
            .into_iter()
            .skip(index + 1)
            .find(|name| !is_seat(name, here.as_deref())),
        None => {
            let owner = record.node().filter(|_| !is_owner(record));
            all.into_iter().next().or_else(|| owner.map(str::to_owned))
        }
    }
}

/// Whether a place is this seat of this node.
pub(super) fn is_seat(name: &str, seat: Option<&str>) -> bool {
    is_this(node_of(name)) && name.split_once('/').map(|(_, volume)| volume) == seat
}

/// All of them, this node's with their volumes.
fn named(record: &Record) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for previous in record.previous() {
        let Some(name) = with_volume(record, previous.to_string()) else {
            continue;
        };
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// The name of a place, with the volume where it is this node's: where none is named, the node had placed it.
pub(super) fn with_volume(record: &Record, name: String) -> Option<String> {
    match is_this(node_of(&name)) && !name.contains('/') {
        true => Some(format!("{name}/{}", seat_name(place_on(record, None)?)?)),
        false => Some(name),
    }
}

/// Whether control data wants the account at a place that a standing names.
pub(super) fn is_wanted_there(record: &Record, there: &str) -> bool {
    match is_this(node_of(there)) {
        // Of another node's volumes that node knows more.
        false => record.node() == Some(node_of(there)),
        true => {
            let named = there.split_once('/').map(|(_, volume)| volume.to_owned());
            is_owner(record) && place_on(record, record.volume()).and_then(seat_name) == named
        }
    }
}

/// The way to `NODE` or `NODE/VOLUME`.
fn way_to(place: &str) -> Way {
    let Some(this) = node() else {
        return Way::Nowhere("the node ends".to_owned());
    };
    if is_this(node_of(place)) {
        let seat = place.split_once('/').map(|(_, volume)| volume);
        let found = this.shared.table.get().and_then(|table| seat_of(table, seat?));
        return found.map_or_else(
            || Way::Nowhere(format!("{place:?} is no volume of this node")),
            Way::Volume,
        );
    }
    match this.copy.snapshot().server(node_of(place)) {
        Some(server) => Way::Node(Arc::clone(server)),
        None => Way::Nowhere(format!("its mail is at {place:?}, which is not in the server_map")),
    }
}

/// Where mail for an account goes that moves, or has moved.
pub(crate) enum Located {
    /// Into this volume.
    Volume(Place),
    /// To this node.
    Node(Arc<Server>),
    /// Nowhere for now; the text is for the log.
    Nowhere(String),
}

/// Where mail for an account goes of which control data says that it was somewhere else before; `None`: it does not say so, and
/// the table places it.
pub(crate) async fn locate(record: &Arc<Record>) -> Option<Located> {
    if !record.was_elsewhere() {
        return None;
    }
    Some(locate_anew(record).await)
}

/// Accounts that are asked for at once.
const ASKED_AT_ONCE: usize = 64;

/// Asks for several accounts at once: each may be waited for, and together they are not to take as long as one after the other.
pub(crate) async fn at_once<F: Future>(asked: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut asked = asked.peekable();
    let mut answers = Vec::with_capacity(asked.size_hint().0);
    while asked.peek().is_some() {
        answers.extend(join_all(asked.by_ref().take(ASKED_AT_ONCE)).await);
    }
    answers
}

/// The same, whatever control data says: a volume was asked and does not have it.
pub(crate) async fn locate_anew(record: &Arc<Record>) -> Located {
    Box::pin(find(record)).await.unwrap_or_else(Located::Nowhere)
}

async fn find(record: &Arc<Record>) -> Result<Located, String> {
    let node = node().ok_or("the node ends")?;
    let table = node.shared.table.get().ok_or("the volumes are not open yet")?;
    let mut place = table
        .place(&record.id().0, volume_of(record))
        .map_err(|error| error.to_string())?;
    for _ in 0..VOLUMES_MAX {
        let (asked, asking) = (place, record.clone());
        let way = pigeon_engine::on_core(place.core, move || async move {
            let volume = pigeon_delivery::volume(asked.volume).ok_or("its volume is not open")?;
            let account = volume.account(AccountId(asking.id().0)).await;
            let account = account.map_err(|error| error.to_string())?;
            Ok::<Way, String>(way(&asking, &account, asked).await)
        });
        match way.await.map_err(|_| "its core has ended".to_owned())?? {
            Way::Here => return Ok(Located::Volume(place)),
            Way::Volume(other) => place = other,
            Way::Node(server) => return Ok(Located::Node(server)),
            Way::Nowhere(why) => return Err(why),
        }
    }
    Err("each volume says that it is in another".to_owned())
}
