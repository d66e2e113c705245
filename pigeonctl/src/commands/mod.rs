//! What each command does: it reads what it needs, plans changes, has them checked, and makes them.

mod account;
mod balance;
mod cluster;
mod component;
mod domain;
mod group;
mod moving;
mod node;
mod password;
mod settings;

use crate::Failure;
use crate::change::Change;
use crate::command_line::{
    AliasCommand, ClusterCommand, Command, CommandLine, Common, QueueCommand, QuotaCommand, StatusCommand,
};
use crate::entry::{Owned, attribute, texts};
use crate::secret;
use crate::shown;
use crate::source::Need;
use crate::tree::Tree;
use pigeon_datatree_cache::ldap::{self, Bind, ServerUri};
use pigeon_datatree_cache::record::NodeState;
use pigeon_datatree_cache::{Kind, Purpose};
use pigeond::config::Config;
use std::io::Write;
use std::path::Path;

/// What a person calls an outcome.
type Outcome = Result<(), Failure>;

pub(crate) fn run(line: CommandLine) -> Outcome {
    let CommandLine { common, command } = line;
    let Some(file) = &common.config else {
        return Err(Failure::WrongUsage(
            "expected --config FILE, the node's configuration".to_owned(),
        ));
    };
    let config = Config::load(file).map_err(|error| error.to_string())?;
    let context = Context { common, config };
    match command {
        Command::Domain(command) => domain::run(&context, command),
        Command::Account(command) => account::run(&context, command),
        Command::Alias(command) => alias(&context, command),
        Command::Group(command) => group::run(&context, command),
        Command::Password(command) => password::run(&context, command),
        Command::Quota(command) => quota(&context, command),
        Command::Status(StatusCommand::Set { name, status }) => set_status(&context, &name, &status),
        Command::Node(command) => component::run(&context, command),
        Command::Service(command) => component::run(&context, command),
        Command::Volume(command) => component::run(&context, command),
        Command::Drain { node } => node::set_state(&context, &node, NodeState::Draining),
        Command::Undrain { node } => node::set_state(&context, &node, NodeState::Up),
        Command::Kick { name } => node::kick(&context, &name),
        Command::Cluster(ClusterCommand::Status) => cluster::status(&context),
        Command::Cluster(ClusterCommand::Balance { moves }) => balance::balance(&context, moves),
        Command::Queue(QueueCommand::List { node, kept }) => cluster::queue(&context, node.as_deref(), kept),
        Command::Who { name } => cluster::who(&context, name.as_deref()),
        Command::Export { copy } => export(&context, copy.as_deref()),
        Command::Check => check(&context),
    }
}

/// What holds for all commands.
struct Context {
    common: Common,
    config: Config,
}

impl Context {
    /// The tree, to be read.
    fn read(&self) -> Result<Tree, Failure> {
        self.open(false)
    }

    /// The tree, to be changed. Whatever a person is asked was asked before: others wait from here on.
    fn write(&self) -> Result<Tree, Failure> {
        self.open(!self.common.dry_run)
    }

    fn open(&self, to_write: bool) -> Result<Tree, Failure> {
        let control_data = &self.config.control_data;
        let map = control_data.attribute_map();
        let Some(ldap) = &control_data.ldap else {
            if self.common.uri.is_some() || self.common.bind_dn.is_some() || self.common.external {
                let why = "this configuration names an LDIF file: --uri, --bind-dn and --external are for a directory";
                return Err(Failure::WrongUsage(why.to_owned()));
            }
            let path = control_data.ldif.as_deref().unwrap_or(Path::new(""));
            return Ok(Tree::of_file(path, map, to_write)?);
        };
        let mut options = ldap.options(map).or_else(|why| {
            // The node's own password is of no use to an administrator, who may not be able to read it.
            let anonymous = pigeond::config::Ldap {
                bind_dn: None,
                bind_password_file: None,
                ..ldap.clone()
            };
            if self.common.bind_dn.is_some() || self.common.external {
                anonymous.options(control_data.attribute_map())
            } else {
                Err(why)
            }
        })?;
        if let Some(uri) = &self.common.uri {
            let server = uri
                .parse::<ServerUri>()
                .map_err(|error| Failure::WrongUsage(format!("--uri: {error}")))?;
            options.servers = vec![server];
        }
        if let Some(dn) = &self.common.bind_dn {
            let password = secret::of_administrator(self.common.password_file.as_deref(), dn)?;
            let dn = dn.clone();
            options.bind = Bind::Simple { dn, password };
        } else if self.common.external {
            options.bind = Bind::External;
        } else if to_write {
            let why = "to change a directory, say whom to bind as: --bind-dn DN, or --external on its socket";
            return Err(Failure::WrongUsage(why.to_owned()));
        }
        Ok(Tree::of_directory(options)?)
    }

