//! A message on its way to one peer.

use super::peer::{Lease, Peer};
use super::{RemoteEnvelope, RemoteError, RemoteEvent, RemoteRecipient};
use bytes::Bytes;
use pigeon_proto::address::Address;
use pigeon_proto::lmtp_client::{Delivery, Envelope, Event, Failure, Recipient, Stage};
use pigeon_proto::smtp::{Enhanced, record};
use std::rc::Rc;

/// See the module. Dropped without `commit`, the connection is closed and the peer drops what it has.
pub struct RemoteTransfer {
    peer: Rc<Peer>,
    envelope: Rc<RemoteEnvelope>,
    recipients: Vec<RemoteRecipient>,
    state: State,
}

enum State {
    /// Bytes that go before the next piece, and whether nothing but these has been written.
    Open {
        lease: Lease,
        head: Vec<u8>,
        first: bool,
    },
    Over(Vec<Result<(), RemoteError>>),
}

impl RemoteTransfer {
    pub(super) async fn begin(
        peer: Rc<Peer>,
        envelope: Rc<RemoteEnvelope>,
        recipients: Vec<RemoteRecipient>,
    ) -> RemoteTransfer {
        let mut transfer = RemoteTransfer {
            peer,
            envelope,
            recipients,
            state: State::Over(Vec::new()),
        };
        transfer.open(false).await;
        transfer
    }

    /// Whether there is nobody left who might get it: the rest need not be written.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    /// The results, when nothing can change them any more.
    pub(crate) fn results_so_far(&self) -> Option<&[Result<(), RemoteError>]> {
        match &self.state {
            State::Over(results) => Some(results),
            State::Open { .. } => None,
        }
    }

    /// The next piece of the message; waits until the peer has room for it.
    pub async fn write(&mut self, piece: &Bytes) {
        if piece.is_empty() {
            return;
        }
        let again = self.send(piece, false).await;
        if again {
            self.open(true).await;
            self.send(piece, false).await;
        }
    }

    /// Ends the message. One result for each recipient, in their order; `Ok` only when the peer has answered so.
    pub async fn commit(self) -> Vec<Result<(), RemoteError>> {
        self.commit_with(Bytes::new()).await
    }

    /// As `write` and `commit`, in one: a message that is whole goes in one write. To a server that takes only some of the
    /// recipients at a time it goes as often as it takes; one that was written in pieces is gone by then, and its rest `TooMany`.
    pub async fn commit_with(self, piece: Bytes) -> Vec<Result<(), RemoteError>> {
        let is_whole = matches!(self.state, State::Open { first: true, .. });
        let (peer, envelope, recipients) = (self.peer.clone(), self.envelope.clone(), self.recipients.clone());
        let mut results = self.commit_once(piece.clone()).await;
        if !is_whole {
            return results;
        }
        loop {
            let is_left = |place: &usize| matches!(results[*place], Err(RemoteError::TooMany(_)));
            let left: Vec<usize> = (0..results.len()).filter(is_left).collect();
            if left.is_empty() {
                return results;
            }
            let rest = left.iter().map(|place| recipients[*place].clone()).collect();
            // Rare, so that no message needs room for it.
            let next = Box::pin(RemoteTransfer::begin(peer.clone(), envelope.clone(), rest)).await;
            let answers = Box::pin(next.commit_once(piece.clone())).await;
            // Some of them are answered each time: that is what `TooMany` says.
            for (place, result) in left.into_iter().zip(answers) {
                results[place] = result;
            }
        }
    }

    async fn commit_once(mut self, piece: Bytes) -> Vec<Result<(), RemoteError>> {
        self.send(&piece, true).await;
        if let State::Open { lease, .. } = &mut self.state {
            let event = lease.connection.wait().await;
            self.settle(event).await;
        }
        match self.state {
            State::Over(results) => results,
            State::Open { .. } => unreachable!("an event at the end settles it"),
        }
    }

    /// Finds a connection and writes what comes before the message. One that had waited and turns out to be dead is
    /// replaced, as long as nothing of the message was given to it.
    async fn open(&mut self, fresh: bool) {
        if self.open_once(fresh).await {
            self.open_once(true).await;
        }
    }

    /// Whether it is worth another attempt.
    async fn open_once(&mut self, fresh: bool) -> bool {
        let mut lease = match self.peer.lease(fresh).await {
            Ok(lease) => lease,
            Err(error) => {
                for _ in &self.recipients {
                    (self.peer.count)(RemoteEvent::Unreached);
                }
                self.fail_all(error);
                return false;
            }
        };
        let mut head = Vec::new();
        if let Err(reply) = self.begin_on(&mut lease, &mut head) {
            self.peer.release(lease).await;
            self.fail_all(RemoteError::Answered(reply));
            return false;
        }
        let connection = &mut lease.connection;
        if !connection.client.waits_for_go() {
            self.state = State::Open {
                lease,
                head,
                first: true,
            };
            return false;
        }
        let event = match connection.send(head, self.peer.answer_time()).await {
            Ok(()) => connection.wait().await,
            Err(error) => connection.broke(error),
        };
        let reused = connection.reused;
        self.state = State::Open {
            lease,
            head: Vec::new(),
            first: true,
        };
        if event == Event::Go {
            return false;
        }
        let not_sent = self.settle(event).await;
        not_sent && reused && !fresh
    }

