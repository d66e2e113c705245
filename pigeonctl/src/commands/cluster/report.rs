//! What the nodes said, for people and for programs, and what of it is trouble.

use super::{Asked, silent_cores};
use crate::shown::plain;
use pigeon_datatree_cache::generalized_time;
use pigeon_datatree_cache::record::NodeState;
use pigeond::config::Size;
use serde_json::{Value, json};

/// For how long a node may lack the newest change that another one has: it needs some milliseconds.
const LAG_SECONDS_MAX: f64 = 5.0;

/// The cluster as it was found.
pub(super) struct Report<'a> {
    nodes: Vec<NodeReport<'a>>,
}

struct NodeReport<'a> {
    asked: &'a Asked,
    /// For how many seconds its copy of the directory has lacked the newest change, at least; zero when it has it.
    lag: Option<f64>,
    troubles: Vec<String>,
}

/// `now`: when they were asked, milliseconds since the Unix epoch. How long ago a change was made that everybody has says
/// nothing; how long ago one was made that somebody lacks is how far that node is behind.
pub(super) fn of(nodes: &[Asked], now: u64) -> Report<'_> {
    let newest = nodes.iter().filter_map(copy_time).max();
    let nodes = nodes.iter().map(|asked| {
        let lag = newest.zip(copy_time(asked)).map(|(newest, own)| match own < newest {
            true => now.saturating_sub(newest) as f64 / 1000.0,
            false => 0.0,
        });
        NodeReport {
            asked,
            lag,
            troubles: troubles(asked, lag),
        }
    });
    Report { nodes: nodes.collect() }
}

/// The time of the newest change in its copy, by the directory's change numbers (`csn=20261122101500.123456Z#...`).
fn copy_time(asked: &Asked) -> Option<u64> {
    let answer = asked.answer.as_ref().ok()?;
    let cookie = answer["control_data"]["directory"]["cookie"].as_str()?;
    let numbers = cookie.split(',').find_map(|part| part.strip_prefix("csn="))?;
    let times = numbers.split(';').filter_map(|number| number.split('#').next());
    times.filter_map(|time| generalized_time::parse(time).ok()).max()
}

fn troubles(asked: &Asked, lag: Option<f64>) -> Vec<String> {
    let answer = match &asked.answer {
        Ok(answer) => answer,
        Err(_) if asked.may_be_silent() => return Vec::new(),
        Err(why) => return vec![format!("not reached: {}", plain(why))],
    };
    let mut troubles = Vec::new();
    let text = |value: &Value| plain(value.as_str().unwrap_or("?"));
    let cluster = &answer["cluster"];
    if cluster["node"] != asked.id.as_str() {
        let found = cluster["node"]
            .as_str()
            .map_or("no node of a cluster".to_owned(), plain);
        troubles.push(format!("who answers there is {found}"));
    } else if cluster["state"] != asked.state.name() {
        troubles.push(format!("it still takes itself for {}", text(&cluster["state"])));
    } else if answer["ready"] != json!(true) && asked.state == NodeState::Up {
        troubles.push(format!("not ready: {}", text(&answer["readiness"])));
    }
    let data = &answer["control_data"];
    if !data["problem"].is_null() {
        troubles.push(format!("control data: {}", text(&data["problem"])));
    }
    let directory = &data["directory"];
    if !directory.is_null() && directory["state"] != "live" {
        troubles.push(format!(
            "the directory: {}, {}",
            text(&directory["state"]),
            text(&directory["trouble"])
        ));
    }
    if directory["refused"].as_u64().unwrap_or(0) > 0 {
        troubles.push(format!(
            "{} entries of the directory are not taken",
            directory["refused"]
        ));
    }
    if let Some(lag) = lag.filter(|lag| *lag > LAG_SECONDS_MAX) {
        troubles.push(format!("its control data is {lag:.1} s behind"));
    }
    if let Some(silent) = silent_cores(answer) {
        troubles.push(format!("{silent}: what they know is missing"));
    }
    for volume in list(&answer["volumes"]).filter(|volume| volume["state"] != "writable") {
        troubles.push(format!("volume {}: {}", text(&volume["id"]), text(&volume["state"])));
    }
    for link in list(&answer["links"]).filter(|link| link["state"] != NodeState::Down.name()) {
        for protocol in ["imap", "pop3", "lmtp"] {
            if link[protocol] == "away" {
                troubles.push(format!("it does not reach {} for {protocol}", text(&link["node"])));
            }
        }
    }
    queue_troubles(&answer["queue"], &mut troubles);
    troubles
}

