//! What all kinds of work have among their options.

use super::{Amount, Fault, Pacing, TlsOptions, WorkCommand};

impl WorkCommand {
    /// The accounts.
    pub(crate) fn users(&self) -> &[String] {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.users.user,
            WorkCommand::Verify(verify) => &verify.mail.users.user,
            WorkCommand::Imap(imap) => &imap.read.login.users.user,
            WorkCommand::Pop3(read) => &read.login.users.user,
            WorkCommand::Idle(hold) => &hold.user,
            WorkCommand::Storm(storm) => &storm.hold.user,
            WorkCommand::Mix(mix) => &mix.users.user,
        }
    }

    /// How much.
    pub(crate) fn amount(&self) -> &Amount {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.amount,
            WorkCommand::Verify(verify) => &verify.mail.amount,
            WorkCommand::Imap(imap) => &imap.read.login.amount,
            WorkCommand::Pop3(read) => &read.login.amount,
            WorkCommand::Idle(hold) => &hold.amount,
            WorkCommand::Storm(storm) => &storm.hold.amount,
            WorkCommand::Mix(mix) => &mix.amount,
        }
    }

    /// How fast and how often, of work that has units.
    pub(crate) fn pacing(&self) -> Option<&Pacing> {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => Some(&mail.pacing),
            WorkCommand::Verify(verify) => Some(&verify.mail.pacing),
            WorkCommand::Imap(imap) => Some(&imap.read.pacing),
            WorkCommand::Pop3(read) => Some(&read.pacing),
            WorkCommand::Idle(_) | WorkCommand::Storm(_) => None,
            WorkCommand::Mix(mix) => Some(&mix.pacing),
        }
    }

    /// TLS where the work is done.
    pub(crate) fn tls(&self) -> &TlsOptions {
        match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.targets.tls,
            WorkCommand::Verify(verify) => &verify.mail.targets.tls,
            WorkCommand::Imap(imap) => &imap.read.login.targets.tls,
            WorkCommand::Pop3(read) => &read.login.targets.tls,
            WorkCommand::Idle(hold) => &hold.targets.tls,
            WorkCommand::Storm(storm) => &storm.hold.targets.tls,
            WorkCommand::Mix(mix) => &mix.tls,
        }
    }

    /// Who misbehaves beside it.
    pub(crate) fn faults(&self) -> &[(Fault, u32)] {
        let faults = match self {
            WorkCommand::Smtp(mail) | WorkCommand::Lmtp(mail) => &mail.faults,
            WorkCommand::Verify(verify) => &verify.mail.faults,
            WorkCommand::Imap(imap) => &imap.read.login.faults,
            WorkCommand::Pop3(read) => &read.login.faults,
            WorkCommand::Idle(hold) => &hold.faults,
            WorkCommand::Storm(storm) => &storm.hold.faults,
            WorkCommand::Mix(mix) => &mix.faults,
        };
        &faults.fault
    }

    /// Its name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            WorkCommand::Smtp(_) => "smtp",
            WorkCommand::Lmtp(_) => "lmtp",
            WorkCommand::Imap(_) => "imap",
            WorkCommand::Pop3(_) => "pop3",
            WorkCommand::Idle(_) => "idle",
            WorkCommand::Storm(_) => "storm",
            WorkCommand::Verify(_) => "verify",
            WorkCommand::Mix(_) => "mix",
        }
    }
}
