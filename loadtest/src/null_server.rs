//! A server that answers everything and keeps nothing: with it in front, the generator measures itself.

use crate::command_line::{Machine, NullProtocol, NullServerOptions};
use crate::content::Content;
use crate::output;
use bytes::Bytes;
use pigeon_engine::net::Listener;
use pigeon_engine::placement::CpuSet;
use pigeon_engine::runtime::EngineOptions;
use pigeon_engine::stream::Stream;
use std::rc::Rc;

/// Sessions that it takes.
const SESSIONS_MAX: u64 = 100_000;

/// A line that is longer is none.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Serves until it is ended from outside.
pub(crate) fn serve(machine: &Machine, options: NullServerOptions) -> Result<(), String> {
    machine.refuse_reports("null-server")?;
    if options.size.is_some() && matches!(options.protocol, NullProtocol::Smtp | NullProtocol::Lmtp) {
        return Err("--size means nothing to a null server that gives no messages".to_owned());
    }
    let cores = match &machine.cores {
        Some(text) => Some(
            text.parse::<CpuSet>()
                .map_err(|error| format!("--cores {text:?}: {error}"))?,
        ),
        None => None,
    };
    let engine = EngineOptions {
        cores,
        control_cpus: None,
        receive_buffers: 1024,
        receive_buffer_bytes: 16 * 1024,
        pipes: 0,
        core_queue_depth: 64,
        open_files: SESSIONS_MAX,
        open_files_for: format!("{SESSIONS_MAX} sessions"),
    };
    let (listen, size, quiet) = (options.listen, options.size.unwrap_or(4096), machine.quiet);
    let message = Content {
        seed: 0,
        from: "null@server.example".to_owned(),
        sizes: vec![(1.0, size..=size)],
    };
    let message = Bytes::from(message.message(1, "load@sender.example"));
    pigeon_engine::runtime::run(
        engine,
        move || accept(options.clone(), message.clone()),
        move |_| async move {
            if !quiet {
                // Whoever wants to know reads it; the others are served.
                let _ = output::say(&format!("listening on {listen}\n"));
            }
            std::future::pending::<()>().await;
        },
    )
    .map_err(|error| error.to_string())
}

async fn accept(options: NullServerOptions, message: Bytes) {
    let listener = match Listener::bind(options.listen) {
        Ok(listener) => listener,
        Err(error) => {
            output::mention(format_args!("pigeon-load: {}: {error}", options.listen));
            std::process::exit(2);
        }
    };
    let answers = Rc::new(Answers {
        protocol: options.protocol,
        message,
    });
    while let Ok(connection) = listener.accept().await {
        let answers = answers.clone();
        drop(pigeon_engine::spawn(async move {
            let session = Session {
                stream: Stream::plain(connection),
                input: Vec::new(),
                body: Body::None,
                idling: Vec::new(),
            };
            // A client that is gone needs no answer.
            let _ = session.run(&answers).await;
        }));
    }
}

struct Answers {
    protocol: NullProtocol,
    message: Bytes,
}

/// What of a message is still to come.
enum Body {
    None,
    /// Up to the line with the dot.
    Lines,
    /// So many octets.
    Octets(usize),
}

struct Session {
    stream: Stream,
    input: Vec<u8>,
    body: Body,
    /// The tag of its IDLE, while it is in one.
    idling: Vec<u8>,
}

impl Session {
    async fn run(mut self, answers: &Answers) -> std::io::Result<()> {
        let greeting = match answers.protocol {
            NullProtocol::Smtp | NullProtocol::Lmtp => "220 null.invalid ready\r\n",
            NullProtocol::Imap => "* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n",
            NullProtocol::Pop3 => "+OK ready\r\n",
        };
        self.stream.send(Bytes::from_static(greeting.as_bytes())).await?;
        let mut output = Vec::new();
        while let Some(chunk) = self.stream.receive().await? {
            self.input.extend_from_slice(&chunk);
            drop(chunk);
            let going = self.consume(answers, &mut output);
            let answer = Bytes::from(std::mem::take(&mut output));
            if !going || self.input.len() > LINE_BYTES_MAX {
                // With its goodbye in one segment, as the node does it.
                return self.stream.send_last(answer).await;
            }
            if !answer.is_empty() {
                self.stream.send(answer).await?;
            }
        }
        Ok(())
    }

