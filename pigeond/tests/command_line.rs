//! The command line, run as a program: what it prints, where, and how it ends.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn pigeond(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pigeond"))
        .args(arguments)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the program prints text")
}

/// A directory of the test's own.
fn scratch(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // One may be left from a run before.
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the directory is writable");
    path
}

#[test]
fn the_version_is_told() {
    let output = pigeond(&["--version"]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), format!("pigeond {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_wrong_command_line_is_told_with_the_usage() {
    for arguments in [
        &[][..],
        &["serve"],
        &["run"],
        &["check", "--file", "x"],
        &["quickstart", "--dir", "x", "--port-offset", "64541"],
        &["quickstart", "--dir", "x", "--port-offset", "-1"],
    ] {
        let output = pigeond(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("--help") || text(&output.stderr).contains("Usage"),
            "{arguments:?}"
        );
    }
}

#[test]
fn check_prints_the_effective_configuration_or_every_mistake() {
    let directory = scratch("check");
    std::fs::create_dir(directory.join("volume")).expect("the directory is writable");
    let file = directory.join("pigeon.toml");
    let ldif = "dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\nmail: alice@example.org\n";
    std::fs::write(directory.join("users.ldif"), ldif).expect("the directory is writable");
    let config = "hostname = \"mail.example.org\"\n[control_data]\nldif = \"users.ldif\"\n[[listener]]\n\
                  address = \"127.0.0.1:25\"\nservice = \"smtp\"\n[[volume]]\nid = \"main\"\npath = \"volume\"\n";
    std::fs::write(&file, config).expect("the directory is writable");
    let name = file.to_str().expect("the path is text");

    let output = pigeond(&["check", "--config", name]);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    for line in [
        "hostname = \"mail.example.org\"",
        "message_size_max = \"50 MiB\"",
        "imap_idle = \"30m\"",
    ] {
        assert!(shown.lines().any(|found| found == line), "no {line} in\n{shown}");
    }
    assert!(
        shown.starts_with("# On this machine the cores run on the CPUs "),
        "{shown}"
    );
    // What is printed is a configuration that means the same.
    let again = directory.join("again.toml");
    std::fs::write(&again, shown).expect("the directory is writable");
    let output = pigeond(&["check", "--config", again.to_str().expect("the path is text")]);
    assert_eq!(text(&output.stdout), shown);

    let broken = config
        .replace("\"smtp\"", "\"fax\"")
        .replace("\"mail.example.org\"", "1");
    std::fs::write(&file, broken).expect("the directory is writable");
    for command in ["check", "run"] {
        let output = pigeond(&[command, "--config", name]);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
        let lines: Vec<&str> = text(&output.stderr).lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(
            lines[0],
            format!("{name}:1:12: hostname: expected text in quotes, found the number 1")
        );
        assert!(
            lines[1].starts_with(&format!("{name}:6:11: service: expected one of \"smtp\", ")),
            "{lines:?}"
        );
    }

    let output = pigeond(&["run", "--config", "/nowhere/pigeon.toml"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "/nowhere/pigeon.toml: cannot be read: No such file or directory (os error 2)\n"
    );
}
