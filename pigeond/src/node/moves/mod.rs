//! Moving accounts to this node, and between its volumes: where an account is while control data already says where it is
//! to be, and the moves under way on one core.
//!
//! Control data names the new place and the one before (pigeonPreviousHost). The new owner fetches the account from there,
//! whenever it learns of it: by a change of control data, at its start, or because a session or a message comes for it. Until it
//! has it, sessions and mail go to the old owner, which serves them whatever its own control data says, up to the hand-over.
//! Each account's move runs on the core that owns its new volume; what is durable of it is the store's (`pigeon_store`).

mod give;
mod source;
mod take;

use super::core::node;
use give::Giving;
use pigeon_datatree_cache::record::Server;
use pigeon_datatree_cache::{Account as Record, AccountUuid, Owner};
use pigeon_delivery::{Place, VolumeTable};
use pigeon_engine::stream::Stream;
use pigeon_engine::sync::Semaphore;
use pigeon_engine::{Task, current_core};
use pigeon_store::{Account, AccountId, Standing};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use take::Taking;

/// Moves under way at once on one core; more wait.
const MOVES_MAX: usize = 4;
/// For the last part of a move: sessions and mail that come meanwhile wait so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Volumes that are asked for an account, one after the other.
const VOLUMES_MAX: u8 = 3;
/// Between two looks whether it is over.
const LOOK_PAUSE: Duration = Duration::from_millis(10);

thread_local! {
    static MOVES: RefCell<HashMap<AccountUuid, Moving>> = RefCell::default();
    static TURNS: Rc<Semaphore> = Rc::new(Semaphore::new(MOVES_MAX));
}

/// A move to a volume of this core.
struct Moving {
    task: Task<()>,
    /// The old owner changes nothing any more, and soon this one has all.
    is_last: Rc<Cell<bool>>,
}

/// Where an account is served right now.
pub(super) enum Way {
    /// In the volume that was asked.
    Here,
    /// In another volume of this node.
    Volume(Place),
    /// On another node.
    Node(Arc<Server>),
    /// Nowhere for now; the text is for the log.
    Nowhere(String),
}

