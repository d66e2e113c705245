//! The nodes as they are now: each is asked at its status port, all at once, and one that does not answer is shown as that.

mod http;
mod report;
mod waiting;

pub(super) use waiting::queue;

use super::node::state_of;
use super::{Context, Outcome, print};
use crate::Failure;
use crate::entry::{Found, texts};
use crate::shown::plain;
use crate::tree::Tree;
use pigeon_datatree_cache::record::{BackendProtocol, NodeState, PrivateAddress};
use pigeon_datatree_cache::{Kind, Purpose, generalized_time};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// For the answer of one node.
const PATIENCE: Duration = Duration::from_secs(3);
/// Nodes that are asked at once.
const ASKED_MAX: usize = 64;

/// A node, what control data says of it, and what it says itself.
struct Asked {
    id: String,
    state: NodeState,
    /// Whether control data has a place to ask at: a server of another kind, Dovecot or Cyrus, has none.
    is_asked: bool,
    answer: Result<Value, String>,
}

impl Asked {
    /// Whether no answer is as it should be.
    fn may_be_silent(&self) -> bool {
        self.state == NodeState::Down || !self.is_asked
    }
}

/// `cluster status`.
pub(super) fn status(context: &Context) -> Outcome {
    let nodes = ask_all(context, "/status.json")?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let report = report::of(&nodes, u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
    if context.common.json {
        print(&report.json().to_string())?;
    } else {
        print(&report.text())?;
    }
    match report.troubles() {
        0 => Ok(()),
        count => Err(Failure::NotDone(format!("not all is well: {count} troubles"))),
    }
}

/// Asks every node of the server_map.
fn ask_all(context: &Context, path: &str) -> Result<Vec<Asked>, Failure> {
    let tree = context.read()?;
    let mut nodes: Vec<Described> = tree.of(Kind::Server).map(|found| Described::of(&tree, found)).collect();
    nodes.sort_by(|one, other| one.id.cmp(&other.id));
    if nodes.is_empty() {
        return Err(Failure::NotDone(
            "no node is described; pigeonctl node add does that".to_owned(),
        ));
    }
    let mut all = Vec::with_capacity(nodes.len());
    for some in nodes.chunks(ASKED_MAX) {
        std::thread::scope(|scope| {
            let threads: Vec<_> = some
                .iter()
                .map(|node| scope.spawn(|| ask(&node.places, path)))
                .collect();
            for (node, thread) in some.iter().zip(threads) {
                all.push(Asked {
                    id: node.id.clone(),
                    state: node.state,
                    is_asked: !node.places.is_empty(),
                    answer: thread.join().unwrap_or_else(|_| Err("asking it failed".to_owned())),
                });
            }
        });
    }
    Ok(all)
}

/// A node as its entry says.
struct Described {
    id: String,
    state: NodeState,
    /// Host and port where its status port may be.
    places: Vec<(String, u16)>,
}

impl Described {
    fn of(tree: &Tree, found: &Found) -> Described {
        let addresses = texts(&found.entry, &tree.map, Purpose::PrivateAddress);
        let addresses = addresses.iter().filter_map(|text| text.parse::<PrivateAddress>().ok());
        let places = addresses.filter_map(|address| match address.only {
            Some((BackendProtocol::Status, port)) => Some((address.host, port)),
            Some(_) => None,
            None => Some((address.host, BackendProtocol::Status.port())),
        });
        let names = texts(&found.entry, &tree.map, Purpose::ComponentName);
        Described {
            id: names.into_iter().next().unwrap_or_default(),
            state: state_of(tree, found),
            places: places.collect(),
        }
    }
}

/// How an account stands at a node, as that says itself: `/account.json`.
pub(super) fn places(tree: &Tree, node: &Found, account: &str) -> Result<Value, String> {
    let path = format!("/account.json?account={}", escaped(account));
    ask(&Described::of(tree, node).places, &path)
}

/// Whether a node answers at all.
pub(super) fn answers(tree: &Tree, node: &Found) -> bool {
    ask(&Described::of(tree, node).places, "/status.json").is_ok()
}

/// The first place that answers.
fn ask(places: &[(String, u16)], path: &str) -> Result<Value, String> {
    let mut last = "control data has no address of its status port".to_owned();
    for (host, port) in places {
        let answer = http::get(host, *port, path, PATIENCE);
        match answer.and_then(|body| serde_json::from_slice(&body).map_err(|error| format!("no JSON: {error}"))) {
            Ok(value) => return Ok(value),
            Err(why) => last = format!("{host} port {port}: {why}"),
        }
    }
    Err(last)
}

/// `who`.
pub(super) fn who(context: &Context, name: Option<&str>) -> Outcome {
    let path = match name {
        None => "/sessions.json".to_owned(),
        Some(name) => format!("/sessions.json?account={}", escaped(name)),
    };
    let nodes = ask_all(context, &path)?;
    let mut missing = Vec::new();
    let mut sessions = Vec::new();
    for node in &nodes {
        match &node.answer {
            Err(_) if node.may_be_silent() => {}
            Err(why) => missing.push(format!("{}: {why}", node.id)),
            Ok(answer) => {
                if let Some(silent) = silent_cores(answer) {
                    missing.push(format!("{}: {silent}", node.id));
                } else if answer["complete"] != json!(true) {
                    missing.push(format!(
                        "{}: it did not name all of its {} sessions",
                        node.id, answer["total"]
                    ));
                }
                let listed = answer["sessions"].as_array().into_iter().flatten();
                sessions.extend(listed.map(|session| (node.id.as_str(), session)));
            }
        }
    }
    let mut sessions = without_second_legs(&sessions);
    sessions.sort_by_key(|(_, session)| session["since"].as_u64());
    if context.common.json {
        let all = sessions.iter().map(|(at, session)| {
            let mut session = (*session).clone();
            session["at"] = json!(at);
            session
        });
        print(&Value::Array(all.collect()).to_string())?;
    } else if !sessions.is_empty() {
        let lines: Vec<String> = sessions.iter().map(|(at, session)| line(at, session)).collect();
        print(&lines.join("\n"))?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::NotDone(format!(
        "not all nodes were heard:\n{}",
        missing.join("\n")
    )))
}

/// A redirected session is there twice: where the client is, and where the mail is. The first says both.
fn without_second_legs<'a>(sessions: &[(&'a str, &'a Value)]) -> Vec<(&'a str, &'a Value)> {
    let is_backend = |session: &Value| {
        let service = session["service"].as_str();
        service.is_some_and(|service| service.starts_with("backend-"))
    };
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    let leg = |session: &'a Value| (text(&session["account_id"]), text(&session["client"]));
    let first = sessions.iter().filter(|(_, session)| !is_backend(session));
    let first: HashSet<_> = first
        .map(|(_, session)| (text(&session["node"]), leg(session)))
        .collect();
    let is_second = |at: &'a str, session: &'a Value| is_backend(session) && first.contains(&(at, leg(session)));
    let kept = sessions.iter().filter(|(at, session)| !is_second(at, session));
    kept.copied().collect()
}

