//! The configuration as a file, and the files that it names.

use super::*;

#[test]
fn a_file_that_is_not_there_or_is_too_long_is_said() {
    let directory = crate::scratch::Directory::new("config");
    let missing = directory.path().join("pigeon.toml");
    let error = Config::load(&missing).expect_err("it is not there");
    assert_eq!(
        error.to_string(),
        format!(
            "{}: cannot be read: No such file or directory (os error 2)",
            missing.display()
        )
    );
    std::fs::write(&missing, vec![b'#'; 5 << 20]).expect("the directory is writable");
    assert!(
        Config::load(&missing)
            .expect_err("too long")
            .to_string()
            .contains("longer than")
    );
    std::fs::write(&missing, b"# one\n\xc3\xbc \xff").expect("the directory is writable");
    assert_eq!(
        Config::load(&missing).expect_err("not UTF-8").to_string(),
        format!("{}:2:3: expected UTF-8, found other bytes", missing.display())
    );
    for device in ["/dev/zero", "/"] {
        let error = Config::load(Path::new(device)).expect_err("no file").to_string();
        assert!(error.contains("expected a regular file"), "{error}");
    }
    std::fs::write(&missing, SMALLEST).expect("the directory is writable");
    let config = Config::load(&missing).expect("it is valid");
    assert_eq!(config.control_data.ldif, Some(directory.path().join("users.ldif")));

    // The files it names are not there: each is named with the place that names it.
    assert_eq!(
        check_files(&config)
            .mistakes
            .iter()
            .map(FileMistake::to_string)
            .collect::<Vec<_>>(),
        [
            format!(
                "{}:4:8: ldif: open {}/users.ldif: No such file or directory (os error 2)",
                missing.display(),
                directory.path().display()
            ),
            format!(
                "{}:10:8: path: {}/volumes/main cannot be opened: No such file or directory (os error 2)",
                missing.display(),
                directory.path().display()
            ),
        ]
    );
}

#[test]
fn mistakes_in_the_files_it_names_have_their_places() {
    let directory = crate::scratch::Directory::new("config");
    let here = |name: &str| directory.path().join(name);
    let write = |name: &str, content: &str| std::fs::write(here(name), content).expect("the directory is writable");
    let certificates = "[[certificate]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n";
    write("pigeon.toml", &format!("{SMALLEST}{certificates}"));
    std::fs::create_dir_all(here("volumes/main")).expect("the directory is writable");
    let (pair, other) = (certificate(), certificate());
    let ldif = "dn: uid=a,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: a\nmail: a@example.org\n\n\
                dn: associatedDomain=example.org,dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n";
    let config_file = here("pigeon.toml");
    let said = |chain: &str, key: &str, ldif: &str| {
        write("chain.pem", chain);
        write("key.pem", key);
        write("users.ldif", ldif);
        let config = Config::load(&config_file).expect("it is valid");
        check_files(&config)
            .mistakes
            .iter()
            .map(FileMistake::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(said(&pair.0, &pair.1, ldif), [] as [&str; 0]);
    assert_eq!(
        said(&pair.0, &other.1, ldif),
        [format!(
            "{}:12:9: {} with {}: the private key does not belong to the first certificate of the chain",
            config_file.display(),
            here("chain.pem").display(),
            here("key.pem").display()
        )]
    );
    let broken = said(
        &pair.0,
        &pair.1,
        &ldif.replace("mail: a@example.org", "mail: a example.org"),
    );
    assert_eq!(broken.len(), 1, "{broken:?}");
    assert!(
        broken[0].starts_with(&format!("{}:4:", here("users.ldif").display())),
        "{broken:?}"
    );
    std::fs::remove_file(here("key.pem")).expect("it is there");
    let config = Config::load(&config_file).expect("it is valid");
    let gone = check_certificates(&config)
        .iter()
        .map(FileMistake::to_string)
        .collect::<Vec<_>>();
    assert_eq!(
        gone,
        [format!(
            "{}:13:7: key: {} cannot be read: No such file or directory (os error 2)",
            config_file.display(),
            here("key.pem").display()
        )]
    );
}

#[test]
fn a_pipe_is_no_certificate_and_keeps_nobody_waiting() {
    let directory = crate::scratch::Directory::new("config");
    let here = |name: &str| directory.path().join(name);
    rustix::fs::mkfifoat(rustix::fs::CWD, here("chain.pem"), rustix::fs::Mode::RUSR).expect("it is a file system");
    std::fs::write(here("key.pem"), certificate().1).expect("the directory is writable");
    let content = format!("{SMALLEST}[[certificate]]\nchain = \"chain.pem\"\nkey = \"key.pem\"\n");
    let config = Config::parse(&content, Path::new("pigeon.toml"), directory.path()).expect("it is valid");
    let said: Vec<String> = check_certificates(&config).iter().map(FileMistake::to_string).collect();
    let chain = here("chain.pem");
    assert_eq!(
        said,
        [format!(
            "pigeon.toml:12:9: chain: {} cannot be read: expected a regular file",
            chain.display()
        )]
    );
}

#[test]
fn one_directory_is_not_two_volumes() {
    let directory = crate::scratch::Directory::new("config");
    std::fs::create_dir_all(directory.path().join("volumes/main")).expect("the directory is writable");
    let ldif = "dn: uid=a,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: a\n";
    std::fs::write(directory.path().join("users.ldif"), ldif).expect("the directory is writable");
    let content = format!("{SMALLEST}[[volume]]\nid = \"other\"\npath = \"volumes/../volumes/main\"\n");
    let config = Config::parse(&content, Path::new("pigeon.toml"), directory.path()).expect("it is valid");
    let said: Vec<String> = check_files(&config)
        .mistakes
        .iter()
        .map(FileMistake::to_string)
        .collect();
    assert_eq!(
        said,
        ["pigeon.toml:13:8: path: the volume \"main\" above is the same directory"]
    );
}

/// A self-signed certificate and its key.
fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a host name");
    (made.cert.pem(), made.signing_key.serialize_pem())
}
