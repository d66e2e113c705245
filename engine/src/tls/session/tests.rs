//! The session against a rustls client in memory.

use super::super::PemIdentity;
use super::*;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};
use std::io::{Read, Write};
use std::sync::Arc;

/// A self-signed certificate for these names.
pub(in super::super) fn identity_for(names: &[&str]) -> PemIdentity {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let certified = rcgen::generate_simple_self_signed(names).expect("the names are host names");
    PemIdentity {
        certificate_chain: certified.cert.pem().into_bytes(),
        private_key: certified.signing_key.serialize_pem().into_bytes(),
    }
}

struct Setup {
    acceptor: TlsAcceptor,
    client_config: Arc<ClientConfig>,
}

fn setup_with(identities: &[PemIdentity], versions: &[&'static SupportedProtocolVersion]) -> Setup {
    let acceptor = TlsAcceptor::new(identities).expect("the identities are valid");
    Setup {
        acceptor,
        client_config: client_config(identities, versions),
    }
}

fn client_config(identities: &[PemIdentity], versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for identity in identities {
        let leaf = CertificateDer::from_pem_slice(&identity.certificate_chain).expect("made here");
        roots.add(leaf).expect("a certificate made here is a valid root");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .expect("the provider has both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn setup(versions: &[&'static SupportedProtocolVersion]) -> Setup {
    setup_with(&[identity_for(&["mail.example.org"])], versions)
}

const BOTH: &[&[&SupportedProtocolVersion]] = &[&[&rustls::version::TLS13], &[&rustls::version::TLS12]];

/// A client and a session joined by their bytes, with what the client sends cut into pieces.
struct Pair {
    client: ClientConnection,
    session: TlsSession,
    /// What the session has decrypted.
    received: Vec<u8>,
    peer_closed: bool,
    /// What the client has decrypted.
    replies: Vec<u8>,
    /// Bytes of one piece towards the session.
    piece_bytes: usize,
}

impl Pair {
    fn new(setup: &Setup, piece_bytes: usize) -> Pair {
        Pair::named(setup, piece_bytes, "mail.example.org")
    }

    fn named(setup: &Setup, piece_bytes: usize, server_name: &str) -> Pair {
        let name = ServerName::try_from(server_name.to_owned()).expect("a host name");
        Pair {
            client: ClientConnection::new(setup.client_config.clone(), name).expect("the configuration is valid"),
            session: TlsSession::new(&setup.acceptor).expect("the configuration is valid"),
            received: Vec::new(),
            peer_closed: false,
            replies: Vec::new(),
            piece_bytes,
        }
    }

    fn client_bytes(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).expect("a vector takes all");
        }
        bytes
    }

    fn feed_session(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        for piece in bytes.chunks(self.piece_bytes) {
            let opened = self.session.receive(&mut piece.to_vec())?;
            self.received.extend(opened.plaintext);
            self.peer_closed |= opened.peer_closed;
        }
        Ok(())
    }

    fn feed_client(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).expect("a slice reads");
            self.client.process_new_packets().expect("the session speaks TLS");
            let mut piece = [0; 4096];
            while let Ok(count @ 1..) = self.client.reader().read(&mut piece) {
                self.replies.extend_from_slice(&piece[..count]);
            }
        }
    }

    /// Carries bytes both ways until neither has any.
    fn settle(&mut self) {
        loop {
            let forth = self.client_bytes();
            self.feed_session(&forth).expect("the client speaks TLS");
            let back = self.session.take_output();
            self.feed_client(&back);
            if forth.is_empty() && back.is_empty() {
                return;
            }
        }
    }
}

/// Bytes that differ along the way.
fn pattern(count: usize) -> Vec<u8> {
    (0..count).map(|index| (index % 251) as u8).collect()
}

#[test]
fn handshake_and_data_both_ways_however_the_input_is_cut() {
    for versions in BOTH {
        let setup = setup(versions);
        for piece_bytes in [1, 2, 3, 5, 16, 100, 517, 4096, usize::MAX] {
            let mut pair = Pair::new(&setup, piece_bytes);
            pair.settle();
            assert!(pair.session.is_established(), "pieces of {piece_bytes}");
            assert_eq!(pair.session.server_name(), Some("mail.example.org"));

            let request = pattern(40_000);
            pair.client.writer().write_all(&request).expect("the client buffers");
            pair.settle();
            assert_eq!(pair.received, request, "pieces of {piece_bytes}");

            let reply = pattern(SEAL_BYTES_MAX);
            let sealed = pair.session.seal(&reply).expect("the session is established");
            assert!(sealed.len() <= 64 * 1024, "{}", sealed.len());
            pair.feed_client(&sealed);
            assert_eq!(std::mem::take(&mut pair.replies), reply, "pieces of {piece_bytes}");
            assert_eq!(pair.session.buffered_bytes(), 0, "an idle session keeps no buffer");
        }
    }
}

