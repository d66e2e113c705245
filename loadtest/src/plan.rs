//! What is to be done, checked, for all cores to share.

use crate::command_line::{Amount, WorkCommand};
use crate::content::Content;
use crate::series::Series;
use crate::tally::Live;
use crate::users;
use std::net::SocketAddr;

/// See the module.
pub(crate) struct Plan {
    pub(crate) work: WorkCommand,
    /// At least one.
    pub(crate) users: Vec<String>,
    /// What is random is made of it.
    pub(crate) seed: u64,
    pub(crate) live: Live,
    pub(crate) series: Series,
}

impl Plan {
    /// Refuses what cannot be done.
    pub(crate) fn new(work: WorkCommand) -> Result<Plan, String> {
        let patterns = match &work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.users,
            WorkCommand::Verify(verify) => &verify.mail.users,
            WorkCommand::Imap(imap) => &imap.read.users,
            WorkCommand::Pop3(read) | WorkCommand::Idle(read) | WorkCommand::Storm(read) => &read.users,
        };
        let users = users::expand(&patterns.user)?;
        if let WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) = &work
            && mail.message.recipients as usize > users.len()
        {
            return Err("a message cannot have more recipients than there are accounts".to_owned());
        }
        if let WorkCommand::Verify(verify) = &work
            && verify.mail.message.recipients != 1
        {
            return Err("verify sends each message to one account".to_owned());
        }
        let mut plan = Plan {
            work,
            users,
            seed: 0,
            live: Live::default(),
            series: Series::default(),
        };
        plan.seed = plan.amount().seed.unwrap_or_else(time_seed);
        Ok(plan)
    }

    /// How much.
    pub(crate) fn amount(&self) -> &Amount {
        match &self.work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.amount,
            WorkCommand::Verify(verify) => &verify.mail.amount,
            WorkCommand::Imap(imap) => &imap.read.amount,
            WorkCommand::Pop3(read) | WorkCommand::Idle(read) | WorkCommand::Storm(read) => &read.amount,
        }
    }

    /// Where session `index` goes.
    pub(crate) fn target(&self, index: u64) -> SocketAddr {
        let targets = match &self.work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.targets,
            WorkCommand::Verify(verify) => &verify.mail.targets,
            WorkCommand::Imap(imap) => &imap.read.targets,
            WorkCommand::Pop3(read) | WorkCommand::Idle(read) | WorkCommand::Storm(read) => &read.targets,
        };
        let count = targets.target.len() as u64;
        targets.target[usize::try_from(index % count).expect("below a length")]
    }

    /// The account of the unit `number`, around all of them.
    pub(crate) fn user(&self, number: u64) -> &str {
        let count = self.users.len() as u64;
        &self.users[usize::try_from(number % count).expect("below a length")]
    }

    /// What the messages are made of.
    pub(crate) fn content(&self) -> Content {
        let (from, sizes) = match &self.work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => (mail.message.from.clone(), mail.message.size.clone()),
            WorkCommand::Verify(verify) => (verify.mail.message.from.clone(), verify.mail.message.size.clone()),
            _ => ("load@sender.example".to_owned(), 4096..=4096),
        };
        Content {
            seed: self.seed,
            from,
            sizes,
        }
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match &self.work {
            WorkCommand::Smtp(_) => "smtp",
            WorkCommand::Lmtp(_) => "lmtp",
            WorkCommand::Imap(_) => "imap",
            WorkCommand::Pop3(_) => "pop3",
            WorkCommand::Idle(_) => "idle",
            WorkCommand::Storm(_) => "storm",
            WorkCommand::Verify(_) => "verify",
        }
    }
}

fn time_seed() -> u64 {
    u64::try_from(pigeon_engine::unix_time().as_micros()).expect("microseconds fit 64 bits for 584,000 years")
}
