//! Which attribute holds what: the same OID means different things on different servers, so names come from a map.

/// Attribute names, in lower case. The default is the schema of docs/control-data.md.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeMap {
    /// Addresses; the first value of the first of these is the main address.
    pub addresses: Vec<String>,
}

impl Default for AttributeMap {
    fn default() -> Self {
        AttributeMap {
            addresses: ["mail", "mailalternateaddress", "maillocaladdress"]
                .map(String::from)
                .to_vec(),
        }
    }
}