#[test]
fn every_single_cut_gives_the_same() {
    for versions in BOTH {
        let setup = setup(versions);
        let mut pair = Pair::new(&setup, usize::MAX);
        let hello_length = pair.client_bytes().len();
        for cut in 1..hello_length {
            let mut pair = Pair::new(&setup, usize::MAX);
            let hello = pair.client_bytes();
            pair.feed_session(&hello[..cut]).expect("a part of a hello is no error");
            assert!(pair.session.take_output().is_empty(), "cut at {cut}");
            assert!(pair.session.buffered_bytes() >= cut.min(5));
            pair.feed_session(&hello[cut..]).expect("the whole hello");
            let back = pair.session.take_output();
            pair.feed_client(&back);
            pair.client
                .writer()
                .write_all(b"a001 NOOP\r\n")
                .expect("the client buffers");
            let second = pair.client_bytes();
            // The second flight is cut at the same place, or in its middle.
            let (head, tail) = second.split_at(cut.min(second.len() / 2));
            pair.feed_session(head).expect("a part of a flight is no error");
            pair.feed_session(tail).expect("the rest of the flight");
            pair.settle();
            assert!(pair.session.is_established(), "cut at {cut}");
            assert_eq!(pair.received, b"a001 NOOP\r\n", "cut at {cut}");
        }
    }
}

