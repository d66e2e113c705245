//! Someone who uses an account at random, and knows what must come of it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bytes::Bytes;

use super::harness::{deliver, delivery};
use super::model::{ModelAccount, ModelBody, ModelMessage, compare, compare_bodies};
use crate::sim::Random;
use crate::{
    AccountId, Delivery, FlagChange, FlagOperation, FlagOutcome, Flags, Mailbox, MessageKey, NewMessage, StoreError,
    Uid, Volume,
};

/// What is known of an account: what was acknowledged, and what the change under way would make of it.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) acknowledged: ModelAccount,
    /// Steps of the change under way: any of them may be what a crash leaves.
    pub(crate) under_way: Vec<ModelAccount>,
}

/// A message for everyone comes under a key.
pub(crate) fn group_delivery(group: AccountId, number: u64) -> Delivery {
    let mut key = [0x67; 16];
    key[..8].copy_from_slice(&number.to_le_bytes());
    Delivery {
        key: Some(MessageKey(key)),
        ..delivery(group)
    }
}

/// Messages for everyone: by number of the body, whether it was acknowledged.
pub(crate) type Shared = Rc<RefCell<std::collections::BTreeMap<u64, (ModelBody, bool)>>>;

pub(crate) struct Actor {
    pub(crate) account: AccountId,
    /// An account that all actors deliver to as well.
    pub(crate) group: AccountId,
    pub(crate) known: Rc<RefCell<Known>>,
    pub(crate) shared: Shared,
    pub(crate) random: Random,
    pub(crate) next_number: u64,
    /// The most bytes of a message.
    pub(crate) bytes_max: u64,
    pub(crate) steps: Rc<RefCell<u64>>,
}

const KEYWORDS: [&str; 4] = ["work", "$Junk", "Later", "nope"];
const NAMES: [&str; 6] = ["a", "a/b", "a/b/c", "Sent", "d", "d/e"];

impl Actor {
    fn model(&self) -> ModelAccount {
        self.known.borrow().acknowledged.clone()
    }

    fn begin(&self, steps: Vec<ModelAccount>) {
        self.known.borrow_mut().under_way = steps;
    }

    fn acknowledge(&self, model: ModelAccount) {
        let mut known = self.known.borrow_mut();
        known.acknowledged = model;
        known.under_way.clear();
    }

    /// Goes on until something ends it: poison, or the crash.
    pub(crate) async fn run(mut self, volume: Volume, steps: u64) {
        for _ in 0..steps {
            *self.steps.borrow_mut() += 1;
            let result = self.step(&volume).await;
            match result {
                Ok(()) => {}
                Err(StoreError::NearlyFull | StoreError::TooManyKeywords) => {
                    // Nothing was changed.
                    self.known.borrow_mut().under_way.clear();
                }
                // It may be durable all the same.
                Err(StoreError::Poisoned(_) | StoreError::Closed) => return,
                Err(error) => panic!("account {}: {error}", self.account),
            }
        }
    }

    async fn step(&mut self, volume: &Volume) -> Result<(), StoreError> {
        match self.random.below(100) {
            0..30 => self.deliver(volume).await,
            30..38 => self.append(volume).await,
            38..52 => self.store_flags(volume).await,
            52..70 => self.expunge(volume).await,
            70..76 => self.transfer(volume, false).await,
            76..81 => self.transfer(volume, true).await,
            81..92 => self.mailboxes(volume).await,
            _ => self.look(volume).await,
        }
    }

    fn new_body(&mut self) -> ModelBody {
        let number = self.next_number;
        self.next_number += 1;
        let most = if self.random.percent(10) {
            self.bytes_max
        } else {
            1500.min(self.bytes_max)
        };
        let bytes = usize::try_from(self.random.below(most)).expect("small");
        ModelBody {
            number,
            bytes,
            prepend: Vec::new(),
        }
    }

