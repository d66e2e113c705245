//! What is to be done, checked, for all cores to share.

use crate::command_line::{
    Amount, Fault, Faults, ImapWork, MessageOptions, MixOptions, Sizes, TlsMode, TlsOptions, WorkCommand,
};
use crate::content::Content;
use crate::door::Door;
use crate::pace::Day;
use crate::profile::{Kind, Profile};
use crate::series::Series;
use crate::tally::Live;
use crate::users;

/// See the module.
pub(crate) struct Plan {
    pub(crate) work: WorkCommand,
    /// What sessions do: one kind of work, or those of a mix.
    pub(crate) jobs: Vec<Job>,
    /// Where `verify` reads.
    pub(crate) read: Option<Door>,
    /// At least one.
    pub(crate) users: Vec<String>,
    /// Octets of messages, with their shares.
    pub(crate) sizes: Vec<(f64, Sizes)>,
    /// How the rate changes in the course of the run.
    pub(crate) day: Option<Day>,
    /// What is random is made of it.
    pub(crate) seed: u64,
    pub(crate) live: Live,
    pub(crate) series: Series,
}

/// One kind of session.
pub(crate) struct Job {
    /// In reports.
    pub(crate) name: &'static str,
    /// Of the units; any positive number.
    pub(crate) share: f64,
    pub(crate) door: Door,
    pub(crate) task: Task,
}

/// What a session does.
#[derive(Clone)]
pub(crate) enum Task {
    Mail { message: MessageOptions, lmtp: bool },
    Imap { work: ImapWork, password: String },
    Pop3 { password: String },
    Hold { password: String, silent: bool },
}

impl Plan {
    /// Refuses what cannot be done.
    pub(crate) fn new(work: WorkCommand) -> Result<Plan, String> {
        let users = users::expand(&work.users().user)?;
        let mut plan = Plan {
            jobs: Vec::new(),
            read: None,
            sizes: vec![(1.0, 4096..=4096)],
            day: None,
            users,
            seed: work.amount().seed.unwrap_or_else(time_seed),
            live: Live::default(),
            series: Series::default(),
            work,
        };
        let jobs = plan.own_jobs()?;
        for job in &jobs {
            if let Task::Mail { message, .. } = &job.task
                && message.recipients as usize > plan.users.len()
            {
                return Err("a message cannot have more recipients than there are accounts".to_owned());
            }
        }
        plan.jobs = jobs;
        Ok(plan)
    }

    fn own_jobs(&mut self) -> Result<Vec<Job>, String> {
        let name = self.work.name();
        let one = |door: Door, task: Task| {
            vec![Job {
                name,
                share: 1.0,
                door,
                task,
            }]
        };
        Ok(match self.work.clone() {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => {
                self.sizes = vec![(1.0, mail.message.size.clone())];
                let door = Door::new(&mail.targets.target, &mail.targets.tls)?;
                let lmtp = name == "lmtp";
                let message = mail.message;
                one(door, Task::Mail { message, lmtp })
            }
            WorkCommand::Verify(verify) => {
                let mail = verify.mail;
                if mail.message.recipients != 1 {
                    return Err("verify sends each message to one account".to_owned());
                }
                self.sizes = vec![(1.0, mail.message.size.clone())];
                let tls = TlsOptions {
                    tls: verify.read_tls,
                    ..mail.targets.tls.clone()
                };
                self.read = Some(Door::new(&verify.read, &tls)?);
                let door = Door::new(&mail.targets.target, &mail.targets.tls)?;
                let (message, lmtp) = (mail.message, verify.lmtp);
                one(door, Task::Mail { message, lmtp })
            }
            WorkCommand::Imap(imap) => {
                let door = Door::new(&imap.read.targets.target, &imap.read.targets.tls)?;
                let (work, password) = (imap.work, imap.read.password);
                one(door, Task::Imap { work, password })
            }
            WorkCommand::Pop3(read) => {
                let door = Door::new(&read.targets.target, &read.targets.tls)?;
                let password = read.password;
                one(door, Task::Pop3 { password })
            }
            WorkCommand::Idle(hold) | WorkCommand::Storm(hold) => {
                let door = Door::new(&hold.read.targets.target, &hold.read.targets.tls)?;
                let (password, silent) = (hold.read.password, hold.silent);
                one(door, Task::Hold { password, silent })
            }
            WorkCommand::Mix(mix) => self.mixed(&mix)?,
        })
    }

