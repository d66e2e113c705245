//! Reads the control data that a configuration names, as the node would, for `check`: the LDIF file, or the directory.

use super::super::{Config, Ldap};
use super::{FileMistake, Findings};
use crate::config::mistake::Position;
use pigeon_datatree_cache::ldap::{Directory, LdapOptions, try_servers};
use pigeon_datatree_cache::ldif::{LdifFile, LdifOptions};
use pigeon_datatree_cache::source::{DataTree, LoadError};
use pigeon_datatree_cache::{self as control_data, CopyState, Snapshot};
use std::collections::BTreeMap;
use std::path::Path;

/// Everything that is wrong with control data.
pub(super) fn check(config: &Config, findings: &mut Findings) {
    let snapshot = match (&config.control_data.ldap, &config.control_data.ldif) {
        (Some(ldap), _) => check_directory(config, ldap, findings),
        (None, Some(path)) => check_ldif(config, path, findings),
        (None, None) => None,
    };
    if let Some(snapshot) = snapshot {
        check_volumes(config, &snapshot, findings);
    }
}

fn check_ldif(config: &Config, path: &Path, findings: &mut Findings) -> Option<Snapshot> {
    let options = LdifOptions {
        map: config.control_data.attribute_map(),
        ..LdifOptions::default()
    };
    let loaded = LdifFile::new(path, options)
        .map_err(|error| LoadError::Unreadable(error.to_string()))
        .and_then(|mut file| file.load(&Snapshot::empty()));
    match loaded {
        Ok(loaded) => {
            findings.warnings.extend(in_ldif(path, &loaded.warnings));
            return Some(loaded.snapshot);
        }
        Err(LoadError::Wrong { mistakes, .. }) => findings.mistakes.extend(in_ldif(path, &mistakes)),
        Err(LoadError::Unreadable(why)) => {
            let place = Some(&config.written.control_data);
            findings.mistakes.push(config.named_here(place, format!("ldif: {why}")));
        }
    }
    None
}

/// Every server is tried, and the first that is of use is read. While one is, the others are worth a warning only.
fn check_directory(config: &Config, ldap: &Ldap, findings: &mut Findings) -> Option<Snapshot> {
    let place = Some(&config.written.control_data);
    let tried = ldap
        .options(config.control_data.attribute_map())
        .and_then(|options| Ok((try_servers(&options).map_err(|error| error.to_string())?, options)));
    let (outcomes, options) = match tried {
        Ok(tried) => tried,
        Err(why) => {
            findings.mistakes.push(config.named_here(place, why));
            return None;
        }
    };
    let good = outcomes.iter().find(|(_, outcome)| outcome.is_ok());
    let failures = outcomes.iter().filter_map(|(_, outcome)| outcome.as_ref().err());
    let failures = failures.map(|why| config.named_here(place, why.clone()));
    let Some((server, _)) = good else {
        findings.mistakes.extend(failures);
        return None;
    };
    findings.warnings.extend(failures);
    // Without the copy on disk, which belongs to the node that may be running.
    let source = Directory::new(LdapOptions {
        servers: vec![server.clone()],
        copy: None,
        ..options
    });
    let loaded = source
        .map_err(|error| error.to_string())
        .and_then(|mut source| source.load(&Snapshot::empty()).map_err(|error| error.to_string()));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(why) => {
            findings.mistakes.push(config.named_here(place, why));
            return None;
        }
    };
    let warnings = loaded.warnings.list.iter();
    let warnings = warnings.map(|warning| config.named_here(place, format!("{server}: {warning}")));
    findings.warnings.extend(warnings);
    if loaded.warnings.left_out > 0 {
        let more = format!("{server}: and {} more", loaded.warnings.left_out);
        findings.warnings.push(config.named_here(place, more));
    }
    if loaded.snapshot.state() == CopyState::Live && loaded.snapshot.account_count() == 0 {
        let why = format!("{server}: no account below {} fits {}", ldap.base, ldap.filter);
        findings.warnings.push(config.named_here(place, why));
    }
    Some(loaded.snapshot)
}

/// Accounts on volumes that are not configured here: their mail has to wait.
fn check_volumes(config: &Config, snapshot: &Snapshot, findings: &mut Findings) {
    let mut strangers: BTreeMap<&str, (u64, &str)> = BTreeMap::new();
    for account in snapshot.accounts() {
        let Some(volume) = account.volume() else { continue };
        if config.volumes.iter().any(|configured| configured.id == volume) {
            continue;
        }
        let (count, first) = strangers.entry(volume).or_insert((0, account.dn()));
        *count += 1;
        // The same on every run.
        *first = (*first).min(account.dn());
    }
    let place = Some(&config.written.control_data);
    for (volume, (count, first)) in strangers {
        let message = format!(
            "{count} accounts are on the volume {volume:?}, which no [[volume]] section has: their mail has to wait; {first} is one"
        );
        findings.warnings.push(config.named_here(place, message));
    }
}

/// What the LDIF file's own reader says, with its places.
fn in_ldif(path: &Path, found: &control_data::Mistakes) -> Vec<FileMistake> {
    let mistake = |position, message| FileMistake {
        file: path.to_owned(),
        position,
        message,
    };
    let mut list: Vec<FileMistake> = found
        .list
        .iter()
        .map(|found| {
            let position = found.position.map(|at| Position {
                line: at.line as usize,
                column: at.column as usize,
            });
            // Its words without its place, which is told apart here.
            let words = control_data::Mistake {
                position: None,
                ..found.clone()
            };
            mistake(position, words.to_string())
        })
        .collect();
    if found.left_out > 0 {
        list.push(mistake(None, format!("and {} more", found.left_out)));
    }
    list
}
