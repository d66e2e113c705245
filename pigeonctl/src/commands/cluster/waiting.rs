//! Mail that waits, message by message: `queue list`. What is to be done about it is a change of the tree: a node that is up
//! again gets what waits for it, and what is kept goes to a postmaster as soon as there is one.

use super::report::rounded;
use super::{Context, Outcome, ask_all, print, silent_cores};
use crate::Failure;
use crate::shown::plain;
use pigeon_datatree_cache::generalized_time;
use serde_json::{Value, json};
use std::fmt::Write;

/// `queue list`.
pub(in super::super) fn queue(context: &Context, node: Option<&str>, kept: bool) -> Outcome {
    let nodes = ask_all(context, "/queue.json")?;
    let (mut missing, mut messages) = (Vec::new(), Vec::new());
    for asked in &nodes {
        match &asked.answer {
            Err(_) if asked.may_be_silent() => {}
            Err(why) => missing.push(format!("{}: {why}", asked.id)),
            Ok(answer) => {
                if let Some(silent) = silent_cores(answer) {
                    missing.push(format!("{}: {silent}", asked.id));
                } else if answer["complete"] != json!(true) {
                    missing.push(format!("{}: it named only the oldest", asked.id));
                }
                let listed = answer["messages"].as_array().into_iter().flatten();
                let chosen = listed.filter(|message| is_chosen(message, node, kept));
                messages.extend(chosen.map(|message| (asked.id.as_str(), message)));
            }
        }
    }
    if context.common.json {
        let all = messages.iter().map(|(at, message)| {
            let mut message = (*message).clone();
            message["at"] = json!(at);
            message
        });
        print(&Value::Array(all.collect()).to_string())?;
    } else if !messages.is_empty() {
        let lines: Vec<String> = messages.iter().map(|(at, message)| line(at, message)).collect();
        print(&lines.join("\n"))?;
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(Failure::NotDone(format!("this is not all:\n{}", missing.join("\n"))))
}

fn is_chosen(message: &Value, node: Option<&str>, kept: bool) -> bool {
    match (message["node"].as_str(), node) {
        (None, None) => true,
        (Some(for_node), Some(node)) => for_node == node,
        (Some(_), None) => !kept,
        (None, Some(_)) => false,
    }
}

fn line(at: &str, message: &Value) -> String {
    let number = |name: &str| message[name].as_u64().unwrap_or(0);
    let text = |name: &str| plain(message[name].as_str().unwrap_or_default());
    let what = match message["node"].as_str() {
        Some(node) => format!("for {}", plain(node)),
        None => "kept".to_owned(),
    };
    let mut line = format!(
        "{} at {at}/{} {what} {}",
        generalized_time::format(number("received_at").saturating_mul(1000)),
        text("volume"),
        rounded(number("bytes")),
    );
    if let Some(why) = message["unreadable"].as_str() {
        // Writing to a string cannot fail, here and below.
        let _ = write!(line, " UID {}: {}", number("uid"), plain(why));
        return line;
    }
    let recipients = message["recipients"].as_array().into_iter().flatten();
    let recipients: Vec<String> = recipients
        .map(|recipient| format!("<{}>", plain(recipient.as_str().unwrap_or_default())))
        .collect();
    let _ = write!(
        line,
        " {} from=<{}> to={}",
        text("id"),
        text("sender"),
        recipients.join(",")
    );
    let more = number("recipients_total").saturating_sub(recipients.len() as u64);
    if more > 0 {
        let _ = write!(line, " and {more} more");
    }
    if message["unsure"] == json!(true) {
        line.push_str(" (may be there: an answer was lost)");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        let waiting = json!({"node": "n2", "volume": "main", "uid": 3, "received_at": 1_795_342_500, "bytes": 2048,
            "id": "0001.1", "sender": "", "recipients": ["a@x.org"], "recipients_total": 3, "unsure": true, "unreadable": null});
        let kept = json!({"node": null, "volume": "main", "uid": 4, "received_at": 1_795_342_500, "bytes": 7,
            "id": null, "sender": null, "recipients": [], "recipients_total": 0, "unsure": false, "unreadable": "not understood"});
        assert_eq!(
            line("n1", &waiting),
            "20261122101500Z at n1/main for n2 2 KiB 0001.1 from=<> to=<a@x.org> and 2 more (may be there: an answer was lost)"
        );
        assert_eq!(
            line("n1", &kept),
            "20261122101500Z at n1/main kept 7 B UID 4: not understood"
        );
        for (message, node, only_kept, expected) in [
            (&waiting, None, false, true),
            (&waiting, Some("n2"), false, true),
            (&waiting, Some("n3"), false, false),
            (&waiting, None, true, false),
            (&kept, None, true, true),
            (&kept, None, false, true),
            (&kept, Some("n2"), false, false),
        ] {
            assert_eq!(
                is_chosen(message, node, only_kept),
                expected,
                "{message} {node:?} {only_kept}"
            );
        }
    }
}
