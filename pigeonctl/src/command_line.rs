//! The command line, in the words of docs/operating.md.

mod cluster;

pub(crate) use cluster::{
    ClusterCommand, ComponentCommand, NodeSettings, QueueCommand, ServiceSettings, VolumeSettings,
};

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Writes control data: domains, accounts, groups, nodes. It changes the LDIF file or the directory that the node's
/// configuration names; the nodes take it from there. What the nodes say of themselves it shows.
#[derive(Parser)]
#[command(name = "pigeonctl", version)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Args)]
pub(crate) struct Common {
    /// The node's configuration: the source, its base and its attributes are read from there. Required.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The server to ask instead of those of the configuration: the provider, where the node reads a replica.
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) uri: Option<String>,
    /// Whom to bind as: an administrator. Without, the node's own entry, which may read.
    #[arg(long, global = true, value_name = "DN", conflicts_with = "external")]
    pub(crate) bind_dn: Option<String>,
    /// The file with the password of --bind-dn on its first line. Without, it is asked for.
    #[arg(long, global = true, value_name = "FILE", requires = "bind_dn")]
    pub(crate) password_file: Option<PathBuf>,
    /// SASL EXTERNAL: the directory knows you by your user id on its socket (ldapi).
    #[arg(long, global = true)]
    pub(crate) external: bool,
    /// Print the change records instead of making the changes.
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Print what show, list, who, cluster status and queue list find as JSON.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Mail domains.
    #[command(subcommand)]
    Domain(DomainCommand),
    /// Accounts: one person's mail each.
    #[command(subcommand)]
    Account(AccountCommand),
    /// Further addresses of accounts and groups.
    #[command(subcommand)]
    Alias(AliasCommand),
    /// Groups: addresses that lead to several.
    #[command(subcommand)]
    Group(GroupCommand),
    /// Passwords of accounts.
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Quotas of accounts.
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// The status of accounts, groups and domains.
    #[command(subcommand)]
    Status(StatusCommand),
    /// Nodes: the server_map.
    #[command(subcommand)]
    Node(ComponentCommand<NodeSettings>),
    /// Where modules run: the service_map.
    #[command(subcommand)]
    Service(ComponentCommand<ServiceSettings>),
    /// Volumes.
    #[command(subcommand)]
    Volume(ComponentCommand<VolumeSettings>),
    /// Let a node go on with what it has and get nothing new: balancers send it nobody, and it gets no new accounts.
    Drain {
        /// Its id.
        node: String,
    },
    /// Take a node into use again that drains or is down.
    Undrain {
        /// Its id.
        node: String,
    },
    /// End the POP3 and IMAP sessions of an account, or of all accounts of a domain. Who knows the password comes again.
    Kick {
        /// An address, a login name or a domain.
        name: String,
    },
    /// The nodes as they are now, by their status ports.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Mail that waits for other nodes, at all nodes, by their status ports.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// List who has logged in by POP3 and IMAP, at all nodes, by their status ports.
    Who {
        /// Only this account: an address or a login name.
        name: Option<String>,
    },
    /// Print the node's copy of the directory as LDIF, or the LDIF file.
    Export {
        /// The directory of the copy; without, the one that the configuration names.
        #[arg(long, value_name = "DIR")]
        copy: Option<PathBuf>,
    },
    /// Read everything, and say what a node would refuse or warn of.
    Check,
}

