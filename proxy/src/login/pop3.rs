//! POP3 up to the login.

use super::driver::{self, Event, Farewell, LoginCore};
use super::{LoginContext, Offer};
use crate::backend::Opening;
use crate::session_id::SessionId;
use pigeon_datatree_cache::Service;
use pigeon_engine::byte_stream::ByteStream;
use pigeon_proto::pop3::{Authorization, AuthorizationEvent, Refusal};
use pigeon_proto::redirect::received::Received;
use pigeon_proto::sasl::Exchange;
use std::rc::Rc;

/// Serves a connection from the greeting to its end or its hand-over. On port 995 the handshake has been done before.
pub fn serve<S: ByteStream>(stream: S, session: SessionId, context: Rc<LoginContext<S>>) -> impl Future<Output = ()> {
    let Offer {
        starttls,
        passwords,
        mechanisms,
        redirectors,
    } = context.offer(&stream);
    let mut greeting = Vec::new();
    let offer = pigeon_proto::pop3::Offer {
        stls: starttls,
        passwords,
        mechanisms,
        redirectors,
    };
    let core = Authorization::new(offer, context.limits, &mut greeting);
    driver::serve(stream, core, greeting, session, context)
}

impl LoginCore for Authorization {
    const SERVICE: Service = Service::Pop3;

    fn next_event(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Option<Event> {
        Some(match Authorization::next_event(self, input, out)? {
            AuthorizationEvent::Flush => Event::Flush,
            AuthorizationEvent::Check(claim) => Event::Check(claim),
            AuthorizationEvent::StartTls => Event::StartTls,
            AuthorizationEvent::Close => Event::Close,
        })
    }

    fn refused(&mut self, refusal: driver::Refusal, out: &mut Vec<u8>) {
        let refusal = match refusal {
            driver::Refusal::Credentials => Refusal::Credentials,
            driver::Refusal::NotAllowed => Refusal::NotAllowed,
            driver::Refusal::Temporary => Refusal::Temporary,
        };
        Authorization::refused(self, refusal, out);
    }

    fn challenge(&mut self, exchange: Exchange, challenge: &str, out: &mut Vec<u8>) {
        Authorization::challenge(self, exchange, challenge, out);
    }

    fn take_received(&mut self) -> Received {
        Authorization::take_received(self)
    }

    fn opening(&mut self) -> Opening {
        Opening::Pop3 { utf8: self.utf8() }
    }

    fn tls_started(&mut self) {
        Authorization::tls_started(self);
    }

    /// RFC 1939 section 3: a session that timed out is closed without a word.
    fn farewell(&self, reason: Farewell, out: &mut Vec<u8>) {
        if reason == Farewell::Draining {
            out.extend_from_slice(b"-ERR [SYS/TEMP] Server shutting down, come again soon\r\n");
        }
    }
}
