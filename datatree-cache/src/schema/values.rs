//! Reading single attribute values. Every mistake says what was found and what was expected, and at which byte.

use crate::address::{Address, canonical_domain};
use crate::generalized_time;
use crate::record::{AccountStatus, DeliveryMode, LOST, NodeState, PrivateAddress, Role, Service};

/// What is wrong with a value, and at which byte of it.
pub(crate) struct ValueError {
    pub(crate) at: usize,
    pub(crate) message: String,
}

pub(crate) type ValueResult<T> = Result<T, ValueError>;

/// Bytes of names of nodes, volumes and modules. A guess; they become directory names and log fields.
const COMPONENT_BYTES_MAX: usize = 128;
/// Bytes of an automatic answer. A guess: some screens of text.
const REPLY_TEXT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a path (PATH_MAX of Linux).
const PATH_BYTES_MAX: usize = 4096;
/// Bytes of a login name, an attribute's worth that fits every protocol's line.
const LOGIN_NAME_BYTES_MAX: usize = 255;

fn expected<T>(at: usize, what: &str, found: &str) -> ValueResult<T> {
    let shown: String = found.chars().take(60).collect();
    let dots = if shown.len() < found.len() { "..." } else { "" };
    Err(ValueError {
        at,
        message: format!("expected {what}, found {:?}", format!("{shown}{dots}")),
    })
}

/// UTF-8 without surrounding spaces, which an editor leaves and nobody sees.
pub(crate) fn text(bytes: &[u8]) -> ValueResult<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.trim_matches(' ')),
        Err(error) => Err(ValueError {
            at: error.valid_up_to(),
            message: "expected UTF-8 text, found other bytes".into(),
        }),
    }
}

/// Digits, and no more than a `u64` holds.
pub(crate) fn number(text: &str, what: &str) -> ValueResult<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let at = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(0);
        return expected(at, what, text);
    }
    // The largest value stands for "not said" inside a record.
    match text.parse::<u64>() {
        Ok(number) if number < u64::MAX => Ok(number),
        _ => expected(0, "a number below 2^64 - 1", text),
    }
}

/// uidNumber, gidNumber, weight: a number that fits 32 bits.
pub(crate) fn number_32(text: &str, what: &str) -> ValueResult<u64> {
    let number = number(text, what)?;
    if number > u64::from(u32::MAX) {
        expected(0, "a number below 2^32", text)
    } else {
        Ok(number)
    }
}

/// courier's mailQuota: numbers followed by `S` (bytes) and `C` (messages), joined by commas; each at most once.
pub(crate) fn courier_quota(text: &str) -> ValueResult<(Option<u64>, Option<u64>)> {
    const FORM: &str = "a quota like 100000000S,1000C (S bytes, C messages)";
    let (mut bytes, mut messages) = (None, None);
    let mut at = 0;
    for part in text.split(',') {
        let Some((digits, unit)) = part.split_at_checked(part.len().saturating_sub(1)) else {
            return expected(at, FORM, text);
        };
        let limit = match unit {
            "S" => &mut bytes,
            "C" => &mut messages,
            _ => return expected(at, FORM, text),
        };
        if limit.is_some() {
            return expected(at, "each unit once", text);
        }
        *limit = Some(number(digits, FORM).map_err(|error| ValueError {
            at: at + error.at,
            ..error
        })?);
        at += part.len() + 1;
    }
    Ok((bytes, messages))
}

/// accountStatus, pigeonDomainStatus.
pub(crate) fn status(text: &str) -> ValueResult<AccountStatus> {
    match text.to_ascii_lowercase().as_str() {
        "active" => Ok(AccountStatus::Active),
        "noaccess" => Ok(AccountStatus::NoAccess),
        "disabled" => Ok(AccountStatus::Disabled),
        "deleted" => Ok(AccountStatus::Deleted),
        _ => expected(0, "active, noaccess, disabled or deleted", text),
    }
}

