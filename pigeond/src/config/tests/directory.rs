//! A directory as the source of control data: read, refused, and printed.

use super::*;

#[test]
fn a_directory_is_configured_in_a_section_of_its_own() {
    let with = |section: &str| SMALLEST.replace("[control_data]\nldif = \"users.ldif\"", section);
    let good = with(
        "[control_data.attributes]\nquota_size = [\"quotaBytes\"]\n[control_data.ldap]\nservers = [\"ldaps://a.example.org\"]\n\
         base = \"dc=example,dc=org\"\nbind_dn = \"cn=engine,dc=example,dc=org\"\nbind_password_file = \"secret\"\n\
         copy = \"control-data\"",
    );
    assert_ne!(good, SMALLEST);
    let config = parse(&good).unwrap_or_else(|error| panic!("{error}"));
    let ldap = config.control_data.ldap.as_ref().expect("it is configured");
    assert_eq!(ldap.copy, Path::new("/etc/pigeon/control-data"));
    assert!(!ldap.start_tls);
    assert_eq!(config.control_data.attributes["quota_size"], ["quotaBytes"]);
    assert_eq!(config.control_data.ldif, None);
    // What is printed means the same.
    let again = Config::parse(&config.to_toml(), Path::new("pigeon.toml"), Path::new("/"));
    assert_eq!(again.expect("it is a configuration"), config);
    assert_eq!((ldap.verify, ldap.login_connections), (Verify::Hash, 4));
    // By a bind, passwords need not be readable, and the entry's revision tells when one is another.
    let bind = parse(&good.replace("[control_data.ldap]\n", "[control_data.ldap]\nverify = \"bind\"\n"));
    let bind = bind.expect("it is a configuration");
    assert_eq!(bind.control_data.ldap.expect("it is configured").verify, Verify::Bind);
    // What is said to a server elsewhere is not said in the clear unless somebody wants that.
    let far = good.replace("ldaps://", "ldap://");
    let config = parse(&far).expect("it is a configuration");
    assert!(config.control_data.ldap.expect("it is configured").start_tls);

    let directory = |lines: &str| with(&format!("[control_data.ldap]\n{lines}"));
    let rest = "base = \"dc=x\"\ncopy = \"c\"";
    for (text, expected) in [
        (
            directory(rest),
            "expected servers in [control_data.ldap], as in servers = [\"ldaps://ldap.example.org\"]",
        ),
        (
            directory(&format!("servers = [\"http://x\"]\n{rest}")),
            "servers: expected ldap://host[:port], ldaps://host[:port] or ldapi://%2Fpath, found \"http://x\"",
        ),
        (
            directory(&format!("servers = []\n{rest}")),
            "servers: expected at least one server",
        ),
        (
            directory(&format!("servers = [\"ldap://x\"]\nbind_dn = \"cn=x\"\n{rest}")),
            "expected bind_dn and bind_password_file together, found one of them",
        ),
        (
            directory(&format!("servers = [\"ldap://x\"]\nfilter = \"mail=*\"\n{rest}")),
            "filter: expected a filter in parentheses (RFC 4515), found \"mail=*\"",
        ),
        (
            directory(&format!("servers = [\"ldap://x\"]\nverify = \"guess\"\n{rest}")),
            "verify: expected one of \"hash\", \"bind\", found \"guess\"",
        ),
        (
            directory(&format!(
                "servers = [\"ldap://x\"]\nstart_tls = false\nverify = \"bind\"\n{rest}"
            )),
            "verify: expected start_tls = true or ldaps servers, because a bind sends passwords of users",
        ),
        (
            directory(&format!("servers = [\"ldap://x\"]\nlogin_connections = 0\n{rest}")),
            "login_connections: expected a whole number from 1 to 64, found the number 0",
        ),
        (
            with("[control_data]\nldif = \"users.ldif\"\nverify = \"bind\""),
            "5:1: unknown key \"verify\" in [control_data]",
        ),
        (
            with("[control_data]\nldif = \"users.ldif\"\nverified_for = \"0s\""),
            "verified_for: expected a time from 1s to 1d, found 0s",
        ),
        (
            directory(&format!("servers = [\"ldap://x\"]\nfoo = 1\n{rest}")),
            "unknown key \"foo\" in [control_data.ldap]",
        ),
        (
            with(
                "[control_data]\nldif = \"users.ldif\"\n[control_data.ldap]\nservers = [\"ldap://x\"]\nbase = \"dc=x\"\ncopy = \"c\"",
            ),
            "expected one source, found ldif beside [control_data.ldap]",
        ),
        (
            with("[control_data]\nldif = \"users.ldif\"\n[control_data.attributes]\nquota_size = [\"no good\"]"),
            "quota_size: \"no good\" is no attribute name",
        ),
        (
            with("[control_data]\nldif = \"users.ldif\"\n[control_data.attributes]\nquotas = [\"x\"]"),
            "unknown key \"quotas\" in [control_data.attributes]",
        ),
    ] {
        let said = mistakes(&text);
        assert!(said.iter().any(|said| said.contains(expected)), "{expected}\n{said:?}");
    }
}

