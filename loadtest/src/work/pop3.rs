//! POP3 sessions: login, LIST, RETR of the last message, QUIT.

use crate::client::Client;
use crate::failure::Failure;
use crate::plan::Plan;
use std::sync::Arc;

/// Units of POP3.
pub(crate) struct Pop3 {
    plan: Arc<Plan>,
    password: String,
    /// Of its job in the plan.
    place: usize,
    /// The next connection's number.
    connections: u64,
    next: u64,
}

async fn status(client: &mut Client) -> Result<(), Failure> {
    let line = client.line().await?;
    match line {
        _ if line.starts_with(b"+OK") => Ok(()),
        _ if line.starts_with(b"-ERR [SYS/TEMP]") || line.starts_with(b"-ERR [IN-USE]") => Err(Failure::Temporary),
        _ if line.starts_with(b"-ERR") => Err(Failure::Refused),
        _ => Err(Failure::Garbage),
    }
}

async fn command(client: &mut Client, command: String) -> Result<(), Failure> {
    client.send(command.into_bytes()).await?;
    status(client).await
}

/// The lines up to the dot: how many, their octets with line ends, and the first word of the last.
async fn lines(client: &mut Client) -> Result<(u64, u64, Option<u64>), Failure> {
    let (mut count, mut bytes, mut last) = (0, 0, None);
    loop {
        let line = client.line().await?;
        if line == b"." {
            return Ok((count, bytes, last));
        }
        count += 1;
        bytes += line.len() as u64 + 2;
        let word = line.split(|&byte| byte == b' ').next();
        last = word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    }
}

impl Pop3 {
    pub(crate) fn new(plan: &Arc<Plan>, place: usize, password: &str, index: u64) -> Pop3 {
        Pop3 {
            plan: plan.clone(),
            password: password.to_owned(),
            place,
            connections: index,
            next: index,
        }
    }

    pub(crate) async fn unit(&mut self) -> Result<u64, Failure> {
        let user = self.plan.user(self.next).to_owned();
        self.next += u64::from(self.plan.amount().sessions);
        let door = &self.plan.jobs[self.place].door;
        let number = self.connections;
        self.connections += 1;
        let mut client = door.connect(number, self.plan.amount().timeout).await?;
        status(&mut client).await?;
        if let Some(connector) = door.starttls() {
            command(&mut client, "STLS\r\n".to_owned()).await?;
            client = client.secure(connector).await?;
        }
        command(&mut client, format!("USER {user}\r\n")).await?;
        command(&mut client, format!("PASS {}\r\n", self.password)).await?;
        command(&mut client, "LIST\r\n".to_owned()).await?;
        let (count, _, last) = lines(&mut client).await?;
        let Some(last) = last.filter(|_| count > 0) else {
            return Err(Failure::NoMessage);
        };
        command(&mut client, format!("RETR {last}\r\n")).await?;
        let (_, bytes, _) = lines(&mut client).await?;
        command(&mut client, "QUIT\r\n".to_owned()).await?;
        client.part();
        Ok(bytes)
    }
}
