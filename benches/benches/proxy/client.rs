//! The clients of the bench: threads with blocking sockets, in the clear or over TLS.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Whoever waits longer has found an error.
const PATIENCE: Duration = Duration::from_secs(60);
/// Idle sessions are opened by so many at once.
const OPENERS: usize = 16;
const READ_BYTES: usize = 256 * 1024;
const USERS: usize = 100;

/// Whom to talk to, and as whom.
pub(crate) struct Target {
    address: SocketAddr,
    user: String,
    password: String,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Target {
    pub(crate) fn parse(text: &str) -> Target {
        let words: Vec<&str> = text.split(',').collect();
        let (address, user, password, tls) = match words[..] {
            [address, user, password] => (address, user, password, None),
            [address, user, password, certificate, name] => (address, user, password, Some((certificate, name))),
            _ => panic!("ADDRESS:PORT,USER,PASSWORD[,CERTIFICATE,NAME]"),
        };
        Target {
            address: address.parse().expect("an address and a port"),
            user: user.to_owned(),
            password: password.to_owned(),
            tls: tls.map(|(certificate, name)| {
                let mut roots = RootCertStore::empty();
                let certificate = CertificateDer::from_pem_file(certificate).expect("a certificate");
                roots.add(certificate).expect("a certificate that may be trusted");
                let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .expect("the provider has them")
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                let name = ServerName::try_from(name.to_owned()).expect("a host name");
                (Arc::new(config), name)
            }),
        }
    }

    /// Logged in, as one of the users.
    fn open(&self, number: usize) -> io::Result<Session> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let wire = match &self.tls {
            None => Wire::Plain(socket),
            Some((config, name)) => {
                let connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Wire::Tls(Box::new(StreamOwned::new(connection, socket)))
            }
        };
        let mut session = Session {
            reader: BufReader::with_capacity(1024, wire),
        };
        session.line()?;
        let user = self.user.replace('%', &(number % USERS).to_string());
        session.command(&format!("a LOGIN \"{user}\" \"{}\"\r\n", self.password))?;
        Ok(session)
    }
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(socket) => socket.read(buffer),
            Wire::Tls(stream) => stream.read(buffer),
        }
    }
}

struct Session {
    reader: BufReader<Wire>,
}

impl Session {
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.reader.get_mut() {
            Wire::Plain(socket) => socket.write_all(bytes),
            Wire::Tls(stream) => stream.write_all(bytes),
        }
    }

    /// Up to the answer with the tag `a`, which has to be OK.
    fn command(&mut self, command: &str) -> io::Result<()> {
        self.write(command.as_bytes())?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<()> {
        loop {
            let line = self.line()?;
            if line.starts_with("a OK") {
                return Ok(());
            }
            if line.starts_with("a ") || line.starts_with("* BYE [") {
                return Err(io::Error::other(line));
            }
        }
    }

    fn log_out(mut self) -> io::Result<()> {
        self.write(b"a LOGOUT\r\n")?;
        self.answer()?;
        // The end comes from the server; one without close_notify is an end.
        let _ = self.reader.read(&mut [0]);
        Ok(())
    }

    /// Reads the message; gives its bytes.
    fn fetch(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.write(b"a FETCH 1 BODY.PEEK[]\r\n")?;
        let head = loop {
            let line = self.line()?;
            if line.contains(" FETCH ") {
                break line;
            }
        };
        let size = head.rsplit_once('{').and_then(|(_, rest)| rest.split_once('}'));
        let size: usize = size
            .and_then(|(size, _)| size.parse().ok())
            .ok_or_else(|| io::Error::other(head.clone()))?;
        let mut left = size;
        while left > 0 {
            let room = left.min(buffer.len());
            let count = self.reader.read(&mut buffer[..room])?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            left -= count;
        }
        self.answer()?;
        Ok(size)
    }
}

/// Runs `work` with the numbers below `count`, in `at_once` threads.
fn in_threads(count: usize, at_once: usize, work: impl Fn(usize) -> io::Result<()> + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Err(error) = work(number) {
                        eprintln!("session {number}: {error}");
                        std::process::exit(1);
                    }
                }
            });
        }
    });
}

pub(crate) fn logins(target: &Target, count: usize, at_once: usize) {
    in_threads(count, at_once, |number| target.open(number)?.log_out());
}

/// Prints how many bytes of messages came in.
pub(crate) fn fetch(target: &Target, count: usize, at_once: usize) {
    let bytes = AtomicUsize::new(0);
    let each = count.div_ceil(at_once);
    in_threads(at_once, at_once, |number| {
        let mut session = target.open(number)?;
        session.command("a SELECT INBOX\r\n")?;
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..each {
            bytes.fetch_add(session.fetch(&mut buffer)?, Ordering::Relaxed);
        }
        session.log_out()
    });
    println!("{}", bytes.into_inner());
}

/// Sessions that have said something and are silent since, in steps: a line is printed when a step is reached, and one is
/// waited for before the next.
pub(crate) fn idle(target: &Target, counts: &[usize]) {
    let opened = std::sync::Mutex::new(Vec::new());
    let mut before = 0;
    for &count in counts {
        in_threads(count - before, OPENERS, |number| {
            let session = target.open(before + number)?;
            opened.lock().expect("no thread panics").push(session);
            Ok(())
        });
        before = count;
        println!("{count}");
        // Whoever ends wants no more steps.
        let mut line = String::new();
        if io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
    }
}
