//! What a login asks the directory, as the checks see it.

use futures_util::future::BoxFuture;
use pigeon_datatree_cache::Account;
use pigeon_datatree_cache::ldap::{Bound, Inquiries, Reread};
use std::sync::Arc;

/// A directory that is the source of control data. Questions may be awaited on a core.
pub trait AskDirectory: Send + Sync {
    /// Binds as the account.
    fn bind(&self, account: Arc<Account>, password: Vec<u8>) -> BoxFuture<'_, Bound>;

    /// Reads the account's secrets from its entry once more.
    fn read_again(&self, account: Arc<Account>) -> BoxFuture<'_, Reread>;

    /// Whether no server answered the last question.
    fn is_away(&self) -> bool;
}

impl AskDirectory for Inquiries {
    fn bind(&self, account: Arc<Account>, password: Vec<u8>) -> BoxFuture<'_, Bound> {
        Box::pin(async move { Inquiries::bind(self, &account, &password).await })
    }

    fn read_again(&self, account: Arc<Account>) -> BoxFuture<'_, Reread> {
        Box::pin(async move { Inquiries::read_again(self, &account).await })
    }

    fn is_away(&self) -> bool {
        Inquiries::is_away(self)
    }
}
