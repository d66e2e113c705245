//! What a server announces, before and after the login.

/// What every session of ours has after the login, but for `APPENDLIMIT`, which is configuration.
const AFTER_LOGIN: &str = "IMAP4rev1 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN MOVE ESEARCH \
     SPECIAL-USE CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS STATUS=SIZE MULTIAPPEND QUOTA QUOTA=RES-STORAGE \
     QUOTA=RES-MESSAGE CONDSTORE";

/// What depends on the connection before the login.
#[derive(Clone, Copy, Debug)]
pub struct BeforeLogin<'a> {
    /// TLS can be started and has not been.
    pub starttls: bool,
    /// LOGIN may be used now: TLS is on, or the configuration allows it without.
    pub login_allowed: bool,
    /// SASL mechanisms that may be used now.
    pub mechanisms: &'a [&'a str],
}

/// The capabilities before the login, without the word CAPABILITY. LITERAL- instead of LITERAL+ (RFC 7888 forbids both),
/// because nothing before the login is larger than 4096 bytes.
pub fn before_login(connection: BeforeLogin<'_>) -> String {
    let mut text = String::from("IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE");
    if connection.starttls {
        text.push_str(" STARTTLS");
    }
    for mechanism in connection.mechanisms {
        text.push_str(" AUTH=");
        text.push_str(mechanism);
    }
    if !connection.login_allowed {
        text.push_str(" LOGINDISABLED");
    }
    text
}

/// The capabilities after the login, without the word CAPABILITY.
pub fn after_login(append_limit_bytes: u64) -> String {
    format!("{AFTER_LOGIN} APPENDLIMIT={append_limit_bytes}")
}

/// The first line that a client sees (RFC 3501 section 7.1.1), with its line break. `text` is for people, and has no line
/// break in it.
pub fn greeting(capabilities: &str, text: &str) -> Vec<u8> {
    format!("* OK [CAPABILITY {capabilities}] {text}\r\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_login() {
        let text = |starttls, login_allowed| {
            before_login(BeforeLogin {
                starttls,
                login_allowed,
                mechanisms: if login_allowed { &["PLAIN", "LOGIN"] } else { &[] },
            })
        };
        assert_eq!(
            text(true, false),
            "IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE STARTTLS LOGINDISABLED"
        );
        assert_eq!(
            text(false, true),
            "IMAP4rev1 LITERAL- SASL-IR ID ENABLE IDLE AUTH=PLAIN AUTH=LOGIN"
        );
    }

    #[test]
    fn no_word_twice() {
        let text = after_login(100);
        let mut words: Vec<&str> = text.split(' ').collect();
        words.sort_unstable();
        assert!(
            words.windows(2).all(|pair| pair[0] != pair[1]) && !words.contains(&""),
            "{text}"
        );
    }
}
