//! Other nodes that log in at a backend's listener, each for a user that it has authenticated.
//!
//! The node proves by SCRAM that it has its key, of which control data holds the verifier; the user is the authorization
//! identity, and what is served comes from the record that the node forwards. No lookup is made: a backend works without a
//! directory. Whatever is not right is refused, counted by kind, and logged for a person to mend.

mod plain;

use super::scram::{ProofAttempt, random_nonce, verifier_of};
use super::{Attempt, CheckCredentials, Outcome};
use crate::backend::Place;
use crate::login::driver::is_transfer;
use crate::mail_store::MessageId;
use crate::session_id::SessionId;
use futures_util::future::LocalBoxFuture;
use pigeon_datatree_cache::password::scram_verifier;
use pigeon_datatree_cache::record::{BackendProtocol, Server};
use pigeon_datatree_cache::{Account, CoreCopy, Owner, Service};
use pigeon_engine::blocking::BlockingPool;
use pigeon_proto::sasl::Exchange;
use pigeon_proto::sasl::scram::{ClientFirst, Proof, Verifier};
use plain::KeyCheck;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What became of a redirect that came to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirected {
    /// Let in.
    Accepted,
    /// By a node that the server_map does not have, or that has no key there.
    UnknownNode,
    /// By one that does not have the key.
    WrongKey,
    /// Without a user, without the record, or with one that is not understood.
    Malformed,
    /// To the node that has the account, as this node sees it.
    Referred,
    /// Of an account that is another node's, as this node sees it, or with no hop left.
    Astray,
}

/// Where a node's backend for a service is.
fn backend(server: &Server, service: Service) -> Option<(&str, u16)> {
    let protocol = match service {
        Service::Imap => BackendProtocol::Imap,
        Service::Pop3 => BackendProtocol::Pop3,
        _ => return None,
    };
    server.backends(protocol).next()
}

/// Checks redirects on one core.
#[derive(Clone)]
pub struct NodeAuthenticator {
    copy: Rc<CoreCopy>,
    /// This node.
    node: Rc<str>,
    count: Rc<dyn Fn(Redirected)>,
    plain: Option<Rc<KeyCheck>>,
}

impl NodeAuthenticator {
    /// For the node of this id; `count` is told of every redirect. Keys are proven by SCRAM.
    pub fn new(copy: Rc<CoreCopy>, node: &str, count: impl Fn(Redirected) + 'static) -> NodeAuthenticator {
        NodeAuthenticator {
            copy,
            node: node.into(),
            count: Rc::new(count),
            plain: None,
        }
    }

    /// Takes keys themselves as well, where the protocol offers PLAIN; they are checked on `pool`.
    pub fn with_plain(self, pool: BlockingPool) -> NodeAuthenticator {
        NodeAuthenticator {
            plain: Some(Rc::new(KeyCheck::new(pool))),
            ..self
        }
    }

    /// As control data has them.
    fn stored_keys(&self, node: &str) -> Vec<String> {
        let snapshot = self.copy.snapshot();
        let server = snapshot.server(node);
        server.map_or_else(Vec::new, |server| server.keys().map(str::to_owned).collect())
    }

    fn verifiers(&self, node: &str) -> Vec<Verifier> {
        let snapshot = self.copy.snapshot();
        let Some(server) = snapshot.server(node) else {
            return Vec::new();
        };
        server.keys().filter_map(scram_verifier).map(verifier_of).collect()
    }

    /// Whether a node has proven that it is one: to bring messages, it names no user.
    pub fn admits(&self, session: SessionId, peer: IpAddr, proof: &Proof) -> bool {
        let (node, count) = (proof.name.as_str(), &self.count);
        let Some(proven) = &proof.proven else {
            let known = !self.verifiers(node).is_empty();
            count(if known {
                Redirected::WrongKey
            } else {
                Redirected::UnknownNode
            });
            tracing::warn!(%session, %peer, node, known, "a node without the right key is refused");
            return false;
        };
        // The key may have been taken back meanwhile.
        if !self.verifiers(node).contains(proven) {
            count(Redirected::WrongKey);
            tracing::warn!(%session, %peer, node, "a node whose key was taken back is refused");
            return false;
        }
        true
    }

