//! Where users, domains and maps come from: an LDIF file or an LDAP directory.

use super::mistake::position;
use super::period::Period;
use super::section::{Place, Section, boolean, choice, converted, list, number, path_in, period};
use super::{Written, checks};
use pigeon_datatree_cache::ldap::{Bind, LdapOptions, ServerUri, TlsOptions};
use pigeon_datatree_cache::{AttributeMap, Purpose};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The source of control data: `ldif`, or a section `[control_data.ldap]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ControlData {
    /// An LDIF file (RFC 2849). It is watched, and taken over whole when it changes; with a mistake in it, the data before
    /// stays in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldif: Option<PathBuf>,
    /// How long a password that was right is remembered, for the record as it is: until then a login with it costs neither
    /// a hash nor a bind. From 1s to 1d; default 10m.
    pub verified_for: Period,
    /// Which attributes hold what, where they are not the usual ones: a section `[control_data.attributes]` with purposes and
    /// lists of attributes, as in `quota_size = ["quotaBytes"]`. docs/control-data.md names the purposes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<&'static str, Vec<String>>,
    /// An LDAP directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ldap: Option<Ldap>,
}

/// An LDAP directory that knows content synchronisation (RFC 4533), as OpenLDAP with the overlay syncprov does. It is followed:
/// a change is in force a moment after the directory took it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ldap {
    /// The servers, as `"ldap://HOST[:PORT]"`, `"ldaps://HOST[:PORT]"` or `"ldapi://%2FPATH%2FOF%2FSOCKET"`, the preferred one
    /// first. When one does not answer, the next is asked. Required.
    pub servers: Vec<String>,
    /// The DN below which everything is read. Required.
    pub base: String,
    /// What is read there (RFC 4515). Default `"(objectClass=*)"`.
    pub filter: String,
    /// The DN to bind as. It must be able to read all of the entries, passwords included (unless `verify = "bind"`), without a
    /// limit of size or time. Not set: the socket or nobody, see `external`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_dn: Option<String>,
    /// The file that holds the password to bind with, on one line. Goes with `bind_dn`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind_password_file: Option<PathBuf>,
    /// SASL EXTERNAL: the directory knows the node by its user id on the socket. `true` or `false`; default false.
    pub external: bool,
    /// StartTLS on `ldap://` servers before anything else is said. `true` or `false`; default true for servers that are not
    /// on this machine.
    pub start_tls: bool,
    /// Authorities (PEM) that the certificate of a server has to come from. Not set: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorities: Option<PathBuf>,
    /// The directory where the copy is kept that the node starts from when no server answers. It holds password hashes.
    /// Required.
    pub copy: PathBuf,
    /// How long an answer may take: to connecting, to the bind, to a probe. From 1s to 1m; default 3s.
    pub answer_timeout: Period,
    /// How long a server may be silent before it is asked whether it lives. From 1s to 1h; default 5s.
    pub probe_after: Period,
    /// How often the server is asked for changes that it may have dropped. From 1s to 1d; default 5m.
    pub repair_every: Period,
    /// After so long without a current copy an alarm is raised: an error in the log, the status page, and the metric
    /// `pigeon_control_data_alarm`. The node goes on with what it has. From 1s to 1d; default 5m.
    pub alarm_after: Period,
    /// How passwords are checked. `"hash"`: here, against the hashes in the entries; by a bind where a hash is of a kind that
    /// is unknown here. `"bind"`: by a bind as the account, so that the node need not read passwords. Default `"hash"`.
    pub verify: Verify,
    /// Connections that logins ask the directory over at most, each one question at a time: binds, and entries that are read
    /// once more before a password is refused. From 1 to 64; default 4.
    pub login_connections: u16,
}

/// See [`Ldap::verify`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Against the hashes in the entries.
    Hash,
    /// By a bind as the account.
    Bind,
}

