//! The server's side of one TLS connection as a pure value: bytes from the peer in; decrypted bytes, and bytes for the
//! peer, out. No socket, no waiting, no clock. The same result however the input is cut.
//!
//! What is kept between calls: the rustls state, and the undecrypted start of a record or handshake message, in a vector
//! of exactly that length that is freed when it is used up. What the peer makes us say outside of our own turn (the
//! refusal of a renegotiation) waits in `output` for the next send.

use super::TlsAcceptor;
use super::certificates::take_asked_server_name;
use rustls::ProtocolVersion;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};

/// The most plaintext one `seal` takes: three full records, so that sealed bytes stay below 64 KiB.
pub(crate) const SEAL_BYTES_MAX: usize = 3 * 16 * 1024;

/// Room for a record's header, nonce, tag, padding and type: at most 5 + 8 + 16 + 1 with the cipher suites in use.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// The most undecrypted bytes that are kept. rustls refuses a handshake message above 64 KiB and a record above 18 KiB, so
/// that this is never reached unless that changes.
const INCOMING_BYTES_MAX: usize = 128 * 1024;

/// Why a session ended other than by close_notify.
#[derive(Debug, PartialEq)]
pub(crate) enum SessionError {
    /// The peer's fault: not TLS, a bad record, nothing in common. An alert for the peer is in the output.
    Peer(rustls::Error),
    /// The session has failed before, or does not allow this yet.
    Unusable,
}

impl std::fmt::Display for SessionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SessionError::Peer(error) => write!(f, "TLS: {error}"),
            SessionError::Unusable => f.write_str("TLS: the session is not in a state for this"),
        }
    }
}

impl std::error::Error for SessionError {}

/// What one call of `receive` brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Opened {
    /// Decrypted application bytes; empty while the handshake goes on or a record is incomplete.
    pub(crate) plaintext: Vec<u8>,
    /// The peer has sent close_notify: no more plaintext will come.
    pub(crate) peer_closed: bool,
}

/// See the module.
pub(crate) struct TlsSession {
    connection: UnbufferedServerConnection,
    /// Bytes that rustls has not used up.
    incoming: Vec<u8>,
    /// Bytes for the peer.
    output: Vec<u8>,
    server_name: Option<Box<str>>,
    peer_closed: bool,
    failed: bool,
}

/// What to do when rustls has nothing left to process.
#[derive(Clone, Copy)]
enum Turn<'a> {
    Open,
    Seal(&'a [u8]),
    CloseNotify,
}

impl TlsSession {
    /// One that waits for a client hello.
    pub(crate) fn new(acceptor: &TlsAcceptor) -> Result<TlsSession, SessionError> {
        let connection = UnbufferedServerConnection::new(acceptor.config.clone()).map_err(SessionError::Peer)?;
        Ok(TlsSession {
            connection,
            incoming: Vec::new(),
            output: Vec::new(),
            server_name: None,
            peer_closed: false,
            failed: false,
        })
    }

    /// Takes bytes from the peer and decrypts them where they are (`input` is scratch afterwards). Look at
    /// `take_output` after each call, after an error too.
    pub(crate) fn receive(&mut self, input: &mut [u8]) -> Result<Opened, SessionError> {
        if self.failed {
            return Err(SessionError::Unusable);
        }
        let mut plaintext = Vec::new();
        if !self.peer_closed {
            let result = self.receive_open(input, &mut plaintext);
            self.failed = result.is_err();
            result?;
        }
        Ok(Opened {
            plaintext,
            peer_closed: self.peer_closed,
        })
    }

    fn receive_open(&mut self, input: &mut [u8], plaintext: &mut Vec<u8>) -> Result<(), SessionError> {
        if self.incoming.is_empty() {
            let used = self.drive(input, Turn::Open, plaintext)?;
            // `to_vec` allocates nothing for nothing.
            self.incoming = input.get(used..).unwrap_or_default().to_vec();
        } else {
            let mut incoming = std::mem::take(&mut self.incoming);
            incoming.extend_from_slice(input);
            let used = self.drive(&mut incoming, Turn::Open, plaintext)?;
            self.incoming = match used {
                0 => incoming,
                used => incoming.get(used..).unwrap_or_default().to_vec(),
            };
        }
        if self.peer_closed {
            self.incoming = Vec::new();
        }
        if self.incoming.len() > INCOMING_BYTES_MAX {
            return Err(SessionError::Unusable);
        }
        Ok(())
    }

    /// Encrypts at most `SEAL_BYTES_MAX` bytes; gives what is to be sent, with what waited before in front.
    pub(crate) fn seal(&mut self, plaintext: &[u8]) -> Result<Vec<u8>, SessionError> {
        assert!(plaintext.len() <= SEAL_BYTES_MAX, "the caller cuts what it sends");
        if self.failed || !self.is_established() {
            return Err(SessionError::Unusable);
        }
        let result = self.turn(Turn::Seal(plaintext));
        self.failed = result.is_err();
        result?;
        Ok(self.take_output())
    }

    /// Puts a close_notify into the output, where the handshake is far enough for one.
    pub(crate) fn close(&mut self) {
        if !self.failed {
            // It cannot be said twice, and with an error there is nobody to say it to.
            let _ = self.turn(Turn::CloseNotify);
            self.failed = true;
        }
    }

    /// Bytes to be sent to the peer, in order; empty when there are none.
    pub(crate) fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// The handshake is over, both ways.
    pub(crate) fn is_established(&self) -> bool {
        !self.connection.is_handshaking()
    }

