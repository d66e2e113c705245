//! Passwords.

use super::settings::{Steps, modification};
use super::{Context, Outcome};
use crate::command_line::PasswordCommand;
use crate::secret;
use pigeon_datatree_cache::password::{Scheme, hash};
use pigeon_datatree_cache::{Kind, Purpose};

pub(super) fn run(context: &Context, command: PasswordCommand) -> Outcome {
    let PasswordCommand::Set { address, scram } = command;
    let secrets = hashes(&secret::new(&address)?, scram);
    let of = |purpose| {
        let values = secrets.iter().filter(|(found, _)| *found == purpose);
        values.map(|(_, secret)| secret.clone()).collect::<Vec<_>>()
    };
    let mut tree = context.write()?;
    let found = tree.owner_of(Kind::Account, &address)?;
    // A verifier of the old password would let the old password in.
    let steps = Steps::of(&tree, &found.entry)
        .all(Purpose::Password, &of(Purpose::Password))?
        .all(Purpose::AuthPassword, &of(Purpose::AuthPassword))?
        .done();
    context.make(
        &mut tree,
        &modification(&found, steps),
        &format!("{address}: password set"),
    )
}

/// What is stored of a password. SCRAM's own preparation (RFC 4013) is part of its verifier; Argon2 takes what was typed.
pub(super) fn hashes(password: &str, scram: bool) -> Vec<(Purpose, String)> {
    let mut hashes = vec![(Purpose::Password, hash(password, Scheme::Argon2id))];
    if scram {
        hashes.push((Purpose::AuthPassword, hash(password, Scheme::ScramSha256)));
    }
    hashes
}
