//! Passwords: read from a terminal that does not show them, from the first line of stdin, or from a file; never from the
//! command line, which others on the machine can see.

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, tcgetattr, tcsetattr};
use std::fs::OpenOptions;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

/// Octets of a password that a login can have.
const BYTES_MAX: usize = pigeon_datatree_cache::password::PASSWORD_BYTES_MAX;

/// A new password for `name`: asked for twice, or the first line of stdin where that is no terminal.
pub(crate) fn new(name: &str) -> Result<String, String> {
    let password = if std::io::stdin().is_terminal() {
        let first = asked(&format!("New password of {name}: "))?;
        if asked("Once more: ")? != first {
            return Err("the two are not the same; nothing was written".to_owned());
        }
        first
    } else {
        first_line(&mut std::io::stdin().lock(), "stdin")?
    };
    good(password)
}

/// The password to bind with: the first line of a file, or asked for.
pub(crate) fn of_administrator(file: Option<&Path>, dn: &str) -> Result<String, String> {
    match file {
        Some(path) => {
            let named = path.display().to_string();
            let mut file = std::fs::File::open(path).map_err(|error| format!("{named}: {error}"))?;
            good(first_line(&mut file, &named)?)
        }
        None => good(asked(&format!("Password of {dn}: "))?),
    }
}

fn good(password: String) -> Result<String, String> {
    if password.is_empty() || password.len() > BYTES_MAX {
        return Err(format!(
            "expected a password of 1 to {BYTES_MAX} octets; nothing was written"
        ));
    }
    // RFC 4013, 2.3: control characters are in no password.
    if password.chars().any(char::is_control) {
        return Err("expected a password without control characters; nothing was written".to_owned());
    }
    Ok(password)
}

fn first_line(source: &mut dyn Read, named: &str) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = BYTES_MAX as u64 + 3;
    source
        .take(most)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("{named}: {error}"))?;
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_vec()).map_err(|_| format!("{named}: expected a password in UTF-8"))
}

/// Asks at the terminal, whatever stdin and stdout are.
fn asked(prompt: &str) -> Result<String, String> {
    let said = |error: std::io::Error| format!("a password is asked for at the terminal, and there is none: {error}");
    let mut terminal = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/tty")
        .map_err(said)?;
    let before = tcgetattr(&terminal).map_err(|error| said(error.into()))?;
    let mut silent = before.clone();
    // No signals either: Ctrl-C would leave a terminal behind that shows nothing.
    silent.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
    silent.special_codes[SpecialCodeIndex::VMIN] = 1;
    silent.special_codes[SpecialCodeIndex::VTIME] = 0;
    tcsetattr(&terminal, OptionalActions::Flush, &silent).map_err(|error| said(error.into()))?;
    let read = terminal
        .write_all(prompt.as_bytes())
        .and_then(|()| typed(&mut terminal));
    let _ = tcsetattr(&terminal, OptionalActions::Flush, &before);
    let _ = terminal.write_all(b"\n");
    let line = read.map_err(|error| format!("the terminal: {error}"))?;
    String::from_utf8(line).map_err(|_| "expected a password in UTF-8".to_owned())
}

/// Octets up to the end of the line, as keys were pressed.
fn typed(terminal: &mut dyn Read) -> std::io::Result<Vec<u8>> {
    const INTERRUPT: u8 = 0x03;
    const END: u8 = 0x04;
    const BACK: u8 = 0x08;
    const CLEAR: u8 = 0x15;
    const ERASE: u8 = 0x7f;
    let mut line = Vec::new();
    let mut key = [0];
    loop {
        if terminal.read(&mut key)? == 0 {
            return Ok(line);
        }
        match key[0] {
            b'\r' | b'\n' | END => return Ok(line),
            INTERRUPT => return Err(std::io::Error::other("interrupted")),
            ERASE | BACK => {
                // A whole character of UTF-8.
                while line.pop().is_some_and(|byte: u8| byte & 0xc0 == 0x80) {}
            }
            CLEAR => line.clear(),
            byte if line.len() <= BYTES_MAX => line.push(byte),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_lines() {
        let typed = |keys: &str| typed(&mut keys.as_bytes()).map(|line| String::from_utf8(line).expect("UTF-8"));
        assert_eq!(typed("secret\rmore").expect("a line"), "secret");
        assert_eq!(typed("a\u{15}sü\u{7f}x\n").expect("a line"), "sx");
        assert!(typed("a\u{3}").is_err());
        let line = |text: &str| first_line(&mut text.as_bytes(), "here");
        assert_eq!(line("a b \r\nc").as_deref(), Ok("a b "));
        assert!(good(line("").expect("text")).is_err());
        assert!(good("a\tb".into()).is_err());
        assert!(good("x".repeat(BYTES_MAX + 1)).is_err());
    }
}
