//! Accounts.

use super::settings::{Steps, free_address, further_attribute, modification, put};
use super::{Context, Outcome, domain, fresh, moving, node, parent, password};
use crate::change::{Change, Step};
use crate::command_line::{AccountCommand, AccountSettings};
use crate::entry::{
    Found, Owned, addresses, attribute, child_dn, naming, push, rdn, same_dn, split_dn, texts, values_of,
};
use crate::secret;
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::{Address, Kind, Purpose, canonical_dn, canonical_domain};

pub(super) fn run(context: &Context, command: AccountCommand) -> Outcome {
    match command {
        AccountCommand::Show { address } => {
            let mut tree = context.read()?;
            let found = tree.owner_of(Kind::Account, &address)?;
            context.show(&tree, &found.entry)
        }
        AccountCommand::List { domain } => list(context, domain.as_deref()),
        AccountCommand::Add {
            address,
            name,
            uid,
            alias,
            settings,
            no_password,
            scram,
            parent,
        } => {
            let secrets = if no_password {
                Vec::new()
            } else {
                password::hashes(&secret::new(&address)?, scram)
            };
            let new = New {
                address,
                name,
                uid,
                alias,
                parent,
            };
            let mut tree = context.write()?;
            let entry = new.entry(&mut tree, &settings, &secrets)?;
            let node = texts(&entry, &tree.map, Purpose::Node).into_iter().next();
            let node = node.map_or_else(String::new, |node| format!(", on {node}"));
            let done = format!("{}: added as {}{node}", new.address, entry.dn);
            context.make(&mut tree, &[Change::Add(entry)], &done)
        }
        AccountCommand::Set { address, settings } => {
            let mut tree = context.write()?;
            let found = tree.owner_of(Kind::Account, &address)?;
            let steps = steps(&tree, &found.entry, &settings)?;
            context.make(&mut tree, &modification(&found, steps), &format!("{address}: changed"))
        }
        AccountCommand::Rename {
            address,
            new,
            keep_address,
        } => rename(context, &address, &new, keep_address),
        AccountCommand::Move {
            address,
            node,
            volume,
            from_lost,
            anyway,
        } => {
            let wish = moving::Wish {
                node: node.as_deref(),
                volume: volume.as_deref(),
                lost: &from_lost,
                anyway,
            };
            moving::move_account(context, &address, &wish)
        }
        AccountCommand::Remove { address } => {
            let mut tree = context.write()?;
            let found = tree.owner_of(Kind::Account, &address)?;
            tree.need(&Need::Value(&[Purpose::MemberDn], found.entry.dn.to_string()))?;
            // What a domain names must have somebody afterwards; the check sees it, for the domains are read.
            let mut changes = without_member(&tree, &found.entry.dn, None)?;
            changes.push(Change::Delete {
                dn: found.entry.dn.to_string(),
                version: found.version.clone(),
            });
            context.make(&mut tree, &changes, &format!("{address}: removed"))
        }
    }
}

fn list(context: &Context, domain: Option<&str>) -> Outcome {
    let mut tree = context.read()?;
    let canonical = domain
        .map(|name| canonical_domain(name).ok_or_else(|| format!("{name}: expected a domain name")))
        .transpose()?;
    tree.need(&canonical.clone().map_or(Need::Everything, Need::InDomain))?;
    let is_in = |entry: &Owned| match &canonical {
        None => true,
        Some(domain) => addresses(entry, &tree.map)
            .iter()
            .any(|address| address.domain() == domain),
    };
    context.list(
        &tree,
        tree.of(Kind::Account)
            .map(|found| &found.entry)
            .filter(|entry| is_in(entry)),
    )
}

/// An account to come.
struct New {
    address: String,
    name: Option<String>,
    uid: Option<String>,
    alias: Vec<String>,
    parent: Option<String>,
}