/// In each of these, an empty value takes the setting away.
#[derive(Args, Default)]
pub(crate) struct DomainSettings {
    /// active, noaccess, disabled or deleted; it bounds that of the domain's accounts.
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Make it another name of this domain.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) alias_of: Option<String>,
    /// The address that gets what nobody else does.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) catch_all: Option<String>,
    /// The address that gets mail for postmaster.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) postmaster: Option<String>,
    /// What parts a detail from the local part, as + in alice+news; or none.
    #[arg(long, value_name = "CHARACTER", allow_hyphen_values = true)]
    pub(crate) delimiter: Option<String>,
    /// Quota of accounts that have none, as in 5GB.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) quota: Option<String>,
    /// The same in messages.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub(crate) quota_count: Option<String>,
    /// Largest message for accounts that say nothing.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) message_size: Option<String>,
    /// Service of accounts that say nothing: mail, smtp, lmtp, submission, pop3, imap. May be given more than once.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Vec<String>,
    /// Node of accounts that name none.
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<String>,
    /// Volume of accounts that name none.
    #[arg(long, value_name = "ID")]
    pub(crate) volume: Option<String>,
    /// How many accounts the domain may have. account add obeys it.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub(crate) accounts_max: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum DomainCommand {
    /// Add a domain.
    Add {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Box<DomainSettings>,
        /// The entry below which its entry is made; without, that of another domain's.
        #[arg(long, value_name = "DN")]
        parent: Option<String>,
    },
    /// Show one.
    Show {
        /// Its name.
        name: String,
    },
    /// List all.
    List,
    /// Change settings. An empty value takes one away.
    Set {
        /// Its name.
        name: String,
        #[command(flatten)]
        settings: Box<DomainSettings>,
    },
    /// Remove it: its addresses are not ours any more. Refused while accounts or groups have addresses in it.
    Remove {
        /// Its name.
        name: String,
        /// Also while there are addresses in it. Their mail stays, and nobody can be written to there.
        #[arg(long)]
        force: bool,
    },
}

