//! Keeps the token of a bus fresh: the next one is there well before anybody asks for it.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use shop_clock::{Clock as _, SystemClock, chance};
use shop_config::{Kafka, SaslMechanism};
use tokio::time::sleep;

use super::endpoint::Endpoint;
use super::{Token, Tokens};
use crate::availability::Availability;

/// First and longest pause before an endpoint that gave no token is asked again. A provider may lock out who shows a wrong secret
/// too often.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// First and longest wait before another token is asked for instead of one that a broker refuses.
const REFUSED: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));

/// How often a file with a token is read. Kubernetes writes the next one minutes before the old one ends.
const LOOK: Duration = Duration::from_secs(5);

/// Where tokens come from.
pub(crate) enum Source {
    Endpoint(Box<Endpoint>),
    File(PathBuf),
}

impl Source {
    /// None when brokers are not shown tokens.
    pub(crate) fn of(settings: &Kafka) -> anyhow::Result<Option<Self>> {
        let shown = settings.security_protocol.logs_in() && settings.sasl.mechanism == SaslMechanism::OauthBearer;
        if !shown {
            return Ok(None);
        }
        let oauth = &settings.sasl.oauth;
        let source = match &oauth.token_file {
            Some(file) => Self::File(file.clone()),
            None => Self::Endpoint(Box::new(Endpoint::open(oauth)?)),
        };
        Ok(Some(source))
    }

    /// Never ends. `renewed` is called when there is a new token.
    pub(crate) async fn keep(self, availability: &Availability, renewed: impl Fn()) -> Infallible {
        match self {
            Self::Endpoint(endpoint) => keep_asking(&endpoint, availability, renewed).await,
            Self::File(file) => keep_reading(&file, availability, renewed).await,
        }
    }
}

async fn keep_asking(endpoint: &Endpoint, availability: &Availability, renewed: impl Fn()) -> Infallible {
    let tokens = availability.tokens();
    let (mut again, mut refused) = (AGAIN.0, REFUSED.0);
    loop {
        match endpoint.fetch().await {
            Ok(token) => {
                let ripe = sleep(token.ripe_in(SystemClock.now()));
                put(tokens, token);
                availability.has_token();
                renewed();
                again = AGAIN.0;
                tokio::select! {
                    () = ripe => refused = REFUSED.0,
                    () = async { tokens.refused.notified().await; sleep(chance::around(refused)).await } => {
                        refused = (refused * 2).min(REFUSED.1);
                    }
                }
            }
            Err(why) => {
                availability.lacks_token(why);
                sleep(chance::around(again)).await;
                again = (again * 2).min(AGAIN.1);
            }
        }
    }
}

async fn keep_reading(file: &Path, availability: &Availability, renewed: impl Fn()) -> Infallible {
    let tokens = availability.tokens();
    loop {
        match read(file) {
            Ok(token) => {
                if !tokens.has(&token) {
                    put(tokens, token);
                    renewed();
                }
                availability.has_token();
            }
            Err(why) => availability.lacks_token(why),
        }
        sleep(LOOK).await;
    }
}

fn put(tokens: &Tokens, token: Token) {
    tokens.current.send_replace(Some(Arc::new(token)));
}

/// The token in a file; why there is none, in a sentence that names the setting.
fn read(file: &Path) -> Result<Token, String> {
    let named = |why: &str| format!("kafka.sasl.oauth.token_file {} {why}", file.display());
    let text = shop_config::read_text(file).map_err(|error| named(&format!("cannot be read: {error}")))?;
    let token = Token::read(text.trim(), None, "shop", SystemClock.now());
    token.map_err(|why| named(&format!("has a token that {why}: look at what writes it")))
}
