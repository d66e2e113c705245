//! One question to a status port: GET over HTTP/1.0, within a time and a size.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Bytes of an answer: that of ten thousand sessions is far below.
const ANSWER_BYTES_MAX: u64 = 32 << 20;

/// The body of a 200. Tries every address of the host.
pub(super) fn get(host: &str, port: u16, path: &str, patience: Duration) -> Result<Vec<u8>, String> {
    let deadline = Instant::now() + patience;
    let addresses = (host, port).to_socket_addrs().map_err(|error| error.to_string())?;
    let mut last = "its name has no address".to_owned();
    for address in addresses {
        match ask(address, host, path, deadline) {
            Ok(answer) => return body(&answer),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn left(deadline: Instant) -> Result<Duration, String> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err("no answer in time".to_owned());
    }
    Ok(left)
}

fn ask(address: SocketAddr, host: &str, path: &str, deadline: Instant) -> Result<Vec<u8>, String> {
    let said = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => "no answer in time".to_owned(),
        _ => error.to_string(),
    };
    let mut stream = TcpStream::connect_timeout(&address, left(deadline)?).map_err(said)?;
    stream.set_write_timeout(Some(left(deadline)?)).map_err(said)?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(said)?;
    let mut answer = Vec::new();
    let mut piece = [0; 64 << 10];
    loop {
        stream.set_read_timeout(Some(left(deadline)?)).map_err(said)?;
        match stream.read(&mut piece) {
            Ok(0) => return Ok(answer),
            Ok(count) => answer.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(said(error)),
        }
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(format!("more than {ANSWER_BYTES_MAX} bytes"));
        }
    }
}

/// What stands behind the head of an answer that is 200 and whole.
fn body(answer: &[u8]) -> Result<Vec<u8>, String> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or("the answer is no HTTP, or ends early")?;
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let code = first.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
    if code != Some("200") {
        let shown: String = first
            .chars()
            .filter(|character| !character.is_control())
            .take(60)
            .collect();
        return Err(format!("it answered {shown:?}"));
    }
    let body = &answer[end + 4..];
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_it = name.eq_ignore_ascii_case("content-length");
        is_it.then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    match length {
        Some(length) if length != body.len() => Err("the answer ends early".to_owned()),
        _ => Ok(body.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn answers_are_taken_whole_or_not_at_all() {
        for (answer, expected) in [
            (
                &b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"[..],
                Ok(b"{}".to_vec()),
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n{}", Ok(b"{}".to_vec())),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}",
                Err("the answer ends early".to_owned()),
            ),
            (
                b"HTTP/1.1 404 Not Found\r\n\r\n",
                Err("it answered \"HTTP/1.1 404 Not Found\"".to_owned()),
            ),
            (
                b"* OK IMAP4rev1 ready\r\n",
                Err("the answer is no HTTP, or ends early".to_owned()),
            ),
            (b"", Err("the answer is no HTTP, or ends early".to_owned())),
            (b"\xff\xff\r\n\r\n", Err("it answered \"\u{fffd}\u{fffd}\"".to_owned())),
        ] {
            assert_eq!(body(answer), expected);
        }
    }

    #[test]
    fn nobody_waits_for_a_silent_port() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let asked = get("127.0.0.1", port, "/", Duration::from_millis(50));
        assert_eq!(asked, Err("no answer in time".to_owned()));
        drop(listener);
        assert!(get("127.0.0.1", port, "/", Duration::from_secs(60)).is_err());
    }
}