    fn new_message(&mut self, body: ModelBody) -> ModelMessage {
        let keywords: BTreeSet<String> = KEYWORDS[..3]
            .iter()
            .filter(|_| self.random.percent(15))
            .map(|keyword| (*keyword).to_owned())
            .collect();
        ModelMessage {
            size: body.content().len() as u64,
            body,
            mod_seq: 0,
            system: Flags(self.random.below(32)),
            keywords,
            date: 1_700_000_000 + i64::try_from(self.random.below(1000)).expect("small"),
        }
    }

    fn some_mailbox(&mut self, model: &ModelAccount) -> String {
        let names: Vec<&String> = model
            .mailboxes
            .iter()
            .filter(|(_, mailbox)| mailbox.selectable)
            .map(|(name, _)| name)
            .collect();
        (*self.random.pick(&names)).clone()
    }

    async fn mailbox(&self, volume: &Volume, name: &str) -> Result<Mailbox, StoreError> {
        let account = volume.account(self.account).await?;
        Ok(account
            .mailbox(name)
            .unwrap_or_else(|| panic!("account {}: no mailbox {name}", self.account)))
    }

    async fn deliver(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let mut body = self.new_body();
        let text = body.shared();
        if self.random.percent(50) {
            body.prepend = format!("Delivered-To: someone {}\r\n", body.number).into_bytes();
        }
        let mut model = self.model();
        let create = self.random.percent(10);
        let name = if create {
            (*self.random.pick(&NAMES)).to_owned()
        } else {
            self.some_mailbox(&model)
        };
        let mut steps = Vec::new();
        if create && model.create(&name) {
            steps.push(model.clone());
        }
        let message = self.new_message(body.clone());
        let wanted = model
            .mailboxes
            .get_mut(&name)
            .expect("it is there by now")
            .append(vec![message.clone()]);
        steps.push(model.clone());
        self.begin(steps);
        let mut to = vec![Delivery {
            mailbox: name,
            flags: message.system,
            keywords: message.keywords.iter().cloned().collect(),
            internal_date: message.date,
            create_mailbox: create,
            prepend: Bytes::from(body.prepend.clone()),
            ..delivery(self.account)
        }];
        let group = self.random.percent(40);
        if group {
            let index = self.random.index(2);
            to.insert(index, group_delivery(self.group, body.number));
            let shared = ModelBody {
                prepend: Vec::new(),
                ..body.clone()
            };
            self.shared.borrow_mut().insert(body.number, (shared, false));
        }
        let accounts: Vec<AccountId> = to.iter().map(|delivery| delivery.account).collect();
        let results = deliver(volume, to, &text).await;
        let mut own = Err(StoreError::Closed);
        for (account, result) in accounts.into_iter().zip(results) {
            if account == self.account {
                own = result;
            } else if result.is_ok()
                && let Some(place) = self.shared.borrow_mut().get_mut(&body.number)
            {
                place.1 = true;
            }
        }
        match own {
            Ok(appended) => {
                assert_eq!(appended.uid.0, wanted[0]);
                self.acknowledge(model);
                Ok(())
            }
            Err(StoreError::NearlyFull) => {
                // The mailbox may have been made all the same.
                let made = self.known.borrow().under_way[0].clone();
                let account = volume.account(self.account).await?;
                if compare(&account, &self.model()).is_err() {
                    compare(&account, &made).unwrap_or_else(|what| panic!("account {}: {what}", self.account));
                    self.acknowledge(made);
                }
                Err(StoreError::NearlyFull)
            }
            Err(error) => Err(error),
        }
    }

