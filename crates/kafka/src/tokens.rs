//! The token that all clients of a bus log in with (`OAUTHBEARER`). One place keeps it fresh; whoever makes a client gives it the
//! one that is there.

mod answer;
mod endpoint;
mod keep;
mod token;

use std::sync::Arc;

use rdkafka::client::{Client, ClientContext, OAuthToken};
use tokio::sync::{Notify, watch};

pub(crate) use keep::Source;
pub(crate) use token::Token;

/// The token of one bus.
#[derive(Debug)]
pub(crate) struct Tokens {
    current: watch::Sender<Option<Arc<Token>>>,
    refused: Notify,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { current: watch::Sender::new(None), refused: Notify::new() }
    }
}

impl Tokens {
    /// What a client that asks gets, at once: it asks where nothing may be waited for.
    pub(crate) fn answer(&self) -> Result<OAuthToken, &'static str> {
        self.current.borrow().as_ref().map(|token| token.for_client()).ok_or("there is none yet")
    }

    /// Gives the token that is there to a client that was just made, or that should not wait until it asks.
    pub(crate) fn give<C: ClientContext>(&self, client: &Client<C>) {
        let Ok(token) = self.answer() else { return };
        if let Err(error) = shop_kafka_token::give(client, &token) {
            tracing::debug!(error, "a client of kafka does not take the token");
        }
    }

    /// Tells of each token that is new.
    pub(crate) fn changes(&self) -> watch::Receiver<Option<Arc<Token>>> {
        self.current.subscribe()
    }

    fn has(&self, token: &Token) -> bool {
        self.current.borrow().as_ref().is_some_and(|current| current.is(token))
    }

    /// A broker does not take the token. Another one may be better: somebody may have changed what tokens say.
    pub(crate) fn refuse(&self) {
        self.refused.notify_one();
    }
}
