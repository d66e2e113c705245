//! Sessions that are opened and then held in IDLE until the end.

use super::imap::Session;
use crate::command_line::ReadOptions;
use crate::failure::Failure;
use crate::plan::Plan;
use std::sync::Arc;

/// Opens session `index`: connected, logged in, INBOX selected, in IDLE.
pub(crate) async fn open(plan: &Arc<Plan>, options: &ReadOptions, index: u64) -> Result<Session, Failure> {
    let timeout = plan.amount().timeout;
    let mut session = Session::open(plan.target(index), plan.user(index), &options.password, timeout).await?;
    session.command("SELECT INBOX", |_| {}).await?;
    session.idle().await?;
    Ok(session)
}

/// Until the server ends it; what it says meanwhile is read.
pub(crate) async fn hold(session: &mut Session) -> Failure {
    session.client.set_patient();
    session.client.until_closed().await
}
