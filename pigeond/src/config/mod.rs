//! The configuration: one TOML file, read once into types that cannot be wrong. The doc comment of each field is its
//! manual.
//!
//! Reading collects every mistake there is, each with line and column, instead of stopping at the first. A key that nothing
//! knows is a mistake. Relative paths are relative to the directory of the file. What this module does not do: it opens
//! none of the files that it names, except in `check_files`.

mod checks;
mod cluster;
mod control_data;
mod files;
mod limits;
mod listener;
mod mistake;
mod period;
mod policy;
mod queue;
mod section;
mod size;
#[cfg(test)]
mod tests;
mod timeouts;
mod volume;

pub use cluster::{Cluster, read_key};
pub use control_data::{ControlData, Ldap, Verify};
pub use files::{FileMistake, Findings, Written, check_certificates, check_files, read_identities};
pub use limits::Limits;
pub use listener::{Listener, Service};
pub use mistake::{Mistake, Mistakes, Position};
pub use period::Period;
pub use policy::{BareNewline, OverQuota, Policy};
pub use queue::Queue;
pub use size::Size;
pub use timeouts::Timeouts;
pub use volume::{Volume, volume_id};

use mistake::{Collector, position};
use pigeon_engine::placement::CpuSet;
use section::{Section, choice, converted, number, parsed, path_in};
use serde::{Serialize, Serializer};
use std::cell::RefCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;
use toml::de::DeTable;

/// Everything a node is told.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    /// The node's name in greetings and Received lines: a host name that the DNS knows, such as `mail.example.org`.
    /// Required.
    pub hostname: String,
    /// The CPUs to run one core each on, as in `"0-7"` or `"0-3,8"`. Not set: all that the process may use (taskset and
    /// cpuset cgroups are obeyed), without those of `control_cpus`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_option")]
    pub cores: Option<CpuSet>,
    /// The CPUs of the control thread and of the password pool. Not set: all that the process may use.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "shown_option")]
    pub control_cpus: Option<CpuSet>,
    /// Threads that check passwords. One check of an Argon2 hash takes up to 170 ms and 64 MiB, so this bounds both the
    /// logins a second and the memory they take. From 1 to 64; default 2.
    pub password_threads: u16,
    /// Where users, domains and maps come from.
    pub control_data: ControlData,
    /// The node among others. Not set: it is alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// How mail waits that another node of the cluster cannot take now: in the volumes of this node, as long as one of them takes
    /// mail; without one the sender is told to come later.
    pub queue: Queue,
    /// Addresses to listen on, each with the service that is spoken there. At least one.
    #[serde(rename = "listener", skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<Listener>,
    /// Certificates for TLS. The first is shown to clients that ask for no name, or for one that no certificate has.
    #[serde(rename = "certificate", skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<Certificate>,
    /// Directories that hold mail. At least one.
    #[serde(rename = "volume", skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// Bounds on sizes, counts and memory.
    pub limits: Limits,
    /// How long the node waits for a peer.
    pub timeouts: Timeouts,
    /// What is decided by taste.
    pub policy: Policy,
    /// The status port: HTTP, GET only, without any authentication, so it belongs on loopback or on a private network.
    /// Not set: none is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// What is logged, and how.
    pub log: Log,
    /// Where the files are named.
    #[serde(skip)]
    pub written: Written,
}

/// A certificate and its key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// The certificate chain in PEM, leaf first. Required.
    pub chain: PathBuf,
    /// The private key in PEM, unencrypted. Required.
    pub key: PathBuf,
}

/// The status port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Address and port, as in `"127.0.0.1:2080"`. Required in this section, but for a node with `private_address` in
    /// `[cluster]`: there the default is that address and port 2080, where other nodes' administrators find it.
    pub address: SocketAddr,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Log {
    /// `"text"` for people, or `"json"`, an object a line. Default text.
    pub format: LogFormat,
    /// The least level: error, warn, info, debug or trace; or levels by module as in `"info,pigeon_store=debug"`.
    /// Default info.
    pub level: String,
}

/// See [`Log::format`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// The configuration could not be read, or is mistaken.
#[derive(Debug)]
pub enum ConfigError {
    /// The file could not be read.
    Unreadable {
        /// As it was named.
        file: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It was read, and is wrong.
    Mistaken(Mistakes),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { file, error } => write!(f, "{}: cannot be read: {error}", file.display()),
            ConfigError::Mistaken(mistakes) => mistakes.fmt(f),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Of the status port, where nothing else is said.
const STATUS_PORT: u16 = 2080;

/// The longest configuration, bytes. A mistaken path should not fill the memory.
const FILE_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Reads and checks the file. The files that it names are not opened: see [`check_files`].
    pub fn load(file: &Path) -> Result<Config, ConfigError> {
        let unreadable = |error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        };
        let content = files::read_bounded(file, FILE_BYTES_MAX).map_err(unreadable)?;
        let content = match String::from_utf8(content) {
            Ok(content) => content,
            Err(error) => return Err(ConfigError::Mistaken(not_utf8(&error, file))),
        };
        let absolute = std::path::absolute(file).map_err(unreadable)?;
        let directory = absolute.parent().unwrap_or(Path::new("/"));
        Config::parse(&content, file, directory).map_err(ConfigError::Mistaken)
    }

