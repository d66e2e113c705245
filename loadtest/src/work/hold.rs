//! Sessions that are opened and then held until the end.

use super::imap::Session;
use crate::client::Client;
use crate::failure::Failure;
use crate::plan::{Plan, Task};
use std::sync::Arc;

/// Opens session `index`: connected, logged in, INBOX selected, in IDLE; or connected alone.
pub(crate) async fn open(plan: &Arc<Plan>, index: u64) -> Result<Client, Failure> {
    let (job, timeout) = (&plan.jobs[0], plan.amount().timeout);
    let Task::Hold { password, silent } = &job.task else {
        unreachable!("only such plans hold sessions");
    };
    if *silent {
        let mut client = job.door.connect(index, timeout).await?;
        client.line().await?;
        return Ok(client);
    }
    let mut session = Session::open(&job.door, index, plan.user(index), password, timeout).await?;
    session.command("SELECT INBOX", |_| {}).await?;
    session.idle().await?;
    Ok(session.client)
}

/// Until the server ends it; what it says meanwhile is read.
pub(crate) async fn hold(client: &mut Client) -> Failure {
    client.set_patient();
    client.until_closed().await
}
