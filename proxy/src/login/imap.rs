//! IMAP up to the login (RFC 3501 sections 6.1 and 6.2, SASL-IR of RFC 4959, ID of RFC 2971).

mod authorization;

use super::LoginContext;
use super::driver;
use crate::session_id::SessionId;
use authorization::Authorization;
use pigeon_engine::byte_stream::ByteStream;
use std::rc::Rc;

/// Serves a connection from the greeting to its end or its hand-over. On port 993 the handshake has been done before.
pub fn serve<S: ByteStream>(stream: S, session: SessionId, context: Rc<LoginContext<S>>) -> impl Future<Output = ()> {
    let mut greeting = Vec::new();
    let core = Authorization::new(context.offer(&stream), context.limits, &mut greeting);
    driver::serve(stream, core, greeting, session, context)
}
