//! What `benches/proxy/run` needs beside the proxies that it compares: a backend that costs next to nothing, and clients.
//! A plain program; each of its commands is a process of its own, so that nobody's CPU time is taken for another's.
//!
//! - `backend PORT VERIFIER MIB`: an IMAP server that lets in whoever asks, or who proves the key of VERIFIER by SCRAM; its
//!   only message has so many MiB.
//! - `auth PORT BACKEND`: what nginx asks where a user's mail is, over HTTP.
//! - `logins TARGET COUNT AT-ONCE`: connections that log in and out.
//! - `fetch TARGET COUNT AT-ONCE`: so many times the message, over so many sessions.
//! - `idle TARGET COUNT...`: opens so many sessions in turn; says when, waits for a line, and goes on.
//!
//! TARGET is `ADDRESS:PORT,USER,PASSWORD` and, for TLS, `,CERTIFICATE,NAME`; a `%` in USER becomes a number below 100.

#[path = "proxy/backend.rs"]
mod backend;
#[path = "proxy/client.rs"]
mod client;

use client::Target;

fn main() {
    // What cargo adds is none of ours.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse::<usize>().expect("a number");
    match words[..] {
        ["backend", port, verifier, mib] => backend::serve(port.parse().expect("a port"), verifier, number(mib)),
        ["auth", port, to] => backend::serve_auth(port.parse().expect("a port"), to.parse().expect("a port")),
        ["logins", target, count, at_once] => client::logins(&Target::parse(target), number(count), number(at_once)),
        ["fetch", target, count, at_once] => client::fetch(&Target::parse(target), number(count), number(at_once)),
        ["idle", target, ref counts @ ..] => {
            let counts: Vec<usize> = counts.iter().map(|count| number(count)).collect();
            client::idle(&Target::parse(target), &counts);
        }
        _ => eprintln!("this is what benches/proxy/run starts: run that"),
    }
}