#[test]
fn what_was_agreed_on_is_told() {
    for (versions, version, suites) in [
        (
            BOTH[0],
            "TLSv1.3",
            &["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256"][..],
        ),
        (
            BOTH[1],
            "TLSv1.2",
            &[
                "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
                "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            ],
        ),
    ] {
        let mut pair = Pair::new(&setup(versions), usize::MAX);
        assert_eq!(pair.session.version(), None);
        pair.settle();
        assert_eq!(pair.session.version(), Some(version));
        let cipher = pair.session.cipher().expect("a suite is agreed on");
        assert!(suites.contains(&cipher.as_str()), "{cipher}");
    }
}

#[test]
fn close_notify_goes_both_ways() {
    for versions in BOTH {
        let setup = setup(versions);
        // The peer closes first; what it sent before is still delivered, and we can still answer.
        let mut pair = Pair::new(&setup, 7);
        pair.settle();
        pair.client.writer().write_all(b"QUIT\r\n").expect("the client buffers");
        pair.client.send_close_notify();
        let last = pair.client_bytes();
        pair.feed_session(&last).expect("an orderly end");
        assert_eq!((pair.received.as_slice(), pair.peer_closed), (&b"QUIT\r\n"[..], true));
        let goodbye = pair.session.seal(b"221 bye\r\n").expect("our side is still open");
        pair.feed_client(&goodbye);
        assert_eq!(std::mem::take(&mut pair.replies), b"221 bye\r\n");
        pair.session.close();
        let end = pair.session.take_output();
        assert!(!end.is_empty());
        pair.feed_client(&end);
        // Bytes behind close_notify are dropped, and nothing can be sent any more.
        assert_eq!(pair.session.seal(b"x"), Err(SessionError::Unusable));
        pair.session.close();
        assert!(pair.session.take_output().is_empty(), "close_notify is said once");

        // We close first: the client sees an orderly end.
        let mut pair = Pair::new(&setup, usize::MAX);
        pair.settle();
        pair.session.close();
        let end = pair.session.take_output();
        let mut rest = end.as_slice();
        pair.client.read_tls(&mut rest).expect("a slice reads");
        let state = pair.client.process_new_packets().expect("close_notify is valid");
        assert!(state.peer_has_closed());
    }
}

#[test]
fn bytes_behind_close_notify_are_dropped() {
    let mut pair = Pair::new(&setup(BOTH[0]), usize::MAX);
    pair.settle();
    pair.client.send_close_notify();
    let mut last = pair.client_bytes();
    last.extend_from_slice(b"\x17\x03\x03\x00\x20garbage");
    pair.feed_session(&last)
        .expect("what comes behind the end is not looked at");
    let again = pair.session.receive(&mut b"more".to_vec()).expect("nor later");
    assert_eq!(
        again,
        Opened {
            plaintext: Vec::new(),
            peer_closed: true
        }
    );
}

#[test]
fn key_updates_are_followed_and_answered() {
    let mut pair = Pair::new(&setup(BOTH[0]), 3);
    pair.settle();
    for round in 0..4 {
        pair.client.refresh_traffic_keys().expect("TLS 1.3 has key updates");
        pair.client.writer().write_all(b"NOOP\r\n").expect("the client buffers");
        pair.settle();
        assert_eq!(pair.received, b"NOOP\r\n".repeat(round + 1));
        // The answer travels with the next reply.
        let reply = pair.session.seal(b"OK\r\n").expect("the session is established");
        pair.feed_client(&reply);
        assert_eq!(std::mem::take(&mut pair.replies), b"OK\r\n");
        assert_eq!(pair.session.buffered_bytes(), 0);
    }
}

#[test]
fn sessions_are_resumed_by_tickets_across_a_reload() {
    for versions in BOTH {
        let setup = setup(versions);
        for round in 0..3 {
            let mut pair = Pair::new(&setup, usize::MAX);
            pair.settle();
            pair.client.writer().write_all(b"x").expect("the client buffers");
            pair.settle();
            let kind = pair.client.handshake_kind().expect("the handshake is over");
            let expected = if round == 0 {
                rustls::HandshakeKind::Full
            } else {
                rustls::HandshakeKind::Resumed
            };
            assert_eq!(kind, expected, "round {round}");
            assert_eq!(pair.session.server_name(), Some("mail.example.org"));
            setup
                .acceptor
                .reload(&[identity_for(&["mail.example.org"])])
                .expect("a valid identity");
        }
    }
}

#[test]
fn a_reload_shows_the_new_certificate_and_a_bad_one_changes_nothing() {
    let old = identity_for(&["mail.example.org"]);
    let new = identity_for(&["mail.example.org", "new.example.org"]);
    let setup = setup_with(std::slice::from_ref(&old), BOTH[0]);
    let shown = |identity: &PemIdentity| {
        let config = client_config(std::slice::from_ref(identity), BOTH[0]);
        let mut pair = Pair::new(
            &Setup {
                acceptor: setup.acceptor.clone(),
                client_config: config,
            },
            usize::MAX,
        );
        let hello = pair.client_bytes();
        pair.feed_session(&hello).expect("a valid hello");
        let flight = pair.session.take_output();
        let mut rest = flight.as_slice();
        pair.client.read_tls(&mut rest).expect("a slice reads");
        pair.client.process_new_packets().is_ok()
    };
    assert_eq!((shown(&old), shown(&new)), (true, false));
    let broken = PemIdentity {
        certificate_chain: new.certificate_chain.clone(),
        private_key: old.private_key.clone(),
    };
    setup.acceptor.reload(&[broken]).expect_err("the key is another's");
    assert_eq!((shown(&old), shown(&new)), (true, false));
    setup
        .acceptor
        .reload(std::slice::from_ref(&new))
        .expect("a valid identity");
    assert_eq!((shown(&old), shown(&new)), (false, true));
    assert_eq!(setup.acceptor.names(), ["mail.example.org", "new.example.org"]);
}

#[test]
fn the_first_certificate_may_come_later() {
    let identity = identity_for(&["mail.example.org"]);
    let setup = Setup {
        acceptor: TlsAcceptor::without_certificates().expect("nothing can be wrong with it"),
        client_config: client_config(std::slice::from_ref(&identity), BOTH[0]),
    };
    let accepted = || {
        let mut pair = Pair::new(&setup, usize::MAX);
        let hello = pair.client_bytes();
        let fed = pair.feed_session(&hello).is_ok();
        assert!(!pair.session.take_output().is_empty(), "a handshake or an alert");
        fed
    };
    assert_eq!((setup.acceptor.has_certificate(), accepted()), (false, false));
    setup.acceptor.reload(&[]).expect_err("none is not a certificate");
    assert!(!setup.acceptor.has_certificate());
    let identities = std::slice::from_ref(&identity);
    setup.acceptor.reload(identities).expect("a valid identity");
    assert_eq!((setup.acceptor.has_certificate(), accepted()), (true, true));
    setup.acceptor.reload(&[]).expect_err("none is not a certificate");
    assert_eq!((setup.acceptor.has_certificate(), accepted()), (true, true));
}

#[test]
fn what_is_not_tls_is_an_error_with_an_alert_and_stays_one() {
    let setup = setup(BOTH[0]);
    for input in [
        &b"EHLO client.example.org\r\n"[..],
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x05hello",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10",
    ] {
        for piece_bytes in [1, usize::MAX] {
            let mut session = TlsSession::new(&setup.acceptor).expect("the configuration is valid");
            let outcome: Result<Vec<_>, _> = input
                .chunks(piece_bytes)
                .map(|piece| session.receive(&mut piece.to_vec()))
                .collect();
            assert!(matches!(outcome, Err(SessionError::Peer(_))), "{input:?}: {outcome:?}");
            let alert = session.take_output();
            assert_eq!(alert.first(), Some(&21), "an alert record for {input:?}: {alert:?}");
            assert_eq!(session.receive(&mut b"x".to_vec()), Err(SessionError::Unusable));
            assert_eq!(session.seal(b"x"), Err(SessionError::Unusable));
        }
    }
}

#[test]
fn a_changed_record_is_an_error() {
    for versions in BOTH {
        let setup = setup(versions);
        let mut pair = Pair::new(&setup, usize::MAX);
        pair.settle();
        pair.client
            .writer()
            .write_all(b"a001 LOGIN alice pigeon\r\n")
            .expect("the client buffers");
        let mut record = pair.client_bytes();
        let last = record.len() - 1;
        record[last] ^= 1;
        assert!(matches!(pair.feed_session(&record), Err(SessionError::Peer(_))));
        assert!(pair.received.is_empty());
        assert!(!pair.session.take_output().is_empty(), "the alert");
    }
}

#[test]
fn nothing_is_sealed_before_the_handshake_is_over() {
    let mut pair = Pair::new(&setup(BOTH[0]), usize::MAX);
    assert_eq!(pair.session.seal(b"220 hello\r\n"), Err(SessionError::Unusable));
    let hello = pair.client_bytes();
    pair.feed_session(&hello).expect("a valid hello");
    assert_eq!(pair.session.seal(b"220 hello\r\n"), Err(SessionError::Unusable));
    pair.settle();
    assert!(pair.session.seal(b"220 hello\r\n").is_ok());
}

/// rustls remembers where in the buffer an incomplete handshake message lies, and would index past the end of a shorter
/// buffer: the session has to show it the kept bytes on its own turns too.
#[test]
fn closing_within_a_split_handshake_message_is_no_panic() {
    let setup = setup(BOTH[0]);
    let mut pair = Pair::new(&setup, usize::MAX);
    let hello = pair.client_bytes();
    // The hello in two records, the second of which never comes.
    let half = (hello.len() - 5) / 2;
    let mut first = vec![hello[0], hello[1], hello[2], (half >> 8) as u8, half as u8];
    first.extend_from_slice(&hello[5..5 + half]);
    pair.feed_session(&first).expect("half a message is no error");
    pair.session.close();
    assert!(
        pair.session.take_output().is_empty(),
        "nothing can be said in the clear"
    );
}

#[test]
fn a_hello_in_many_small_records_is_accepted() {
    for versions in BOTH {
        let setup = setup(versions);
        for record_bytes in [1, 2, 3, 4, 7, 64, 200] {
            let mut pair = Pair::new(&setup, 11);
            let hello = pair.client_bytes();
            let mut records = Vec::new();
            for part in hello[5..].chunks(record_bytes) {
                records.extend_from_slice(&[hello[0], hello[1], hello[2], 0, part.len() as u8]);
                records.extend_from_slice(part);
            }
            pair.feed_session(&records).expect("fragments of a message are valid");
            let back = pair.session.take_output();
            pair.feed_client(&back);
            pair.settle();
            assert!(pair.session.is_established(), "records of {record_bytes}");
        }
    }
}

#[test]
fn an_endless_handshake_message_is_refused_within_bounds() {
    let setup = setup(BOTH[0]);
    // A client hello that says it is 16 MiB long, in full records.
    let mut session = TlsSession::new(&setup.acceptor).expect("the configuration is valid");
    let mut record = vec![22, 3, 1, 0x40, 0];
    record.extend_from_slice(&[1, 0xff, 0xff, 0xff]);
    record.resize(5 + 0x4000, 0);
    let mut fed = 0_usize;
    while session.receive(&mut record.clone()).is_ok() {
        fed += record.len();
        record[5..9].fill(0);
        assert!(fed <= INCOMING_BYTES_MAX, "refused at last");
    }
}

#[test]
fn random_bytes_at_any_point_do_no_harm() {
    let setup = setup(BOTH[0]);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..300 {
        let mut pair = Pair::new(&setup, 1 + (random() % 700) as usize);
        if round % 2 == 0 {
            pair.settle();
            pair.client
                .writer()
                .write_all(&pattern(2000))
                .expect("the client buffers");
        }
        let mut bytes = pair.client_bytes();
        for _ in 0..=random() % 4 {
            let at = (random() % bytes.len() as u64) as usize;
            bytes[at] = random() as u8;
        }
        // An error or not: no panic, and no more than was sent.
        let _ = pair.feed_session(&bytes);
        assert!(pair.received.len() <= 2000);
        let _ = pair.session.seal(b"x");
        pair.session.close();
    }
}

#[test]
fn the_state_may_travel_to_another_core() {
    fn check<T: Send>() {}
    check::<TlsSession>();
}
