//! How an account stands in the volumes of this core: for whoever asks the status port.

use super::{Key, MOVES};
use crate::status::AccountPlace;
use pigeon_datatree_cache::AccountUuid;
use pigeon_store::{AccountId, Standing};

/// The volumes of this core that have something of the account.
pub(crate) async fn report(account: AccountUuid) -> Vec<AccountPlace> {
    let mut places = Vec::new();
    for (index, volume) in pigeon_delivery::own_volumes() {
        if !volume.knows(AccountId(account.0)) {
            continue;
        }
        let key: Key = (account, index);
        let standing = match volume.account(AccountId(account.0)).await {
            Ok(account) => account.standing(),
            Err(error) => {
                tracing::warn!(account = %account, %error, "an account cannot be opened");
                continue;
            }
        };
        places.push(AccountPlace {
            volume: super::seat_name(pigeon_delivery::Place {
                volume: index,
                core: pigeon_engine::current_core(),
            })
            .unwrap_or_default(),
            standing: name(&standing),
            other: standing.counterpart().map(|other| other.place.clone()),
            under_way: MOVES.with_borrow(|moves| moves.contains_key(&key)),
        });
    }
    places
}

fn name(standing: &Standing) -> &'static str {
    match standing {
        Standing::Here => "here",
        Standing::Arrived(_) => "arrived",
        Standing::Incoming(_) => "incoming",
        Standing::HandingOver(_) => "handing over",
        Standing::Moved(_) => "moved",
        Standing::GivenUp(_) => "given up",
    }
}
