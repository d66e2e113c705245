//! Moving accounts to this node, and between its volumes: the moves under way on one core.
//!
//! Control data names the new place and those before (pigeonPreviousHost). The new owner fetches the account from there,
//! whenever it learns of it: by a change of control data, at its start, or because a session or a message comes for it. Until it
//! has it, sessions and mail go to the old owner, which serves them whatever its own control data says, up to the hand-over
//! (`way`). Each account's move runs on the core that owns the volume that it is about; what is durable of it is the store's
//! (`pigeon_store`).
//!
//! Invariants:
//! - An account begins empty only when every place that control data names, and every one that those point to, has said that it has
//!   nothing of it, and has then stood aside for this end, durably (`find`, `take`); never because one is silent. What stands aside
//!   points here, and has nothing that could come back. Of two that would begin it, one sees the other, and must make it stand aside:
//!   what is to begin is durably incoming before the places are asked for the last time.
//! - What hands an account over finds out by itself who has it when control data wants it elsewhere (`settle`). It takes it back on
//!   the other end's word alone, that it does not have it by that very move and durably never will; or on a person's.

mod find;
mod give;
mod report;
mod settle;
mod source;
mod take;
mod way;

pub(super) use report::report;
pub(super) use way::{Located, Way, at_once, locate, locate_anew, volume_of, way};

use super::core::node;
use give::Giving;
use pigeon_datatree_cache::{Account as Record, AccountUuid};
use pigeon_delivery::{Place, VolumeTable};
use pigeon_engine::stream::Stream;
use pigeon_engine::sync::{Notify, Semaphore};
use pigeon_engine::{Task, current_core};
use pigeon_store::{Account, AccountId, Standing};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use take::Moving;

/// Accounts that are fetched at once on one core; more wait.
const MOVES_MAX: usize = 4;
/// Accounts that are looked for at once on one core, with a connection each; more wait.
const FINDS_MAX: usize = 64;
/// Accounts that are looked at before others have a turn.
const TURN_ACCOUNTS: usize = 256;

/// An account and the volume that it is about.
type Key = (AccountUuid, usize);

thread_local! {
    static MOVES: RefCell<HashMap<Key, UnderWay>> = RefCell::default();
    static TURNS: Turns = Turns {
        find: Semaphore::new(FINDS_MAX),
        fetch: Semaphore::new(MOVES_MAX),
    };
}

/// What keeps a change of many accounts from being worked off all at once.
#[derive(Clone)]
struct Turns {
    find: Semaphore,
    fetch: Semaphore,
}

/// A move to or from a volume of this core.
struct UnderWay {
    task: Task<()>,
    record: Arc<Record>,
    state: Rc<State>,
}

/// What others see of it.
#[derive(Default)]
struct State {
    /// The old owner changes nothing any more, and soon this one has all.
    is_last: Cell<bool>,
    /// Between two tries.
    is_waiting: Cell<bool>,
    /// Ends the wait for the next try.
    asked: Notify,
}

/// This node's id; `None` for a node alone.
fn this_node() -> Option<String> {
    let node = node()?;
    node.shared.cluster.as_ref().map(|cluster| cluster.node.clone())
}

/// Whether a name of a node means this one; a node alone goes by any.
fn is_this(name: &str) -> bool {
    this_node().is_none_or(|this| this == name)
}

fn is_owner(record: &Record) -> bool {
    record.node().is_none_or(is_this)
}

/// What this node's own control data says of the account, else what came with the session or the message. But where this node has
/// not heard yet that it was somewhere else, whoever has, is right.
fn known(record: &Arc<Record>) -> Arc<Record> {
    match own(record.id()) {
        Some(own) if own.was_elsewhere() || !record.was_elsewhere() || !is_owner(&own) || !is_owner(record) => own,
        _ => record.clone(),
    }
}

/// What this node's own control data says of an account.
fn own(account: AccountUuid) -> Option<Arc<Record>> {
    node()?.copy.snapshot().account(account).cloned()
}

/// Whether control data wants the account in this volume.
fn wanted_at(record: &Record, place: Place) -> bool {
    is_owner(record) && place_on(record, record.volume()).is_some_and(|wanted| wanted.volume == place.volume)
}

/// Whether control data wants it anywhere but in this volume; not so while it cannot be said which of this node's that is.
fn unwanted_at(record: &Record, place: Place) -> bool {
    !is_owner(record) || place_on(record, record.volume()).is_some_and(|wanted| wanted.volume != place.volume)
}

/// Where the table places an account, in the volume of this name or by its own rule.
fn place_on(record: &Record, volume: Option<&str>) -> Option<Place> {
    let node = node()?;
    node.shared.table.get()?.place(&record.id().0, volume).ok()
}

fn seat_name(place: Place) -> Option<String> {
    let node = node()?;
    let seat = node.shared.table.get()?.seats().get(place.volume)?;
    Some(seat.name.clone())
}

fn node_of(place: &str) -> &str {
    place.split('/').next().unwrap_or_default()
}

fn seat_of(table: &VolumeTable, name: &str) -> Option<Place> {
    let volume = table.seats().iter().position(|seat| seat.name == name)?;
    Some(Place {
        volume,
        core: table.seats()[volume].core,
    })
}

fn is_last(account: AccountUuid, place: Place) -> bool {
    MOVES.with_borrow(|moves| {
        let under_way = moves.get(&(account, place.volume));
        under_way.is_some_and(|under_way| under_way.state.is_last.get())
    })
}