impl New {
    fn entry(
        &self,
        tree: &mut Tree,
        settings: &AccountSettings,
        secrets: &[(Purpose, String)],
    ) -> Result<Owned, String> {
        let address = free_address(tree, &self.address)?;
        self.alias
            .iter()
            .try_for_each(|alias| free_address(tree, alias).map(drop))?;
        room(tree, address.domain())?;
        let login = self.login(tree, &address)?;
        if self.parent.is_none() {
            tree.need(&Need::SomebodyIn(address.domain().to_owned()))?;
        }
        let parent = parent(tree, &[Kind::Account], self.parent.as_deref())?;
        let naming = attribute(&tree.map, Purpose::LoginName)?;
        let dn = child_dn(&naming, &login, &parent);
        tree.need(&Need::Dn(dn.clone()))?;
        if tree.has_dn(&dn) {
            return Err(format!(
                "{dn}: there is such an entry already; --uid gives it another name"
            ));
        }
        let mut entry = fresh(tree, &dn, &["inetOrgPerson", "pigeonAccount"])?;
        let name = self
            .name
            .as_deref()
            .filter(|name| !name.trim().is_empty())
            .unwrap_or(address.local());
        let surname = name.split_whitespace().last().unwrap_or(name);
        push(&mut entry, "cn", name);
        push(&mut entry, "sn", surname);
        push(&mut entry, &naming, login);
        push(
            &mut entry,
            &attribute(&tree.map, Purpose::Address)?,
            self.address.as_str(),
        );
        let further = further_attribute(tree)?;
        self.alias
            .iter()
            .for_each(|alias| push(&mut entry, &further, alias.as_str()));
        for (purpose, secret) in secrets {
            push(&mut entry, &attribute(&tree.map, *purpose)?, secret.as_str());
        }
        let steps = steps(tree, &entry, settings)?;
        put(&mut entry, steps);
        if settings.node.is_none()
            && let Some(node) = node::for_new(tree, &address, settings.volume.as_deref())?
        {
            push(&mut entry, &attribute(&tree.map, Purpose::Node)?, node);
        }
        Ok(entry)
    }

    /// Login names are single in the whole tree, local parts only in a domain.
    fn login(&self, tree: &mut Tree, address: &Address) -> Result<String, String> {
        if let Some(login) = &self.uid {
            return match tree.owner(login)? {
                Some(owner) => Err(format!("--uid {login}: {} has this name", owner.entry.dn)),
                None => Ok(login.clone()),
            };
        }
        let is_taken = tree.owner(address.local())?.is_some();
        Ok(if is_taken { address.as_str() } else { address.local() }.to_owned())
    }
}

/// Whether the domain has room for one more.
fn room(tree: &mut Tree, domain_name: &str) -> Result<(), String> {
    let found = tree.domain(domain_name)?;
    let most = texts(&found.entry, &tree.map, Purpose::AccountsMax);
    let Some(most) = most.first().and_then(|most| most.parse::<usize>().ok()) else {
        return Ok(());
    };
    domain::in_domain(tree, domain_name)?;
    let is_there = |found: &&Found| {
        let main = addresses(&found.entry, &tree.map);
        main.first().is_some_and(|address| address.domain() == domain_name)
    };
    if tree.of(Kind::Account).filter(is_there).count() < most {
        return Ok(());
    }
    Err(format!("{domain_name}: it may have {most} accounts, and has them"))
}

fn steps(tree: &Tree, entry: &Owned, settings: &AccountSettings) -> Result<Vec<Step>, String> {
    Ok(Steps::of(tree, entry)
        .one(Purpose::Status, settings.status.as_deref())?
        .one(Purpose::Node, settings.node.as_deref())?
        .one(Purpose::Volume, settings.volume.as_deref())?
        .amount(Purpose::QuotaSize, settings.quota.as_deref())?
        .amount(Purpose::QuotaCount, settings.quota_count.as_deref())?
        .amount(Purpose::SizeMax, settings.message_size.as_deref())?
        .several(Purpose::Service, &settings.service)?
        .several(Purpose::Forward, &settings.forward)?
        .done())
}

