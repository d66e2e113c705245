//! The node as a page that a person can read: HTML without scripts, without anything fetched from elsewhere.

use super::metrics::{copy_state_name, state_name};
use super::{Counter, NodeStatus, VolumeQueue, VolumeStatus};
use crate::config::{Service, Size};
use pigeon_datatree_cache::CopyState;
use pigeon_datatree_cache::record::Role;
use pigeon_datatree_cache::source::Following;
use pigeon_store::VolumeState;
use std::fmt::Write;
use std::time::Duration;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222;\
background:#fff}table{border-collapse:collapse;margin:.5em 0 1.5em}th,td{padding:.2em .8em;text-align:right;\
border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}.bad{color:#b00020;font-weight:600}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.bad{color:#ff8a80}}";

/// The whole page.
pub(super) fn render(status: &NodeStatus) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail, so the results are dropped throughout.
    let hostname = escaped(&status.hostname);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{hostname}: {phase}</title><style>{STYLE}</style></head><body>\n\
         <h1>{hostname}</h1>\n<p>PigeonAir {version}, <b>{phase}</b>, up {uptime}.</p>\n",
        phase = status.readiness().1,
        version = env!("CARGO_PKG_VERSION"),
        uptime = uptime(status.uptime),
    );
    if let Some(cluster) = &status.cluster {
        let roles: Vec<&str> = cluster.roles.iter().map(Role::name).collect();
        let _ = writeln!(
            page,
            "<p>Node {}, {} by control data, roles: {}{}.</p>",
            escaped(&cluster.node),
            cluster.state.name(),
            roles.join(", "),
            if cluster.described {
                ""
            } else {
                "; the server_map does not have it"
            }
        );
    }
    let data = &status.control_data;
    let _ = writeln!(
        page,
        "<p>Control data: {} accounts in {} domains, generation {}.</p>",
        data.accounts, data.domains, data.generation
    );
    if let Some(following) = &data.following {
        directory(&mut page, following);
    }
    if let Some(problem) = &data.problem {
        let _ = writeln!(
            page,
            "<p class=\"bad\">Its last change was not taken over: {}</p>",
            escaped(problem)
        );
    }
    if status.log_lines_dropped > 0 {
        let _ = writeln!(
            page,
            "<p class=\"bad\">{} log lines were dropped.</p>",
            status.log_lines_dropped
        );
    }
    volumes(&mut page, &status.volumes);
    queues(&mut page, &status.queues);
    sessions(&mut page, status);
    counters(&mut page, status);
    page.push_str("<p>For programs: <a href=\"/alive\">/alive</a>, <a href=\"/ready\">/ready</a>, <a href=\"/metrics\">/metrics</a>, <a href=\"/status.json\">/status.json</a>, <a href=\"/sessions.json\">/sessions.json</a>, <a href=\"/queue.json\">/queue.json</a>.</p>\n</body></html>\n");
    page
}

/// The directory that is followed.
fn directory(page: &mut String, following: &Following) {
    let class = match following.state {
        CopyState::Live if !following.alarm => "",
        _ => " class=\"bad\"",
    };
    let _ = write!(
        page,
        "<p{class}>The directory: {} for {}, server {}",
        copy_state_name(following.state),
        uptime(following.since.elapsed()),
        escaped(&following.server)
    );
    let _ = match following.current_at {
        Some(at) => write!(page, ", current {} ago", uptime(at.elapsed())),
        None => write!(page, ", not current since the start"),
    };
    let trouble = following.trouble.as_deref().map(escaped);
    let _ = writeln!(
        page,
        "{}{}.</p>",
        trouble.map_or_else(String::new, |why| format!(": {why}")),
        if following.alarm { " (alarm)" } else { "" }
    );
    if following.refused_count > 0 {
        let _ = writeln!(
            page,
            "<p class=\"bad\">{} entries are not taken, their last good versions are in force:</p>\n<ul>",
            following.refused_count
        );
        for mistake in &following.refused.list {
            let _ = writeln!(page, "<li>{}", escaped(&mistake.to_string()));
        }
        page.push_str("</ul>\n");
    }
}

fn volumes(page: &mut String, volumes: &[VolumeStatus]) {
    page.push_str("<h2>Volumes</h2>\n<table><tr><th>volume<th>directory<th>core<th>state<th>disk used<th>free<th>messages in<th>durable writes</tr>\n");
    for volume in volumes {
        let why = match &volume.state {
            Ok(VolumeState::ReadOnly(why) | VolumeState::Poisoned(why)) | Err(why) => format!(": {}", escaped(why)),
            Ok(_) => String::new(),
        };
        let class = if volume.state == Ok(VolumeState::Writable) {
            ""
        } else {
            " class=\"bad\""
        };
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td{class}>{}{why}<td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&volume.id),
            escaped(&volume.path.to_string_lossy()),
            volume.core,
            state_name(&volume.state).replace('_', " "),
            percent_used(volume.free_bytes, volume.total_bytes),
            rounded(volume.free_bytes),
            volume.stats.messages,
            volume.stats.batches,
        );
    }
    page.push_str("</table>\n");
}