    async fn append(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let mut model = self.model();
        let name = self.some_mailbox(&model);
        let mut messages = Vec::new();
        let mut new = Vec::new();
        for _ in 0..1 + self.random.below(3) {
            let body = self.new_body();
            let message = self.new_message(body.clone());
            let mut writer = volume.begin_body(&[self.account]).await?;
            for piece in body.shared().chunks(700) {
                writer.write(Bytes::copy_from_slice(piece)).await?;
            }
            new.push(NewMessage {
                body: writer.finish().await?,
                flags: message.system,
                keywords: message.keywords.iter().cloned().collect(),
                internal_date: message.date,
            });
            messages.push(message);
        }
        let mailbox = self.mailbox(volume, &name).await?;
        let uids = model.mailboxes.get_mut(&name).expect("it is there").append(messages);
        self.begin(vec![model.clone()]);
        let appended = mailbox.append(new).await?;
        assert_eq!(appended.iter().map(|one| one.uid.0).collect::<Vec<_>>(), uids);
        self.acknowledge(model);
        Ok(())
    }

    fn some_uids(&mut self, model: &ModelAccount, name: &str, percent: u64) -> Vec<u32> {
        let uids: Vec<u32> = model.mailboxes[name].messages.keys().copied().collect();
        let percent = if self.random.percent(10) { 100 } else { percent };
        let mut some: Vec<u32> = uids.into_iter().filter(|_| self.random.percent(percent)).collect();
        if self.random.percent(20) {
            some.push(u32::try_from(self.random.below(500)).expect("small"));
        }
        some
    }

    async fn store_flags(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let mut model = self.model();
        let name = self.some_mailbox(&model);
        let uids = self.some_uids(&model, &name, 20);
        let mailbox_model = model.mailboxes.get_mut(&name).expect("it is there");
        let mod_seq = mailbox_model.highest_mod_seq + 1;
        let mut changes = Vec::new();
        let mut outcomes = Vec::new();
        for uid in uids.into_iter().collect::<BTreeSet<u32>>() {
            let operation = *self
                .random
                .pick(&[FlagOperation::Add, FlagOperation::Remove, FlagOperation::Replace]);
            let flags = Flags(self.random.below(32));
            let keywords: Vec<String> = KEYWORDS
                .iter()
                .filter(|_| self.random.percent(15))
                .map(|keyword| (*keyword).to_owned())
                .collect();
            let since = self.random.percent(10).then(|| self.random.below(mod_seq));
            changes.push(FlagChange {
                uid: Uid(uid),
                operation,
                flags,
                keywords: keywords.clone(),
                unchanged_since: since.map(crate::ModSeq),
            });
            let Some(message) = mailbox_model.messages.get_mut(&uid) else {
                outcomes.push(FlagOutcome::Gone);
                continue;
            };
            if since.is_some_and(|since| message.mod_seq > since) {
                outcomes.push(FlagOutcome::Modified);
                continue;
            }
            let before = (message.system, message.keywords.clone());
            match operation {
                FlagOperation::Add => {
                    message.system = message.system | flags;
                    message.keywords.extend(keywords);
                }
                FlagOperation::Remove => {
                    message.system = message.system.without(flags);
                    message.keywords.retain(|keyword| !keywords.contains(keyword));
                }
                FlagOperation::Replace => {
                    message.system = flags;
                    message.keywords = keywords.into_iter().collect();
                }
            }
            if before == (message.system, message.keywords.clone()) {
                outcomes.push(FlagOutcome::Unchanged);
            } else {
                message.mod_seq = mod_seq;
                mailbox_model.highest_mod_seq = mod_seq;
                outcomes.push(FlagOutcome::Changed);
            }
        }
        self.begin(vec![model.clone()]);
        let results = self.mailbox(volume, &name).await?.store_flags(&changes).await?;
        assert_eq!(
            results.iter().map(|result| result.outcome).collect::<Vec<_>>(),
            outcomes
        );
        self.acknowledge(model);
        Ok(())
    }