/// enabledService: a service, or all of them (`mail`). `None` for a name that belongs to something else.
pub(crate) fn services(text: &str) -> Option<&'static [Service]> {
    if text.eq_ignore_ascii_case("mail") {
        return Some(&Service::ALL);
    }
    let index = Service::ALL
        .iter()
        .position(|service| service.name().eq_ignore_ascii_case(text))?;
    Some(&Service::ALL[index..=index])
}

/// deliveryMode, one value of it.
pub(crate) fn delivery_mode(mode: &mut DeliveryMode, text: &str) -> ValueResult<()> {
    match text.to_ascii_lowercase().as_str() {
        "normal" | "localdelivery" => {}
        "noforward" => mode.no_forward = true,
        "nolocal" | "nombox" | "forwardonly" => mode.no_local = true,
        "noprogram" => mode.no_program = true,
        "reply" => mode.reply = true,
        _ => return expected(0, "normal, noforward, nolocal, forwardonly, noprogram or reply", text),
    }
    Ok(())
}

/// An address in canonical form.
pub(crate) fn address(text: &str) -> ValueResult<String> {
    Address::parse(text)
        .map(Address::into_text)
        .map_err(|error| ValueError {
            at: error.at,
            message: format!("{} (in {:?})", error.message, shorten(text)),
        })
}

/// A domain name in canonical form.
pub(crate) fn domain(text: &str) -> ValueResult<String> {
    canonical_domain(text).map_or_else(|| expected(0, "a domain name", text), Ok)
}

/// The id of a node, volume or module: letters, digits, `.`, `_` and `-`.
pub(crate) fn component(text: &str, what: &str) -> ValueResult<String> {
    let wrong = text
        .bytes()
        .position(|byte| !byte.is_ascii_alphanumeric() && !b"._-".contains(&byte));
    if let Some(at) = wrong {
        return expected(at, &format!("{what} of letters, digits, '.', '_' and '-'"), text);
    }
    if text.is_empty() || text.len() > COMPONENT_BYTES_MAX || text.starts_with('.') {
        return expected(
            0,
            &format!("{what} of 1 to {COMPONENT_BYTES_MAX} letters that does not begin with a dot"),
            text,
        );
    }
    Ok(text.to_owned())
}

/// An absolute path.
pub(crate) fn path(text: &str) -> ValueResult<String> {
    if !text.starts_with('/') || text.len() > PATH_BYTES_MAX || text.contains('\0') {
        return expected(0, "an absolute path", text);
    }
    Ok(text.to_owned())
}

/// A login name, folded. It may look like an address.
pub(crate) fn login_name(text: &str) -> ValueResult<String> {
    if text.is_empty() || text.len() > LOGIN_NAME_BYTES_MAX {
        return expected(0, "a login name of 1 to 255 bytes", text);
    }
    if let Some(at) = text.find(char::is_control) {
        return expected(at, "a login name without control characters", text);
    }
    Ok(crate::address::fold_local(text).into_owned())
}

/// mailReplyText.
pub(crate) fn reply_text(text: &str) -> ValueResult<String> {
    if text.len() > REPLY_TEXT_BYTES_MAX {
        return Err(ValueError {
            at: REPLY_TEXT_BYTES_MAX,
            message: format!("expected at most {REPLY_TEXT_BYTES_MAX} bytes, found {}", text.len()),
        });
    }
    Ok(text.to_owned())
}

/// The delimiter of plus-addressing: one character that a local part can hold unquoted, or `none`.
pub(crate) fn delimiter(text: &str) -> ValueResult<Option<char>> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(None);
    }
    match text.as_bytes() {
        [byte] if b"+-_=#~!/".contains(byte) => Ok(Some(char::from(*byte))),
        _ => expected(0, "one of + - _ = # ~ ! / or none", text),
    }
}

/// Where a module runs: `here`, a node's id, or `host:port`.
pub(crate) fn location(text: &str) -> ValueResult<String> {
    let host_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok_and(|port| port != 0)
            && (canonical_domain(host).is_some()
                || host
                    .strip_prefix('[')
                    .and_then(|host| host.strip_suffix(']'))
                    .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok()))
    });
    if host_port || component(text, "").is_ok() {
        return Ok(text.to_owned());
    }
    expected(0, "here, the id of a node, or host:port", text)
}

