//! The backend that costs next to nothing: one thread, epoll, an IMAP that answers what the clients and proxies of this
//! bench say. Clients are let in with any password; a node has to prove its key.

use pigeon_datatree_cache::password::scram_verifier;
use pigeon_proto::sasl::scram::Verifier;
use pigeon_proto::sasl::{Claim, Exchange, Mechanism, Progress};
use rustix::event::epoll;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

const EVENTS: usize = 256;
const BACKLOG: i32 = 4096;
const BUFFER_BYTES: usize = 16 * 1024;
const BULK_PIECE_BYTES: usize = 256 * 1024;
const CAPABILITIES: &str = "CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN AUTH=SCRAM-SHA-256";

struct Backend {
    verifier: Verifier,
    message_bytes: usize,
    bulk: Vec<u8>,
    nonces: u64,
}

struct Client {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    /// Of the message, still to be sent behind the output.
    bulk_bytes: usize,
    /// What follows the message.
    tail: Vec<u8>,
    login: Option<Login>,
    waits_to_write: bool,
    ends: bool,
}

/// A login that goes over several lines.
struct Login {
    tag: String,
    exchange: Option<Exchange>,
}

pub(crate) fn serve(port: u16, verifier: &str, mib: usize) {
    let scram = scram_verifier(verifier).expect("a verifier for SCRAM-SHA-256");
    let mut backend = Backend {
        verifier: Verifier {
            iterations: scram.iterations,
            salt: scram.salt,
            stored_key: scram.stored_key,
            server_key: scram.server_key,
        },
        message_bytes: mib << 20,
        bulk: b"A line of a message that is fetched, of sixty-four bytes in all\n".repeat(BULK_PIECE_BYTES / 64),
        nonces: 0,
    };
    let listener = listener(port);
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll descriptor");
    let data =
        |descriptor: i32| epoll::EventData::new_u64(u64::try_from(descriptor).expect("descriptors are positive"));
    epoll::add(&poll, &listener, data(listener.as_raw_fd()), epoll::EventFlags::IN).expect("the listener is watched");
    let mut clients: Vec<Option<Client>> = Vec::new();
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        events.clear();
        if epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None).is_err() {
            continue;
        }
        for event in &events {
            let index = usize::try_from(event.data.u64()).expect("it was a descriptor");
            if i32::try_from(index) == Ok(listener.as_raw_fd()) {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nonblocking(true).expect("a socket of ours");
                    let descriptor = stream.as_raw_fd();
                    epoll::add(&poll, &stream, data(descriptor), epoll::EventFlags::IN).expect("it is watched");
                    // A client that is gone is told by its events.
                    let _ = stream.write(format!("* OK [{CAPABILITIES}] ready\r\n").as_bytes());
                    let index = usize::try_from(descriptor).expect("descriptors are positive");
                    if clients.len() <= index {
                        clients.resize_with(index + 1, || None);
                    }
                    clients[index] = Some(Client::new(stream));
                }
                continue;
            }
            let Some(client) = &mut clients[index] else { continue };
            let flags = event.flags;
            if !client.go_on(&mut backend, flags.contains(epoll::EventFlags::OUT), &mut buffer) {
                clients[index] = None;
                continue;
            }
            let waits = !client.output.is_empty() || client.bulk_bytes > 0;
            if waits != client.waits_to_write {
                client.waits_to_write = waits;
                // Who does not take what it asked for is not asked for more.
                let flags = if waits {
                    epoll::EventFlags::OUT
                } else {
                    epoll::EventFlags::IN
                };
                let descriptor = client.stream.as_raw_fd();
                epoll::modify(&poll, &client.stream, data(descriptor), flags).expect("it is watched");
            }
        }
    }
}

fn listener(port: u16) -> TcpListener {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, true).expect("SO_REUSEADDR");
    sockopt::set_tcp_nodelay(&socket, true).expect("TCP_NODELAY");
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("the port is free");
    listen(&socket, BACKLOG).expect("a listener");
    TcpListener::from(socket)
}

impl Client {
    fn new(stream: TcpStream) -> Client {
        Client {
            stream,
            input: Vec::new(),
            output: Vec::new(),
            bulk_bytes: 0,
            tail: Vec::new(),
            login: None,
            waits_to_write: false,
            ends: false,
        }
    }

