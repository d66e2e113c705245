//! Messages by SMTP or LMTP: a unit is a message, from MAIL (or the connection, where one is needed) to the last answer.

use crate::client::Client;
use crate::command_line::MessageOptions;
use crate::content::{Content, stuffed};
use crate::failure::Failure;
use crate::plan::Plan;
use std::sync::Arc;

/// How long a server may take for a QUIT that nobody waits for.
const QUIT_TIME: std::time::Duration = std::time::Duration::from_secs(2);

/// One session after the other.
pub(crate) struct Mail {
    plan: Arc<Plan>,
    options: MessageOptions,
    content: Content,
    lmtp: bool,
    /// Of its job in the plan.
    place: usize,
    /// The next connection's number.
    connections: u64,
    /// The message's number: those of a session are apart from those of all others.
    next: u64,
    connection: Option<Client>,
    /// On this connection.
    sent: u32,
    acknowledged: Vec<u64>,
}

/// A reply's code, and whether it says that the server talks nonsense.
async fn reply(client: &mut Client) -> Result<u16, Failure> {
    loop {
        let line = client.line().await?;
        let code = line
            .get(..3)
            .and_then(|code| std::str::from_utf8(code).ok()?.parse().ok());
        let Some(code @ 200..=599) = code else {
            return Err(Failure::Garbage);
        };
        match line.get(3) {
            Some(b'-') => {}
            Some(b' ') | None => return Ok(code),
            Some(_) => return Err(Failure::Garbage),
        }
    }
}

fn expect(code: u16, wanted: u16) -> Result<(), Failure> {
    match code {
        _ if code == wanted => Ok(()),
        400..=499 => Err(Failure::Temporary),
        500..=599 => Err(Failure::Refused),
        _ => Err(Failure::Garbage),
    }
}

impl Mail {
    pub(crate) fn new(plan: &Arc<Plan>, place: usize, options: &MessageOptions, lmtp: bool, index: u64) -> Mail {
        Mail {
            plan: plan.clone(),
            options: options.clone(),
            content: plan.content(),
            lmtp,
            place,
            connections: index,
            next: index,
            connection: None,
            sent: 0,
            acknowledged: Vec::new(),
        }
    }

    pub(crate) async fn unit(&mut self) -> Result<u64, Failure> {
        let number = self.next;
        self.next += u64::from(self.plan.amount().sessions);
        let mut client = match self.connection.take() {
            Some(client) => client,
            None => self.open().await?,
        };
        client.set_deadline(self.plan.amount().timeout);
        let bytes = self.deliver(&mut client, number).await?;
        if self.plan.verifies() {
            self.acknowledged.push(number);
        }
        self.sent += 1;
        if self.sent < self.options.messages_per_session {
            self.connection = Some(client);
        } else {
            quit(client).await;
        }
        Ok(bytes)
    }

    async fn open(&mut self) -> Result<Client, Failure> {
        let door = &self.plan.jobs[self.place].door;
        let number = self.connections;
        self.connections += 1;
        let mut client = door.connect(number, self.plan.amount().timeout).await?;
        expect(reply(&mut client).await?, 220)?;
        self.sent = 0;
        self.hello(&mut client).await?;
        if let Some(connector) = door.starttls() {
            client.send(&b"STARTTLS\r\n"[..]).await?;
            expect(reply(&mut client).await?, 220)?;
            client = client.secure(connector).await?;
            self.hello(&mut client).await?;
        }
        Ok(client)
    }

    async fn hello(&self, client: &mut Client) -> Result<(), Failure> {
        let hello = if self.lmtp { "LHLO" } else { "EHLO" };
        client.send(format!("{hello} load.invalid\r\n").into_bytes()).await?;
        expect(reply(client).await?, 250)
    }

    async fn deliver(&mut self, client: &mut Client, number: u64) -> Result<u64, Failure> {
        let recipients = u64::from(self.options.recipients);
        let to = self.plan.user(number);
        let message = self.content.message(number, to);
        let bytes = message.len() as u64;
        let mut commands = vec![format!("MAIL FROM:<{}>\r\n", self.options.from)];
        // Different ones, since there are at least as many accounts.
        commands.extend((0..recipients).map(|place| format!("RCPT TO:<{}>\r\n", self.plan.user(number + place))));
        if self.options.bdat {
            commands.push(format!("BDAT {} LAST\r\n", message.len()));
        } else {
            commands.push("DATA\r\n".to_owned());
        }
        if self.options.no_pipelining {
            for command in &commands[..commands.len() - 1] {
                client.send(command.clone().into_bytes()).await?;
                expect(reply(client).await?, 250)?;
            }
            commands.drain(..commands.len() - 1);
        }
        let waiting = commands.len() - 1;
        let mut ahead = commands.concat().into_bytes();
        if self.options.bdat {
            ahead.extend_from_slice(&message);
        }
        client.send(ahead).await?;
        for _ in 0..waiting {
            expect(reply(client).await?, 250)?;
        }
        if !self.options.bdat {
            expect(reply(client).await?, 354)?;
            client.send(stuffed(&message)).await?;
        }
        for _ in 0..if self.lmtp { recipients } else { 1 } {
            expect(reply(client).await?, 250)?;
        }
        Ok(bytes)
    }

    /// The numbers of the messages that were acknowledged.
    pub(crate) async fn end(self) -> Vec<u64> {
        if let Some(client) = self.connection {
            quit(client).await;
        }
        self.acknowledged
    }
}

async fn quit(mut client: Client) {
    client.set_deadline(QUIT_TIME);
    // All that matters was answered before.
    if client.send(&b"QUIT\r\n"[..]).await.is_ok() {
        let _ = reply(&mut client).await;
    }
    client.part();
}
