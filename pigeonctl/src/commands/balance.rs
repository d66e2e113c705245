//! Spreading accounts over the nodes as their weights say: as few moves as do it, a few at a time.
//!
//! Accounts are counted, not their mail: how large they are the nodes know, and the tree does not. A node that drains is emptied;
//! one that is down keeps what it has, since nothing can be fetched from it.

use super::moving::{self, Wish};
use super::node::Node;
use super::{Context, Outcome, print};
use crate::entry::{Found, addresses};
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::record::NodeState;
use pigeon_datatree_cache::{Kind, Purpose};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

/// A node, and what it has and should have.
#[derive(Debug)]
struct Share {
    has: usize,
    /// `None`: it is left alone.
    should: Option<f64>,
}

impl Share {
    /// How many more it has than it should.
    fn excess(&self) -> Option<f64> {
        // Exact up to 2^53 accounts.
        self.should.map(|should| self.has as f64 - should)
    }
}

/// `cluster balance`: at most so many accounts move.
pub(super) fn balance(context: &Context, moves_max: usize) -> Outcome {
    let mut tree = context.write()?;
    tree.need(&Need::Everything)?;
    let (mut homes, homeless) = homes(&tree);
    let nodes: Vec<Node> = tree.of(Kind::Server).map(|found| Node::of(&tree, found)).collect();
    let mut shares = shares(&nodes, &homes);
    let before: BTreeMap<String, usize> = shares.iter().map(|(id, share)| (id.clone(), share.has)).collect();
    let mut changes = Vec::new();
    let mut busy = 0_usize;
    let mut left = 0_usize;
    while let Some((from, to)) = step(&shares) {
        // One that has not arrived yet is left where it is going, and another one taken.
        let Some(found) = homes.get_mut(&from).and_then(Vec::pop) else {
            break;
        };
        if changes.len() < moves_max {
            let name = name_of(&tree, &found);
            let wish = Wish {
                node: Some(&to),
                volume: None,
                lost: &[],
                anyway: false,
            };
            match moving::changes(&tree, &found, &name, &wish) {
                Ok((change, _)) => changes.extend(change),
                Err(why) => {
                    eprintln!("warning: {why}");
                    busy += 1;
                    continue;
                }
            }
        } else {
            left += 1;
        }
        for (id, by) in [(&from, -1_isize), (&to, 1)] {
            if let Some(share) = shares.get_mut(id) {
                share.has = share.has.saturating_add_signed(by);
            }
        }
    }
    let mut text = table(&shares, &before);
    for (count, what) in [
        (homeless, "accounts name no node, and stay where the nodes put them"),
        (busy, "accounts could not be moved: see above"),
        (
            left,
            "more have to move after these: run it again when they have arrived",
        ),
    ] {
        if count > 0 {
            let _ = writeln!(text, "{count} {what}");
        }
    }
    if !context.common.dry_run {
        print(text.trim_end())?;
    }
    let count = changes.len();
    context.make(&mut tree, &changes, &format!("{count} accounts move"))
}

/// Accounts by their node, the last ones of the alphabet first; and how many name none.
fn homes(tree: &Tree) -> (BTreeMap<String, Vec<Found>>, usize) {
    let (mut homes, mut homeless) = (BTreeMap::<String, Vec<Found>>::new(), 0);
    for found in tree.of(Kind::Account) {
        match moving::own_or_default(tree, &found.entry, Purpose::Node, Purpose::DefaultNode) {
            Some(node) => homes.entry(node).or_default().push(found.clone()),
            None => homeless += 1,
        }
    }
    for accounts in homes.values_mut() {
        accounts.sort_by_cached_key(|found| name_of(tree, found));
        accounts.reverse();
    }
    (homes, homeless)
}

fn name_of(tree: &Tree, found: &Found) -> String {
    let main = addresses(&found.entry, &tree.map).into_iter().next();
    main.map_or_else(|| found.entry.dn.to_string(), |main| main.to_string())
}

/// What each described node has and should have of all that may move.
fn shares(nodes: &[Node], homes: &BTreeMap<String, Vec<Found>>) -> BTreeMap<String, Share> {
    let has = |node: &Node| homes.get(node.id()).map_or(0, Vec::len);
    let gives = |node: &&Node| node.state() != NodeState::Down;
    let whole: usize = nodes.iter().filter(gives).map(has).sum();
    let weight = |node: &Node| match node.refusal() {
        None => f64::from(node.weight()),
        Some(_) => 0.0,
    };
    let weights: f64 = nodes.iter().map(weight).sum();
    let share = |node: &Node| Share {
        has: has(node),
        should: (gives(&node) && weights > 0.0).then(|| whole as f64 * weight(node) / weights),
    };
    nodes.iter().map(|node| (node.id().to_owned(), share(node))).collect()
}

/// From which node to which one the next account should go; none when no move makes it better.
fn step(shares: &BTreeMap<String, Share>) -> Option<(String, String)> {
    let excess = || shares.iter().filter_map(|(id, share)| Some((id, share.excess()?)));
    let (from, most) = excess().max_by(|one, other| one.1.total_cmp(&other.1))?;
    let (to, least) = excess().min_by(|one, other| one.1.total_cmp(&other.1))?;
    // A move changes both by one: it helps when they are more than one apart.
    (most - least > 1.0 && most > 0.0).then(|| (from.clone(), to.clone()))
}

fn table(shares: &BTreeMap<String, Share>, before: &BTreeMap<String, usize>) -> String {
    let mut text = String::new();
    let names: HashSet<&String> = shares.keys().collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or(0);
    for (id, share) in shares {
        let has = before.get(id).copied().unwrap_or_default();
        let _ = match share.should {
            Some(should) => writeln!(text, "{id:width$} {has} accounts, should have {should:.0}"),
            None => writeln!(text, "{id:width$} {has} accounts, is left alone"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nodes: &[(&str, usize, Option<f64>)]) -> BTreeMap<String, Share> {
        let share = |&(id, has, should): &(&str, usize, Option<f64>)| (id.to_owned(), Share { has, should });
        nodes.iter().map(share).collect()
    }

    /// Moves until no step is left; how many.
    fn settle(shares: &mut BTreeMap<String, Share>) -> usize {
        let mut moves = 0;
        while let Some((from, to)) = step(shares) {
            shares.get_mut(&from).expect("a node").has -= 1;
            shares.get_mut(&to).expect("a node").has += 1;
            moves += 1;
            assert!(moves < 10_000, "it ends");
        }
        moves
    }

    #[test]
    fn as_few_move_as_have_to() {
        let mut new = of(&[
            ("n1", 500, Some(333.4)),
            ("n2", 500, Some(333.3)),
            ("n3", 0, Some(333.3)),
        ]);
        assert_eq!(settle(&mut new), 333);
        assert!(
            new.values()
                .all(|share| share.excess().is_some_and(|excess| excess.abs() < 1.0)),
            "{new:?}"
        );
        let mut drained = of(&[("n1", 10, Some(20.0)), ("n2", 20, Some(20.0)), ("n3", 10, Some(0.0))]);
        assert_eq!(settle(&mut drained), 10);
        assert_eq!(drained["n3"].has, 0);
        let mut even = of(&[("n1", 3, Some(3.5)), ("n2", 4, Some(3.5)), ("n3", 100, None)]);
        assert_eq!(settle(&mut even), 0);
    }
}