    /// Says whether the connection goes on.
    fn go_on(&mut self, backend: &mut Backend, may_write: bool, buffer: &mut [u8]) -> bool {
        if !may_write {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(count) => self.input.extend_from_slice(&buffer[..count]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        while self.bulk_bytes == 0
            && let Some(end) = self.input.iter().position(|byte| *byte == b'\n')
        {
            // A literal is part of its line here: nobody sends one with a line end in it.
            let line = String::from_utf8_lossy(&self.input[..end]).replace('\r', " ");
            if line.ends_with("} ") && !line.contains('\n') {
                self.input[end] = b' ';
                self.output.extend_from_slice(b"+ go on\r\n");
                continue;
            }
            self.input.drain(..=end);
            self.line(backend, line.trim_end());
        }
        if !self.write(backend) {
            return false;
        }
        if self.ends && self.output.is_empty() {
            let _ = self.stream.shutdown(Shutdown::Write);
            return false;
        }
        true
    }

    fn line(&mut self, backend: &mut Backend, line: &str) {
        if let Some(login) = self.login.take() {
            return self.login_line(backend, login, line);
        }
        let mut words = line.split_ascii_whitespace();
        let tag = words.next().unwrap_or("*").to_owned();
        let command = words.next().unwrap_or_default().to_ascii_uppercase();
        let answer = match command.as_str() {
            "CAPABILITY" => format!("* {CAPABILITIES}\r\n{tag} OK done\r\n"),
            "ID" => format!("* ID NIL\r\n{tag} OK done\r\n"),
            "LOGIN" => format!("{tag} OK [{CAPABILITIES}] in\r\n"),
            "AUTHENTICATE" => {
                let mechanism = words.next().unwrap_or_default().to_owned();
                let initial = words.next().map(str::to_owned);
                return self.authenticate(backend, tag, &mechanism, initial.as_deref());
            }
            "SELECT" => format!("* 1 EXISTS\r\n{tag} OK [READ-WRITE] done\r\n"),
            "FETCH" => {
                self.bulk_bytes = backend.message_bytes;
                self.tail = format!(")\r\n{tag} OK done\r\n").into_bytes();
                format!("* 1 FETCH (BODY[] {{{}}}\r\n", backend.message_bytes)
            }
            "LOGOUT" => {
                self.ends = true;
                format!("* BYE\r\n{tag} OK out\r\n")
            }
            _ => format!("{tag} OK done\r\n"),
        };
        self.output.extend_from_slice(answer.as_bytes());
    }

    fn authenticate(&mut self, backend: &mut Backend, tag: String, mechanism: &str, initial: Option<&str>) {
        if mechanism.eq_ignore_ascii_case("SCRAM-SHA-256") {
            let started = Exchange::start(Mechanism::ScramSha256, initial.map(str::as_bytes));
            let (exchange, progress) = started.expect("the proxies of this bench know SCRAM");
            return self.progress(backend, tag, exchange, progress);
        }
        if initial.is_some() {
            self.output.extend_from_slice(format!("{tag} OK in\r\n").as_bytes());
        } else {
            self.output.extend_from_slice(b"+ \r\n");
            self.login = Some(Login { tag, exchange: None });
        }
    }

    fn login_line(&mut self, backend: &mut Backend, login: Login, line: &str) {
        let Login { tag, exchange } = login;
        match exchange {
            Some(mut exchange) => {
                let progress = exchange
                    .respond(line.as_bytes())
                    .expect("the proxies of this bench know SCRAM");
                self.progress(backend, tag, exchange, progress);
            }
            None => self.output.extend_from_slice(format!("{tag} OK in\r\n").as_bytes()),
        }
    }

    fn progress(&mut self, backend: &mut Backend, tag: String, exchange: Exchange, progress: Progress) {
        let (exchange, challenge) = match progress {
            Progress::Challenge(challenge) => (exchange, challenge.into_owned()),
            Progress::Complete(Claim::ScramFirst(first)) => {
                backend.nonces += 1;
                first.answer(backend.verifier.clone(), &format!("nonce{}", backend.nonces))
            }
            Progress::Complete(Claim::Scram(proof)) => {
                let answer = match proof.proven {
                    Some(_) => format!("{tag} OK [{CAPABILITIES}] in\r\n"),
                    None => format!("{tag} NO [AUTHENTICATIONFAILED] wrong key\r\n"),
                };
                return self.output.extend_from_slice(answer.as_bytes());
            }
            Progress::Complete(Claim::Password(_)) => unreachable!("SCRAM knows no passwords"),
        };
        self.output.extend_from_slice(format!("+ {challenge}\r\n").as_bytes());
        let exchange = Some(exchange);
        self.login = Some(Login { tag, exchange });
    }

    /// As much as the connection takes. Says whether it goes on.
    fn write(&mut self, backend: &Backend) -> bool {
        loop {
            if self.output.is_empty() && self.bulk_bytes == 0 {
                return true;
            }
            let bulk_piece = &backend.bulk[..backend.bulk.len().min(self.bulk_bytes)];
            let is_bulk = self.output.is_empty();
            let written = match self.stream.write(if is_bulk { bulk_piece } else { &self.output }) {
                Ok(written) => written,
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            };
            if !is_bulk {
                self.output.drain(..written);
                continue;
            }
            self.bulk_bytes -= written;
            if self.bulk_bytes == 0 {
                self.output.append(&mut self.tail);
            }
        }
    }
}

/// Says of every user that its mail is at the backend.
pub(crate) fn serve_auth(port: u16, to: u16) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the port is free");
    let answer = format!("HTTP/1.0 200 OK\r\nAuth-Status: OK\r\nAuth-Server: 127.0.0.1\r\nAuth-Port: {to}\r\n\r\n");
    for connection in listener.incoming() {
        let Ok(mut connection) = connection else { continue };
        let mut request = [0; 2048];
        // One that leaves needs no answer.
        let _ = connection.read(&mut request);
        let _ = connection.write_all(answer.as_bytes());
    }
}
