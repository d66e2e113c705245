//! What is to be done, checked, for all cores to share.

use crate::command_line::{
    Amount, HoldOptions, ImapOptions, ImapWork, MessageOptions, MixOptions, Sizes, TlsMode, TlsOptions, WorkCommand,
};
use crate::content::Content;
use crate::door::Door;
use crate::fleet::Fleet;
use crate::pace::Day;
use crate::processes::Processes;
use crate::profile::{Kind, Profile};
use crate::series::Series;
use crate::tally::Live;
use crate::users;
use std::time::Duration;

/// How long a session is in IDLE, where nobody says.
const IDLE_TIME: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Plan {
    pub(crate) work: WorkCommand,
    /// What sessions do: one kind of work, or those of a mix.
    pub(crate) jobs: Vec<Job>,
    /// Where `verify` reads.
    pub(crate) read: Option<Door>,
    /// At least one, where anybody logs in or has mail.
    pub(crate) users: Vec<String>,
    /// Octets of messages, with their shares.
    pub(crate) sizes: Vec<(f64, Sizes)>,
    /// How the rate changes in the course of the run.
    pub(crate) day: Option<Day>,
    /// Something that was said and has no effect.
    pub(crate) remark: Option<&'static str>,
    /// What is random is made of it.
    pub(crate) seed: u64,
    pub(crate) live: Live,
    pub(crate) series: Series,
    pub(crate) fleet: Fleet,
    /// The server's, as far as they are named.
    pub(crate) server: Processes,
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
    Mail {
        message: MessageOptions,
        lmtp: bool,
    },
    Imap {
        work: ImapWork,
        password: String,
        /// How long `ImapWork::Idle` is in IDLE.
        idle: Duration,
    },
    Pop3 {
        password: String,
    },
    Hold {
        password: String,
        silent: bool,
    },
}

impl Plan {
    /// Refuses what cannot be done.
    pub(crate) fn new(work: WorkCommand) -> Result<Plan, String> {
        let users = users::expand(work.users())?;
        let mut plan = Plan {
            jobs: Vec::new(),
            read: None,
            sizes: vec![(1.0, 4096..=4096)],
            day: None,
            remark: None,
            users,
            seed: work.amount().seed.unwrap_or_else(time_seed),
            live: Live::default(),
            series: Series::default(),
            fleet: Fleet::default(),
            server: Processes::new(&work.amount().server_pid),
            work,
        };
        plan.refuse_what_means_nothing()?;
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

    /// Options that would be ignored.
    fn refuse_what_means_nothing(&self) -> Result<(), String> {
        let tls = self.work.tls();
        let reads = match &self.work {
            WorkCommand::Verify(verify) => verify.read_tls,
            _ => None,
        };
        if tls.tls_name.is_some() && tls.tls.is_none() && reads.is_none() {
            return Err("--tls-name means nothing without --tls".to_owned());
        }
        let faults = self.work.faults();
        for (place, (fault, _)) in faults.iter().enumerate() {
            if faults[..place].iter().any(|(before, _)| before == fault) {
                return Err(format!("--fault {}: given twice", fault.name()));
            }
        }
        Ok(())
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
                let login = &imap.read.login;
                let door = Door::new(&login.targets.target, &login.targets.tls)?;
                let password = login.password.clone();
                let (work, idle) = (imap.work, idle_time(&imap)?);
                one(door, Task::Imap { work, password, idle })
            }
            WorkCommand::Pop3(read) => {
                let login = read.login;
                let door = Door::new(&login.targets.target, &login.targets.tls)?;
                let password = login.password;
                one(door, Task::Pop3 { password })
            }
            WorkCommand::Idle(hold) => {
                let (door, task) = held(hold)?;
                one(door, task)
            }
            WorkCommand::Storm(storm) => {
                let (door, task) = held(storm.hold)?;
                one(door, task)
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
        for (given, option, speaks) in [
            (&mix.smtp, "--smtp", &[Kind::Smtp][..]),
            (&mix.lmtp, "--lmtp", &[Kind::Lmtp]),
            (&mix.pop3, "--pop3", &[Kind::Pop3]),
            (&mix.imap, "--imap", &Kind::IMAP),
        ] {
            if !given.is_empty() && !profile.shares.iter().any(|(kind, _)| speaks.contains(kind)) {
                return Err(format!("{option}: the profile has no share for it"));
            }
        }
        self.sizes = profile.sizes;
        if mix.profile.is_some() && profile.hours.is_some() && mix.pacing.rate.is_none() {
            self.remark = Some("the profile's hours of the day have no effect without --rate");
        }
        self.day = match mix.pacing.rate {
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
                    Kind::Imap(work) => Task::Imap {
                        work,
                        password,
                        idle: profile.idle.unwrap_or(IDLE_TIME),
                    },
                },
            });
        }
        Ok(jobs)
    }

    /// How much.
    pub(crate) fn amount(&self) -> &Amount {
        self.work.amount()
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
        match self.work.tls().tls {
            None => "none",
            Some(TlsMode::Implicit) => "implicit",
            Some(TlsMode::Starttls) => "starttls",
        }
    }
}

fn idle_time(imap: &ImapOptions) -> Result<Duration, String> {
    match imap.idle_time {
        Some(_) if imap.work != ImapWork::Idle => Err("--idle-time means nothing without --work idle".to_owned()),
        given => Ok(given.unwrap_or(IDLE_TIME)),
    }
}

fn held(hold: HoldOptions) -> Result<(Door, Task), String> {
    let silent = hold.silent;
    if silent && hold.targets.tls.tls == Some(TlsMode::Starttls) {
        return Err("--tls starttls means nothing with --silent, which sends no command".to_owned());
    }
    // Clients that misbehave log in nonetheless.
    let misbehaving = !hold.faults.fault.is_empty();
    if silent && !misbehaving && (!hold.user.is_empty() || hold.password.is_some()) {
        return Err("--user and --password mean nothing with --silent, which does not log in".to_owned());
    }
    if misbehaving && (hold.user.is_empty() || hold.password.is_none()) {
        return Err("--fault needs --user and --password".to_owned());
    }
    let door = Door::new(&hold.targets.target, &hold.targets.tls)?;
    // Without, nobody uses it.
    let password = hold.password.unwrap_or_default();
    Ok((door, Task::Hold { password, silent }))
}

fn time_seed() -> u64 {
    u64::try_from(pigeon_engine::unix_time().as_micros()).expect("microseconds fit 64 bits for 584,000 years")
}
