//! What is done about one account in one volume of this core, until its move is over there: fetching it, in rounds while the old
//! owner serves, then the rest at once; and what `settle` does.

use super::find::{Found, Idle};
use super::source::{Source, Why};
use super::way::{before, may_be_elsewhere};
use super::{State, Turns, own, seat_name, unwanted_at, wanted_at};
use crate::node::core::node;
use crate::status::Counter;
use pigeon_datatree_cache::Account as Record;
use pigeon_delivery::Place;
use pigeon_engine::runtime::timeout;
use pigeon_store::{Account, AccountId, Counterpart, Import, MoveId, Standing, Wanted};
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

/// See the module.
pub(super) struct Moving {
    pub(super) record: Arc<Record>,
    pub(super) place: Place,
    pub(super) state: Rc<State>,
}

impl Moving {
    /// Until nothing is to be done here any more.
    pub(super) async fn run(mut self, turns: Turns) {
        let dn = self.record.dn().to_owned();
        let (mut pause, begun) = (PAUSE, pigeon_engine::now());
        let state = self.state.clone();
        loop {
            // Counts from here on: the other end may come back while it is still looked for in vain.
            let asked = state.asked.notified();
            let tried = Box::pin(self.once(&turns)).await;
            self.state.is_last.set(false);
            match tried {
                Ok(()) => return,
                Err(why) => {
                    count(Counter::MovesFailed, 1);
                    let place = seat_name(self.place);
                    tracing::warn!(dn, id = %self.record.id(), place, why, "an account cannot be fetched yet, or given");
                }
            }
            self.state.is_waiting.set(true);
            let waited = timeout(super::jittered(pause, begun), asked).await;
            self.state.is_waiting.set(false);
            pause = match waited {
                Ok(()) => PAUSE,
                Err(_) => (pause * 2).min(PAUSE_MAX),
            };
            // A record that another node forwarded may not be in a copy of this one.
            if let Some(current) = own(self.record.id()) {
                self.record = current;
            }
        }
    }

    async fn once(&self, turns: &Turns) -> Result<(), Why> {
        let volume = pigeon_delivery::volume(self.place.volume).ok_or("its volume is not open")?;
        let account = volume.account(AccountId(self.record.id().0)).await.map_err(text)?;
        loop {
            let is_due = wanted_at(&self.record, self.place);
            match account.standing() {
                Standing::Here if !account.is_unused_durably() => return Ok(()),
                Standing::Arrived(from) if is_due => return self.tell(&account, &from).await,
                Standing::HandingOver(to) => match self.resolve(&account, &to).await? {
                    true => {}
                    false => return Ok(()),
                },
                Standing::Incoming(from) if unwanted_at(&self.record, self.place) => {
                    return self.give_up(&account, &from).await;
                }
                Standing::Here if !may_be_elsewhere(&self.record, self.place) => return Ok(()),
                Standing::Here | Standing::Incoming(_) | Standing::Moved(_) | Standing::GivenUp(_) if is_due => {
                    Box::pin(self.find_and_fetch(&account, turns)).await?;
                }
                _ => return Ok(()),
            }
        }
    }

    /// Where this end is, as control data names it.
    pub(super) fn here(&self) -> String {
        let node = super::this_node();
        let node = node.as_deref().or(self.record.node()).unwrap_or("local");
        format!("{node}/{}", seat_name(self.place).unwrap_or_default())
    }