fn rename(context: &Context, name: &str, new: &str, keep_address: bool) -> Outcome {
    let mut tree = context.write()?;
    let found = tree.owner_of(Kind::Account, name)?;
    let old = addresses(&found.entry, &tree.map);
    let parsed = Address::parse(new).map_err(|error| format!("{new}: {error}"))?;
    // One of its own further addresses may become the main one.
    if !old.contains(&parsed) {
        free_address(&mut tree, new)?;
    }
    let mut steps = new_addresses(&tree, &found.entry, new, &parsed, keep_address)?;
    // Without one, its mail would be found by its DN, which changes.
    if tree.is_file() && texts(&found.entry, &tree.map, Purpose::Uuid).is_empty() {
        let canonical = canonical_dn(&found.entry.dn).map_err(|error| error.message.to_owned())?;
        let uuid = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_X500, canonical.as_bytes());
        steps.push(Step::new(attribute(&tree.map, Purpose::Uuid)?, [uuid.to_string()]));
    }
    let mut changes = vec![Change::modify(&found, steps)];
    let old_login = old.first().map(Address::local).unwrap_or_default();
    if let Some(rdn) = new_rdn(&mut tree, &found.entry, old_login, old.first(), &parsed)? {
        let dn = found.entry.dn.to_string();
        let parent = split_dn(&dn).1;
        let renamed = format!("{rdn},{parent}");
        tree.need(&Need::Dn(renamed.clone()))?;
        if tree.has_dn(&renamed) && !same_dn(&renamed, &dn) {
            return Err(format!("{renamed}: there is such an entry already").into());
        }
        tree.need(&Need::Value(&[Purpose::MemberDn], dn.clone()))?;
        let uuid = texts(&found.entry, &tree.map, Purpose::Uuid)
            .into_iter()
            .next()
            .filter(|_| !tree.is_file());
        changes.push(Change::Rename {
            dn: dn.clone(),
            rdn,
            uuid,
        });
        changes.extend(without_member(&tree, &dn, Some(&renamed))?);
    }
    context.make(&mut tree, &changes, &format!("{name}: now {new}"))
}

/// The new main address in front; the old one goes or stays behind it.
fn new_addresses(tree: &Tree, entry: &Owned, new: &str, parsed: &Address, keep: bool) -> Result<Vec<Step>, String> {
    let is_new = |value: &Vec<u8>| {
        let text = std::str::from_utf8(value).ok();
        text.and_then(|text| Address::parse(text).ok()).as_ref() == Some(parsed)
    };
    let first = attribute(&tree.map, Purpose::Address)?;
    let further = further_attribute(tree)?;
    let mut steps = Vec::new();
    let mut main: Vec<Vec<u8>> = values_of(entry, &first);
    let old = (!main.is_empty())
        .then(|| main.remove(0))
        .filter(|old| keep && !is_new(old));
    main.retain(|value| !is_new(value));
    main.insert(0, new.as_bytes().to_vec());
    if further.eq_ignore_ascii_case(&first) {
        main.extend(old);
        return Ok(vec![Step::new(first, main)]);
    }
    steps.push(Step::new(first.clone(), main));
    for name in tree
        .map
        .attributes(Purpose::Address)
        .iter()
        .filter(|name| **name != first)
    {
        let before = values_of(entry, name);
        let mut values: Vec<Vec<u8>> = before.iter().filter(|value| !is_new(value)).cloned().collect();
        if *name == further {
            values.extend(old.clone());
        }
        if values != before {
            steps.push(Step::new(name.clone(), values));
        }
    }
    Ok(steps)
}

/// The new first component of a DN that was made of the old address.
fn new_rdn(
    tree: &mut Tree,
    entry: &Owned,
    old_login: &str,
    old: Option<&Address>,
    new: &Address,
) -> Result<Option<String>, String> {
    let Some((named_by, value)) = naming(&entry.dn) else {
        return Ok(None);
    };
    let login = attribute(&tree.map, Purpose::LoginName)?;
    let is_made_of_it =
        value.eq_ignore_ascii_case(old_login) || old.is_some_and(|old| value.eq_ignore_ascii_case(old.as_str()));
    if !named_by.eq_ignore_ascii_case(&login) || !is_made_of_it || value.eq_ignore_ascii_case(new.local()) {
        return Ok(None);
    }
    let dn = entry.dn.clone();
    let owner = tree.owner(new.local())?;
    let is_free = owner.is_none_or(|owner| same_dn(&owner.entry.dn, &dn));
    let value = if is_free { new.local() } else { new.as_str() };
    Ok(Some(rdn(&named_by, value)))
}

/// Groups that name an entry by its DN, without it or with its new one.
fn without_member(tree: &Tree, dn: &str, renamed: Option<&str>) -> Result<Vec<Change>, String> {
    let member = attribute(&tree.map, Purpose::MemberDn);
    let mut changes = Vec::new();
    for group in tree.of(Kind::Group) {
        let Ok(member) = &member else { continue };
        let values = values_of(&group.entry, member);
        let is_it = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|value| same_dn(value, dn));
        let changed: Vec<Vec<u8>> = values
            .iter()
            .filter_map(|value| match renamed {
                _ if !is_it(value) => Some(value.clone()),
                renamed => renamed.map(|renamed| renamed.as_bytes().to_vec()),
            })
            .collect();
        if changed != values {
            changes.push(Change::modify(group, vec![Step::new(member.clone(), changed)]));
        }
    }
    Ok(changes)
}
