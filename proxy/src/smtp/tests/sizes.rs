//! What a session costs while nothing happens.

use super::*;
use pigeon_engine::stream::Stream;

fn size_of_future<F>(_: impl FnOnce(Stream, SessionId, Rc<SmtpContext>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn the_task_of_an_idle_session_is_small() {
    let bytes = size_of_future(serve::<Stream>);
    assert!(bytes <= 1152, "{bytes} bytes");
}