/// Which cores of a node did not answer it, in words.
fn silent_cores(answer: &Value) -> Option<String> {
    let cores = answer["silent_cores"].as_array().into_iter().flatten();
    let cores: Vec<String> = cores.map(Value::to_string).collect();
    (!cores.is_empty()).then(|| format!("its cores {} do not answer", cores.join(", ")))
}

fn line(at: &str, session: &Value) -> String {
    let text = |name: &str| plain(session[name].as_str().unwrap_or("?"));
    let mut line = format!(
        "{} {} {} from {} at {at}",
        generalized_time::format(session["since"].as_u64().unwrap_or_default()),
        text("account"),
        text("service"),
        text("client"),
    );
    if let Some(node) = session["node"].as_str() {
        let _ = write!(line, " to {}", plain(node));
    }
    line
}

/// For a query: everything but letters, digits and `-._~` (RFC 3986, 2.3).
fn escaped(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirected_session_is_one_line() {
        let front = json!({"since": 1_795_342_500_000_u64, "account": "a@example.org", "account_id": "1", "service": "imap",
                           "client": "192.0.2.1:4711", "node": "n2"});
        let back = json!({"since": 1_795_342_500_001_u64, "account": "a@example.org", "account_id": "1",
                          "service": "backend-imap", "client": "192.0.2.1:4711", "node": null});
        let foreign = json!({"since": 1_795_342_500_002_u64, "account": "a@example.org", "account_id": "1",
                             "service": "backend-imap", "client": "192.0.2.1:4712", "node": null});
        let all = [("n1", &front), ("n2", &back), ("n2", &foreign)];
        let lines: Vec<String> = without_second_legs(&all)
            .iter()
            .map(|(at, session)| line(at, session))
            .collect();
        assert_eq!(
            lines,
            [
                "20261122101500Z a@example.org imap from 192.0.2.1:4711 at n1 to n2",
                "20261122101500.002Z a@example.org backend-imap from 192.0.2.1:4712 at n2"
            ]
        );
        assert_eq!(escaped("j\u{fc} r+1@x.org"), "j%C3%BC%20r%2B1%40x.org");
    }
}