    /// Answers all that is whole; `false`: the client said goodbye.
    fn consume(&mut self, answers: &Answers, output: &mut Vec<u8>) -> bool {
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..];
        let mut going = true;
        while going && !rest.is_empty() {
            if let Body::Octets(left) = &mut self.body {
                let taken = rest.len().min(*left);
                rest = &rest[taken..];
                *left -= taken;
                if *left == 0 {
                    self.body = Body::None;
                    output.extend_from_slice(b"250 2.0.0 taken\r\n");
                }
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else {
                break;
            };
            let (line, behind) = rest.split_at(end + 1);
            rest = behind;
            if matches!(self.body, Body::Lines) {
                if line == b".\r\n" {
                    self.body = Body::None;
                    output.extend_from_slice(b"250 2.0.0 taken\r\n");
                }
                continue;
            }
            let line = line.trim_ascii_end();
            going = match answers.protocol {
                NullProtocol::Smtp | NullProtocol::Lmtp => self.smtp(line, output),
                NullProtocol::Imap => self.imap(line, &answers.message, output),
                NullProtocol::Pop3 => pop3(line, &answers.message, output),
            };
        }
        self.input = rest.to_vec();
        going
    }

    fn smtp(&mut self, line: &[u8], output: &mut Vec<u8>) -> bool {
        let verb = line.get(..4).unwrap_or(line).to_ascii_uppercase();
        match &verb[..] {
            b"EHLO" | b"LHLO" => {
                output.extend_from_slice(b"250-null.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n");
            }
            b"DATA" => {
                self.body = Body::Lines;
                output.extend_from_slice(b"354 go on\r\n");
            }
            b"BDAT" => {
                let count = line.split(|&byte| byte == b' ').nth(1);
                let count = count.and_then(|count| std::str::from_utf8(count).ok()?.parse().ok());
                match count {
                    Some(count @ 1..) => self.body = Body::Octets(count),
                    Some(0) => output.extend_from_slice(b"250 2.0.0 taken\r\n"),
                    _ => output.extend_from_slice(b"501 5.5.4 how much?\r\n"),
                }
            }
            b"QUIT" => {
                output.extend_from_slice(b"221 2.0.0 bye\r\n");
                return false;
            }
            _ => output.extend_from_slice(b"250 2.0.0 yes\r\n"),
        }
        true
    }

    fn imap(&mut self, line: &[u8], message: &Bytes, output: &mut Vec<u8>) -> bool {
        if line.eq_ignore_ascii_case(b"DONE") && !self.idling.is_empty() {
            output.append(&mut self.idling);
            output.extend_from_slice(b" OK done\r\n");
            return true;
        }
        let mut words = line.split(|&byte| byte == b' ');
        let tag = words.next().unwrap_or_default();
        let verb = words.next().unwrap_or_default().to_ascii_uppercase();
        match &verb[..] {
            b"IDLE" => {
                output.extend_from_slice(b"+ idling\r\n");
                self.idling = tag.to_vec();
                return true;
            }
            b"SELECT" => output.extend_from_slice(b"* 1 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1] ok\r\n"),
            b"FETCH" => {
                output.extend_from_slice(format!("* 1 FETCH (BODY[] {{{}}}\r\n", message.len()).as_bytes());
                output.extend_from_slice(message);
                output.extend_from_slice(b")\r\n");
            }
            b"LOGOUT" => output.extend_from_slice(b"* BYE bye\r\n"),
            _ => {}
        }
        output.extend_from_slice(tag);
        output.extend_from_slice(b" OK done\r\n");
        verb != b"LOGOUT"
    }
}

fn pop3(line: &[u8], message: &Bytes, output: &mut Vec<u8>) -> bool {
    let verb = line.get(..4).unwrap_or(line).to_ascii_uppercase();
    output.extend_from_slice(b"+OK done\r\n");
    match &verb[..] {
        b"LIST" => output.extend_from_slice(format!("1 {}\r\n.\r\n", message.len()).as_bytes()),
        b"RETR" => output.extend_from_slice(&crate::content::stuffed(message)),
        _ => {}
    }
    verb != b"QUIT"
}