/// The address of a node: an IP address or a host name.
pub(crate) fn host(text: &str) -> ValueResult<String> {
    if text.parse::<std::net::IpAddr>().is_ok() || canonical_domain(text).is_some() {
        return Ok(text.to_owned());
    }
    expected(0, "an IP address or a host name", text)
}

/// Where a node's backends are.
pub(crate) fn private_address(text: &str) -> ValueResult<PrivateAddress> {
    text.parse().or_else(|what| expected(0, what, text))
}

/// pigeonRole, one value of it.
pub(crate) fn role(text: &str) -> ValueResult<Role> {
    let found = Role::ALL
        .into_iter()
        .find(|role| role.name().eq_ignore_ascii_case(text));
    found.map_or_else(|| expected(0, "mx, submission, proxy or store", text), Ok)
}

/// pigeonNodeState.
pub(crate) fn node_state(text: &str) -> ValueResult<NodeState> {
    let found = NodeState::ALL
        .into_iter()
        .find(|state| state.name().eq_ignore_ascii_case(text));
    found.map_or_else(|| expected(0, "up, draining or down", text), Ok)
}

/// pigeonPreviousHost, one value of it: a node, a node and a volume, or a node that is lost.
pub(crate) fn previous_node(text: &str) -> ValueResult<String> {
    if let Some(node) = text.strip_prefix(LOST) {
        component(node, "the id of a node").map_err(|error| ValueError {
            at: error.at + LOST.len(),
            ..error
        })?;
        return Ok(text.to_owned());
    }
    let (node, volume) = match text.split_once('/') {
        Some((node, volume)) => (node, Some(volume)),
        None => (text, None),
    };
    component(node, "the id of a node, or of a node and a volume as in n1/main,")?;
    if let Some(volume) = volume {
        component(volume, "the id of a volume").map_err(|error| ValueError {
            at: error.at + node.len() + 1,
            ..error
        })?;
    }
    Ok(text.to_owned())
}

/// pigeonSessionsSince: milliseconds since the Unix epoch.
pub(crate) fn time(text: &str) -> ValueResult<u64> {
    generalized_time::parse(text).map_or_else(|at| expected(at, "a time since 1970 like 20261122101500Z", text), Ok)
}

/// The verifier of a node's key; it is not shown.
pub(crate) fn node_key(text: &str) -> ValueResult<String> {
    match crate::password::scram_verifier(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(ValueError {
            at: 0,
            message: "expected a verifier as SCRAM-SHA-256$iterations:salt$stored-key:server-key".into(),
        }),
    }
}

