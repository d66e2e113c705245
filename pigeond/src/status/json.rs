//! The node for programs: what `pigeonctl cluster status` and `pigeonctl who` show.

use super::metrics::{copy_state_name, state_name};
use super::{AccountPlace, ControlDataStatus, Links, NodeStatus, SessionList, VolumeStatus, WaitingList};
use crate::config::Service;
use pigeon_datatree_cache::record::Role;
use pigeon_store::VolumeState;
use serde_json::{Value, json};

/// Bytes of a name that is asked for.
const NAME_BYTES_MAX: usize = 1024;

/// `/status.json`.
pub(super) fn status(status: &NodeStatus, links: &Links) -> String {
    let (is_ready, readiness) = status.readiness();
    let cluster = status.cluster.as_ref().map(|cluster| {
        json!({
            "node": cluster.node,
            "described": cluster.described,
            "state": cluster.state.name(),
            "roles": cluster.roles.iter().map(Role::name).collect::<Vec<_>>(),
            "weight": cluster.weight,
        })
    });
    let sessions: serde_json::Map<String, Value> = Service::ALL
        .into_iter()
        .map(|service| {
            let open = status
                .cores
                .iter()
                .map(|core| core.counts.sessions_open[service as usize]);
            (service.name().to_owned(), open.sum::<u64>().into())
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "hostname": status.hostname,
        "ready": is_ready,
        "readiness": readiness,
        "uptime_seconds": status.uptime.as_secs(),
        "cluster": cluster,
        "control_data": control_data(&status.control_data),
        "volumes": status.volumes.iter().map(volume).collect::<Vec<_>>(),
        "sessions_open": sessions,
        "links": links.links,
        "silent_cores": links.silent_cores,
        "queue": status.queue,
    })
    .to_string()
}

fn control_data(data: &ControlDataStatus) -> Value {
    let following = data.following.as_ref().map(|following| {
        json!({
            "state": copy_state_name(following.state),
            "state_seconds": following.since.elapsed().as_secs_f64(),
            "age_seconds": following.current_at.map(|at| at.elapsed().as_secs_f64()),
            "server": following.server,
            "cookie": following.cookie,
            "trouble": following.trouble,
            "alarm": following.alarm,
            "refused": following.refused_count,
        })
    });
    json!({
        "generation": data.generation,
        "accounts": data.accounts,
        "domains": data.domains,
        "problem": data.problem,
        "directory": following,
    })
}

fn volume(volume: &VolumeStatus) -> Value {
    let why = match &volume.state {
        Ok(VolumeState::ReadOnly(why) | VolumeState::Poisoned(why)) | Err(why) => Some(why),
        Ok(_) => None,
    };
    json!({
        "id": volume.id,
        "path": volume.path.to_string_lossy(),
        "core": volume.core,
        "state": state_name(&volume.state),
        "why": why,
        "free_bytes": volume.free_bytes,
        "size_bytes": volume.total_bytes,
        "messages_in": volume.stats.messages,
    })
}

/// `/account.json`.
pub(super) fn places(places: &[AccountPlace]) -> String {
    json!({ "places": places }).to_string()
}

/// `/sessions.json`.
pub(super) fn sessions(list: &SessionList) -> String {
    serde_json::to_string(list).expect("text and numbers are all there is, and JSON has them")
}

/// `/queue.json`.
pub(super) fn waiting(list: &WaitingList) -> String {
    serde_json::to_string(list).expect("text and numbers are all there is, and JSON has them")
}

/// The name that a query asks for, with its escapes (RFC 3986, 2.1) undone. `None` if it asks for something else.
pub(super) fn account_of(query: &str) -> Option<String> {
    let text = query.strip_prefix("account=")?;
    if text.is_empty() || text.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut bytes = text.bytes();
    let mut name = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'&' => return None,
            other => other,
        });
    }
    String::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::{example, lost};
    use super::super::{ClusterStatus, LinkStatus, Reach, SessionStatus};
    use super::*;
    use pigeon_datatree_cache::record::{NodeState, RoleSet};

    #[test]
    fn a_program_finds_what_there_is_to_know() {
        let mut shown = example();
        shown.cluster = Some(ClusterStatus {
            node: "n1".to_owned(),
            described: true,
            state: NodeState::Draining,
            roles: RoleSet::NONE.with(Role::Mx).with(Role::Store),
            weight: 3,
        });
        shown.control_data.following = Some(lost());
        let link = LinkStatus {
            node: "n2".to_owned(),
            state: "up",
            imap: Reach::Reachable,
            pop3: Reach::Untried,
            lmtp: Reach::Away,
            mail_connections: 2,
            sessions: 7,
        };
        let links = Links {
            links: vec![link],
            silent_cores: vec![3],
        };
        let json: Value = serde_json::from_str(&status(&shown, &links)).expect("it is JSON");
        assert_eq!(
            (&json["ready"], &json["readiness"]),
            (&json!(false), &json!("draining"))
        );
        assert_eq!(
            json["cluster"],
            json!({"node": "n1", "described": true, "state": "draining", "roles": ["mx", "store"], "weight": 3})
        );
        assert_eq!(json["control_data"]["generation"], 3);
        assert_eq!(json["control_data"]["directory"]["state"], "lost");
        assert_eq!(json["control_data"]["directory"]["cookie"], "rid=000,csn=1");
        assert_eq!(json["volumes"][0]["state"], "writable");
        assert_eq!(json["volumes"][1]["why"], "no marker in /srv/old & nothing else");
        assert_eq!(json["sessions_open"]["imap"], 1);
        assert_eq!(
            json["links"][0],
            json!({"node": "n2", "state": "up", "imap": "reachable", "pop3": "untried", "lmtp": "away",
                   "mail_connections": 2, "sessions": 7})
        );
        assert_eq!(json["queue"], Value::Null);
        assert_eq!(json["silent_cores"], json!([3]));
    }

    #[test]
    fn sessions_are_listed() {
        let list = SessionList {
            total: 1,
            complete: true,
            silent_cores: Vec::new(),
            sessions: vec![SessionStatus {
                id: "000001a2018c4127".to_owned(),
                service: "imap",
                account: "a\"@example.org".to_owned(),
                account_id: "0".to_owned(),
                client: "[2001:db8::1]:4711".to_owned(),
                since: 1_795_342_500_000,
                node: None,
            }],
        };
        let json: Value = serde_json::from_str(&sessions(&list)).expect("it is JSON");
        assert_eq!(json["sessions"][0]["account"], "a\"@example.org");
        assert_eq!(json["sessions"][0]["since"], 1_795_342_500_000_u64);
        assert_eq!(json["sessions"][0]["node"], Value::Null);
    }

    #[test]
    fn names_are_read_from_queries() {
        for (query, name) in [
            ("account=bob", Some("bob")),
            ("account=bob%40example.org", Some("bob@example.org")),
            ("account=j%C3%BCrgen", Some("j\u{fc}rgen")),
            ("account=a+b", Some("a+b")),
            ("account=", None),
            ("account=%", None),
            ("account=%4", None),
            ("account=%zz", None),
            ("account=%ff", None),
            ("account=a&x=y", None),
            ("name=a", None),
            ("", None),
        ] {
            assert_eq!(account_of(query).as_deref(), name, "{query}");
        }
        assert_eq!(account_of(&format!("account={}", "a".repeat(NAME_BYTES_MAX + 1))), None);
    }
}