#[test]
fn servers_that_do_not_answer_are_named_by_a_check() {
    let directory = crate::scratch::Directory::new("config-directory");
    let file = directory.path().join("pigeon.toml");
    std::fs::create_dir_all(directory.path().join("volumes/main")).expect("the directory is writable");
    let section = "[control_data.ldap]\nservers = [\"ldapi://%2Fnowhere%2Fone\", \"ldapi://%2Fnowhere%2Ftwo\"]\nbase = \"dc=x\"\n\
                   copy = \"copy\"";
    let text = SMALLEST.replace("[control_data]\nldif = \"users.ldif\"", section);
    std::fs::write(&file, text).expect("the directory is writable");
    let findings = check_files(&Config::load(&file).expect("it is valid"));
    let said: Vec<String> = findings.mistakes.iter().map(FileMistake::to_string).collect();
    let line = |server: &str| {
        format!(
            "{}:3:1: ldapi://%2Fnowhere%2F{server}: connecting: No such file or directory (os error 2)",
            file.display()
        )
    };
    assert_eq!(said, [line("one"), line("two")]);
    assert!(!directory.path().join("copy").exists(), "a check leaves nothing");
}

#[test]
fn an_account_on_a_volume_that_is_not_there_is_worth_a_warning() {
    let directory = crate::scratch::Directory::new("config-volumes");
    let file = directory.path().join("pigeon.toml");
    std::fs::create_dir_all(directory.path().join("volumes/main")).expect("the directory is writable");
    std::fs::write(&file, SMALLEST).expect("the directory is writable");
    let person = |name: &str, volume: &str| {
        format!(
            "dn: uid={name},dc=x\nobjectClass: inetOrgPerson\nuid: {name}\nmail: {name}@x.example\nmailMessageStore: {volume}\n\n"
        )
    };
    let people = [("a", "main"), ("c", "fast"), ("b", "fast")];
    let domain = "dn: dc=x\nobjectClass: pigeonDomain\nassociatedDomain: x.example\n\n".to_owned();
    let ldif = people
        .iter()
        .fold(domain, |text, (name, volume)| text + &person(name, volume));
    std::fs::write(directory.path().join("users.ldif"), ldif).expect("the directory is writable");
    let findings = check_files(&Config::load(&file).expect("it is valid"));
    assert_eq!(findings.mistakes, []);
    let said: Vec<String> = findings.warnings.iter().map(FileMistake::to_string).collect();
    let expected = "2 accounts are on the volume \"fast\", which no [[volume]] section has: their mail has to wait; uid=b,dc=x is one";
    assert!(said.len() == 1 && said[0].ends_with(expected), "{said:?}");
}