    /// Whoever only waits, for a silent node or the next try, keeps nobody from fetching; whoever waits for a turn at that keeps no
    /// connection.
    async fn find_and_fetch(&self, account: &Account, turns: &Turns) -> Result<(), Why> {
        let looking = turns.find.acquire(1).await;
        let (source, from) = match Box::pin(self.find(account)).await? {
            Found::At(source, from, before) => (self.at(account, source, &from, before).await?, from),
            Found::Nothing(idle) => return Box::pin(self.begin_anew(account, &idle)).await,
        };
        if let Some(_turn) = turns.fetch.try_acquire(1) {
            drop(looking);
            return Box::pin(self.fetch(account, source, from)).await;
        }
        // Who comes meanwhile is sent there at once.
        drop(self.begin_import(account, &from, fetch_number()).await?);
        drop((source, looking));
        let _turn = turns.fetch.acquire(1).await;
        // Much may have changed meanwhile. None of those that look waits for this turn.
        let looking = turns.find.acquire(1).await;
        match Box::pin(self.find(account)).await? {
            Found::At(source, from, before) => {
                let source = self.at(account, source, &from, before).await?;
                drop(looking);
                Box::pin(self.fetch(account, source, from)).await
            }
            Found::Nothing(idle) => Box::pin(self.begin_anew(account, &idle)).await,
        }
    }

    /// Ends the attempt by which it is handed over to this end, if there is one: until the last round it is served there once more,
    /// and not by nobody while it waits behind others.
    async fn at(
        &self,
        account: &Account,
        mut source: Box<Source>,
        from: &str,
        handed_over: Option<MoveId>,
    ) -> Result<Box<Source>, Why> {
        if let Some(before) = handed_over {
            // From here on nothing can arrive by it.
            drop(self.begin_import(account, from, fetch_number()).await?);
            source.declined(before).await?;
        }
        Ok(source)
    }

    async fn fetch(&self, account: &Account, mut source: Box<Source>, from: String) -> Result<(), Why> {
        let mut import = self.begin_import(account, &from, fetch_number()).await?;
        let begun = pigeon_engine::now();
        tracing::info!(dn = self.record.dn(), id = %self.record.id(), from, "an account is being fetched");
        let (rounds, fetched) = self.rounds(&mut source, &mut import).await?;
        let stopped = pigeon_engine::now();
        self.state.is_last.set(true);
        let to = self.to(&import);
        let number = to.id;
        source.hand_over(to).await?;
        let rest = match self.rest(&mut source, &mut import).await {
            Ok(messages) => messages,
            Err(why) => {
                // Nothing of it counts here yet, and by this number nothing ever will, for only this import could have ended by
                // it: the old owner goes on, when it can still be told.
                drop(import);
                return Err(match source.declined(number).await {
                    Ok(()) => why,
                    Err(lost) => format!("{why}; and it was not told: {lost}"),
                });
            }
        };
        import.finish().await.map_err(text)?;
        self.state.is_last.set(false);
        count(Counter::MovesDone, 1);
        tracing::info!(
            dn = self.record.dn(), id = %self.record.id(), from, rounds, messages = fetched + rest,
            seconds = begun.elapsed().as_secs_f64(), stopped_seconds = stopped.elapsed().as_secs_f64(), "an account is here"
        );
        // When it does not get there, it is told later: the account says that it has arrived.
        if source.taken(number).await.is_ok() {
            account.settle().await.map_err(text)?;
        }
        Ok(())
    }

    /// By a number of its own, which is durable here before anybody else hears of it.
    async fn begin_import(&self, account: &Account, from: &str, id: MoveId) -> Result<Import, Why> {
        let from = Counterpart {
            id,
            place: from.to_owned(),
        };
        let import = account.begin_import(from).await.map_err(text)?;
        count(Counter::MovesBegun, 1);
        Ok(import)
    }

    fn to(&self, import: &Import) -> Counterpart {
        Counterpart {
            id: import.id(),
            place: self.here(),
        }
    }

