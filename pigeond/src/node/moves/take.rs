//! The end that takes: one account's move to a volume of this core, in rounds while the old owner serves, then the rest at once.

use super::source::{Source, There, VolumeSource, Why};
use super::{is_owner, is_this, node_of, seat_of};
use crate::node::core::node;
use crate::status::Counter;
use pigeon_datatree_cache::Account as Record;
use pigeon_delivery::Place;
use pigeon_engine::sync::Semaphore;
use pigeon_proto::transfer::State;
use pigeon_store::{Account, AccountId, Counterpart, Import, MoveId, Standing, Wanted};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// After a failure; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest.
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// Rounds before the hand-over, at most: an account that changes faster than it is fetched has to be stopped.
const ROUNDS_MAX: u32 = 6;
/// So little may be left for after the hand-over: messages, and bytes.
const REST_MESSAGES: usize = 64;
const REST_BYTES: u64 = 4 << 20;
/// What is fetched before others have a turn.
const TURN_MESSAGES: usize = 64;
const TURN_BYTES: u64 = 1 << 20;
/// What a crash may cost.
const STAGE_BYTES: u64 = 64 << 20;
const STAGE_MESSAGES: usize = 4096;
/// Places that are asked one after the other, each of which says that the account is at the next.
const HOPS_MAX: u32 = 4;

/// See the module.
pub(super) struct Taking {
    pub(super) record: Arc<Record>,
    pub(super) place: Place,
    pub(super) is_last: Rc<Cell<bool>>,
}

impl Taking {
    /// Until the account is here, or control data does not want it here any more.
    pub(super) async fn run(mut self, turns: Rc<Semaphore>) {
        let dn = self.record.dn().to_owned();
        let (mut pause, begun) = (PAUSE, pigeon_engine::now());
        loop {
            // Whoever only waits for the next try keeps nobody from theirs.
            let turn = turns.acquire(1).await;
            let tried = Box::pin(self.once()).await;
            drop(turn);
            self.is_last.set(false);
            match tried {
                Ok(()) => return,
                Err(why) => {
                    count(Counter::MovesFailed, 1);
                    let from = self.record.previous().map(|previous| previous.to_string());
                    tracing::warn!(dn, id = %self.record.id(), from, why, "an account cannot be fetched yet");
                }
            }
            pigeon_engine::sleep(super::jittered(pause, begun)).await;
            pause = (pause * 2).min(PAUSE_MAX);
            let Some(node) = node() else { return };
            // A record that another node forwarded may not be in a copy of this one.
            if let Some(current) = node.copy.snapshot().account(self.record.id()) {
                if !is_owner(current) || current.previous().is_none() {
                    return;
                }
                self.record = current.clone();
            }
        }
    }

    async fn once(&self) -> Result<(), Why> {
        let volume = pigeon_delivery::volume(self.place.volume).ok_or("its volume is not open")?;
        let id = AccountId(self.record.id().0);
        let account = volume.account(id).await.map_err(text)?;
        loop {
            match account.standing() {
                Standing::Here if !account.is_unused() => return Ok(()),
                Standing::Arrived(from) => return self.tell(&account, &from).await,
                Standing::HandingOver(to) => {
                    if self.take_back(&account, &to).await? {
                        return Ok(());
                    }
                }
                Standing::Incoming(from) => self.import(&account, from.place).await?,
                Standing::Moved(to) => self.import(&account, to.place).await?,
                Standing::Here => {
                    let before = super::before(&self.record, self.place);
                    let before = before.ok_or("control data does not say where it was")?;
                    self.import(&account, before).await?;
                }
            }
        }
    }

    /// Tells the old owner that the account is here, so that the copy there goes.
    async fn tell(&self, account: &Account, from: &Counterpart) -> Result<(), Why> {
        self.source(&from.place).await?.taken(from.id).await?;
        account.settle().await.map_err(text)
    }

    /// It was being handed over, and control data gives it back: the other end says who has it. True when it is here again.
    async fn take_back(&self, account: &Account, to: &Counterpart) -> Result<bool, Why> {
        let mut source = self.source(&to.place).await?;
        let There { state, place } = source.ask().await?;
        match state {
            State::Here | State::Arrived | State::HandingOver => {
                account.let_go(to.id).await.map_err(text)?;
                Ok(false)
            }
            State::Moved if !is_this(node_of(&place)) => {
                account.let_go(to.id).await.map_err(text)?;
                Ok(false)
            }
            State::Incoming => {
                source.abandon().await?;
                account.take_back().await.map_err(text)?;
                Ok(true)
            }
            State::Unused | State::Moved => {
                account.take_back().await.map_err(text)?;
                Ok(true)
            }
        }
    }

    /// Where this end is, as control data names it.
    fn here(&self) -> String {
        let node = super::this_node();
        let node = node.as_deref().or(self.record.node()).unwrap_or("local");
        let shared = super::node().map(|node| node.shared.clone());
        let name = shared.and_then(|shared| Some(shared.table.get()?.seats().get(self.place.volume)?.name.clone()));
        format!("{node}/{}", name.unwrap_or_default())
    }