    async fn expunge(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let mut model = self.model();
        let name = self.some_mailbox(&model);
        let uids = self.some_uids(&model, &name, 40);
        let mailbox = model.mailboxes.get_mut(&name).expect("it is there");
        let gone: Vec<u32> = uids
            .iter()
            .copied()
            .filter(|uid| mailbox.messages.remove(uid).is_some())
            .collect();
        if !gone.is_empty() {
            mailbox.highest_mod_seq += 1;
        }
        self.begin(vec![model.clone()]);
        let uids: Vec<Uid> = uids.into_iter().map(Uid).collect();
        let told = self.mailbox(volume, &name).await?.expunge(&uids).await?;
        assert_eq!(
            told.iter().map(|uid| uid.0).collect::<BTreeSet<_>>(),
            gone.into_iter().collect()
        );
        self.acknowledge(model);
        Ok(())
    }

    async fn transfer(&mut self, volume: &Volume, take: bool) -> Result<(), StoreError> {
        let mut model = self.model();
        let (from, to) = (self.some_mailbox(&model), self.some_mailbox(&model));
        let uids = self.some_uids(&model, &from, 20);
        let mut messages = Vec::new();
        let mut old = BTreeSet::new();
        let source = model.mailboxes.get_mut(&from).expect("it is there");
        for uid in uids.iter().copied().collect::<BTreeSet<u32>>() {
            if let Some(message) = source.messages.get(&uid) {
                messages.push(message.clone());
                old.insert(uid);
            }
        }
        let mut pairs = Vec::new();
        if !messages.is_empty() {
            if take {
                old.iter().for_each(|uid| drop(source.messages.remove(uid)));
            }
            let new = model.mailboxes.get_mut(&to).expect("it is there").append(messages);
            pairs = old.into_iter().zip(new).collect();
            if take {
                model.mailboxes.get_mut(&from).expect("it is there").highest_mod_seq += 1;
            }
        }
        self.begin(vec![model.clone()]);
        let (source, target) = (self.mailbox(volume, &from).await?, self.mailbox(volume, &to).await?);
        let uids: Vec<Uid> = uids.into_iter().map(Uid).collect();
        let told = if take {
            source.move_messages(&uids, &target).await?
        } else {
            source.copy(&uids, &target).await?
        };
        assert_eq!(told.iter().map(|(old, new)| (old.0, new.0)).collect::<Vec<_>>(), pairs);
        self.acknowledge(model);
        Ok(())
    }

    async fn mailboxes(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let account = volume.account(self.account).await?;
        let mut model = self.model();
        let name = *self.random.pick(&NAMES);
        let (wanted, result) = match self.random.below(4) {
            0 => {
                let wanted = model.create(name);
                self.begin(vec![model.clone()]);
                (wanted, account.create_mailbox(name, None).await.map(drop))
            }
            1 => {
                let wanted = model.delete(name);
                self.begin(vec![model.clone()]);
                (wanted, account.delete_mailbox(name).await)
            }
            2 => {
                let to = *self.random.pick(&NAMES);
                let from = if self.random.percent(20) { "INBOX" } else { name };
                let wanted = model.rename(from, to);
                self.begin(vec![model.clone()]);
                (wanted, account.rename_mailbox(from, to).await)
            }
            _ => {
                let on = self.random.percent(50);
                if on {
                    model.subscriptions.insert(name.to_owned());
                } else {
                    model.subscriptions.remove(name);
                }
                self.begin(vec![model.clone()]);
                (true, account.subscribe(name, on).await)
            }
        };
        match result {
            Ok(()) => {
                assert!(wanted, "the model refuses what the store did");
                self.acknowledge(model);
                Ok(())
            }
            Err(StoreError::MailboxExists | StoreError::NoSuchMailbox | StoreError::BadName(_)) => {
                assert!(!wanted, "the store refused what the model did");
                self.known.borrow_mut().under_way.clear();
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Looks at everything.
    async fn look(&mut self, volume: &Volume) -> Result<(), StoreError> {
        let account = volume.account(self.account).await?;
        let model = self.model();
        compare(&account, &model).unwrap_or_else(|what| panic!("account {}: {what}", self.account));
        if self.random.percent(30) {
            compare_bodies(volume, &account, &model).await;
        }
        Ok(())
    }
}
