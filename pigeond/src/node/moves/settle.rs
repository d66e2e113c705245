//! Finding out who has an account that is being handed over to a place where control data does not want it any more, or that was
//! being fetched to one. No clock decides: only what the other end has made durable, or a person.

use super::node_of;
use super::source::{Source, Why};
use super::take::{Moving, text};
use super::way::is_wanted_there;
use pigeon_store::{Account, Counterpart};

impl Moving {
    /// It is being handed over. True when this has come to an end here; false when the other end goes on with it.
    pub(super) async fn resolve(&self, account: &Account, to: &Counterpart) -> Result<bool, Why> {
        let (dn, id) = (self.record.dn(), self.record.id());
        let asked = async {
            let mut source = Source::open(&self.record, &to.place).await?;
            let there = source.ask(to.id).await?;
            Ok::<_, Why>((source, there))
        };
        let (mut source, there) = match asked.await {
            Ok(asked) => asked,
            Err(why) if self.record.is_lost_on(node_of(&to.place)) => {
                account.take_back(to.id).await.map_err(text)?;
                tracing::error!(
                    dn, %id, to = to.place, why,
                    "an account that was being handed over is taken back: control data says that the other node is lost. What came to it \
                     there, if it had arrived, is not here"
                );
                return Ok(true);
            }
            Err(why) => {
                return Err(format!(
                    "it is being handed over to {}, and who has it is not known: {why}",
                    to.place
                ));
            }
        };
        match there.taken {
            Some(true) => {
                account.let_go(to.id).await.map_err(text)?;
                tracing::info!(dn, %id, to = to.place, "moved: the copy here is gone");
                Ok(true)
            }
            None => Err(format!(
                "{} does not know any more whether it has it by this move",
                to.place
            )),
            Some(false) if is_wanted_there(&self.record, &to.place) => Ok(false),
            Some(false) => {
                source.abandon(to.id).await?;
                account.take_back(to.id).await.map_err(text)?;
                tracing::warn!(
                    dn, %id, to = to.place,
                    "the hand-over is over, for control data wants the account elsewhere: it is here again"
                );
                Ok(true)
            }
        }
    }

    /// It was being fetched, and control data does not want it here any more.
    pub(super) async fn give_up(&self, account: &Account, from: &Counterpart) -> Result<(), Why> {
        account.abandon(from.id).await.map_err(text)?;
        tracing::info!(dn = self.record.dn(), id = %self.record.id(), from = from.place, "an account is not fetched any more");
        // Where the old owner does not hear it, it asks.
        if let Ok(mut source) = Source::open(&self.record, &from.place).await
            && let Err(why) = source.declined(from.id).await
        {
            tracing::debug!(id = %self.record.id(), from = from.place, why, "it did not hand over");
        }
        Ok(())
    }

    /// Tells the old owner that the account is here, so that the copy there goes.
    pub(super) async fn tell(&self, account: &Account, from: &Counterpart) -> Result<(), Why> {
        if self.record.is_lost_on(node_of(&from.place)) {
            return account.settle().await.map_err(text);
        }
        let mut source = Source::open(&self.record, &from.place).await?;
        if let Err(why) = source.taken(from.id).await {
            let there = source.ask(from.id).await?;
            if there.id == from.id {
                return Err(why);
            }
            tracing::error!(
                dn = self.record.dn(), id = %self.record.id(), from = from.place, state = ?there.state,
                "the node that an account came from does not know of its move any more; the account is here"
            );
        }
        account.settle().await.map_err(text)
    }
}
