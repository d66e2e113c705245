//! Groups.

use super::settings::{Steps, free_address, modification};
use super::{Context, Outcome, fresh, parent};
use crate::change::{Change, Step};
use crate::command_line::GroupCommand;
use crate::entry::{Owned, attribute, child_dn, push, texts, values_of};
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::{Address, Kind, Purpose, canonical_dn};

pub(super) fn run(context: &Context, command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::List => {
            let mut tree = context.read()?;
            tree.need(&Need::Everything)?;
            context.list(&tree, tree.of(Kind::Group).map(|found| &found.entry))
        }
        GroupCommand::Show { address } => {
            let mut tree = context.read()?;
            let found = tree.owner_of(Kind::Group, &address)?;
            context.show(&tree, &found.entry)
        }
        GroupCommand::Add {
            address,
            member,
            parent: said,
        } => {
            let mut tree = context.write()?;
            let parsed = free_address(&mut tree, &address)?;
            members_known(&mut tree, &member)?;
            tree.need(&Need::SomebodyIn(parsed.domain().to_owned()))?;
            let parent = parent(&mut tree, &[Kind::Group, Kind::Account], said.as_deref())?;
            let short = child_dn("cn", parsed.local(), &parent);
            tree.need(&Need::Dn(short.clone()))?;
            let name = if tree.has_dn(&short) {
                parsed.as_str()
            } else {
                parsed.local()
            };
            let dn = child_dn("cn", name, &parent);
            let mut entry = fresh(&tree, &dn, &["organizationalRole", "pigeonGroup"])?;
            push(&mut entry, "cn", name);
            push(&mut entry, &attribute(&tree.map, Purpose::Address)?, address.as_str());
            let attribute = attribute(&tree.map, Purpose::MemberAddress)?;
            member
                .iter()
                .for_each(|member| push(&mut entry, &attribute, member.as_str()));
            context.make(&mut tree, &[Change::Add(entry)], &format!("{address}: added as {dn}"))
        }
        GroupCommand::Set {
            address,
            add_member,
            remove_member,
        } => {
            let mut tree = context.write()?;
            let found = tree.owner_of(Kind::Group, &address)?;
            members_known(&mut tree, &add_member)?;
            let steps = members(&tree, &found.entry, &add_member, &remove_member)?;
            context.make(&mut tree, &modification(&found, steps), &format!("{address}: changed"))
        }
        GroupCommand::Remove { address } => {
            let mut tree = context.write()?;
            let found = tree.owner_of(Kind::Group, &address)?;
            let change = Change::Delete {
                dn: found.entry.dn.to_string(),
                version: found.version,
            };
            context.make(&mut tree, &[change], &format!("{address}: removed"))
        }
    }
}

/// A group with a member elsewhere is refused as a whole, and one that nobody has is left out: neither is meant.
fn members_known(tree: &mut Tree, members: &[String]) -> Result<(), String> {
    for member in members {
        if tree.owner(member)?.is_none() {
            return Err(format!("{member}: nobody here has this address"));
        }
    }
    Ok(())
}

fn members(tree: &Tree, entry: &Owned, add: &[String], remove: &[String]) -> Result<Vec<Step>, String> {
    let mut addresses = texts(entry, &tree.map, Purpose::MemberAddress);
    for gone in remove {
        let parsed = Address::parse(gone).ok();
        let before = addresses.len();
        addresses.retain(|address| address != gone && (parsed.is_none() || Address::parse(address).ok() != parsed));
        let by_dn = texts(entry, &tree.map, Purpose::MemberDn)
            .iter()
            .any(|dn| is_dn(dn, gone));
        if addresses.len() == before && !by_dn {
            return Err(format!("{gone}: no member of this group"));
        }
    }
    for new in add {
        let parsed = Address::parse(new).ok();
        if !addresses.iter().any(|address| Address::parse(address).ok() == parsed) {
            addresses.push(new.clone());
        }
    }
    let mut steps = Steps::of(tree, entry).all(Purpose::MemberAddress, &addresses)?.done();
    let attribute = attribute(&tree.map, Purpose::MemberDn)?;
    let before = values_of(entry, &attribute);
    let is_kept = |value: &&Vec<u8>| !remove.iter().any(|gone| is_dn(&String::from_utf8_lossy(value), gone));
    let kept: Vec<Vec<u8>> = before.iter().filter(is_kept).cloned().collect();
    if kept != before {
        steps.push(Step::new(attribute, kept));
    }
    Ok(steps)
}

fn is_dn(dn: &str, other: &str) -> bool {
    canonical_dn(other).is_ok_and(|other| canonical_dn(dn).is_ok_and(|dn| dn == other))
}