enum Step {
    Way(Way),
    Wait,
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

/// The volume of this node in which to look for an account: the one that it is to be in, or was in before it goes to
/// another node. `None`: by the table's own rule.
pub(super) fn volume_of(record: &Record) -> Option<&str> {
    match record.previous() {
        Some(previous) if !is_owner(record) && is_this(previous.node) => previous.volume,
        _ => record.volume(),
    }
}

/// Where an account is served, asked on the core of `place`. Waits while a move is in its last part, and begins one that is due.
pub(super) async fn way(record: &Arc<Record>, account: &Account, place: Place) -> Way {
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

fn step(record: &Arc<Record>, account: &Account, place: Place) -> Step {
    let is_due = is_owner(record);
    match account.standing() {
        Standing::Here if account.is_unused() => match before(record, place) {
            Some(before) if is_due => {
                begin(record, place);
                Step::Way(way_to(&before))
            }
            _ => Step::Way(Way::Here),
        },
        Standing::Here => Step::Way(Way::Here),
        Standing::Arrived(_) => {
            begin(record, place);
            Step::Way(Way::Here)
        }
        Standing::Incoming(from) => {
            if is_due {
                begin(record, place);
            }
            match is_last(record.id()) {
                true => Step::Wait,
                false => Step::Way(way_to(&from.place)),
            }
        }
        Standing::HandingOver(to) if is_this(node_of(&to.place)) => Step::Wait,
        Standing::HandingOver(to) => match is_due {
            // Control data has given it back meanwhile.
            true => {
                begin(record, place);
                Step::Wait
            }
            false => Step::Way(way_to(&to.place)),
        },
        Standing::Moved(to) => {
            if is_due && before(record, place).is_some() {
                begin(record, place);
            }
            Step::Way(way_to(&to.place))
        }
    }
}

/// Where control data says that the account was, when that is another place than this one.
fn before(record: &Record, place: Place) -> Option<String> {
    let previous = record.previous()?;
    if !is_this(previous.node) {
        return Some(previous.to_string());
    }
    let node = node()?;
    let table = node.shared.table.get()?;
    let name = |place: Place| table.seats().get(place.volume).map(|seat| seat.name.as_str());
    // Where no volume was named, the node had placed it.
    let volume = match previous.volume {
        Some(volume) => volume,
        None => name(table.place(&record.id().0, None).ok()?)?,
    };
    (name(place)? != volume).then(|| format!("{}/{volume}", previous.node))
}

/// Whether this node is to have the account, as its control data says now.
fn stays(account: AccountUuid) -> bool {
    let Some(node) = node() else { return true };
    let snapshot = node.copy.snapshot();
    snapshot.account(account).is_some_and(|record| is_owner(record))
}

fn node_of(place: &str) -> &str {
    place.split('/').next().unwrap_or_default()
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

fn seat_of(table: &VolumeTable, name: &str) -> Option<Place> {
    let volume = table.seats().iter().position(|seat| seat.name == name)?;
    Some(Place {
        volume,
        core: table.seats()[volume].core,
    })
}

fn is_last(account: AccountUuid) -> bool {
    MOVES.with_borrow(|moves| moves.get(&account).is_some_and(|moving| moving.is_last.get()))
}

/// Where mail for an account goes that moves, or has moved.
pub(super) enum Located {
    /// Into this volume.
    Volume(Place),
    /// To this node.
    Node(Arc<Server>),
    /// Nowhere for now; the text is for the log.
    Nowhere(String),
}

/// Where mail for an account goes of which control data says that it was somewhere else before; `None`: it does not say so, and
/// the table places it.
pub(super) async fn locate(record: &Arc<Record>) -> Option<Located> {
    record.previous()?;
    Some(locate_anew(record).await)
}

/// The same, whatever control data says: a volume was asked and does not have it.
pub(super) async fn locate_anew(record: &Arc<Record>) -> Located {
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

/// Begins the move of an account to a volume of this core, unless it is under way.
fn begin(record: &Arc<Record>, place: Place) {
    let id = record.id();
    if MOVES.with_borrow(|moves| moves.contains_key(&id)) {
        return;
    }
    let is_last = Rc::new(Cell::new(false));
    let taking = Taking {
        record: record.clone(),
        place,
        is_last: is_last.clone(),
    };
    let turns = TURNS.with(Rc::clone);
    let task = pigeon_engine::spawn(async move {
        Box::pin(taking.run(turns)).await;
        // The task's own handle goes with it; it has nothing left to do.
        drop(MOVES.with_borrow_mut(|moves| moves.remove(&id)));
    });
    MOVES.with_borrow_mut(|moves| moves.insert(id, Moving { task, is_last }));
}

/// Gives up a move to a volume of this core; it may begin anew.
fn stop(account: AccountUuid) {
    if let Some(moving) = MOVES.with_borrow_mut(|moves| moves.remove(&account)) {
        moving.task.cancel();
    }
}

/// Moves to volumes of this core that are under way or wait.
pub(super) fn under_way() -> usize {
    MOVES.with_borrow(HashMap::len)
}

/// Gives up all moves of this core: the node ends. What has arrived stays.
pub(super) fn stop_all() {
    for (_, moving) in MOVES.take() {
        moving.task.cancel();
    }
}

/// Ends the sessions of an account on this core: it is handed over.
fn end_sessions(account: AccountUuid) -> usize {
    let Some(node) = node() else { return 0 };
    node.end_sessions_of(&HashSet::from([account]), |_, _, _| false)
}

/// Those of these accounts that may have to come to this node: for the thread that has all of them, not for a core.
pub(super) fn candidates<'a>(accounts: impl Iterator<Item = &'a Arc<Record>>) -> Vec<Arc<Record>> {
    accounts.filter(|record| record.previous().is_some()).cloned().collect()
}

/// Looks at these for moves to volumes of this core that are due.
pub(super) fn look(candidates: &[Arc<Record>]) {
    let Some(node) = node() else { return };
    let snapshot = node.copy.snapshot();
    let this = this_node();
    let due = |record: &&Arc<Record>| matches!(snapshot.owner_of(record, this.as_deref()), Owner::Here);
    let found: Vec<Arc<Record>> = candidates.iter().filter(due).cloned().collect();
    if found.is_empty() {
        return;
    }
    drop(pigeon_engine::spawn(async move {
        for record in found {
            look_at(&record).await;
        }
    }));
}

async fn look_at(record: &Arc<Record>) {
    let Some(node) = node() else { return };
    let Some(table) = node.shared.table.get() else { return };
    let place = match table.place(&record.id().0, volume_of(record)) {
        Ok(place) => place,
        Err(error) => return tracing::error!(dn = record.dn(), %error, "an account cannot come here"),
    };
    if place.core != current_core() {
        return;
    }
    let Some(volume) = pigeon_delivery::volume(place.volume) else {
        return;
    };
    match volume.account(AccountId(record.id().0)).await {
        // Whatever the way is: a move that is due begins.
        Ok(account) => drop(step(record, &account, place)),
        Err(error) => tracing::error!(dn = record.dn(), %error, "an account that is to come here cannot be opened"),
    }
}

/// A node fetches an account from this one, over a connection on which it has proven itself.
pub(super) async fn give(stream: Stream, record: &Record, account: Account, taker: &str) {
    let known = node().and_then(|node| node.copy.snapshot().account(record.id()).cloned());
    let name = known.map_or_else(|| record.id().to_string(), |known| known.dn().to_owned());
    let giving = Giving {
        stream,
        account,
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
