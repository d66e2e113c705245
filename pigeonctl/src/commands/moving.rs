//! Moving an account: its new place and all those where it may still be, in one change; the nodes do the rest.

use super::cluster;
use super::node::{Node, node_of_volume};
use super::settings::{Steps, modification};
use super::{Context, Outcome};
use crate::change::Change;
use crate::entry::{Found, Owned, addresses, texts};
use crate::tree::Tree;
use pigeon_datatree_cache::{Kind, Purpose};

/// In front of a node that is lost, as the schema has it.
const LOST: &str = "lost:";
/// Places, at most, as the schema has it.
const PREVIOUS_MAX: usize = 8;

/// What is asked for.
pub(super) struct Wish<'a> {
    pub(super) node: Option<&'a str>,
    pub(super) volume: Option<&'a str>,
    /// Nodes that are lost for good.
    pub(super) lost: &'a [String],
    /// Whatever the nodes say.
    pub(super) anyway: bool,
}

/// What the node says that the account is on.
enum Said {
    Arrived,
    Arriving,
    Nothing,
}

/// See the module.
pub(super) fn move_account(context: &Context, name: &str, wish: &Wish<'_>) -> Outcome {
    let mut tree = context.write()?;
    let found = tree.owner_of(Kind::Account, name)?;
    let (changes, done) = changes(&tree, &found, name, wish)?;
    context.make(&mut tree, &changes, &done)
}

/// The change that moves one account, and what is said when it is made.
pub(super) fn changes(
    tree: &Tree,
    found: &Found,
    name: &str,
    wish: &Wish<'_>,
) -> Result<(Vec<Change>, String), String> {
    let old_node = own_or_default(tree, &found.entry, Purpose::Node, Purpose::DefaultNode);
    let old_volume = own_or_default(tree, &found.entry, Purpose::Volume, Purpose::DefaultVolume);
    let Some(old_node) = old_node else {
        return Err(format!(
            "{name}: it names no node; say first with account set --node where its mail is"
        ));
    };
    let node = wish.node.unwrap_or(&old_node);
    let to = Node::of(tree, tree.component(Kind::Server, node)?);
    if let Some(why) = to.refusal().filter(|_| node != old_node) {
        return Err(why);
    }
    let new_volume = match wish.volume {
        Some(volume) => {
            if let Some(other) = node_of_volume(tree, volume).filter(|other| other != node) {
                return Err(format!("{volume}: this volume belongs to {other}"));
            }
            Some(volume)
        }
        // Where the node puts it, unless what was said holds there too.
        None => {
            let own = texts(&found.entry, &tree.map, Purpose::Volume).into_iter().next();
            let holds = own.is_none_or(|own| node_of_volume(tree, &own).is_none_or(|other| other == node));
            (!holds).then_some("")
        }
    };
    let stays = node == old_node && (wish.volume.is_none() || wish.volume == old_volume.as_deref());
    if stays && wish.lost.is_empty() {
        return Ok((Vec::new(), format!("{name}: it is there")));
    }
    check_lost(tree, wish, node)?;
    let before = texts(&found.entry, &tree.map, Purpose::PreviousNode);
    let said = match before.is_empty() || stays {
        true => Said::Nothing,
        false => said(tree, &found.entry, name, &old_node),
    };
    if let (Said::Arriving, false) = (&said, wish.anyway) {
        let why = format!(
            "{name}: it has not arrived on {old_node} yet: pigeonctl says later that it has, or with --anyway where it \
             may be goes along"
        );
        return Err(why);
    }
    let place = |node: &str, volume: Option<&str>| match volume {
        Some(volume) => format!("{node}/{volume}"),
        None => node.to_owned(),
    };
    let new_place = place(node, wish.volume);
    let previous = place(&old_node, old_volume.as_deref());
    let mut values: Vec<String> = Vec::new();
    if !stays {
        values.push(previous.clone());
    }
    // Where it has arrived nobody else has anything of it.
    if !matches!(said, Said::Arrived) {
        values.extend(before);
    }
    values.retain(|value| *value != new_place && value.strip_prefix(LOST) != Some(node));
    values.retain(|value| !wish.lost.iter().any(|lost| value.split('/').next() == Some(lost)));
    values.extend(wish.lost.iter().map(|lost| format!("{LOST}{lost}")));
    let mut seen = std::collections::HashSet::new();
    values.retain(|value| seen.insert(value.clone()));
    if values.len() > PREVIOUS_MAX {
        return Err(format!(
            "{name}: it may be on too many nodes by now: wait until it has arrived on one"
        ));
    }
    let steps = Steps::of(tree, &found.entry)
        .one(Purpose::Node, Some(node))?
        .one(Purpose::Volume, new_volume)?
        .all(Purpose::PreviousNode, &values)?
        .done();
    let done = match stays {
        true => format!("{name}: stays on {node}, without what {} had", wish.lost.join(", ")),
        false => format!("{name}: moves from {previous} to {new_place}"),
    };
    Ok((modification(found, steps), done))
}

/// What is said to be lost is not where the account is to be, and does not answer.
fn check_lost(tree: &Tree, wish: &Wish<'_>, node: &str) -> Result<(), String> {
    for lost in wish.lost {
        if lost == node {
            return Err(format!(
                "{lost}: an account that is to be there cannot be fetched from there as lost"
            ));
        }
        // One that is described no longer has nobody to ask.
        if let Ok(found) = tree.component(Kind::Server, lost)
            && !wish.anyway
            && cluster::answers(tree, found)
        {
            return Err(format!(
                "{lost}: it answers, so it is not lost; if only its disk is, say so with --anyway"
            ));
        }
    }
    Ok(())
}

/// What the node on which the account is says of it.
fn said(tree: &Tree, entry: &Owned, name: &str, node: &str) -> Said {
    let main = addresses(entry, &tree.map).into_iter().next();
    let account = main.map_or_else(|| name.to_owned(), |main| main.to_string());
    let Ok(found) = tree.component(Kind::Server, node) else {
        return Said::Nothing;
    };
    let Ok(answer) = cluster::places(tree, found, &account) else {
        return Said::Nothing;
    };
    let Some(places) = answer["places"].as_array() else {
        return Said::Nothing;
    };
    let is_there = |place: &serde_json::Value| matches!(place["standing"].as_str(), Some("here" | "arrived"));
    match places.iter().any(is_there) {
        true => Said::Arrived,
        false => Said::Arriving,
    }
}

/// The entry's own value, or its domain's.
pub(super) fn own_or_default(tree: &Tree, entry: &Owned, own: Purpose, default: Purpose) -> Option<String> {
    let of_domain = || {
        let main = addresses(entry, &tree.map).into_iter().next()?;
        let domain = tree.domain(main.domain()).ok()?;
        texts(&domain.entry, &tree.map, default).into_iter().next()
    };
    texts(entry, &tree.map, own).into_iter().next().or_else(of_domain)
}
