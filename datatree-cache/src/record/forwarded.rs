//! A record on its way from the node that authenticated a user to the node that has the mail, which makes no lookup.
//!
//! Pairs of name and value, as IMAP's ID and POP3's XCLIENT carry them: short names, values without control characters. A
//! name that is not known is left alone, so that newer nodes may say more.

use super::{Account, AccountFields, AccountUuid, Service, ServiceSet};
use std::fmt;

/// Most bytes of all names and values, so that they fit every protocol.
pub const FORWARDED_BYTES_MAX: usize = 900;

/// What is wrong with forwarded values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForwardedError {
    /// Without it nobody knows whose mail is meant.
    NoId,
    /// The value of this name is not what it has to be.
    Value(String),
    /// More than [`FORWARDED_BYTES_MAX`].
    TooLong,
}

impl fmt::Display for ForwardedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ForwardedError::NoId => f.write_str("no id of an account was forwarded"),
            ForwardedError::Value(name) => write!(f, "the forwarded {name} is not understood"),
            ForwardedError::TooLong => write!(f, "more than {FORWARDED_BYTES_MAX} bytes were forwarded"),
        }
    }
}

impl std::error::Error for ForwardedError {}

impl Account {
    /// What the node that has the mail must know: the record and its domain's defaults taken together.
    pub fn forward(&self) -> Vec<(String, String)> {
        let quota = self.quota();
        let services: Vec<&str> = Service::ALL
            .into_iter()
            .filter(|service| self.services().contains(*service))
            .map(Service::name)
            .collect();
        let pairs = [
            ("id", Some(self.id().to_string())),
            ("node", self.node().map(str::to_owned)),
            ("volume", self.volume().map(str::to_owned)),
            ("previous", self.previous_joined()),
            ("quota", Some(quota.bytes.unwrap_or(0).to_string())),
            ("count", Some(quota.messages.unwrap_or(0).to_string())),
            ("size", Some(self.message_size_max().unwrap_or(0).to_string())),
            ("services", Some(services.join(","))),
            ("gen", Some(self.generation().to_string())),
        ];
        let said = pairs.into_iter().filter_map(|(name, value)| Some((name, value?)));
        said.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// The record of `user` as another node forwarded it. It is in no snapshot, and belongs to no domain.
    pub fn forwarded<'a>(
        user: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Account, ForwardedError> {
        let mut fields = AccountFields {
            addresses: vec![user.to_owned()],
            ..AccountFields::default()
        };
        let mut id = None;
        let mut generation = 0;
        let mut bytes = 0_usize;
        for (name, value) in pairs {
            bytes = bytes.saturating_add(name.len()).saturating_add(value.len());
            if bytes > FORWARDED_BYTES_MAX {
                return Err(ForwardedError::TooLong);
            }
            let number = || value.parse::<u64>().map_err(|_| ForwardedError::Value(name.to_owned()));
            match name {
                "id" => {
                    let uuid = uuid::Uuid::parse_str(value).map_err(|_| ForwardedError::Value(name.to_owned()))?;
                    id = Some(AccountUuid(uuid.into_bytes()));
                }
                "node" => fields.node = Some(value.to_owned()),
                "volume" => fields.volume = Some(value.to_owned()),
                "previous" => fields.previous = value.split(',').map(str::to_owned).collect(),
                "quota" => fields.quota_bytes = Some(number()?),
                "count" => fields.quota_messages = Some(number()?),
                "size" => fields.message_size_max = Some(number()?),
                "gen" => generation = number()?,
                "services" => {
                    let mut services = ServiceSet::NONE;
                    for word in value.split(',').filter(|word| !word.is_empty()) {
                        let service = Service::ALL.into_iter().find(|service| service.name() == word);
                        services = services.with(service.ok_or_else(|| ForwardedError::Value(name.to_owned()))?);
                    }
                    fields.services = Some(services);
                }
                _ => {}
            }
        }
        fields.id = id.ok_or(ForwardedError::NoId)?;
        let mut account = fields.pack();
        account.place(generation, None);
        Ok(account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Snapshot;

    fn pairs(account: &Account) -> Vec<(String, String)> {
        account.forward()
    }

    fn read(pairs: &[(String, String)]) -> Result<Account, ForwardedError> {
        let pairs = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Account::forwarded("alice@example.org", pairs)
    }

    #[test]
    fn what_is_forwarded_is_what_counts_with_the_domain_taken_together() {
        let snapshot = Snapshot::from_ldif(
            "dn: dc=example,dc=org\nobjectClass: pigeonDomain\nassociatedDomain: example.org\n\
             pigeonDefaultQuotaSize: 1000\npigeonDefaultVolume: v1\npigeonDefaultService: imap\n\n\
             dn: uid=alice,dc=example,dc=org\nobjectClass: inetOrgPerson\nuid: alice\nmail: alice@example.org\n\
             entryUUID: 11111111-1111-4111-8111-111111111111\nmailQuotaCount: 7\n\
             mailHost: n2\npigeonPreviousHost: n1/v9\npigeonPreviousHost: n3\npigeonPreviousHost: lost:n4\n",
        )
        .unwrap();
        let alice = snapshot.login("alice").unwrap();
        let pairs = pairs(alice);
        assert!(pairs.iter().all(|(name, _)| name.len() <= 20));
        let there = read(&pairs).unwrap();
        assert_eq!(there.id(), alice.id());
        assert_eq!(there.quota(), alice.quota());
        assert_eq!((there.node(), there.volume()), (Some("n2"), Some("v1")));
        let places: Vec<_> = there.previous().map(|place| (place.node, place.volume)).collect();
        assert_eq!(places, [("n1", Some("v9")), ("n3", None)]);
        assert!(there.previous().eq(alice.previous()));
        assert!(there.was_elsewhere() && there.was_on("n3") && !there.was_on("n4"));
        assert!(there.is_lost_on("n4") && !there.is_lost_on("n3"));
        assert_eq!(there.message_size_max(), None);
        assert_eq!(there.services(), alice.services());
        assert_eq!(there.generation(), alice.generation());
        assert_eq!(there.main_address(), Some("alice@example.org"));
        assert!(there.may(Service::Imap) && !there.may(Service::Pop3));
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let id = pair("id", "11111111-1111-4111-8111-111111111111");
        assert!(read(&[id.clone(), pair("new", "thing")]).is_ok());
        assert_eq!(read(&[]).unwrap_err(), ForwardedError::NoId);
        for (name, value) in [
            ("id", "x"),
            ("quota", "-1"),
            ("count", ""),
            ("size", "1M"),
            ("gen", "x"),
            ("services", "ftp"),
        ] {
            let error = read(&[id.clone(), pair(name, value)]).unwrap_err();
            assert_eq!(error, ForwardedError::Value(name.to_owned()));
        }
        let error = read(&[id, pair("volume", &"v".repeat(FORWARDED_BYTES_MAX))]).unwrap_err();
        assert_eq!(error, ForwardedError::TooLong);
    }
}