/// In each of these, an empty value takes the setting away.
#[derive(Args, Default)]
pub(crate) struct AccountSettings {
    /// active, noaccess (mail is taken, no login), disabled (550) or deleted (550, not for the catch-all either).
    #[arg(long)]
    pub(crate) status: Option<String>,
    /// Node that it belongs to. An account that is added without one, where there are several, is given to one of those
    /// that are up, by their weights. For one that is there already: account move.
    #[arg(long, value_name = "ID")]
    pub(crate) node: Option<String>,
    /// Volume that its mail is in. For one that is there already: account move.
    #[arg(long, value_name = "ID")]
    pub(crate) volume: Option<String>,
    /// Quota, as in 5GB; +1GB and -1GB change what is there; 0 is no limit.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) quota: Option<String>,
    /// The same in messages.
    #[arg(long, value_name = "COUNT", allow_hyphen_values = true)]
    pub(crate) quota_count: Option<String>,
    /// Largest message.
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    pub(crate) message_size: Option<String>,
    /// Service that it may use: mail, smtp, lmtp, submission, pop3, imap. May be given more than once; without: all.
    #[arg(long, value_name = "SERVICE")]
    pub(crate) service: Vec<String>,
    /// Address that copies are for. Kept in the record; no node forwards yet. May be given more than once.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) forward: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum AccountCommand {
    /// Add an account. Its password is asked for, or read from the first line of stdin.
    Add {
        /// Its main address.
        address: String,
        /// The person's name; without, the local part.
        #[arg(long)]
        name: Option<String>,
        /// The login name beside the addresses; without, the local part or, where somebody has that, the address.
        #[arg(long)]
        uid: Option<String>,
        /// A further address. May be given more than once.
        #[arg(long, value_name = "ADDRESS")]
        alias: Vec<String>,
        #[command(flatten)]
        settings: Box<AccountSettings>,
        /// Without a password: nobody can log in.
        #[arg(long, conflicts_with = "scram")]
        no_password: bool,
        /// A verifier for SCRAM-SHA-256 as well.
        #[arg(long)]
        scram: bool,
        /// The entry below which its entry is made; without, that of another account's.
        #[arg(long, value_name = "DN")]
        parent: Option<String>,
    },
    /// Show one.
    Show {
        /// One of its addresses, or its login name.
        address: String,
    },
    /// List all, or those of one domain.
    List {
        /// Only those with an address there.
        #[arg(long)]
        domain: Option<String>,
    },
    /// Change settings. An empty value takes one away.
    Set {
        /// One of its addresses, or its login name.
        address: String,
        #[command(flatten)]
        settings: Box<AccountSettings>,
    },
    /// Give it another main address and, where its entry is named by the old one, another name. It keeps its mail.
    Rename {
        /// One of its addresses, or its login name.
        address: String,
        /// The new main address.
        new: String,
        /// Keep the old main address as a further one.
        #[arg(long)]
        keep_address: bool,
    },
    /// Give it to another node, or another volume, and say where it was, in one change. Its sessions end, and go there when
    /// they come again.
    Move {
        /// One of its addresses, or its login name.
        address: String,
        /// The node; without, the one that it is on.
        #[arg(long, value_name = "ID", required_unless_present_any = ["volume", "from_lost"])]
        node: Option<String>,
        /// The volume there; without, where the node puts it.
        #[arg(long, value_name = "ID")]
        volume: Option<String>,
        /// A node that is lost for good, with what it had of the account: nobody waits for its word any more. What it alone had is
        /// gone. May be given more than once.
        #[arg(long, value_name = "ID")]
        from_lost: Vec<String>,
        /// Although it has not arrived yet where it is to be now, or a node that is said to be lost answers.
        #[arg(long)]
        anyway: bool,
    },
    /// Remove its entry: its addresses are free, the catch-all gets mail for them. Its mail stays on the volume, and is found
    /// again by an entry with its entryUUID. To keep the addresses from others: status set ADDRESS deleted.
    Remove {
        /// One of its addresses, or its login name.
        address: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum AliasCommand {
    /// Give an account or a group further addresses.
    Add {
        /// One of its addresses, or its login name.
        owner: String,
        /// The new addresses.
        #[arg(required = true)]
        addresses: Vec<String>,
    },
    /// Take an address away from whoever has it. The last one stays.
    Remove {
        /// The address.
        address: String,
    },
    /// List the addresses of an account or a group, the main one first.
    List {
        /// One of its addresses, or its login name.
        owner: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// Add a group.
    Add {
        /// Its main address.
        address: String,
        /// Address of a member, here. May be given more than once.
        #[arg(long, value_name = "ADDRESS")]
        member: Vec<String>,
        /// The entry below which its entry is made; without, that of another group's.
        #[arg(long, value_name = "DN")]
        parent: Option<String>,
    },
    /// Show one.
    Show {
        /// One of its addresses.
        address: String,
    },
    /// List all.
    List,
    /// Change its members.
    Set {
        /// One of its addresses.
        address: String,
        /// Address of a member to come. May be given more than once.
        #[arg(long, value_name = "ADDRESS")]
        add_member: Vec<String>,
        /// Address (or DN) of a member to go. May be given more than once.
        #[arg(long, value_name = "ADDRESS")]
        remove_member: Vec<String>,
    },
    /// Remove its entry.
    Remove {
        /// One of its addresses.
        address: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum PasswordCommand {
    /// Set a new one, in the place of all there are: asked for, or the first line of stdin. It is stored as Argon2id.
    Set {
        /// One of the account's addresses, or its login name.
        address: String,
        /// A verifier for SCRAM-SHA-256 as well (RFC 5803).
        #[arg(long)]
        scram: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum QuotaCommand {
    /// Show the account's own quota.
    Show {
        /// One of its addresses, or its login name.
        address: String,
    },
    /// Set it. An empty value takes it away; the domain's is in force then.
    Set {
        /// One of its addresses, or its login name.
        address: String,
        /// As in 5GB; +1GB and -1GB change what is there; 0 is no limit.
        #[arg(long, allow_hyphen_values = true)]
        size: Option<String>,
        /// Messages.
        #[arg(long, allow_hyphen_values = true)]
        count: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum StatusCommand {
    /// Set it.
    Set {
        /// An address, a login name or a domain.
        name: String,
        /// active, noaccess, disabled or deleted.
        status: String,
    },
}