    async fn import(&self, account: &Account, from: String) -> Result<(), Why> {
        let (mut source, from) = self.find(from).await?;
        let id = MoveId(uuid::Uuid::new_v4().into_bytes());
        let begun = pigeon_engine::now();
        let mut import = account
            .begin_import(Counterpart {
                id,
                place: from.clone(),
            })
            .await
            .map_err(text)?;
        tracing::info!(dn = self.record.dn(), id = %self.record.id(), from, "an account is being fetched");
        count(Counter::MovesBegun, 1);
        let mut rounds = 0;
        let mut fetched = 0;
        loop {
            rounds += 1;
            let image = source.image().await?;
            let wanted = import.plan(&image).map_err(text)?;
            let bytes: u64 = wanted.iter().map(|wanted| u64::from(wanted.size)).sum();
            let is_little = wanted.len() <= REST_MESSAGES && bytes <= REST_BYTES;
            if is_little && rounds > 1 || rounds > ROUNDS_MAX {
                break;
            }
            fetched += wanted.len();
            for turn in turns(&wanted) {
                let asked = pigeon_engine::now();
                source.fetch(turn, &mut import).await?;
                count_fetched(turn);
                let (held, messages) = import.unstaged();
                if held >= STAGE_BYTES || messages >= STAGE_MESSAGES {
                    import.stage().await.map_err(text)?;
                }
                // Others have half of the time at least.
                pigeon_engine::sleep(asked.elapsed().min(Duration::from_millis(50))).await;
            }
            import.stage().await.map_err(text)?;
        }
        let node = node().ok_or("the node ends")?;
        let current = node.copy.snapshot().account(self.record.id()).cloned();
        if current.is_some_and(|current| !is_owner(&current)) {
            return Err("control data does not want it here any more".to_owned());
        }
        let stopped = pigeon_engine::now();
        self.is_last.set(true);
        let to = Counterpart {
            id: import.id(),
            place: self.here(),
        };
        let number = import.id();
        source.hand_over(to).await?;
        match self.rest(&mut source, &mut import).await {
            Ok(messages) => fetched += messages,
            Err(why) => {
                // Nothing of it counts here yet: the old owner goes on, when it can still be told.
                source
                    .declined()
                    .await
                    .map_err(|lost| format!("{why}; and it was not told: {lost}"))?;
                return Err(why);
            }
        }
        import.finish().await.map_err(text)?;
        self.is_last.set(false);
        count(Counter::MovesDone, 1);
        tracing::info!(
            dn = self.record.dn(), id = %self.record.id(), from, rounds, messages = fetched,
            seconds = begun.elapsed().as_secs_f64(), stopped_seconds = stopped.elapsed().as_secs_f64(), "an account is here"
        );
        // When it does not get there, it is told later: the account says that it has arrived.
        if source.taken(number).await.is_ok() {
            account.settle().await.map_err(text)?;
        }
        Ok(())
    }

    /// What is left after the hand-over.
    async fn rest(&self, source: &mut Source, import: &mut Import) -> Result<usize, Why> {
        let image = source.image().await?;
        let wanted = import.plan(&image).map_err(text)?;
        source.fetch(&wanted, import).await?;
        count_fetched(&wanted);
        Ok(wanted.len())
    }

    /// The place that has the account, beginning at `from`.
    async fn find(&self, mut from: String) -> Result<(Source, String), Why> {
        for _ in 0..HOPS_MAX {
            let mut source = self.source(&from).await?;
            let There { state, place } = source.ask().await?;
            match state {
                State::Unused | State::Here | State::Arrived => return Ok((source, from)),
                State::HandingOver if place == self.here() => return Ok((source, from)),
                State::HandingOver => return Err(format!("{from} hands it over to {place}")),
                // It has not come so far: from where it is fetched, this end can fetch it too.
                State::Incoming | State::Moved if place != self.here() => from = place,
                State::Incoming | State::Moved => return Err(format!("{from} says that it is here, and it is not")),
            }
        }
        Err("each place says that it is at another".to_owned())
    }

    /// Talks to `NODE` or `NODE/VOLUME`.
    async fn source(&self, place: &str) -> Result<Source, Why> {
        let node = node().ok_or("the node ends")?;
        let volume = place.split_once('/').map(|(_, volume)| volume);
        if is_this(node_of(place)) {
            let table = node.shared.table.get().ok_or("the volumes are not open yet")?;
            let named = volume.and_then(|volume| seat_of(table, volume));
            let place = named.ok_or_else(|| format!("{place:?} is no other volume of this node"))?;
            return Ok(Source::Volume(VolumeSource {
                place,
                account: AccountId(self.record.id().0),
            }));
        }
        let redirector = node.contexts.redirector.clone().ok_or("this node is alone")?;
        let server = node.copy.snapshot().server(node_of(place)).cloned();
        let server = server.ok_or_else(|| format!("{place:?} is not in the server_map"))?;
        let mut forwarded = vec![("id".to_owned(), self.record.id().to_string())];
        forwarded.extend(volume.map(|volume| ("volume".to_owned(), volume.to_owned())));
        let session = node.ids.next();
        let stream = redirector
            .open_transfer(self.record.name(), session, forwarded, &server)
            .await
            .map_err(|why| format!("{place}: {why}"))?;
        Ok(Source::node(stream))
    }
}

/// A few messages at a time, by their bytes.
fn turns(wanted: &[Wanted]) -> impl Iterator<Item = &[Wanted]> {
    let mut rest = wanted;
    std::iter::from_fn(move || {
        let mut bytes = 0_u64;
        let fits = |wanted: &&Wanted| {
            bytes = bytes.saturating_add(u64::from(wanted.size));
            bytes <= TURN_BYTES
        };
        let count = rest.iter().take(TURN_MESSAGES).take_while(fits).count().max(1);
        let (turn, behind) = rest.split_at(count.min(rest.len()));
        rest = behind;
        (!turn.is_empty()).then_some(turn)
    })
}

fn count(counter: Counter, several: u64) {
    if let Some(node) = node() {
        node.counters().add(counter, several);
    }
}

fn count_fetched(wanted: &[Wanted]) {
    count(Counter::MovedMessages, wanted.len() as u64);
    count(
        Counter::MovedBytes,
        wanted.iter().map(|wanted| u64::from(wanted.size)).sum(),
    );
}

fn text(error: pigeon_store::StoreError) -> Why {
    error.to_string()
}