/// What waits for other nodes, where anything does.
fn queues(page: &mut String, queues: &[VolumeQueue]) {
    if queues.iter().all(|queue| queue.messages == 0) {
        return;
    }
    page.push_str(
        "<h2>Mail that waits</h2>\n<table><tr><th>for<th>volume<th>messages<th>bytes<th>oldest, seconds</tr>\n",
    );
    for queue in queues.iter().filter(|queue| queue.messages > 0) {
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
            escaped(&queue.destination),
            escaped(&queue.volume),
            queue.messages,
            rounded(queue.bytes),
            queue.oldest.map_or(0, |oldest| oldest.as_secs()),
        );
    }
    page.push_str("</table>\n");
    for queue in queues {
        if let Some(why) = &queue.held {
            let (destination, volume) = (escaped(&queue.destination), escaped(&queue.volume));
            let _ = writeln!(
                page,
                "<p class=\"bad\">{destination} in the volume {volume}: {}</p>",
                escaped(why)
            );
        }
    }
}

fn sessions(page: &mut String, status: &NodeStatus) {
    page.push_str("<h2>Sessions</h2>\n<table><tr><th>core<th>CPU");
    for service in Service::ALL {
        let _ = write!(page, "<th>{service}");
    }
    page.push_str("</tr>\n");
    for (id, core) in status.cores.iter().enumerate() {
        let _ = write!(page, "<tr><td>{id}<td>{}", core.cpu);
        for open in core.counts.sessions_open {
            let _ = write!(page, "<td>{open}");
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn counters(page: &mut String, status: &NodeStatus) {
    page.push_str("<h2>Since the start</h2>\n<table>\n");
    let started = status.cores.iter().flat_map(|core| core.counts.sessions_started);
    let _ = writeln!(page, "<tr><td>Sessions that began<td>{}</tr>", sum(started));
    for counter in Counter::ALL {
        let total = sum(status.cores.iter().map(|core| core.counts.counts[*counter as usize]));
        let _ = writeln!(page, "<tr><td>{}<td>{total}</tr>", counter.help());
    }
    for count in &status.authentication {
        let _ = writeln!(page, "<tr><td>{}<td>{}</tr>", count.help, count.value);
    }
    page.push_str("</table>\n");
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn percent_used(free: u64, total: u64) -> String {
    let used = u128::from(total.saturating_sub(free)) * 100;
    used.checked_div(u128::from(total))
        .map_or_else(|| "unknown".to_owned(), |percent| format!("{percent} %"))
}

/// In the largest unit that leaves at least two digits.
fn rounded(bytes: u64) -> String {
    let (unit, size) = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        .into_iter()
        .find(|(_, shift)| bytes >> shift >= 10)
        .unwrap_or(("B", 0));
    if size == 0 {
        Size::of_bytes(bytes).to_string()
    } else {
        format!("{} {unit}", bytes >> size)
    }
}

fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes} min {} s", seconds % 60),
        (0, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::metrics::tests::{example, lost};
    use super::*;

    #[test]
    fn a_person_finds_the_node_its_volumes_and_its_sessions() {
        let page = render(&example());
        for part in [
            "<h1>mail.example.org</h1>",
            "<b>ready</b>, up 1 h 2 min",
            "2 accounts in 1 domains, generation 3",
            "<td>main<td>/srv/main<td>1<td>writable<td>75 %<td>3072 MiB<td>42",
            "<td>&lt;old&gt;<td>",
            "<td class=\"bad\">not open: no marker in /srv/old &amp; nothing else",
            "<tr><td>0<td>2<td>0<td>0<td>0<td>0<td>0<td>0<td>1<td>0<td>0<td>0<td>0<td>0<td>0</tr>",
            "<tr><td>Sessions that began<td>1</tr>",
            "<tr><td>Binds to the directory<td>5</tr>",
        ] {
            assert!(page.contains(part), "no {part} in\n{page}");
        }
        assert!(!page.contains("not taken over") && !page.contains("dropped"));
        let mut status = example();
        status.control_data.problem = Some("users.ldif:7:1: <mistake>".to_owned());
        status.log_lines_dropped = 9;
        status.control_data.following = Some(lost());
        let page = render(&status);
        for part in [
            "<p class=\"bad\">The directory: lost for 0 min ",
            "server ldap://&lt;a&gt;, not current since the start: no &lt;answer&gt; (alarm).</p>",
            "<p class=\"bad\">2 entries are not taken, their last good versions are in force:</p>\n<ul>\n<li>uid=a: mailQuotaSize: &lt;-1&gt;\n</ul>",
        ] {
            assert!(page.contains(part), "no {part} in\n{page}");
        }
        assert!(page.contains("users.ldif:7:1: &lt;mistake&gt;") && page.contains("9 log lines were dropped"));
    }

    #[test]
    fn numbers_are_rounded_for_people() {
        for (bytes, expected) in [
            (0, "0 B"),
            (1000, "1000 B"),
            (10 << 10, "10 KiB"),
            (9 << 20, "9216 KiB"),
            (15 << 30, "15 GiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(rounded(bytes), expected);
        }
        for (free, total, expected) in [
            (0, 0, "unknown"),
            (0, 10, "100 %"),
            (10, 10, "0 %"),
            (20, 10, "0 %"),
            (0, u64::MAX, "100 %"),
        ] {
            assert_eq!(percent_used(free, total), expected);
        }
        for (seconds, expected) in [(5, "0 min 5 s"), (3600, "1 h 0 min"), (200_000, "2 d 7 h")] {
            assert_eq!(uptime(Duration::from_secs(seconds)), expected);
        }
    }
}
