//! One side of one TLS connection, nearly always the server's, as a pure value: bytes from the peer in; decrypted bytes, and bytes for the
//! peer, out. No socket, no waiting, no clock. The same result however the input is cut.
//!
//! What is kept between calls: the rustls state, and the undecrypted start of a record or handshake message, in a vector
//! of exactly that length that is freed when it is used up. What the peer makes us say outside of our own turn (the
//! refusal of a renegotiation) waits in `output` for the next send.

use super::certificates::take_asked_server_name;
use super::{TlsAcceptor, TlsConnector};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{CommonState, ProtocolVersion};

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

/// rustls's part. A client's is in a box: nodes have servers' in their thousands.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are the large one, and a box more for each would cost memory"
)]
enum Side {
    Server(UnbufferedServerConnection),
    Client(Box<UnbufferedClientConnection>),
}

impl std::ops::Deref for Side {
    type Target = CommonState;
    fn deref(&self) -> &CommonState {
        match self {
            Side::Server(connection) => connection,
            Side::Client(connection) => connection,
        }
    }
}

/// See the module.
pub(crate) struct TlsSession {
    connection: Side,
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
        Ok(TlsSession::of(Side::Server(connection)))
    }

    /// A client's: a `receive` of nothing makes its hello.
    pub(crate) fn client(connector: &TlsConnector) -> Result<TlsSession, SessionError> {
        let connection = UnbufferedClientConnection::new(connector.config.clone(), connector.server_name.clone())
            .map_err(SessionError::Peer)?;
        Ok(TlsSession::of(Side::Client(Box::new(connection))))
    }

    fn of(connection: Side) -> TlsSession {
        TlsSession {
            connection,
            incoming: Vec::new(),
            output: Vec::new(),
            server_name: None,
            peer_closed: false,
            failed: false,
        }
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
            let (output, peer_closed) = (&mut self.output, &mut self.peer_closed);
            let step = match &mut self.connection {
                Side::Server(connection) => step(
                    connection.process_tls_records(rest),
                    turn,
                    plaintext,
                    output,
                    peer_closed,
                ),
                Side::Client(connection) => step(
                    connection.process_tls_records(rest),
                    turn,
                    plaintext,
                    output,
                    peer_closed,
                ),
            };
            used = used.saturating_add(step.discard);
            if let Some(name) = take_asked_server_name() {
                self.server_name = Some(name);
            }
            match step.result {
                Ok(false) => {}
                Ok(true) => return Ok(used),
                Err(error) => {
                    if let SessionError::Peer(_) = error {
                        self.collect_alert(buffer.get_mut(used..).unwrap_or_default());
                    }
                    return Err(error);
                }
            }
        }
    }

    /// After an error: the alert that rustls wants the peer to see.
    fn collect_alert(&mut self, rest: &mut [u8]) {
        let output = &mut self.output;
        while match &mut self.connection {
            Side::Server(connection) => encode_alert(connection.process_tls_records(rest), output),
            Side::Client(connection) => encode_alert(connection.process_tls_records(rest), output),
        } {}
    }
}

/// What one state of rustls came to.
struct Step {
    /// Bytes of the input that are used up.
    discard: usize,
    /// Whether that was all.
    result: Result<bool, SessionError>,
}

/// `Data` is what differs between a server's states and a client's: nothing of it is looked at.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    turn: Turn<'_>,
    plaintext: &mut Vec<u8>,
    output: &mut Vec<u8>,
    peer_closed: &mut bool,
) -> Step {
    let UnbufferedStatus { mut discard, state } = status;
    let result = match state {
        Err(error) => Err(SessionError::Peer(error)),
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                None => break Ok(false),
                Some(Ok(record)) => {
                    discard = discard.saturating_add(record.discard);
                    plaintext.extend_from_slice(record.payload);
                }
                Some(Err(error)) => break Err(SessionError::Peer(error)),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(output, 0, |room| data.encode(room).map_err(encode_need)).map(|()| false)
        }
        // What was encoded is in the output, and the owner sends that before anything else.
        Ok(ConnectionState::TransmitTlsData(data)) => {
            data.done();
            Ok(false)
        }
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Ok(false)
        }
        Ok(ConnectionState::WriteTraffic(mut traffic)) => match turn {
            Turn::Open => Ok(()),
            Turn::Seal(data) => {
                let records = data.len().div_ceil(16 * 1024);
                let room = data.len() + records * RECORD_OVERHEAD_BYTES;
                encode(output, room, |room| traffic.encrypt(data, room).map_err(encrypt_need))
            }
            Turn::CloseNotify => encode(output, RECORD_OVERHEAD_BYTES, |room| {
                traffic.queue_close_notify(room).map_err(encrypt_need)
            }),
        }
        .map(|()| true),
        Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => match turn {
            Turn::Seal(_) => Err(SessionError::Unusable),
            Turn::Open | Turn::CloseNotify => Ok(true),
        },
        // Early data is never offered by this configuration, and there are no other states today.
        Ok(_) => Err(SessionError::Unusable),
    };
    Step { discard, result }
}

/// Whether there may be more.
fn encode_alert<Data>(status: UnbufferedStatus<'_, '_, Data>, output: &mut Vec<u8>) -> bool {
    match status.state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            encode(output, 0, |room| data.encode(room).map_err(encode_need)).is_ok()
        }
        _ => false,
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
