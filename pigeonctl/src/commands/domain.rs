//! Domains.

use super::settings::{Steps, known, modification, put};
use super::{Context, Outcome, fresh, parent};
use crate::change::{Change, Step};
use crate::command_line::{DomainCommand, DomainSettings};
use crate::entry::{Owned, addresses, attribute, child_dn, push};
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::{Kind, Purpose, canonical_domain};

pub(super) fn run(context: &Context, command: DomainCommand) -> Outcome {
    match command {
        DomainCommand::List => {
            let tree = context.read()?;
            context.list(&tree, tree.of(Kind::Domain).map(|found| &found.entry))
        }
        DomainCommand::Show { name } => {
            let tree = context.read()?;
            let found = tree.domain(&name)?;
            context.show(&tree, &found.entry)
        }
        DomainCommand::Add {
            name,
            settings,
            parent: said,
        } => {
            let mut tree = context.write()?;
            let canonical = canonical_domain(&name).ok_or_else(|| format!("{name}: expected a domain name"))?;
            if let Ok(found) = tree.domain(&name) {
                return Err(format!("{name}: {} is this domain already", found.entry.dn).into());
            }
            let parent = match parent(&mut tree, &[Kind::Domain], said.as_deref()) {
                // The first domain of an empty file stands alone.
                Err(_) if tree.is_file() && said.is_none() => String::new(),
                other => other?,
            };
            let naming = attribute(&tree.map, Purpose::DomainName)?;
            let mut entry = fresh(
                &tree,
                &child_dn(&naming, &canonical, &parent),
                &["domain", "pigeonDomain"],
            )?;
            push(&mut entry, "dc", canonical.as_str());
            push(&mut entry, &naming, canonical.as_str());
            let steps = steps(&mut tree, &entry, &settings)?;
            put(&mut entry, steps);
            context.make(&mut tree, &[Change::Add(entry)], &format!("{canonical}: added"))
        }
        DomainCommand::Set { name, settings } => {
            let mut tree = context.write()?;
            let found = tree.domain(&name)?.clone();
            let steps = steps(&mut tree, &found.entry, &settings)?;
            context.make(&mut tree, &modification(&found, steps), &format!("{name}: changed"))
        }
        DomainCommand::Remove { name, force } => {
            let mut tree = context.write()?;
            let found = tree.domain(&name)?.clone();
            let canonical = canonical_domain(&name).unwrap_or_default();
            let there = if force { 0 } else { in_domain(&mut tree, &canonical)? };
            if there > 0 {
                let why = format!(
                    "{name}: {there} accounts and groups have addresses there; --force removes it all the same"
                );
                return Err(why.into());
            }
            let change = Change::Delete {
                dn: found.entry.dn.to_string(),
                version: found.version,
            };
            context.make(&mut tree, &[change], &format!("{name}: removed"))
        }
    }
}

/// How many accounts and groups have addresses in a domain.
pub(super) fn in_domain(tree: &mut Tree, canonical: &str) -> Result<usize, String> {
    tree.need(&Need::InDomain(canonical.to_owned()))?;
    let is_there = |entry: &Owned| {
        addresses(entry, &tree.map)
            .iter()
            .any(|address| address.domain() == canonical)
    };
    let all = tree.of(Kind::Account).chain(tree.of(Kind::Group));
    Ok(all.filter(|found| is_there(&found.entry)).count())
}

fn steps(tree: &mut Tree, entry: &Owned, settings: &DomainSettings) -> Result<Vec<Step>, String> {
    known(tree, &[settings.catch_all.as_deref(), settings.postmaster.as_deref()])?;
    Ok(Steps::of(tree, entry)
        .one(Purpose::DomainStatus, settings.status.as_deref())?
        .one(Purpose::AliasOf, settings.alias_of.as_deref())?
        .one(Purpose::CatchAll, settings.catch_all.as_deref())?
        .one(Purpose::Postmaster, settings.postmaster.as_deref())?
        .one(Purpose::AddressDelimiter, settings.delimiter.as_deref())?
        .amount(Purpose::DefaultQuotaSize, settings.quota.as_deref())?
        .amount(Purpose::DefaultQuotaCount, settings.quota_count.as_deref())?
        .amount(Purpose::DefaultSizeMax, settings.message_size.as_deref())?
        .several(Purpose::DefaultService, &settings.service)?
        .one(Purpose::DefaultNode, settings.node.as_deref())?
        .one(Purpose::DefaultVolume, settings.volume.as_deref())?
        .one(Purpose::AccountsMax, settings.accounts_max.as_deref())?
        .done())
}