impl ControlData {
    pub(super) fn read(
        mut section: Section<'_, '_, '_>,
        directory: &Path,
        content: &str,
        written: &mut Written,
    ) -> Option<ControlData> {
        let ldif = section.located("ldif", path_in(directory));
        let (inner, any_ldap) = section.subsection("ldap", "control_data.ldap");
        let ldap = if any_ldap {
            Ldap::read(inner, directory, content, written)
        } else {
            None
        };
        let verified_for = section.or(
            "verified_for",
            Period::minutes(10),
            period(Period::seconds(1)..=Period::minutes(24 * 60)),
        );
        let attributes = attributes(&mut section);
        match (&ldif, any_ldap) {
            (Some((_, place)), true) => {
                section.mistake(place, "expected one source, found ldif beside [control_data.ldap]");
            }
            (None, false) if !section.has("ldif") => {
                section.mistake(
                    &section.place(),
                    "expected ldif in [control_data], as in ldif = \"users.ldif\", or a section [control_data.ldap]",
                );
            }
            _ => {}
        }
        section.finish();
        if let Some((_, place)) = &ldif {
            written.control_data = position(content, place.start);
        }
        if ldif.is_none() && ldap.is_none() {
            return None;
        }
        Some(ControlData {
            ldif: ldif.map(|(path, _)| path),
            verified_for,
            attributes,
            ldap,
        })
    }

    /// Which attributes hold what.
    pub fn attribute_map(&self) -> AttributeMap {
        let map = AttributeMap::default();
        self.attributes.iter().fold(map, |map, (purpose, names)| {
            map.with(purpose, names.iter().cloned())
                .expect("purposes and names were checked when they were read")
        })
    }

    /// Where it comes from, for people.
    pub fn described(&self) -> String {
        match (&self.ldif, &self.ldap) {
            (Some(path), _) => path.display().to_string(),
            (None, Some(ldap)) => ldap.servers.join(" "),
            (None, None) => String::new(),
        }
    }
}

