//! The proxy on real cores: what needs the clock, the hash pool or a socket.

mod authenticate;
mod logins;
mod redirects;
mod verification;

use pigeon_engine::runtime::{self, EngineOptions};
use std::sync::{Arc, Mutex};

/// Runs `test` on core 0 of an engine; gives its output, or panics when it panicked.
pub(crate) fn run<T, F>(test: impl Fn() -> F + Clone + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
{
    let options = EngineOptions {
        cores: None,
        control_cpus: None,
        receive_buffers: 256,
        receive_buffer_bytes: 4096,
        pipes: 0,
        core_queue_depth: 64,
        open_files: 4096,
        open_files_for: "a test".to_owned(),
    };
    let output = Arc::new(Mutex::new(None));
    let kept = output.clone();
    let main = move || {
        let (test, kept) = (test.clone(), kept.clone());
        async move {
            if runtime::current_core().0 == 0 {
                let value = test().await;
                *kept.lock().unwrap() = Some(value);
            }
        }
    };
    runtime::run(options, main, |_| async {}).expect("the engine starts");
    output.lock().unwrap().take().expect("the test has ended well")
}

/// Accounts: alice (pigeon), bob (pigeon, IMAP only), carol (a secret that cannot be checked).
pub(crate) const TREE: &str = "\
dn: dc=example,dc=org
objectClass: pigeonDomain
associatedDomain: example.org

dn: uid=alice,dc=example,dc=org
objectClass: inetOrgPerson
entryUUID: 11111111-1111-4111-8111-111111111111
uid: alice
mail: alice@example.org
userPassword: pigeon

dn: uid=bob,dc=example,dc=org
objectClass: inetOrgPerson
entryUUID: 22222222-2222-4222-8222-222222222222
uid: bob
mail: bob@example.org
enabledService: imap
userPassword: pigeon

dn: uid=carol,dc=example,dc=org
objectClass: inetOrgPerson
entryUUID: 33333333-3333-4333-8333-333333333333
uid: carol
mail: carol@example.org
userPassword: {GSSAPI}carol@EXAMPLE.ORG
";
