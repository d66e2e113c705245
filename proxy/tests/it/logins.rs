//! A login over a socket, and the hand-over to another core with all that was sent ahead.

use crate::{TREE, run};
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::{Copy, SlowingOptions, Snapshot};
use pigeon_engine::blocking::BlockingPool;
use pigeon_engine::net::{Connection, Listener};
use pigeon_engine::stream::Stream;
use pigeon_engine::{CoreId, core_count, on_core, spawn};
use pigeon_proto::sasl::Mechanisms;
use pigeon_proxy::drain::Drain;
use pigeon_proxy::login::{self, Limits, LoginContext};
use pigeon_proxy::{Authenticator, Backend, Login, SessionId};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// Takes the session to the last core and answers there with what it got.
struct OtherCore;

impl Backend for OtherCore {
    fn hand_over(&self, login: Login, stream: Stream) -> LocalBoxFuture<'static, ()> {
        Box::pin(async move {
            let detached = stream.detach().await.unwrap();
            let core = CoreId(core_count() - 1);
            on_core(core, move || async move {
                let mut stream = detached.attach();
                let name = login.account.main_address().unwrap_or_default().to_owned();
                stream
                    .send(format!("{name} on {:?}: ", core == pigeon_engine::current_core()).into())
                    .await
                    .unwrap();
                while let Ok(Some(chunk)) = stream.receive().await {
                    let echo = pigeon_engine::bytes::Bytes::copy_from_slice(&chunk);
                    drop(chunk);
                    stream.send(echo).await.unwrap();
                }
            })
            .await
            .unwrap();
        })
    }
}

#[test]
fn a_login_moves_to_another_core_with_what_was_sent_ahead() {
    let answer = run(|| async {
        let copy = Copy::new(Snapshot::from_ldif(TREE).unwrap());
        let pool = BlockingPool::new("test-hash", 1, 16, None);
        let context = Rc::new(LoginContext {
            tls: None,
            trusted: vec!["127.0.0.1".parse().unwrap()],
            timeout: Duration::from_secs(60),
            limits: Limits {
                bad_commands_max: 10,
                failed_logins_max: 3,
            },
            mechanisms: Mechanisms::default(),
            redirectors: false,
            authenticate: Rc::new(Authenticator::new(
                Rc::new(copy.for_core()),
                pool,
                SlowingOptions::default(),
            )),
            backend: Rc::new(OtherCore),
            drain: Drain::new(),
        });
        let listener = Listener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_address();
        let server = spawn(async move {
            let connection = listener.accept().await.unwrap();
            login::pop3::serve(Stream::plain(connection), SessionId(1), context).await;
        });
        let deadline = pigeon_engine::now() + Duration::from_secs(30);
        let mut client = Stream::plain(Connection::connect(address, deadline).await.unwrap());
        client
            .send("USER alice\r\nPASS pigeon\r\nSTAT\r\nQUIT\r\n".into())
            .await
            .unwrap();
        let mut answer = String::new();
        while !answer.ends_with("QUIT\r\n") {
            let chunk = client.receive().await.unwrap().expect("the server answers");
            answer.push_str(&String::from_utf8_lossy(&chunk));
        }
        client.close().await;
        server.await;
        answer
    });
    assert_eq!(
        answer,
        "+OK PigeonAir POP3 ready\r\n+OK\r\nalice@example.org on true: STAT\r\nQUIT\r\n"
    );
}