    /// Reads and checks `content`; `file` is its name in messages, `directory` what relative paths are relative to.
    pub fn parse(content: &str, file: &Path, directory: &Path) -> Result<Config, Mistakes> {
        let mut mistakes = Collector::new(content);
        let (tree, errors) = DeTable::parse_recoverable(content);
        for error in errors {
            let place = error.span().unwrap_or(0..0);
            let mut message = error.message().trim().replace('\n', ", ");
            if message == "duplicate key" {
                let name = content.get(place.clone()).unwrap_or_default();
                message = format!("expected {name} once, found it a second time");
            }
            mistakes.add(&place, message);
        }
        if !mistakes.is_empty() {
            // What a broken file means is a guess: no mistakes of meaning on top.
            return Err(mistakes.into_mistakes(file));
        }
        let mistakes = RefCell::new(mistakes);
        let written = Written {
            file: file.to_owned(),
            ..Written::default()
        };
        let config = read(Section::top(&tree, &mistakes), directory, content, written);
        let mistakes = mistakes.into_inner();
        match config {
            Some(config) if mistakes.is_empty() => Ok(config),
            _ => Err(mistakes.into_mistakes(file)),
        }
    }

    /// The listeners of the configuration, and those that `private_address` of `[cluster]` makes.
    pub fn all_listeners(&self) -> Vec<Listener> {
        let backends = self.cluster.iter().flat_map(Cluster::backends);
        self.listeners.iter().cloned().chain(backends).collect()
    }

    /// The configuration in force, as TOML with every default filled in. Reading it again gives the same.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("text, numbers, lists and tables are all there is, and TOML has them")
    }
}

/// Where a file stops being text.
fn not_utf8(error: &FromUtf8Error, file: &Path) -> Mistakes {
    let (text, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let text = String::from_utf8_lossy(text);
    let mut mistakes = Collector::new(&text);
    mistakes.add(&(text.len()..text.len()), "expected UTF-8, found other bytes");
    mistakes.into_mistakes(file)
}

/// The whole tree. `None` only where a mistake was noted.
fn read(mut top: Section<'_, '_, '_>, directory: &Path, content: &str, mut written: Written) -> Option<Config> {
    let hostname = top.required("hostname", "\"mail.example.org\"", converted(checks::host_name));
    let cores = top.optional("cores", parsed);
    let control_cpus = top.optional("control_cpus", parsed);
    let password_threads = top.or("password_threads", 2, number(1..=64));

    let (section, _) = top.section("control_data");
    let control_data = ControlData::read(section, directory, content, &mut written);

    let (section, in_cluster) = top.section("cluster");
    let cluster = if in_cluster {
        Cluster::read(section, directory, content, &mut written)
    } else {
        section.finish();
        None
    };

    let (section, _) = top.section("queue");
    let queue = Queue::read(section);

    let (sections, any_listener) = top.sections("listener");
    let listeners = sections.into_iter().filter_map(Listener::read).collect::<Vec<_>>();

    let (sections, any_certificate) = top.sections("certificate");
    let mut certificates = Vec::new();
    for mut section in sections {
        let chain = section.required("chain", "\"certificate.pem\"", path_in(directory));
        let key = section.required("key", "\"private-key.pem\"", path_in(directory));
        section.finish();
        if let (Some((chain, chain_place)), Some((key, key_place))) = (chain, key) {
            certificates.push(Certificate { chain, key });
            written
                .certificates
                .push((position(content, chain_place.start), position(content, key_place.start)));
        }
    }

    let (sections, any_volume) = top.sections("volume");
    let volumes = sections
        .into_iter()
        .filter_map(|section| Volume::read(section, directory))
        .collect::<Vec<_>>();
    written.volumes = volumes
        .iter()
        .map(|(_, (_, path))| position(content, path.start))
        .collect();

    let (section, _) = top.section("limits");
    let limits = Limits::read(section);
    let (section, _) = top.section("timeouts");
    let timeouts = Timeouts::read(section);

    let (section, _) = top.section("policy");
    let policy = Policy::read(section);

    let (mut section, there) = top.section("status");
    let private_address = cluster.as_ref().and_then(|placed| placed.cluster.private_address);
    let status = match (there, private_address) {
        (false, _) => None,
        (true, Some(address)) if !section.has("address") => {
            Some((SocketAddr::new(address, STATUS_PORT), section.place()))
        }
        (true, _) => section.required("address", "\"127.0.0.1:2080\"", converted(checks::socket_address)),
    };
    section.finish();

    let (mut section, _) = top.section("log");
    let formats = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    let log = Log {
        format: section.or("format", LogFormat::Text, choice(formats)),
        level: section.or("level", "info".to_owned(), converted(crate::logs::check_level)),
    };
    section.finish();

    if !any_listener {
        top.mistake(&top.place(), "expected at least one [[listener]] section");
    }
    if !any_volume {
        top.mistake(&top.place(), "expected at least one [[volume]] section");
    }
    checks::backends(&top, &listeners, in_cluster);
    let backends = cluster.as_ref().map(|cluster| cluster.backends(&top, &listeners));
    let all_listeners: Vec<_> = listeners.iter().cloned().chain(backends.unwrap_or_default()).collect();
    checks::addresses(&top, &all_listeners, any_certificate, status.as_ref());
    checks::volumes(&top, &volumes);
    top.finish();
    Some(Config {
        hostname: hostname?.0,
        cores,
        control_cpus,
        password_threads,
        control_data: control_data?,
        cluster: cluster.map(|placed| placed.cluster),
        queue,
        listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
        certificates,
        volumes: volumes.into_iter().map(|(volume, _)| volume).collect(),
        limits,
        timeouts,
        policy,
        status: status.map(|(address, _)| Status { address }),
        log,
        written,
    })
}

/// As it is written.
fn shown_option<T: fmt::Display, S: Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}