    fn check_node(&self, attempt: ProofAttempt) -> Outcome {
        let ProofAttempt {
            session,
            proof,
            received,
            peer,
            trusted: _,
            service,
        } = attempt;
        if !self.admits(session, peer, &proof) {
            return Outcome::Refused;
        }
        let (node, count) = (proof.name.as_str(), &self.count);
        let Some(user) = &proof.authorization else {
            count(Redirected::Malformed);
            tracing::warn!(%session, %peer, node, "a node that names no user is refused");
            return Outcome::Refused;
        };
        let pairs = received
            .forwarded
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let account = match Account::forwarded(user, pairs) {
            Ok(account) => account,
            Err(error) => {
                count(Redirected::Malformed);
                tracing::warn!(%session, %peer, node, user, %error, "a redirect that is not understood");
                return Outcome::Unavailable;
            }
        };
        // Where this node has the record too, both must mean the same owner: else the other one is told whom this one means,
        // as long as there are hops left, so that two nodes that each mean the other come to an end.
        let snapshot = self.copy.snapshot();
        let known = snapshot.account(account.id());
        let owner = known.map(|known| snapshot.owner_of(known, Some(&self.node)));
        if is_transfer(&received) {
            return self.transfer(session, node, account);
        }
        // Until it is handed over, the node that had it before has it.
        let is_previous = |record: &Account| record.was_on(&self.node);
        let owner = owner.filter(|_| !known.is_some_and(|known| is_previous(known)));
        let hops_left = received.hops_left.unwrap_or(1);
        match &owner {
            None | Some(Owner::Here) if hops_left > 0 => {}
            Some(Owner::Node(server)) if hops_left > 1 && backend(server, service).is_some() => {
                let (host, port) = backend(server, service).expect("it was just there");
                count(Redirected::Referred);
                tracing::info!(%session, %peer, node, user, account = %account.id(), to = server.name(), "a redirect is referred");
                return Outcome::Elsewhere(Place {
                    user: user.clone(),
                    host: host.to_owned(),
                    port,
                });
            }
            _ => {
                count(Redirected::Astray);
                tracing::error!(
                    %session, %peer, node, user, account = %account.id(), ?owner, hops_left,
                    "a redirect went astray: the nodes do not agree whose the account is"
                );
                return Outcome::Unavailable;
            }
        }
        if !account.services().contains(service) {
            return Outcome::NotAllowed;
        }
        count(Redirected::Accepted);
        drop(snapshot);
        let of = received.session.as_deref().unwrap_or_default();
        let client = received.client.map(tracing::field::display);
        tracing::info!(%session, of, node, client, service = service.name(), user, account = %account.id(), "redirected login");
        Outcome::Accepted(Arc::new(account))
    }
}

impl NodeAuthenticator {
    /// A message that nodes brought each other until no hop was left.
    pub(crate) fn went_in_circles(&self, message_id: &MessageId, hops: u32) {
        (self.count)(Redirected::Astray);
        tracing::error!(
            %message_id, hops,
            "mail went in circles: the nodes do not agree whose an account is; the Received lines name them"
        );
    }

    /// A node that asks for an account, or fetches it: what it may do, the account's standing and control data say, question by
    /// question.
    fn transfer(&self, session: SessionId, node: &str, account: Account) -> Outcome {
        tracing::debug!(%session, node, account = %account.id(), "a node asks for an account");
        (self.count)(Redirected::Accepted);
        Outcome::Accepted(Arc::new(account))
    }
}

impl CheckCredentials for NodeAuthenticator {
    /// Backends take no passwords of users.
    fn check(&self, attempt: Attempt) -> LocalBoxFuture<'static, Outcome> {
        let Attempt {
            session,
            credentials,
            received,
            peer,
            trusted,
            service,
        } = attempt;
        let Some(plain) = self.plain.clone() else {
            tracing::warn!(%session, %peer, "a password at a backend's listener is refused");
            return Box::pin(std::future::ready(Outcome::Refused));
        };
        let this = self.clone();
        Box::pin(async move {
            let stored = this.stored_keys(&credentials.name);
            let Some(proof) = plain.prove(credentials, stored).await else {
                return Outcome::Unavailable;
            };
            this.check_node(ProofAttempt {
                session,
                proof,
                received,
                peer,
                trusted,
                service,
            })
        })
    }

    fn challenge(&self, first: ClientFirst) -> (Exchange, String) {
        // The newest key; a node that is about to change keys has two, and tries with one.
        let verifier = self.verifiers(first.name()).into_iter().next();
        let verifier = verifier.unwrap_or_else(|| Verifier::unprovable(4096, vec![0; 16]));
        first.answer(verifier, &random_nonce())
    }

    fn check_proof(&self, attempt: ProofAttempt) -> LocalBoxFuture<'static, Outcome> {
        Box::pin(std::future::ready(self.check_node(attempt)))
    }
}
