//! Nodes, modules and volumes.

use super::settings::{Steps, modification, put};
use super::{Context, Outcome, fresh, parent};
use crate::change::{Change, Step};
use crate::command_line::{ComponentCommand, NodeSettings, ServiceSettings, VolumeSettings};
use crate::entry::{Owned, attribute, child_dn, push, same_dn, texts};
use crate::source::Need;
use crate::tree::Tree;
use clap::Args;
use pigeon_datatree_cache::password::{Scheme, hash};
use pigeon_datatree_cache::{Kind, Purpose};
use pigeond::config::read_key;

/// What differs between the three.
pub(super) trait Component: Args {
    const KIND: Kind;
    const CLASSES: &'static [&'static str];
    /// Where others name it.
    const NAMED_IN: &'static [Purpose];

    fn steps(&self, tree: &Tree, entry: &Owned) -> Result<Vec<Step>, String>;
}

impl Component for NodeSettings {
    const KIND: Kind = Kind::Server;
    const CLASSES: &'static [&'static str] = &["device", "pigeonServer"];
    const NAMED_IN: &'static [Purpose] = &[Purpose::Node, Purpose::DefaultNode];

    fn steps(&self, tree: &Tree, entry: &Owned) -> Result<Vec<Step>, String> {
        Ok(Steps::of(tree, entry)
            .several(Purpose::PublicAddress, &self.public)?
            .several(Purpose::PrivateAddress, &self.private)?
            .several(Purpose::NodeKey, &self.verifier()?)?
            .one(Purpose::Weight, self.weight.as_deref())?
            .several(Purpose::Role, &self.role)?
            .one(Purpose::NodeState, self.state.as_deref())?
            .done())
    }
}

impl NodeSettings {
    /// Of the key in the file; one empty value for a file without a name.
    fn verifier(&self) -> Result<Vec<String>, String> {
        let Some(file) = &self.key_file else {
            return Ok(Vec::new());
        };
        if file.as_os_str().is_empty() {
            return Ok(vec![String::new()]);
        }
        let key = String::from_utf8(read_key(file)?).map_err(|_| format!("{}: no text", file.display()))?;
        Ok(vec![hash(&key, Scheme::ScramSha256)])
    }
}

impl Component for ServiceSettings {
    const KIND: Kind = Kind::ModuleService;
    const CLASSES: &'static [&'static str] = &["applicationProcess", "pigeonService"];
    const NAMED_IN: &'static [Purpose] = &[];

    fn steps(&self, tree: &Tree, entry: &Owned) -> Result<Vec<Step>, String> {
        Ok(Steps::of(tree, entry)
            .several(Purpose::Location, &self.location)?
            .done())
    }
}

impl Component for VolumeSettings {
    const KIND: Kind = Kind::Volume;
    const CLASSES: &'static [&'static str] = &["device", "pigeonVolume"];
    const NAMED_IN: &'static [Purpose] = &[Purpose::Volume, Purpose::DefaultVolume];

    fn steps(&self, tree: &Tree, entry: &Owned) -> Result<Vec<Step>, String> {
        Ok(Steps::of(tree, entry)
            .one(Purpose::Node, self.node.as_deref())?
            .one(Purpose::Path, self.path.as_deref())?
            .done())
    }
}

pub(super) fn run<S: Component>(context: &Context, command: ComponentCommand<S>) -> Outcome {
    match command {
        ComponentCommand::List => {
            let tree = context.read()?;
            context.list(&tree, tree.of(S::KIND).map(|found| &found.entry))
        }
        ComponentCommand::Show { id } => {
            let tree = context.read()?;
            let found = tree.component(S::KIND, &id)?;
            context.show(&tree, &found.entry)
        }
        ComponentCommand::Add {
            id,
            settings,
            parent: said,
        } => {
            let mut tree = context.write()?;
            if let Ok(found) = tree.component(S::KIND, &id) {
                return Err(format!("{id}: {} has this id", found.entry.dn).into());
            }
            let parent = match parent(&mut tree, &[S::KIND], said.as_deref()) {
                // A file without any stands on the domain's entry or alone.
                Err(_) if tree.is_file() && said.is_none() => {
                    parent(&mut tree, &[Kind::Domain], None).unwrap_or_default()
                }
                other => other?,
            };
            let naming = attribute(&tree.map, Purpose::ComponentName)?;
            let short = child_dn(&naming, &id, &parent);
            tree.need(&Need::Dn(short.clone()))?;
            if tree.has_dn(&short) {
                return Err(format!("{short}: there is such an entry already; --parent puts it elsewhere").into());
            }
            let mut entry = fresh(&tree, &short, S::CLASSES)?;
            push(&mut entry, &naming, id.as_str());
            let steps = settings.steps(&tree, &entry)?;
            put(&mut entry, steps);
            context.make(&mut tree, &[Change::Add(entry)], &format!("{id}: added as {short}"))
        }
        ComponentCommand::Set { id, settings } => {
            let mut tree = context.write()?;
            let found = tree.component(S::KIND, &id)?.clone();
            let steps = settings.steps(&tree, &found.entry)?;
            context.make(&mut tree, &modification(&found, steps), &format!("{id}: changed"))
        }
        ComponentCommand::Remove { id } => {
            let mut tree = context.write()?;
            let found = tree.component(S::KIND, &id)?.clone();
            if !S::NAMED_IN.is_empty() {
                tree.need(&Need::Value(S::NAMED_IN, id.clone()))?;
            }
            if let Some(other) = naming(&tree, S::NAMED_IN, &id, &found.entry.dn) {
                return Err(format!("{id}: {other} names it").into());
            }
            let change = Change::Delete {
                dn: found.entry.dn.to_string(),
                version: found.version,
            };
            context.make(&mut tree, &[change], &format!("{id}: removed"))
        }
    }
}

/// An entry that names this id, other than the one that has it.
fn naming(tree: &Tree, purposes: &[Purpose], id: &str, own: &str) -> Option<String> {
    let kinds = [Kind::Account, Kind::Domain, Kind::Volume];
    let others = kinds
        .into_iter()
        .flat_map(|kind| tree.of(kind))
        .filter(|found| !same_dn(&found.entry.dn, own));
    let names = |entry: &Owned, purpose: &Purpose| texts(entry, &tree.map, *purpose).iter().any(|value| value == id);
    let mut naming = others.filter(|found| purposes.iter().any(|purpose| names(&found.entry, purpose)));
    naming.next().map(|found| found.entry.dn.to_string())
}
