//! What is done with nodes by changing the tree: which is in use, which gets an account, whose sessions end.

use super::settings::{Steps, modification};
use super::{Context, Outcome};
use crate::entry::{Found, texts};
use crate::tree::Tree;
use pigeon_datatree_cache::record::{NodeState, Role};
use pigeon_datatree_cache::{Address, Kind, Purpose, generalized_time};
use std::time::{SystemTime, UNIX_EPOCH};

/// `drain` and `undrain`.
pub(super) fn set_state(context: &Context, id: &str, state: NodeState) -> Outcome {
    let mut tree = context.write()?;
    let found = tree.component(Kind::Server, id)?.clone();
    let steps = Steps::of(&tree, &found.entry)
        .one(Purpose::NodeState, Some(state.name()))?
        .done();
    let done = format!("{id}: {}", state.name());
    context.make(&mut tree, &modification(&found, steps), &done)
}

/// Ends the sessions that began before now, by this machine's clock.
pub(super) fn kick(context: &Context, name: &str) -> Outcome {
    let mut tree = context.write()?;
    let found = match tree.owner(name)? {
        Some(_) => tree.owner_of(Kind::Account, name)?,
        None if name.contains('@') => return Err(format!("{name}: nobody has this name").into()),
        None => tree.domain(name)?.clone(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = generalized_time::format(u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    let steps = Steps::of(&tree, &found.entry)
        .one(Purpose::SessionsSince, Some(&now))?
        .done();
    let done = format!("{name}: sessions from before {now} end");
    context.make(&mut tree, &modification(&found, steps), &done)
}

/// Whether a node is in use, as its entry says.
pub(super) fn state_of(tree: &Tree, found: &Found) -> NodeState {
    let said = texts(&found.entry, &tree.map, Purpose::NodeState);
    let is_said = |state: &NodeState| said.first().is_some_and(|said| said.eq_ignore_ascii_case(state.name()));
    NodeState::ALL.into_iter().find(is_said).unwrap_or_default()
}

/// A node as its entry says.
pub(super) struct Node {
    id: String,
    state: NodeState,
    is_store: bool,
    weight: u32,
}

impl Node {
    pub(super) fn of(tree: &Tree, found: &Found) -> Node {
        let values = |purpose| texts(&found.entry, &tree.map, purpose);
        let roles = values(Purpose::Role);
        Node {
            id: values(Purpose::ComponentName).into_iter().next().unwrap_or_default(),
            state: state_of(tree, found),
            is_store: roles.is_empty() || roles.iter().any(|role| role.eq_ignore_ascii_case(Role::Store.name())),
            weight: values(Purpose::Weight)
                .first()
                .and_then(|weight| weight.parse().ok())
                .unwrap_or(1),
        }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn state(&self) -> NodeState {
        self.state
    }

    pub(super) fn weight(&self) -> u32 {
        self.weight
    }

    /// Why it gets no accounts.
    pub(super) fn refusal(&self) -> Option<String> {
        if !self.is_store {
            return Some(format!("{}: it has not the role store", self.id));
        }
        (self.state != NodeState::Up).then(|| format!("{}: it is {}, and gets no accounts", self.id, self.state.name()))
    }
}

/// The node for a new account where neither it nor its domain names one and there are several: the same for the same
/// address and the same nodes, and by their weights. A node more or less changes it for few addresses (rendezvous).
pub(super) fn for_new(tree: &Tree, address: &Address, volume: Option<&str>) -> Result<Option<String>, String> {
    let domain = tree.domain(address.domain())?;
    if !texts(&domain.entry, &tree.map, Purpose::DefaultNode).is_empty() {
        return Ok(None);
    }
    let nodes: Vec<Node> = tree.of(Kind::Server).map(|found| Node::of(tree, found)).collect();
    if nodes.len() < 2 {
        return Ok(None);
    }
    if let Some(node) = volume.and_then(|volume| node_of_volume(tree, volume)) {
        return Ok(Some(node));
    }
    let fit = nodes.iter().filter(|node| node.refusal().is_none() && node.weight > 0);
    let score = |node: &Node| score(&node.id, node.weight, address.as_str());
    let best = fit.max_by(|one, other| score(one).total_cmp(&score(other)));
    match best {
        Some(node) => Ok(Some(node.id.clone())),
        None => Err("no node is up and keeps mail: say with --node which one is to have it".to_owned()),
    }
}

/// Weighted rendezvous hashing: -weight / ln(h), with h between 0 and 1 by node and account.
fn score(node: &str, weight: u32, account: &str) -> f64 {
    let hash = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_X500, format!("{node}\0{account}").as_bytes());
    let (high, _) = hash.as_u64_pair();
    // 32 of its bits: a float has them all, and neither 0 nor 1 comes out.
    let part = (f64::from(u32::try_from(high >> 32).unwrap_or_default()) + 0.5) / (f64::from(u32::MAX) + 1.0);
    -f64::from(weight) / part.ln()
}

/// The node that a described volume belongs to.
pub(super) fn node_of_volume(tree: &Tree, volume: &str) -> Option<String> {
    let found = tree.component(Kind::Volume, volume).ok()?;
    texts(&found.entry, &tree.map, Purpose::Node).into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::score;
    use std::collections::HashMap;

    fn chosen<'a>(nodes: &[(&'a str, u32)], account: &str) -> &'a str {
        let score = |node: &&(&str, u32)| score(node.0, node.1, account);
        let best = nodes.iter().max_by(|one, other| score(one).total_cmp(&score(other)));
        best.expect("there are nodes").0
    }

    #[test]
    fn accounts_are_spread_by_weight_and_few_move_when_a_node_comes() {
        let accounts: Vec<String> = (0..10_000).map(|number| format!("user{number}@example.org")).collect();
        let before = [("n1", 1), ("n2", 1), ("n3", 2)];
        let mut counts: HashMap<&str, u32> = HashMap::new();
        for account in &accounts {
            *counts.entry(chosen(&before, account)).or_default() += 1;
        }
        for (node, expected) in [("n1", 2_500), ("n2", 2_500), ("n3", 5_000)] {
            assert!(counts[node].abs_diff(expected) < 250, "{counts:?}");
        }
        let after = [("n1", 1), ("n2", 1), ("n3", 2), ("n4", 1)];
        let moved = accounts
            .iter()
            .filter(|account| chosen(&before, account) != chosen(&after, account));
        for account in moved {
            assert_eq!(chosen(&after, account), "n4");
        }
    }
}
