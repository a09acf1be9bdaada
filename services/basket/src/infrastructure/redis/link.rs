//! The connection to Redis: one, shared and pipelined, with short deadlines and made anew when it breaks.

use std::time::Duration;

use anyhow::Context;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ScriptInvocation, ServerErrorKind};
use shop_config::Redis;
use shop_fault::{Fault, Kind};
use tokio::time::Instant;

/// How long a client should stay away while Redis cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Pause between two attempts to reach Redis while the process starts.
const START_PAUSE: Duration = Duration::from_millis(500);

/// A connection that many share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    manager: ConnectionManager,
    prefix: String,
}

impl Link {
    /// Connects to `url`; waits for the server up to the start-up timeout of `settings`.
    pub(crate) async fn open(url: &str, settings: &Redis) -> anyhow::Result<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout.get()))
            .set_response_timeout(Some(settings.response_timeout.get()))
            // A request never waits for a second attempt: it fails, and the next one finds a new attempt under way.
            .set_number_of_retries(0);
        let client = redis::Client::open(url).context("redis.url is not the address of a Redis server")?;
        let place = format!("Redis at {}", client.get_connection_info().addr());
        let manager = ConnectionManager::new_lazy_with_config(client, config)?;
        let link = Self { manager, prefix: settings.key_prefix.clone() };
        link.wait(&place, settings.startup_timeout.get()).await?;
        Ok(link)
    }

    /// Waits until Redis answers; not for one that refuses our password, which will not change by itself.
    async fn wait(&self, place: &str, patience: Duration) -> anyhow::Result<()> {
        let give_up = Instant::now() + patience;
        loop {
            let Err(error) = self.ping().await else { return Ok(()) };
            if error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH") {
                return Err(error).with_context(|| format!("{place} refuses the user or its password"));
            }
            if Instant::now() + START_PAUSE >= give_up {
                let within = format!("could not reach {place} within {patience:?} (redis.startup_timeout)");
                return Err(error).context(within);
            }
            tracing::warn!(error = %error, "{place} does not answer yet, trying again");
            tokio::time::sleep(START_PAUSE).await;
        }
    }

    /// `name` as a key of this installation.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Whether Redis answers.
    pub(super) async fn ping(&self) -> RedisResult<()> {
        self.query(&redis::cmd("PING")).await
    }

    /// Runs a command that may be run twice.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match command.query_async(&mut self.manager.clone()).await {
            Err(error) if is_stale(&error) => command.query_async(&mut self.manager.clone()).await,
            answer => answer,
        }
    }

    /// Runs commands that may be run twice.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        match commands.query_async(&mut self.manager.clone()).await {
            Err(error) if is_stale(&error) => commands.query_async(&mut self.manager.clone()).await,
            answer => answer,
        }
    }

    /// Runs a script that may be run twice.
    pub(super) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        match script.invoke_async(&mut self.manager.clone()).await {
            Err(error) if is_stale(&error) => script.invoke_async(&mut self.manager.clone()).await,
            answer => answer,
        }
    }
}

/// Whether the connection broke, as every connection does when Redis restarts: worth one more try on a new one.
fn is_stale(error: &RedisError) -> bool {
    error.is_unrecoverable_error() && !error.is_timeout() && !error.is_connection_refusal()
}

/// The failure to show for an error of Redis.
pub(super) fn fault(error: RedisError) -> Fault {
    match error.kind() {
        ErrorKind::Client
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot) => Fault::internal(error),
        // Away, starting, read only, out of memory, refusing our password: not the caller's doing, and it may pass.
        _ => Fault::new(Kind::Unavailable, "store_unavailable", "the store cannot be reached just now")
            .with_retry_after(RETRY_AFTER)
            .with_source(error),
    }
}