fn queue_troubles(queue: &Value, troubles: &mut Vec<String>) {
    let text = |value: &Value| plain(value.as_str().unwrap_or("?"));
    let kept = queue["kept"]["messages"].as_u64().unwrap_or(0);
    if kept > 0 {
        troubles.push(format!(
            "{kept} messages could neither be delivered nor reported: see `queue list --kept`, and give a domain a postmaster"
        ));
    }
    for held in list(&queue["held"]) {
        let whose = held["node"]
            .as_str()
            .map_or("kept".to_owned(), |node| format!("for {}", plain(node)));
        troubles.push(format!(
            "mail {whose} in volume {}: {}",
            text(&held["volume"]),
            text(&held["why"])
        ));
    }
    for volume in list(&queue["full"]) {
        troubles.push(format!("as much mail waits in volume {} as may", text(volume)));
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

impl Report<'_> {
    pub(super) fn troubles(&self) -> usize {
        self.nodes.iter().map(|node| node.troubles.len()).sum()
    }

    /// For programs: each node with what it said.
    pub(super) fn json(&self) -> Value {
        let nodes = self.nodes.iter().map(|node| {
            json!({
                "node": node.asked.id,
                "state": node.asked.state.name(),
                "status": node.asked.answer.as_ref().ok(),
                "unreachable": node.asked.answer.as_ref().err(),
                "lag_seconds": node.lag,
                "troubles": node.troubles,
            })
        });
        json!({"well": self.troubles() == 0, "nodes": nodes.collect::<Vec<_>>()})
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        self.nodes.iter().map(NodeReport::text).collect::<Vec<_>>().join("\n")
    }
}

impl NodeReport<'_> {
    fn text(&self) -> String {
        let mut lines = Vec::new();
        match &self.asked.answer {
            Err(_) => {
                let how = if self.asked.is_asked {
                    "does not answer"
                } else {
                    "has no status port"
                };
                lines.push(format!("{}: {}, {how}", self.asked.id, self.asked.state.name()));
            }
            Ok(answer) => self.lines(answer, &mut lines),
        }
        lines.extend(self.troubles.iter().map(|trouble| format!("  TROUBLE: {trouble}")));
        lines.join("\n")
    }

    fn lines(&self, answer: &Value, lines: &mut Vec<String>) {
        let text = |value: &Value| plain(value.as_str().unwrap_or("?"));
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let cluster = &answer["cluster"];
        let roles: Vec<String> = list(&cluster["roles"]).map(text).collect();
        lines.push(format!(
            "{}: {}, {}, up for {} s, roles {}, weight {}",
            self.asked.id,
            self.asked.state.name(),
            text(&answer["readiness"]),
            number(&answer["uptime_seconds"]),
            roles.join(" "),
            number(&cluster["weight"]),
        ));
        let open = answer["sessions_open"].as_object().into_iter().flatten();
        let open = open.filter(|(_, count)| number(count) > 0);
        let open: Vec<String> = open
            .map(|(service, count)| format!("{} {count}", plain(service)))
            .collect();
        let open = if open.is_empty() {
            "none".to_owned()
        } else {
            open.join(", ")
        };
        lines.push(format!("  sessions: {open}"));
        for volume in list(&answer["volumes"]) {
            let (free, size) = (number(&volume["free_bytes"]), number(&volume["size_bytes"]));
            let used = u128::from(size.saturating_sub(free)) * 100;
            let used = used.checked_div(u128::from(size)).unwrap_or(0);
            lines.push(format!(
                "  volume {}: {}, {used} % used of {}",
                text(&volume["id"]),
                text(&volume["state"]).replace('_', " "),
                rounded(size),
            ));
        }
        for link in list(&answer["links"]) {
            lines.push(format!(
                "  link {}: imap {}, pop3 {}, mail {} ({} connections), {} sessions there",
                text(&link["node"]),
                text(&link["imap"]),
                text(&link["pop3"]),
                text(&link["lmtp"]),
                number(&link["mail_connections"]),
                number(&link["sessions"]),
            ));
        }
        let data = &answer["control_data"];
        let directory = &data["directory"];
        let copy = match directory["age_seconds"].as_f64() {
            Some(age) => format!(", {}, current {age:.1} s ago", text(&directory["state"])),
            None if directory.is_null() => String::new(),
            None => format!(", {}", text(&directory["state"])),
        };
        let lag = self.lag.map_or_else(String::new, |lag| format!(", {lag:.1} s behind"));
        lines.push(format!(
            "  control data: generation {}, {} accounts{copy}{lag}",
            number(&data["generation"]),
            number(&data["accounts"]),
        ));
        for waiting in list(&answer["queue"]["destinations"]).filter(|waiting| number(&waiting["messages"]) > 0) {
            lines.push(format!(
                "  queue for {}: {} messages, {}, the oldest for {} s",
                text(&waiting["node"]),
                number(&waiting["messages"]),
                rounded(number(&waiting["bytes"])),
                number(&waiting["oldest_seconds"]),
            ));
        }
    }
}

