//! StartTLS and LDAPS, with the right authority and with another one; EXTERNAL over the socket.

use crate::slapd::{ENGINE, SUFFIX, Slapd};
use crate::{Following, domain, options, person};
use pigeon_datatree_cache::CopyState;
use pigeon_datatree_cache::ldap::{Bind, LdapOptions, TlsOptions};
use std::net::TcpListener;
use std::time::Duration;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("loopback has ports");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn tls_in_both_ways_and_the_wrong_authority() {
    if !crate::slapd::is_there() {
        return;
    }
    let key = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
    let files = std::env::temp_dir().join(format!("pigeon-directory-tls-{}", std::process::id()));
    std::fs::create_dir_all(&files).expect("a temporary directory");
    let write = |name: &str, text: String| {
        let path = files.join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let certificate = write("certificate.pem", key.cert.pem());
    let private = write("key.pem", key.signing_key.serialize_pem());
    let wrong = write("other.pem", other.cert.pem());
    let mut slapd = Slapd::with(
        &format!(
            "TLSCertificateFile {}\nTLSCertificateKeyFile {}\n",
            certificate.display(),
            private.display()
        ),
        "",
    );
    slapd.change(&(domain() + &person("alice", "")));
    slapd.stop();
    let (plain, tls) = (free_port(), free_port());
    slapd.listen_at(&format!("ldap://127.0.0.1:{plain}/ ldaps://127.0.0.1:{tls}/"));
    slapd.resume();
    for (uri, start) in [
        (format!("ldap://localhost:{plain}"), true),
        (format!("ldaps://localhost:{tls}"), false),
    ] {
        let with = |authorities: &std::path::Path| LdapOptions {
            tls: TlsOptions {
                start,
                authorities: Some(authorities.to_owned()),
            },
            ..options(std::slice::from_ref(&uri), None)
        };
        let node = Following::start(with(&certificate));
        assert_eq!(node.current.state(), CopyState::Live, "{uri}: {:?}", node.told);
        assert!(node.has("alice"), "{uri}");
        let mut node = Following::start(with(&wrong));
        node.step(Duration::from_millis(200));
        assert_eq!(node.current.state(), CopyState::Boot, "{uri}");
        assert!(node.told[0].contains("certificate"), "{uri}: {:?}", node.told);
        // Nothing is said in the clear, whatever the server offers.
        assert!(!node.has("alice"), "{uri}");
    }
    let _ = std::fs::remove_dir_all(&files);
}

#[test]
fn the_socket_says_who_reads() {
    if !crate::slapd::is_there() {
        return;
    }
    // By what the kernel says of the peer.
    let slapd = Slapd::with(
        &format!("authz-regexp \"gidNumber=.*,cn=peercred,cn=external,cn=auth\" \"{ENGINE}\""),
        "",
    );
    slapd.change(&(domain() + &person("alice", "userPassword: {CLEARTEXT}x\n")));
    let node = Following::start(LdapOptions {
        bind: Bind::External,
        ..options(&[slapd.uri()], None)
    });
    assert_eq!(node.current.state(), CopyState::Live, "{:?}", node.told);
    let alice = node.current.login("alice").expect("she is there");
    assert_eq!(alice.secrets().count(), 1, "the engine may read secrets");
    // Nobody may read nothing.
    let mut node = Following::start(LdapOptions {
        bind: Bind::Anonymous,
        ..options(&[slapd.uri()], None)
    });
    node.step(Duration::from_millis(200));
    assert!(!node.has("alice"));
    assert!(node.told.iter().any(|told| told.contains(SUFFIX)), "{:?}", node.told);
}