    fn begin_on(&self, lease: &mut Lease, head: &mut Vec<u8>) -> Result<(), pigeon_proto::smtp::Reply> {
        let client = &mut lease.connection.client;
        let forwards = client.forwards();
        let addressed: Vec<(Address, Option<String>)> = self
            .recipients
            .iter()
            .map(|recipient| {
                let account = &recipient.account;
                if forwards {
                    let mut pairs = account.forward();
                    pairs.push((record::KEY.to_owned(), record::encode_key(&self.envelope.key.0)));
                    return (recipient.address.clone(), record::encode(&pairs));
                }
                // Other servers know nothing of our aliases and groups.
                let main = account
                    .main_address()
                    .and_then(|text| Address::parse(text.as_bytes()).ok());
                (main.unwrap_or_else(|| recipient.address.clone()), None)
            })
            .collect();
        let RemoteEnvelope {
            reverse_path,
            parameters,
            ..
        } = &*self.envelope;
        let is_utf8 = addressed.iter().any(|(address, _)| !address.is_ascii());
        let envelope = Envelope {
            reverse_path: reverse_path.as_ref(),
            size: parameters.size,
            body: parameters.body,
            smtp_utf8: parameters.smtp_utf8 || is_utf8,
        };
        let recipients: Vec<Recipient<'_>> = addressed
            .iter()
            .map(|(address, record)| Recipient {
                address,
                record: record.as_deref(),
            })
            .collect();
        client
            .begin(&envelope, &recipients, head)
            .map_err(|unfit| unfit.reply())
    }

    /// Whether the piece was the first, went to a connection that was dead, and may go to another.
    async fn send(&mut self, piece: &Bytes, last: bool) -> bool {
        let State::Open { lease, head, first } = &mut self.state else {
            return false;
        };
        let mut out = std::mem::take(head);
        let connection = &mut lease.connection;
        match last {
            true => connection.client.last_piece(piece, &mut out),
            false => connection.client.piece(piece, &mut out),
        }
        let was_first = std::mem::replace(first, false) && connection.reused;
        let event = match connection.send(out, self.peer.answer_time()).await {
            // The answers to chunks are read while the message goes on; the one to the last is waited for.
            Ok(()) if last => None,
            Ok(()) => connection.look().await,
            Err(error) => Some(connection.broke(error)),
        };
        match event {
            None => false,
            Some(event) => self.settle(event).await && was_first,
        }
    }

    /// Takes the results. Whether the peer has nothing of the message for anybody, and has said nothing.
    async fn settle(&mut self, event: Event) -> bool {
        let State::Open { lease, .. } = std::mem::replace(&mut self.state, State::Over(Vec::new())) else {
            return false;
        };
        let mut lease = lease;
        match &event {
            Event::Failed(failure) => self.peer.failed(failure, lease.connection.hung),
            Event::Answered => {}
            // Nothing else is said in a transaction whose message may be sent.
            Event::Go | Event::Ready | Event::Keys { .. } => lease.connection.client.closed(),
        }
        let deliveries = lease.connection.client.deliveries();
        if lease.connection.client.is_ready() {
            self.peer.release(lease).await;
        }
        let not_sent = deliveries.iter().all(|delivery| *delivery == Delivery::NotSent);
        let why = match &event {
            Event::Failed(failure) => failure.clone(),
            _ => Failure::Garbage("it went out of step".to_owned()),
        };
        let some_taken = !deliveries.iter().all(is_too_many);
        let results = deliveries
            .into_iter()
            .map(|delivery| {
                let is_left = some_taken && is_too_many(&delivery);
                self.result(delivery, &why).map_err(|error| match error {
                    RemoteError::Answered(reply) if is_left => RemoteError::TooMany(reply),
                    other => other,
                })
            })
            .collect();
        self.state = State::Over(results);
        not_sent
    }

    fn result(&self, delivery: Delivery, why: &Failure) -> Result<(), RemoteError> {
        let count = &self.peer.count;
        match delivery {
            Delivery::Delivered => {
                count(RemoteEvent::Delivered);
                Ok(())
            }
            Delivery::Deferred(_, reply) => {
                count(RemoteEvent::Refused);
                Err(RemoteError::Answered(reply))
            }
            Delivery::Refused(stage, reply) => {
                count(RemoteEvent::Refused);
                // The account is in control data: that its node does not take its mail is no fault of the sender's.
                if stage == Stage::Message || reply.code() == 552 {
                    return Err(RemoteError::Answered(reply));
                }
                let peer = self.peer.name();
                tracing::error!(peer, ?stage, %reply, "another node does not take mail of its accounts");
                Err(RemoteError::Denied(reply.to_string()))
            }
            Delivery::NotSent => {
                count(RemoteEvent::Unreached);
                Err(RemoteError::BrokeOff(why.to_string()))
            }
            Delivery::Unknown => {
                count(RemoteEvent::Unknown);
                let peer = self.peer.name();
                tracing::warn!(peer, %why, "the answer to a message was lost: it will be brought again");
                Err(RemoteError::Unsure(why.to_string()))
            }
        }
    }

    fn fail_all(&mut self, error: RemoteError) {
        self.state = State::Over(vec![Err(error); self.recipients.len()]);
    }
}

/// Whether this recipient was one too many for the transaction (RFC 5321, 4.5.3.1.10, with 452; Dovecot says 451).
fn is_too_many(delivery: &Delivery) -> bool {
    match delivery {
        Delivery::Deferred(Stage::Recipient, reply) => match reply.enhanced() {
            Some(Enhanced(_, subject, detail)) => (subject, detail) == (5, 3),
            None => reply.code() == 452,
        },
        _ => false,
    }
}