/// In the largest unit that leaves two digits.
pub(super) fn rounded(bytes: u64) -> String {
    let unit = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes >> shift >= 10);
    match unit {
        Some((unit, shift)) => format!("{} {unit}", bytes >> shift),
        None => Size::of_bytes(bytes).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second after the newest change of the first test.
    const NOW: u64 = 1_795_342_503_500;

    fn healthy(id: &str, csn: &str) -> Value {
        json!({
            "ready": true, "readiness": "ready", "uptime_seconds": 7, "sessions_open": {"imap": 2, "pop3": 0},
            "cluster": {"node": id, "described": true, "state": "up", "roles": ["mx", "store"], "weight": 1},
            "control_data": {"generation": 3, "accounts": 2, "domains": 1, "problem": null,
                "directory": {"state": "live", "age_seconds": 0.25, "cookie": format!("rid=000,sid=001,csn={csn}#000000#001#000000"),
                    "refused": 0, "alarm": false, "trouble": null}},
            "volumes": [{"id": "main", "state": "writable", "free_bytes": 25, "size_bytes": 100}],
            "links": [{"node": "n2", "state": "up", "imap": "reachable", "pop3": "untried", "lmtp": "reachable",
                "mail_connections": 2, "sessions": 1}],
            "queue": null,
        })
    }

    fn asked(id: &str, state: NodeState, answer: Result<Value, &str>) -> Asked {
        Asked {
            id: id.to_owned(),
            state,
            is_asked: true,
            answer: answer.map_err(str::to_owned),
        }
    }

    #[test]
    fn a_healthy_cluster_is_well() {
        let nodes = [
            asked("n1", NodeState::Up, Ok(healthy("n1", "20261122101502.500000Z"))),
            asked("n2", NodeState::Up, Ok(healthy("n2", "20261122101500.000000Z"))),
            asked("n3", NodeState::Down, Err("refused")),
            Asked {
                is_asked: false,
                ..asked("dovecot", NodeState::Up, Err("no address"))
            },
        ];
        let report = of(&nodes, NOW);
        assert_eq!(report.troubles(), 0, "{}", report.text());
        assert_eq!(
            report.text(),
            "n1: up, ready, up for 7 s, roles mx store, weight 1\n  sessions: imap 2\n  \
             volume main: writable, 75 % used of 100 B\n  \
             link n2: imap reachable, pop3 untried, mail reachable (2 connections), 1 sessions there\n  \
             control data: generation 3, 2 accounts, live, current 0.2 s ago, 0.0 s behind\n\
             n2: up, ready, up for 7 s, roles mx store, weight 1\n  sessions: imap 2\n  \
             volume main: writable, 75 % used of 100 B\n  \
             link n2: imap reachable, pop3 untried, mail reachable (2 connections), 1 sessions there\n  \
             control data: generation 3, 2 accounts, live, current 0.2 s ago, 1.0 s behind\n\
             n3: down, does not answer\ndovecot: up, has no status port"
        );
        assert_eq!(report.json()["well"], true);
    }

    #[test]
    fn each_trouble_is_told() {
        let now = "20261122101500.000000Z";
        let with = |change: fn(&mut Value)| {
            let mut answer = healthy("n1", now);
            change(&mut answer);
            Ok(answer)
        };
        for (answer, expected) in [
            (Err("refused"), "not reached: refused"),
            (
                with(|answer| answer["cluster"] = Value::Null),
                "who answers there is no node of a cluster",
            ),
            (
                with(|answer| answer["cluster"]["node"] = json!("n9")),
                "who answers there is n9",
            ),
            (
                with(|answer| answer["cluster"]["state"] = json!("draining")),
                "it still takes itself for draining",
            ),
            (
                with(|answer| {
                    answer["ready"] = json!(false);
                    answer["readiness"] = json!("starting");
                }),
                "not ready: starting",
            ),
            (
                with(|answer| answer["control_data"]["problem"] = json!("a\x1bb")),
                "control data: a?b",
            ),
            (
                with(|answer| answer["control_data"]["directory"]["state"] = json!("lost")),
                "the directory: lost, ?",
            ),
            (
                with(|answer| answer["control_data"]["directory"]["refused"] = json!(2)),
                "2 entries of the directory are not taken",
            ),
            (
                with(|answer| answer["volumes"][0]["state"] = json!("read_only")),
                "volume main: read_only",
            ),
            (
                with(|answer| answer["links"][0]["lmtp"] = json!("away")),
                "it does not reach n2 for lmtp",
            ),
            (
                with(|answer| answer["silent_cores"] = json!([1, 3])),
                "its cores 1, 3 do not answer: what they know is missing",
            ),
            (
                with(|answer| answer["queue"] = json!({"kept": {"messages": 2}})),
                "2 messages could neither be delivered nor reported: see `queue list --kept`, and give a domain a postmaster",
            ),
            (
                with(|answer| {
                    answer["queue"] = json!({"held": [{"node": "n2", "volume": "main", "why": "it is poisoned"}]})
                }),
                "mail for n2 in volume main: it is poisoned",
            ),
            (
                with(|answer| answer["queue"] = json!({"full": ["main"]})),
                "as much mail waits in volume main as may",
            ),
        ] {
            let nodes = [asked("n1", NodeState::Up, answer)];
            assert_eq!(of(&nodes, NOW).nodes[0].troubles, [expected]);
            assert!(of(&nodes, NOW).text().contains(expected));
        }
        let nodes = [
            asked("n1", NodeState::Up, Ok(healthy("n1", now))),
            asked("n2", NodeState::Up, Ok(healthy("n2", "20261122101510.000000Z"))),
        ];
        // However long ago the change before was.
        assert_eq!(
            of(&nodes, NOW + 17_000).nodes[0].troubles,
            ["its control data is 10.5 s behind"]
        );
        assert_eq!(of(&nodes, NOW + 17_000).nodes[1].lag, Some(0.0));
        // A link to a node that is down, and a node that drains, are as somebody wanted them.
        let mut answer = healthy("n1", now);
        answer["links"][0]["imap"] = json!("away");
        answer["links"][0]["state"] = json!("down");
        answer["cluster"]["state"] = json!("draining");
        answer["ready"] = json!(false);
        assert_eq!(of(&[asked("n1", NodeState::Draining, Ok(answer))], NOW).troubles(), 0);
        // What is no answer of a node is trouble, and no panic.
        assert!(of(&[asked("n1", NodeState::Up, Ok(json!([1, "x"])))], NOW).troubles() > 0);
    }
}