/// Begins what is to be done about an account in a volume of this core, unless it is under way. What waits for its next try by
/// what control data said before tries again now.
fn begin(record: &Arc<Record>, place: Place) {
    let key = (record.id(), place.volume);
    let is_same = |before: &Record| before.generation() == record.generation();
    let goes_on = |under_way: &UnderWay| is_same(&under_way.record) || !under_way.state.is_waiting.get();
    if MOVES.with_borrow(|moves| moves.get(&key).is_some_and(goes_on)) {
        return;
    }
    stop(record.id(), place.volume);
    let state = Rc::new(State::default());
    let moving = Moving {
        record: record.clone(),
        place,
        state: state.clone(),
    };
    let turns = TURNS.with(Turns::clone);
    let task = pigeon_engine::spawn(async move {
        Box::pin(moving.run(turns)).await;
        // The task's own handle goes with it; it has nothing left to do.
        drop(MOVES.with_borrow_mut(|moves| moves.remove(&key)));
    });
    let record = record.clone();
    MOVES.with_borrow_mut(|moves| moves.insert(key, UnderWay { task, record, state }));
}

/// The other end of what comes to a volume of this core asks about it: it can be reached again, and the next try is not put off.
fn asked(account: AccountUuid, place: Place) {
    MOVES.with_borrow(|moves| {
        if let Some(under_way) = moves.get(&(account, place.volume)) {
            under_way.state.asked.notify_all();
        }
    });
}

/// Gives up what is under way in a volume of this core; it may begin anew.
fn stop(account: AccountUuid, volume: usize) {
    if let Some(under_way) = MOVES.with_borrow_mut(|moves| moves.remove(&(account, volume))) {
        under_way.task.cancel();
    }
}

/// Moves to and from volumes of this core that are under way or wait.
pub(super) fn under_way() -> usize {
    MOVES.with_borrow(HashMap::len)
}

/// Gives up all moves of this core: the node ends. What has arrived stays.
pub(super) fn stop_all() {
    for (_, under_way) in MOVES.take() {
        under_way.task.cancel();
    }
}

/// Ends the sessions in an account of this core: it is handed over.
fn end_sessions(account: AccountUuid) -> usize {
    node().map_or(0, |node| node.end_sessions_served(account))
}

/// Looks at accounts that control data has changed, or says were somewhere else before, for what is to be done about them in
/// volumes of this core.
pub(super) fn look(candidates: &Arc<Vec<Arc<Record>>>) {
    if candidates.is_empty() {
        return;
    }
    let candidates = Arc::clone(candidates);
    drop(pigeon_engine::spawn(async move {
        for some in candidates.chunks(TURN_ACCOUNTS) {
            for record in some {
                // What has changed once more since will be looked at once more.
                Box::pin(look_at(record)).await;
            }
            pigeon_engine::runtime::yield_now().await;
        }
    }));
}

/// Looks at all accounts in the volumes of this core that are to be on another node: the node starts.
pub(super) fn look_at_all() {
    drop(pigeon_engine::spawn(async {
        for (_, volume) in pigeon_delivery::own_volumes() {
            for some in volume.account_ids().chunks(TURN_ACCOUNTS) {
                for id in some {
                    if let Some(record) = own(AccountUuid(id.0)).filter(|record| !is_owner(record)) {
                        Box::pin(look_at(&record)).await;
                    }
                }
                pigeon_engine::runtime::yield_now().await;
            }
        }
    }));
}

async fn look_at(record: &Arc<Record>) {
    // Those of this core: where it is to be, and wherever something of it is.
    let mut volumes = BTreeMap::new();
    if is_owner(record) && record.was_elsewhere() {
        match place_on(record, record.volume()) {
            Some(place) if place.core == current_core() => drop(volumes.insert(place.volume, place)),
            Some(_) => {}
            None => tracing::error!(dn = record.dn(), "an account cannot come here: its volume is not there"),
        }
    }
    for (index, volume) in pigeon_delivery::own_volumes() {
        if volume.knows(AccountId(record.id().0)) {
            let (volume, core) = (index, current_core());
            volumes.insert(index, Place { volume, core });
        }
    }
    for place in volumes.into_values() {
        let Some(volume) = pigeon_delivery::volume(place.volume) else {
            continue;
        };
        match volume.account(AccountId(record.id().0)).await {
            Ok(account) => act(record, &account, place),
            Err(error) => tracing::error!(dn = record.dn(), %error, "an account that moves cannot be opened"),
        }
    }
}

/// Whatever the way is: what is due begins.
fn act(record: &Arc<Record>, account: &Account, place: Place) {
    drop(way::step(record, account, place));
    let record = known(record);
    match account.standing() {
        // The other end may have it, and may not have been able to say so.
        Standing::HandingOver(_) => begin(&record, place),
        Standing::Here
            if !account.is_unused() && !is_owner(&record) && !this_node().is_some_and(|this| record.was_on(&this)) =>
        {
            tracing::warn!(
                dn = record.dn(), id = %record.id(), place = seat_name(place), node = record.node(),
                "control data gives an account to another node and does not say that it was here: pigeonPreviousHost should"
            );
        }
        _ => {}
    }
}

/// A node asks for an account or fetches it, over a connection on which it has proven itself.
pub(super) async fn give(stream: Stream, account: Account, place: Place, taker: &str) {
    let id = AccountUuid(account.id().0);
    let name = own(id).map_or_else(|| id.to_string(), |known| known.dn().to_owned());
    let giving = Giving {
        stream,
        account,
        place,
        taker: taker.to_owned(),
        name,
    };
    giving.run().await;
}

/// Less up to a half, by chance.
fn jittered(pause: Duration, now: Instant) -> Duration {
    let chance = now.elapsed().subsec_nanos() % 1024;
    pause - pause.mul_f64(f64::from(chance) / 2048.0)
}