fn attributes(section: &mut Section<'_, '_, '_>) -> BTreeMap<&'static str, Vec<String>> {
    let (mut inner, _) = section.subsection("attributes", "control_data.attributes");
    let mut attributes = BTreeMap::new();
    for purpose in Purpose::all().map(Purpose::name) {
        let is_good = converted(|text: &str| {
            AttributeMap::default()
                .with(purpose, [text])
                .map(|_| text.to_owned())
                .map_err(|error| error.to_string())
        });
        attributes.extend(inner.optional(purpose, list(is_good)).map(|names| (purpose, names)));
    }
    inner.finish();
    attributes
}

impl Ldap {
    fn read(mut section: Section<'_, '_, '_>, directory: &Path, content: &str, written: &mut Written) -> Option<Ldap> {
        let uri = converted(|text: &str| match text.parse::<ServerUri>() {
            Ok(_) => Ok(text.to_owned()),
            Err(error) => Err(error.to_string()),
        });
        let servers = section.required("servers", "[\"ldaps://ldap.example.org\"]", list(uri));
        if let Some((servers, place)) = &servers
            && servers.is_empty()
        {
            section.mistake(place, "servers: expected at least one server");
        }
        let base = section.required("base", "\"dc=example,dc=org\"", converted(checks::not_empty));
        let filter = section.or(
            "filter",
            "(objectClass=*)".to_owned(),
            converted(|text: &str| {
                let whole = text.starts_with('(') && text.ends_with(')');
                let found = || format!("expected a filter in parentheses (RFC 4515), found \"{text}\"");
                if whole { Ok(text.to_owned()) } else { Err(found()) }
            }),
        );
        let bind_dn = section.located("bind_dn", converted(checks::not_empty));
        let bind_password_file = section.located("bind_password_file", path_in(directory));
        let external = section.or("external", false, boolean);
        if let Some(place) = unpaired(&bind_dn, &bind_password_file) {
            section.mistake(
                &place,
                "expected bind_dn and bind_password_file together, found one of them",
            );
        }
        if let (Some((_, place)), true) = (&bind_dn, external) {
            section.mistake(place, "expected either bind_dn or external = true, found both");
        }
        let far = servers.iter().flat_map(|(servers, _)| servers).any(|uri| !is_near(uri));
        let start_tls = section.or("start_tls", far, boolean);
        let verify = section.located("verify", choice(&[("hash", Verify::Hash), ("bind", Verify::Bind)]));
        if let (Some((Verify::Bind, place)), true) = (&verify, far && !start_tls) {
            section.mistake(
                place,
                "verify: expected start_tls = true or ldaps servers, because a bind sends passwords of users",
            );
        }
        let login_connections = section.or("login_connections", 4, number(1..=64));
        let authorities = section.optional("authorities", path_in(directory));
        let copy = section.required("copy", "\"control-data\"", path_in(directory));
        let answer_timeout = section.or(
            "answer_timeout",
            Period::seconds(3),
            period(Period::seconds(1)..=Period::minutes(1)),
        );
        let probe_after = section.or(
            "probe_after",
            Period::seconds(5),
            period(Period::seconds(1)..=Period::minutes(60)),
        );
        let a_day = || period(Period::seconds(1)..=Period::minutes(24 * 60));
        let repair_every = section.or("repair_every", Period::minutes(5), a_day());
        let alarm_after = section.or("alarm_after", Period::minutes(5), a_day());
        let place = section.place();
        section.finish();
        written.control_data = position(content, place.start);
        let ((servers, _), (base, _), (copy, _)) = (servers?, base?, copy?);
        Some(Ldap {
            servers,
            base,
            filter,
            bind_dn: bind_dn.map(|(dn, _)| dn),
            bind_password_file: bind_password_file.map(|(path, _)| path),
            external,
            start_tls,
            authorities,
            copy,
            answer_timeout,
            probe_after,
            repair_every,
            alarm_after,
            verify: verify.map_or(Verify::Hash, |(verify, _)| verify),
            login_connections,
        })
    }

    /// For the source; an error when the password cannot be read.
    pub fn options(&self, mut attributes: AttributeMap) -> Result<LdapOptions, String> {
        let bind = match (&self.bind_dn, &self.bind_password_file) {
            (Some(dn), Some(path)) => Bind::Simple {
                dn: dn.clone(),
                password: password_in(path)?,
            },
            _ if self.external => Bind::External,
            _ => Bind::Anonymous,
        };
        // What is remembered of a password is forgotten when the entry changes. Where the node cannot see the password, it
        // is the entry's revision that tells.
        if self.verify == Verify::Bind && attributes.attributes(Purpose::Revision).is_empty() {
            let revision = attributes.with(Purpose::Revision.name(), ["entryCSN"]);
            attributes = revision.map_err(|error| error.to_string())?;
        }
        let servers = self
            .servers
            .iter()
            .map(|uri| uri.parse::<ServerUri>().map_err(|error| error.to_string()));
        Ok(LdapOptions {
            bind,
            tls: TlsOptions {
                start: self.start_tls,
                authorities: self.authorities.clone(),
            },
            filter: self.filter.clone(),
            attributes,
            copy: Some(self.copy.clone()),
            answer_timeout: self.answer_timeout.duration(),
            probe_after: self.probe_after.duration(),
            repair_every: self.repair_every.duration(),
            alarm_after: self.alarm_after.duration(),
            ..LdapOptions::new(servers.collect::<Result<_, _>>()?, self.base.clone())
        })
    }
}

fn unpaired<A, B>(one: &Option<(A, Place)>, other: &Option<(B, Place)>) -> Option<Place> {
    match (one, other) {
        (Some((_, place)), None) | (None, Some((_, place))) => Some(place.clone()),
        _ => None,
    }
}

/// Whether what is said to a server is read by nobody else without StartTLS.
fn is_near(uri: &str) -> bool {
    uri.parse::<ServerUri>().is_ok_and(|server| server.is_private())
}

/// The first line of a file, which is not empty.
fn password_in(path: &Path) -> Result<String, String> {
    let content =
        std::fs::read_to_string(path).map_err(|error| format!("bind_password_file: {}: {error}", path.display()))?;
    match content.lines().next() {
        Some(line) if !line.is_empty() => Ok(line.to_owned()),
        _ => Err(format!(
            "bind_password_file: {}: expected a password on the first line",
            path.display()
        )),
    }
}