    /// Checks the changes, and makes or prints them. `done` is what is said then.
    fn make(&self, tree: &mut Tree, changes: &[Change], done: &str) -> Outcome {
        if changes.is_empty() {
            return print(&format!("{done}: nothing to change"));
        }
        for warning in tree.check(changes)? {
            eprintln!("warning: {warning}");
        }
        if self.common.dry_run {
            let records: String = changes.iter().map(Change::ldif).collect();
            return print(records.trim_start_matches('\n').trim_end_matches('\n'));
        }
        tree.write(changes)?;
        print(done)
    }

    fn show(&self, tree: &Tree, entry: &Owned) -> Outcome {
        if self.common.json {
            print(&shown::json(entry, &tree.map).to_string())
        } else {
            print(&shown::text(entry, &tree.map))
        }
    }

    /// In the order of what is printed.
    fn list<'a>(&self, tree: &'a Tree, entries: impl Iterator<Item = &'a Owned>) -> Outcome {
        let mut entries: Vec<_> = entries.map(|entry| (shown::line(entry, &tree.map), entry)).collect();
        entries.sort_by(|(one, _), (other, _)| one.cmp(other));
        if self.common.json {
            let all = entries.iter().map(|(_, entry)| shown::json(entry, &tree.map)).collect();
            return print(&serde_json::Value::Array(all).to_string());
        }
        let lines: Vec<String> = entries.into_iter().map(|(line, _)| line).collect();
        if lines.is_empty() {
            Ok(())
        } else {
            print(&lines.join("\n"))
        }
    }
}

/// To stdout. Who reads it may leave early.
fn print(text: &str) -> Outcome {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::NotDone(format!("stdout: {error}")))
        }
        _ => Ok(()),
    }
}

fn alias(context: &Context, command: AliasCommand) -> Outcome {
    match command {
        AliasCommand::List { owner } => {
            let mut tree = context.read()?;
            let found = tree
                .owner(&owner)?
                .ok_or_else(|| format!("{owner}: nobody has this name"))?;
            let addresses = texts(&found.entry, &tree.map, Purpose::Address);
            if context.common.json {
                print(&serde_json::json!(addresses).to_string())
            } else {
                print(&addresses.join("\n"))
            }
        }
        AliasCommand::Add { owner, addresses } => {
            let mut tree = context.write()?;
            let found = tree
                .owner(&owner)?
                .ok_or_else(|| format!("{owner}: nobody has this name"))?;
            let steps = settings::with_addresses(&mut tree, &found.entry, &addresses)?;
            let changes = settings::modification(&found, steps);
            context.make(&mut tree, &changes, &format!("{owner}: {} added", addresses.join(", ")))
        }
        AliasCommand::Remove { address } => {
            let mut tree = context.write()?;
            let found = tree
                .owner(&address)?
                .ok_or_else(|| format!("{address}: nobody has this address"))?;
            let steps = settings::without_address(&tree, &found.entry, &address)?;
            let changes = settings::modification(&found, steps);
            context.make(
                &mut tree,
                &changes,
                &format!("{address}: removed from {}", found.entry.dn),
            )
        }
    }
}

fn quota(context: &Context, command: QuotaCommand) -> Outcome {
    match command {
        QuotaCommand::Show { address } => {
            let mut tree = context.read()?;
            let found = tree.owner_of(Kind::Account, &address)?;
            let of = |purpose| texts(&found.entry, &tree.map, purpose).into_iter().next();
            let (size, count, both) = (of(Purpose::QuotaSize), of(Purpose::QuotaCount), of(Purpose::Quota));
            if context.common.json {
                return print(
                    &serde_json::json!({"quota_size": size, "quota_count": count, "quota": both}).to_string(),
                );
            }
            let said = |what: Option<String>| what.unwrap_or_else(|| "that of the domain".to_owned());
            match both {
                Some(both) if size.is_none() && count.is_none() => print(&both),
                _ => print(&format!("bytes: {}\nmessages: {}", said(size), said(count))),
            }
        }
        QuotaCommand::Set {
            size: None,
            count: None,
            ..
        } => Err(Failure::WrongUsage("expected --size or --count".to_owned())),
        QuotaCommand::Set { address, size, count } => {
            let mut tree = context.write()?;
            let found = tree.owner_of(Kind::Account, &address)?;
            let steps = settings::Steps::of(&tree, &found.entry)
                .amount(Purpose::QuotaSize, size.as_deref())?
                .amount(Purpose::QuotaCount, count.as_deref())?
                .done();
            let changes = settings::modification(&found, steps);
            context.make(&mut tree, &changes, &format!("{address}: quota set"))
        }
    }
}

