//! Whose an account is: this node's, another one's, or nobody's that is known.

use super::Snapshot;
use crate::record::{Account, Role, Server};
use std::fmt;
use std::sync::Arc;

/// Where an account's mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// On this node.
    Here,
    /// On that one.
    Node(Arc<Server>),
    /// Not to be told from control data: a temporary failure, and something for a person to mend. Never a bounce, and never
    /// a mailbox where it does not belong.
    Nowhere(NoOwner),
}

/// Why nobody is known to own an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoOwner {
    /// It names a node that is not in the server_map.
    UnknownNode(String),
    /// It names none, and there are several.
    Unnamed,
    /// It names a node that keeps no mail.
    NotAStore(String),
}

impl fmt::Display for NoOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoOwner::UnknownNode(name) => write!(f, "its node {name:?} is not in the server_map"),
            NoOwner::NotAStore(name) => write!(f, "its node {name:?} has not the role store"),
            NoOwner::Unnamed => f.write_str("it names no node, and the server_map has several"),
        }
    }
}

impl Snapshot {
    /// The owner of an account, as `node` sees it: the id of this node, or `None` for a node alone.
    pub fn owner_of(&self, account: &Account, node: Option<&str>) -> Owner {
        let Some(this) = node else {
            return Owner::Here;
        };
        let named = match account.node() {
            Some(named) => named,
            // As long as there is nobody else: the first node of what may become a cluster.
            None if self.servers().all(|server| server.name() == this) => this,
            None => return Owner::Nowhere(NoOwner::Unnamed),
        };
        match self.server(named) {
            Some(server) if !server.has_role(Role::Store) => Owner::Nowhere(NoOwner::NotAStore(named.to_owned())),
            _ if named == this => Owner::Here,
            Some(server) => Owner::Node(Arc::clone(server)),
            None => Owner::Nowhere(NoOwner::UnknownNode(named.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(accounts: &str, nodes: &[&str]) -> Snapshot {
        let mut text = "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\n".to_owned();
        for node in nodes {
            let (name, roles) = node.split_once(' ').unwrap_or((node, "mx store"));
            text += &format!("dn: cn={name},dc=example,dc=org\nobjectClass: pigeonServer\ncn: {name}\n");
            for role in roles.split(' ') {
                text += &format!("pigeonRole: {role}\n");
            }
            text += "\n";
        }
        text += &format!(
            "dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\nmail: alice@example.org\n{accounts}\n"
        );
        Snapshot::from_ldif(&text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
    }

    fn owner(snapshot: &Snapshot, node: Option<&str>) -> String {
        let alice = snapshot.login("alice").expect("she is there");
        match snapshot.owner_of(alice, node) {
            Owner::Here => "here".to_owned(),
            Owner::Node(server) => server.name().to_owned(),
            Owner::Nowhere(why) => why.to_string(),
        }
    }

    #[test]
    fn owners() {
        let two = tree("mailHost: n2\n", &["n1", "n2"]);
        assert_eq!(owner(&two, None), "here");
        assert_eq!(owner(&two, Some("n1")), "n2");
        assert_eq!(owner(&two, Some("n2")), "here");
        let unnamed = tree("", &["n1", "n2"]);
        assert_eq!(
            owner(&unnamed, Some("n1")),
            "it names no node, and the server_map has several"
        );
        assert_eq!(owner(&tree("", &["n1"]), Some("n1")), "here");
        assert_eq!(
            owner(&tree("", &["n2"]), Some("n1")),
            "it names no node, and the server_map has several"
        );
        assert_eq!(owner(&tree("", &[]), Some("n1")), "here");
        let no_store = "its node \"n2\" has not the role store";
        let front = tree("mailHost: n2\n", &["n1", "n2 proxy"]);
        assert_eq!(owner(&front, Some("n1")), no_store);
        assert_eq!(owner(&front, Some("n2")), no_store);
        assert_eq!(owner(&tree("", &["n2 mx"]), Some("n2")), no_store);
        assert_eq!(owner(&front, None), "here");
        // Without a server_map any name will do.
        let unknown = tree("mailHost: n9\n", &[]);
        assert_eq!(owner(&unknown, Some("n1")), "its node \"n9\" is not in the server_map");
    }
}
