//! docs/configuration.md is the doc comments of the configuration's fields, in the order in which `check` prints them. With
//! UPDATE_MANUAL=1 in the environment this test writes the file instead of comparing it.

use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "\
# Configuration

One TOML file, named on the command line (`pigeond run --config FILE`). `pigeond check --config FILE` prints the configuration
in force with every default filled in, or every mistake with its line and column. An unknown key is a mistake. Relative
paths are relative to the directory of the file. Sizes are written as `\"50 MiB\"` (units of 1024: KiB, MiB, GiB, TiB; of 1000:
kB, MB, GB, TB) or as a number of bytes, times as `\"30s\"`, `\"5m\"`, `\"1h30m\"`.

At SIGHUP the certificates, control data and `log.level` are read again; everything else needs a restart.

This page is made from the doc comments in `pigeond/src/config/` (`UPDATE_MANUAL=1 cargo test --release -p pigeond --test manual`).

```toml
hostname = \"mail.example.org\"

[control_data]
ldif = \"/etc/pigeonair/users.ldif\"

[[certificate]]
chain = \"/etc/pigeonair/certificate.pem\"
key = \"/etc/pigeonair/private-key.pem\"

[[volume]]
id = \"main\"
path = \"/srv/pigeonair/main\"

[[listener]]
address = \"[::]:25\"
service = \"smtp\"

[[listener]]
address = \"[::]:993\"
service = \"imaps\"

[status]
address = \"127.0.0.1:2080\"
```
";

/// Heading, the field of `Config` that holds the section, its type, and the file with it.
const SECTIONS: &[(&str, &str, &str, &str)] = &[
    ("[control_data]", "control_data", "ControlData", "control_data.rs"),
    ("[control_data.ldap]", "", "Ldap", "control_data.rs"),
    ("[cluster]", "cluster", "Cluster", "cluster.rs"),
    ("[queue]", "queue", "Queue", "queue.rs"),
    ("[[listener]]", "listeners", "Listener", "listener.rs"),
    ("[[certificate]]", "certificates", "Certificate", "mod.rs"),
    ("[[volume]]", "volumes", "Volume", "volume.rs"),
    ("[limits]", "limits", "Limits", "limits.rs"),
    ("[timeouts]", "timeouts", "Timeouts", "timeouts.rs"),
    ("[policy]", "policy", "Policy", "policy.rs"),
    ("[status]", "status", "Status", "mod.rs"),
    ("[log]", "log", "Log", "mod.rs"),
];

/// A struct's own doc comment, and its public fields with theirs.
fn documented(source: &str, name: &str) -> (String, Vec<(String, String)>) {
    let mut lines = source.lines().map(str::trim);
    let mut comment = String::new();
    let start = format!("pub struct {name} {{");
    for line in lines.by_ref() {
        match line.strip_prefix("///") {
            Some(text) => append(&mut comment, text),
            None if line == start => break,
            None if line.starts_with("#[") => {}
            None => comment.clear(),
        }
    }
    let about = std::mem::take(&mut comment);
    let mut fields = Vec::new();
    for line in lines.take_while(|line| *line != "}") {
        if let Some(text) = line.strip_prefix("///") {
            append(&mut comment, text);
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|line| line.split_once(':')) {
            fields.push((field.to_owned(), std::mem::take(&mut comment)));
        }
    }
    (about, fields)
}

fn append(comment: &mut String, text: &str) {
    if !comment.is_empty() {
        comment.push(' ');
    }
    comment.push_str(text.trim());
}

/// Lines of at most 120 characters; those that follow the first are moved in.
fn wrapped(text: &str, indent: &str) -> String {
    let mut output = String::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 120 {
            let _ = writeln!(output, "{line}");
            line = indent.to_owned();
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(output, "{line}");
    output
}

fn manual(config_sources: &Path) -> String {
    let read = |file: &str| std::fs::read_to_string(config_sources.join(file)).expect("the sources are here");
    let (_, top) = documented(&read("mod.rs"), "Config");
    let of_field = |field: &str| {
        // A section within a section has no field here.
        let found = top.iter().find(|(name, _)| name == field);
        found.map(|(_, about)| about.clone()).unwrap_or_default()
    };
    let list = |fields: &[(String, String)]| {
        fields
            .iter()
            .map(|(name, text)| wrapped(&format!("- `{name}`: {text}"), "  "))
            .collect::<String>()
    };
    let mut text = INTRODUCTION.to_owned();
    let is_plain = |name: &str| name != "written" && !SECTIONS.iter().any(|(_, field, ..)| *field == name);
    let plain: Vec<_> = top.iter().filter(|(name, _)| is_plain(name)).cloned().collect();
    let _ = write!(text, "\n## At the top\n\n{}", list(&plain));
    for (heading, field, name, file) in SECTIONS {
        let (about, fields) = documented(&read(file), name);
        let use_of = of_field(field);
        let introduction = if about.starts_with(&use_of) { about } else { use_of };
        let _ = write!(
            text,
            "\n## `{heading}`\n\n{}\n{}",
            wrapped(&introduction, ""),
            list(&fields)
        );
    }
    text
}

#[test]
fn the_manual_is_what_the_doc_comments_say() {
    let crate_directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let file = crate_directory.join("../docs/configuration.md");
    let manual = manual(&crate_directory.join("src/config"));
    for key in [
        "hostname",
        "ldif",
        "segment_bytes",
        "message_size_max",
        "imap_idle",
        "bare_newline",
        "level",
    ] {
        assert!(manual.contains(&format!("\n- `{key}`: ")), "no {key} in\n{manual}");
    }
    if std::env::var_os("UPDATE_MANUAL").is_some() {
        std::fs::write(&file, &manual).expect("docs is writable");
    }
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        written == manual,
        "docs/configuration.md is not what the doc comments say: run UPDATE_MANUAL=1 cargo test --release -p pigeond --test manual"
    );
}
