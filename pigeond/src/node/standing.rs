//! What control data says of this node: what it is there for, and whether it is in use. A listener asks with every
//! connection, so that a change is in force with the next one; sessions that are there go on.

use crate::config::Service;
use crate::status::Counter;
use bytes::Bytes;
use pigeon_datatree_cache::Snapshot;
use pigeon_datatree_cache::record::{NodeState, Role, RoleSet};

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) state: NodeState,
    pub(super) roles: RoleSet,
}

/// Why a connection is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TurnedAway {
    /// The node is not there for that.
    NoRole(Role),
    /// It is not in use.
    Down,
}

impl Standing {
    /// Of the node of this id. One that is alone, or that the server_map does not have, does everything.
    pub(super) fn of(snapshot: &Snapshot, node: Option<&str>) -> Standing {
        let server = node.and_then(|node| snapshot.server(node));
        Standing {
            state: server.map_or(NodeState::Up, |server| server.state()),
            roles: server.map_or(RoleSet::ALL, |server| server.roles()),
        }
    }

    /// Whether, and why, a new connection for this service is not taken. What other nodes bring is taken from a node that is
    /// down as well: they ask it while they do not know.
    pub(super) fn turns_away(self, service: Service) -> Option<TurnedAway> {
        let role = needed(service);
        if !self.roles.contains(role) {
            return Some(TurnedAway::NoRole(role));
        }
        (self.state == NodeState::Down && !service.is_backend()).then_some(TurnedAway::Down)
    }
}

impl TurnedAway {
    /// What counts it.
    pub(super) fn counter(self) -> Counter {
        match self {
            TurnedAway::NoRole(_) => Counter::SessionsWithoutRole,
            TurnedAway::Down => Counter::SessionsWhileDown,
        }
    }

    /// For the log.
    pub(super) fn why(self) -> &'static str {
        match self {
            TurnedAway::NoRole(_) => "the node has not the role",
            TurnedAway::Down => "the node is down, by control data",
        }
    }
}

/// What a node must be there for to take such a connection.
fn needed(service: Service) -> Role {
    match service {
        Service::Smtp | Service::Lmtp => Role::Mx,
        Service::Submission | Service::Submissions => Role::Submission,
        Service::Pop3 | Service::Pop3s | Service::Imap | Service::Imaps => Role::Proxy,
        Service::BackendImap
        | Service::BackendImaps
        | Service::BackendPop3
        | Service::BackendPop3s
        | Service::BackendLmtp => Role::Store,
    }
}

/// What a client reads that is turned away. It comes again, and a balancer sends it elsewhere.
pub(super) fn greeting(service: Service) -> Bytes {
    Bytes::from_static(match service {
        Service::Smtp | Service::Lmtp | Service::Submission | Service::Submissions | Service::BackendLmtp => {
            b"421 4.3.2 This node takes no connections now, try another or later\r\n"
        }
        Service::Pop3 | Service::Pop3s | Service::BackendPop3 | Service::BackendPop3s => {
            b"-ERR [SYS/TEMP] This node takes no connections now, try again later\r\n"
        }
        Service::Imap | Service::Imaps | Service::BackendImap | Service::BackendImaps => {
            b"* BYE [UNAVAILABLE] This node takes no connections now, try again later\r\n"
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(lines: &str) -> Standing {
        let tree = format!("dn: cn=n1\nobjectClass: pigeonServer\ncn: n1\n{lines}");
        let snapshot = Snapshot::from_ldif(&tree).unwrap_or_else(|mistakes| panic!("{mistakes}"));
        assert_eq!(Standing::of(&snapshot, None), Standing::of(&snapshot, Some("n2")));
        assert_eq!(Standing::of(&snapshot, None).roles, RoleSet::ALL);
        Standing::of(&snapshot, Some("n1"))
    }

    fn taken(standing: Standing) -> Vec<&'static str> {
        let taken = Service::ALL
            .into_iter()
            .filter(|service| standing.turns_away(*service).is_none());
        taken.map(Service::name).collect()
    }

    #[test]
    fn roles_and_state_decide_what_is_taken() {
        assert_eq!(taken(standing("")).len(), Service::ALL.len());
        assert_eq!(taken(standing("pigeonNodeState: draining\n")).len(), Service::ALL.len());
        let backends = [
            "backend-imap",
            "backend-pop3",
            "backend-lmtp",
            "backend-imaps",
            "backend-pop3s",
        ];
        assert_eq!(taken(standing("pigeonNodeState: down\n")), backends);
        assert_eq!(taken(standing("pigeonRole: store\n")), backends);
        assert_eq!(taken(standing("pigeonRole: mx\n")), ["smtp", "lmtp"]);
        assert_eq!(
            taken(standing("pigeonRole: submission\n")),
            ["submission", "submissions"]
        );
        assert_eq!(
            taken(standing("pigeonRole: proxy\n")),
            ["pop3", "pop3s", "imap", "imaps"]
        );
        let down = standing("pigeonNodeState: down\npigeonRole: proxy\n");
        assert_eq!(down.turns_away(Service::Smtp), Some(TurnedAway::NoRole(Role::Mx)));
        assert_eq!(down.turns_away(Service::Imap), Some(TurnedAway::Down));
    }
}