    fn mixed(&mut self, mix: &MixOptions) -> Result<Vec<Job>, String> {
        let profile = match &mix.profile {
            None => Profile::parse(Profile::BUILT_IN, "the built-in profile")?,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Profile::parse(&text, &path.display().to_string())?
            }
        };
        self.sizes = profile.sizes;
        self.day = match mix.amount.rate {
            Some(_) => profile.hours.map(|hours| Day::new(&hours)),
            None => None,
        };
        let mut jobs = Vec::with_capacity(profile.shares.len());
        for (kind, share) in profile.shares {
            let (targets, option) = match kind {
                Kind::Smtp => (&mix.smtp, "--smtp"),
                Kind::Lmtp => (&mix.lmtp, "--lmtp"),
                Kind::Pop3 => (&mix.pop3, "--pop3"),
                Kind::Imap(_) => (&mix.imap, "--imap"),
            };
            let without = |error| match targets.is_empty() {
                true => format!("the profile has {} in it: expected {option}", kind.name()),
                false => error,
            };
            let password = mix.password.clone();
            jobs.push(Job {
                name: kind.name(),
                share,
                door: Door::new(targets, &mix.tls).map_err(without)?,
                task: match kind {
                    Kind::Smtp | Kind::Lmtp => Task::Mail {
                        message: profile.message.clone(),
                        lmtp: kind == Kind::Lmtp,
                    },
                    Kind::Pop3 => Task::Pop3 { password },
                    Kind::Imap(work) => Task::Imap { work, password },
                },
            });
        }
        Ok(jobs)
    }

    /// How much.
    pub(crate) fn amount(&self) -> &Amount {
        self.work.amount()
    }

    /// Clients that misbehave.
    pub(crate) fn faults(&self) -> &[(Fault, u32)] {
        let faults: &Faults = match &self.work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.faults,
            WorkCommand::Verify(verify) => &verify.mail.faults,
            WorkCommand::Imap(imap) => &imap.read.faults,
            WorkCommand::Pop3(read) => &read.faults,
            WorkCommand::Idle(hold) | WorkCommand::Storm(hold) => &hold.read.faults,
            WorkCommand::Mix(mix) => &mix.faults,
        };
        &faults.fault
    }

    /// Whether messages are read back at the end.
    pub(crate) fn verifies(&self) -> bool {
        matches!(self.work, WorkCommand::Verify(_))
    }

    /// The account of the unit `number`, around all of them.
    pub(crate) fn user(&self, number: u64) -> &str {
        let count = self.users.len() as u64;
        &self.users[usize::try_from(number % count).expect("below a length")]
    }

    /// What the messages are made of.
    pub(crate) fn content(&self) -> Content {
        let from = self.jobs.iter().find_map(|job| match &job.task {
            Task::Mail { message, .. } => Some(message.from.clone()),
            _ => None,
        });
        Content {
            seed: self.seed,
            from: from.unwrap_or_else(|| "load@sender.example".to_owned()),
            sizes: self.sizes.clone(),
        }
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        self.work.name()
    }

    /// How TLS is used, for reports.
    pub(crate) fn tls(&self) -> &'static str {
        let tls = match &self.work {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => mail.targets.tls.tls,
            WorkCommand::Verify(verify) => verify.mail.targets.tls.tls,
            WorkCommand::Imap(imap) => imap.read.targets.tls.tls,
            WorkCommand::Pop3(read) => read.targets.tls.tls,
            WorkCommand::Idle(hold) | WorkCommand::Storm(hold) => hold.read.targets.tls.tls,
            WorkCommand::Mix(mix) => mix.tls.tls,
        };
        match tls {
            None => "none",
            Some(TlsMode::Implicit) => "implicit",
            Some(TlsMode::Starttls) => "starttls",
        }
    }
}

fn time_seed() -> u64 {
    u64::try_from(pigeon_engine::unix_time().as_micros()).expect("microseconds fit 64 bits for 584,000 years")
}
