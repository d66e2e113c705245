//! Transcripts for tests: lines of the client (`C: `) and of the server (`S: `), run whole, at every cut and byte by byte.

/// Splits `transcript` into all that the client says and all that the server must say.
fn sides(transcript: &str) -> (Vec<u8>, String) {
    let mut client = Vec::new();
    let mut server = String::new();
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        match line.split_at(3.min(line.len())) {
            ("C: ", text) => client.extend_from_slice(format!("{text}\r\n").as_bytes()),
            ("S: ", text) => server.push_str(&format!("{text}\r\n")),
            _ => panic!("neither C: nor S: in {line:?}"),
        }
    }
    (client, server)
}

/// Checks `transcript`; `run` feeds the pieces to a new session and returns all that it wrote.
pub(super) fn check(transcript: &str, run: impl Fn(&[&[u8]]) -> Vec<u8>) {
    let (client, server) = sides(transcript);
    let check = |pieces: &[&[u8]], how: &str| {
        assert_eq!(String::from_utf8_lossy(&run(pieces)), server, "{how}");
    };
    check(&[&client], "whole");
    for cut in 1..client.len() {
        check(&[&client[..cut], &client[cut..]], &format!("cut at {cut}"));
    }
    check(&client.chunks(1).collect::<Vec<_>>(), "byte by byte");
}