    /// Fetches while the old owner goes on, until little is left. Gives the rounds that it took, and the messages.
    async fn rounds(&self, source: &mut Source, import: &mut Import) -> Result<(u32, usize), Why> {
        let (mut rounds, mut fetched) = (0, 0);
        loop {
            rounds += 1;
            let image = source.image().await?;
            let wanted = import.plan(&image).await.map_err(text)?;
            let bytes: u64 = wanted.iter().map(|wanted| u64::from(wanted.size)).sum();
            let is_little = wanted.len() <= REST_MESSAGES && bytes <= REST_BYTES;
            self.still_wanted()?;
            if is_little && rounds > 1 || rounds > ROUNDS_MAX {
                return Ok((rounds, fetched));
            }
            fetched += wanted.len();
            for turn in turns(&wanted) {
                let asked = pigeon_engine::now();
                source.fetch(turn, import).await?;
                count_fetched(turn);
                let (held, messages) = import.unstaged();
                if held >= STAGE_BYTES || messages >= STAGE_MESSAGES {
                    self.still_wanted()?;
                    import.stage().await.map_err(text)?;
                }
                // Others have half of the time at least.
                pigeon_engine::sleep(asked.elapsed().min(Duration::from_millis(50))).await;
            }
            import.stage().await.map_err(text)?;
        }
    }

    fn still_wanted(&self) -> Result<(), Why> {
        match own(self.record.id()) {
            Some(current) if unwanted_at(&current, self.place) => {
                Err("control data does not want it here any more".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What is left after the hand-over.
    async fn rest(&self, source: &mut Source, import: &mut Import) -> Result<usize, Why> {
        let image = source.image().await?;
        let wanted = import.plan(&image).await.map_err(text)?;
        source.fetch(&wanted, import).await?;
        count_fetched(&wanted);
        Ok(wanted.len())
    }

    /// No place has anything of the account: it begins here, once all that could begin it themselves stand aside for this end.
    async fn begin_anew(&self, account: &Account, idle: &[Idle]) -> Result<(), Why> {
        let (dn, id) = (self.record.dn(), self.record.id());
        let number = MoveId::of_beginning(uuid::Uuid::new_v4().into_bytes());
        let import = self.begin_import(account, &self.first(account, idle), number).await?;
        self.still_wanted()?;
        // Once more, now that whoever looks sees that it is to begin here: of two that look at the same time, one sees the other.
        let idle = match Box::pin(self.find(account)).await? {
            Found::Nothing(idle) => idle,
            // It has come to be meanwhile, and is fetched.
            Found::At(..) => return Ok(()),
        };
        self.still_wanted()?;
        // Nobody stands aside, and sends here, for what cannot begin yet.
        if let Some(other) = idle.iter().find(|idle| !idle.agrees) {
            return Err(format!(
                "{} may begin it: it is not to come here, as that node knows it",
                other.place
            ));
        }
        let to = self.to(&import);
        // The one that sessions and mail are sent to until then is the last; but those behind it may be where it sends them.
        for Idle { place, before, .. } in idle.into_iter().rev() {
            let mut source = Source::open(&self.record, &place).await?;
            self.state.is_last.set(true);
            let stands_aside = source.stand_aside(before, to.clone()).await;
            stands_aside.map_err(|why| format!("{place} may begin it: {why}"))?;
        }
        self.state.is_last.set(true);
        import.begin_anew().await.map_err(text)?;
        self.state.is_last.set(false);
        count(Counter::MovesDone, 1);
        let (messages, lost) = (account.usage().messages, self.record.lost().next());
        match lost.is_some() || messages > 0 {
            true => tracing::error!(
                dn, %id, messages, lost,
                "an account begins anew, with what was fetched of it: control data says that a node which had it is lost, and no other has it"
            ),
            false => tracing::info!(dn, %id, "an account is here, of which nothing was anywhere"),
        }
        Ok(())
    }

    /// Where it would come from, if anything came. Whom this end points to, it asks again as long as the account has not begun here.
    fn first(&self, account: &Account, idle: &[Idle]) -> String {
        let standing = account.standing();
        let known = standing.counterpart().map(|other| other.place.clone());
        known
            .or_else(|| idle.first().map(|idle| idle.place.clone()))
            .or_else(|| before(&self.record, self.place).into_iter().next())
            .unwrap_or_else(|| self.here())
    }
}

fn fetch_number() -> MoveId {
    MoveId(uuid::Uuid::new_v4().into_bytes())
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

pub(super) fn text(error: pigeon_store::StoreError) -> Why {
    error.to_string()
}