    /// Whether the peer has sent close_notify; an error when the session has failed.
    pub(crate) fn peer_closed(&self) -> Result<bool, SessionError> {
        if self.failed {
            Err(SessionError::Unusable)
        } else {
            Ok(self.peer_closed)
        }
    }

    /// Bytes in buffers of this session (not of rustls): 0 while it is idle.
    #[cfg(test)]
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.incoming.capacity().saturating_add(self.output.capacity())
    }

    /// As in `TLSv1.3`, once it is agreed on.
    pub(crate) fn version(&self) -> Option<&'static str> {
        Some(match self.connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2",
            ProtocolVersion::TLSv1_3 => "TLSv1.3",
            _ => return None,
        })
    }

    /// As in `TLS_AES_128_GCM_SHA256` (the IANA name), once it is agreed on.
    pub(crate) fn cipher(&self) -> Option<String> {
        let name = self.connection.negotiated_cipher_suite()?.suite().as_str()?;
        // rustls marks the suites of TLS 1.3, whose IANA names do not.
        Some(name.replacen("TLS13_", "TLS_", 1))
    }

    /// The host name the client asked for.
    pub(crate) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// A turn of our own, over the bytes that are kept: rustls indexes into them while a message is incomplete, so it must
    /// see them again, and never fewer.
    fn turn(&mut self, turn: Turn<'_>) -> Result<(), SessionError> {
        let mut incoming = std::mem::take(&mut self.incoming);
        let mut plaintext = Vec::new();
        let used = self.drive(&mut incoming, turn, &mut plaintext)?;
        assert!(
            used == 0 && plaintext.is_empty(),
            "receive has processed all that can be"
        );
        self.incoming = incoming;
        Ok(())
    }

    /// Lets rustls process `buffer` as far as it goes, then takes the turn. Gives how much of the buffer is used up.
    fn drive(&mut self, buffer: &mut [u8], turn: Turn<'_>, plaintext: &mut Vec<u8>) -> Result<usize, SessionError> {
        let mut used = 0_usize;
        loop {
            let rest = buffer.get_mut(used..).ok_or(SessionError::Unusable)?;
            let UnbufferedStatus { mut discard, state } = self.connection.process_tls_records(rest);
            let mut done = false;
            match state {
                Err(error) => {
                    used = used.saturating_add(discard);
                    self.collect_alert(buffer.get_mut(used..).unwrap_or_default());
                    return Err(SessionError::Peer(error));
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(SessionError::Peer)?;
                        discard = discard.saturating_add(record.discard);
                        plaintext.extend_from_slice(record.payload);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    encode(&mut self.output, 0, |room| data.encode(room).map_err(encode_need))?;
                }
                // What was encoded is in the output, and the owner sends that before anything else.
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    match turn {
                        Turn::Open => {}
                        Turn::Seal(data) => {
                            let records = data.len().div_ceil(16 * 1024);
                            let room = data.len() + records * RECORD_OVERHEAD_BYTES;
                            encode(&mut self.output, room, |room| {
                                traffic.encrypt(data, room).map_err(encrypt_need)
                            })?;
                        }
                        Turn::CloseNotify => encode(&mut self.output, RECORD_OVERHEAD_BYTES, |room| {
                            traffic.queue_close_notify(room).map_err(encrypt_need)
                        })?,
                    }
                    done = true;
                }
                Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match turn {
                    Turn::Seal(_) => return Err(SessionError::Unusable),
                    Turn::Open | Turn::CloseNotify => done = true,
                },
                // Early data is never offered by this configuration, and there are no other states today.
                Ok(_) => return Err(SessionError::Unusable),
            }
            if let Some(name) = take_asked_server_name() {
                self.server_name = Some(name);
            }
            used = used.saturating_add(discard);
            if done {
                return Ok(used);
            }
        }
    }

    /// After an error: the alert that rustls wants the peer to see.
    fn collect_alert(&mut self, rest: &mut [u8]) {
        while let Ok(ConnectionState::EncodeTlsData(mut data)) = self.connection.process_tls_records(rest).state {
            if encode(&mut self.output, 0, |room| data.encode(room).map_err(encode_need)).is_err() {
                return;
            }
        }
    }
}

/// What an encoder lacks: that much room, or something that room does not mend.
type Need = Option<usize>;

fn encode_need(error: EncodeError) -> Need {
    match error {
        EncodeError::InsufficientSize(needed) => Some(needed.required_size),
        EncodeError::AlreadyEncoded => None,
    }
}

fn encrypt_need(error: EncryptError) -> Need {
    match error {
        EncryptError::InsufficientSize(needed) => Some(needed.required_size),
        // The keys are used up and may not be used further (RFC 8446 section 5.5).
        EncryptError::EncryptExhausted => None,
    }
}

/// Appends to `output` what `write` writes, giving it `room` bytes first and what it asks for then.
fn encode(
    output: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Need>,
) -> Result<(), SessionError> {
    let start = output.len();
    let mut room = room;
    loop {
        output.resize(start.saturating_add(room), 0);
        match write(&mut output[start..]) {
            Ok(written) => {
                output.truncate(start.saturating_add(written));
                return Ok(());
            }
            Err(Some(needed)) if needed > room => room = needed,
            Err(_) => {
                output.truncate(start);
                return Err(SessionError::Unusable);
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