fn set_status(context: &Context, name: &str, status: &str) -> Outcome {
    let mut tree = context.write()?;
    let (found, purpose) = match tree.owner(name)? {
        Some(found) => (found, Purpose::Status),
        None if name.contains('@') => return Err(Failure::NotDone(format!("{name}: nobody has this name"))),
        None => (tree.domain(name)?.clone(), Purpose::DomainStatus),
    };
    if status.is_empty() {
        return Err(Failure::WrongUsage(
            "expected active, noaccess, disabled or deleted".to_owned(),
        ));
    }
    let steps = settings::Steps::of(&tree, &found.entry)
        .one(purpose, Some(status))?
        .done();
    let changes = settings::modification(&found, steps);
    context.make(&mut tree, &changes, &format!("{name}: {status}"))
}

fn export(context: &Context, copy: Option<&Path>) -> Outcome {
    let configured = context
        .config
        .control_data
        .ldap
        .as_ref()
        .map(|ldap| ldap.copy.as_path());
    if let Some(directory) = copy.or(configured) {
        let mut output = std::io::BufWriter::new(std::io::stdout().lock());
        let exported = ldap::export(directory, &mut output).and_then(|_| output.flush());
        return exported.map_err(|error| Failure::NotDone(format!("{}: {error}", directory.display())));
    }
    let tree = context.read()?;
    let text = tree.text().unwrap_or_default();
    let written = std::io::stdout().write_all(text);
    written.map_err(|error| Failure::NotDone(format!("stdout: {error}")))
}

fn check(context: &Context) -> Outcome {
    let mut tree = context.read()?;
    let (mistakes, warnings) = tree.findings()?;
    for warning in &warnings {
        eprintln!("warning: {warning}");
    }
    if mistakes.is_empty() {
        return print(&format!("nothing wrong, {} warnings", warnings.len()));
    }
    Err(Failure::NotDone(mistakes.join("\n")))
}

/// The DN below which an entry of a kind is made where nothing is said: that of the first there is, of the kinds in their
/// order; else the base.
fn parent(tree: &mut Tree, kinds: &[Kind], said: Option<&str>) -> Result<String, String> {
    if let Some(said) = said {
        return pigeon_datatree_cache::canonical_dn(said)
            .map(|_| said.to_owned())
            .map_err(|error| format!("--parent: {}", error.message));
    }
    let of_kind = |tree: &Tree, kind: &Kind| {
        let found = tree.of(*kind).next();
        found
            .map(|found| crate::entry::split_dn(&found.entry.dn).1.to_owned())
            .filter(|parent| !parent.is_empty())
    };
    if let Some(parent) = kinds.iter().find_map(|kind| of_kind(tree, kind)) {
        return Ok(parent);
    }
    let base = tree.base().map(str::to_owned);
    for unit in ["ou=people", "ou=People"] {
        if let (Some(base), Some(Kind::Account)) = (&base, kinds.first()) {
            let dn = format!("{unit},{base}");
            tree.need(&Need::Dn(dn.clone()))?;
            if tree.has_dn(&dn) {
                return Ok(dn);
            }
        }
    }
    base.ok_or_else(|| "nothing like it is in the file: say with --parent DN below which entry it should be".to_owned())
}

/// A fresh entry: classes, and a UUID where no server gives one.
fn fresh(tree: &Tree, dn: &str, classes: &[&str]) -> Result<Owned, String> {
    let mut entry = crate::entry::empty(dn);
    let class = attribute(&tree.map, Purpose::ObjectClass)?;
    classes
        .iter()
        .for_each(|name| crate::entry::push(&mut entry, &class, *name));
    if tree.is_file() {
        let uuid = attribute(&tree.map, Purpose::Uuid)?;
        crate::entry::push(&mut entry, &uuid, uuid::Uuid::new_v4().to_string());
    }
    Ok(entry)
}