/// entryUUID (RFC 4530): hyphenated hex digits.
pub(crate) fn uuid(text: &str) -> ValueResult<[u8; 16]> {
    match uuid::Uuid::try_parse(text) {
        Ok(uuid) if text.len() == 36 => Ok(uuid.into_bytes()),
        _ => expected(0, "a UUID like 597ae2f6-16a6-1027-98f4-d28b5365dc14", text),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: PartialEq + std::fmt::Debug>(result: ValueResult<T>, expect: Result<T, (usize, &str)>) {
        match (result, expect) {
            (Ok(found), Ok(expect)) => assert_eq!(found, expect),
            (Err(error), Err((at, part))) => {
                assert_eq!(error.at, at, "{}", error.message);
                assert!(error.message.contains(part), "{}", error.message);
            }
            (Ok(found), Err((_, part))) => panic!("{found:?} instead of a mistake with {part:?}"),
            (Err(error), Ok(expect)) => panic!("{} instead of {expect:?}", error.message),
        }
    }

    #[test]
    fn quotas() {
        check(number("0", "bytes"), Ok(0));
        check(number("18446744073709551614", "bytes"), Ok(u64::MAX - 1));
        check(number("18446744073709551615", "bytes"), Err((0, "below 2^64")));
        check(
            number("-1", "a number of bytes"),
            Err((0, "expected a number of bytes, found \"-1\"")),
        );
        check(number("10M", "a number of bytes"), Err((2, "found \"10M\"")));
        check(number("", "a number"), Err((0, "a number")));
        check(courier_quota("100000000S,1000C"), Ok((Some(100_000_000), Some(1000))));
        check(courier_quota("5C"), Ok((None, Some(5))));
        check(courier_quota("5S"), Ok((Some(5), None)));
        check(courier_quota("5S,6S"), Err((3, "each unit once")));
        check(courier_quota("5S,-6C"), Err((3, "100000000S")));
        check(courier_quota("5"), Err((0, "100000000S")));
        check(courier_quota("5ü"), Err((0, "100000000S")));
        check(courier_quota(""), Err((0, "100000000S")));
    }

    #[test]
    fn names_and_places() {
        check(component("node-1.a_b", "an id"), Ok("node-1.a_b".into()));
        check(
            component("/var/mail", "the id of a volume"),
            Err((0, "the id of a volume")),
        );
        check(component("..", "an id"), Err((0, "dot")));
        check(path("/home/a"), Ok("/home/a".into()));
        check(path("home"), Err((0, "absolute")));
        check(location("here"), Ok("here".into()));
        check(
            location("filter.example.org:3310"),
            Ok("filter.example.org:3310".into()),
        );
        check(location("[2001:db8::1]:25"), Ok("[2001:db8::1]:25".into()));
        check(location("a b"), Err((0, "host:port")));
        check(location("host:0"), Err((0, "host:port")));
        check(host("192.0.2.1"), Ok("192.0.2.1".into()));
        check(host("2001:db8::1"), Ok("2001:db8::1".into()));
        check(host("a_b"), Err((0, "IP address")));
        check(delimiter("+"), Ok(Some('+')));
        check(delimiter("None"), Ok(None));
        check(delimiter("@"), Err((0, "one of")));
        check(
            uuid("597ae2f6-16a6-1027-98f4-d28b5365dc14").map(|bytes| bytes[0]),
            Ok(0x59),
        );
        check(uuid("597ae2f616a6102798f4d28b5365dc14"), Err((0, "UUID")));
    }

    #[test]
    fn of_nodes() {
        check(role("MX"), Ok(Role::Mx));
        check(role("smtp"), Err((0, "mx, submission, proxy or store, found \"smtp\"")));
        check(node_state("Draining"), Ok(NodeState::Draining));
        check(node_state("off"), Err((0, "up, draining or down, found \"off\"")));
        check(previous_node("n1"), Ok("n1".into()));
        check(previous_node("n1/main"), Ok("n1/main".into()));
        check(previous_node("lost:n1"), Ok("lost:n1".into()));
        check(previous_node("lost:n1/main"), Err((7, "the id of a node")));
        check(previous_node("n1/"), Err((3, "the id of a volume")));
        check(previous_node("/main"), Err((0, "as in n1/main")));
        check(previous_node("n1/a/b"), Err((4, "the id of a volume")));
        check(time("20261122101500Z"), Ok(1_795_342_500_000));
        check(time("now"), Err((0, "a time since 1970")));
        check(time("20261122101560"), Err((14, "a time since 1970")));
    }

    #[test]
    fn words() {
        check(status("Active"), Ok(AccountStatus::Active));
        check(
            status("locked"),
            Err((0, "active, noaccess, disabled or deleted, found \"locked\"")),
        );
        assert_eq!(services("IMAP"), Some([Service::Imap].as_slice()));
        assert_eq!(services("mail").map(<[Service]>::len), Some(5));
        assert_eq!(services("ftp"), None);
        let mut mode = DeliveryMode::default();
        check(delivery_mode(&mut mode, "NoForward"), Ok(()));
        assert!(mode.no_forward);
        check(delivery_mode(&mut mode, "maybe"), Err((0, "noprogram")));
    }
}
