//! The connection to Redis: one, shared and pipelined, with short deadlines, and made anew when it breaks, when nothing comes
//! over it, and when it leads to a replica.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{
    Arg, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult,
    ScriptInvocation, ServerErrorKind,
};
use shop_config::Redis;
use shop_fault::{Fault, Kind};
use shop_telemetry::{About, KeyValue, Span, SpanKind};
use tokio::time::Instant;

/// How long a client should stay away while Redis cannot be reached.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Pause between two attempts to reach Redis while the process starts.
const START_PAUSE: Duration = Duration::from_millis(500);

/// A connection that many share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    manager: Arc<ArcSwap<ConnectionManager>>,
    anew: Arc<(Client, ConnectionManagerConfig)>,
    prefix: String,
    place: Arc<Place>,
}

/// Where Redis is, for traces.
struct Place {
    host: String,
    port: u16,
    database: i64,
}

impl Link {
    /// Connects to `url`; waits for the server up to the start-up timeout of `settings`.
    pub(crate) async fn open(url: &str, settings: &Redis) -> anyhow::Result<Self> {
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(settings.connect_timeout.get()))
            .set_response_timeout(Some(settings.response_timeout.get()))
            // A request never waits for a second attempt: it fails, and the next one finds a new attempt under way.
            .set_number_of_retries(0);
        let client = Client::open(url).context("redis.url is not the address of a Redis server")?;
        let info = client.get_connection_info();
        let (place, at) = (format!("Redis at {}", info.addr()), Arc::new(Place::of(info)));
        let manager = ConnectionManager::new_lazy_with_config(client.clone(), config.clone())?;
        let (manager, anew) = (Arc::new(ArcSwap::from_pointee(manager)), Arc::new((client, config)));
        let link = Self { manager, anew, prefix: settings.key_prefix.clone(), place: at };
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
    async fn ping(&self) -> RedisResult<()> {
        self.query(&redis::cmd("PING")).await
    }

    /// Whether Redis takes writes: not while it is a replica, is out of memory, or cannot save to its disk.
    ///
    /// What is asked for is a write to Redis, and refused as one, but changes nothing: only a key that is there would be
    /// set, and this one never is.
    pub(super) async fn check(&self) -> RedisResult<()> {
        let mut write = redis::cmd("SET");
        write.arg(self.key("write-check")).arg("").arg("XX").arg("PX").arg(1);
        self.query(&write).await
    }

    /// Runs a command that may be run twice.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || self.place.about(name(command), 1));
        told(span, self.run(|mut manager| async move { command.query_async(&mut manager).await }).await)
    }

    /// Runs commands that may be run twice.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || {
            let together = if commands.is_transaction() { "MULTI" } else { "PIPELINE" };
            let mut names = commands.cmd_iter().map(name);
            let first = names.next().unwrap_or_default();
            let alike = names.all(|name| name == first);
            let operation = if alike { format!("{together} {first}") } else { together.to_owned() };
            self.place.about(operation, commands.len())
        });
        told(span, self.run(|mut manager| async move { commands.query_async(&mut manager).await }).await)
    }

    /// Runs a script that may be run twice.
    pub(super) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || self.place.about("EVALSHA".to_owned(), 1));
        told(span, self.run(|mut manager| async move { script.invoke_async(&mut manager).await }).await)
    }

    /// Runs what may run twice: again when the connection broke, or leads to a server that only reads.
    ///
    /// After a failover the address may lead elsewhere by now, and a connection stays where it is: to a server that became a
    /// replica, or to one that is gone without a word. The manager makes another when one breaks, and only then.
    async fn run<T, Fut>(&self, work: impl Fn(ConnectionManager) -> Fut) -> RedisResult<T>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let used = self.manager.load_full();
        let answer = work(ConnectionManager::clone(&used)).await;
        let Err(error) = &answer else { return answer };
        let only_reads = only_reads(error);
        if only_reads || error.is_timeout() {
            self.replace(&used);
        }
        // Who waited in vain waits no second time.
        if only_reads || is_stale(error) {
            return work(ConnectionManager::clone(&self.manager.load())).await;
        }
        answer
    }

    /// Lets the next call make a connection, unless another call did. The old one closes when nobody waits on it any more.
    fn replace(&self, used: &Arc<ConnectionManager>) {
        let (client, config) = &*self.anew;
        match ConnectionManager::new_lazy_with_config(client.clone(), config.clone()) {
            Ok(fresh) => drop(self.manager.compare_and_swap(used, Arc::new(fresh))),
            Err(error) => tracing::error!(error = %error, "no other connection to Redis could be made"),
        }
    }
}

impl Place {
    fn of(info: &ConnectionInfo) -> Self {
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
            other => (other.to_string(), 0),
        };
        Self { host, port, database: info.redis_settings().db() }
    }

    /// What a call's span says: neither keys, which name users, nor values.
    fn about(&self, operation: String, commands: usize) -> About {
        let mut attributes = vec![
            KeyValue::new("db.system.name", "redis"),
            KeyValue::new("db.operation.name", operation.clone()),
            KeyValue::new("db.namespace", self.database.to_string()),
            KeyValue::new("server.address", self.host.clone()),
        ];
        if self.port != 0 {
            attributes.push(KeyValue::new("server.port", i64::from(self.port)));
        }
        // One command alone is no batch (semantic conventions for databases).
        if commands > 1 {
            let count = i64::try_from(commands).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("db.operation.batch.size", count));
        }
        (operation.into(), attributes)
    }
}

/// The name of a command.
fn name(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(Arg::Simple(name)) => String::from_utf8_lossy(name).into_owned(),
        _ => "_OTHER".to_owned(),
    }
}

/// Tells a call's span how it ended.
fn told<T>(mut span: Span, answer: RedisResult<T>) -> RedisResult<T> {
    if let Err(error) = &answer {
        span.fail(error.code().map_or_else(|| error.category().replace(' ', "_"), str::to_owned));
    }
    answer
}

/// Whether it leads to a replica. The code of what a script or a transaction ran into is in the words only.
fn only_reads(error: &RedisError) -> bool {
    error.code() == Some("READONLY") || error.to_string().contains("READONLY")
}

/// Whether the connection broke, as every connection does when Redis restarts: worth one more try on a new one.
fn is_stale(error: &RedisError) -> bool {
    error.is_unrecoverable_error() && !error.is_timeout() && !error.is_connection_refusal()
}

/// Why Redis failed its check, in words that may be shown.
pub(super) fn words(error: &RedisError) -> &'static str {
    match error.code() {
        Some("READONLY") => "the store only reads: it is a replica",
        Some("OOM") => "the store is out of memory",
        Some("MISCONF") => "the store cannot save to its disk and takes no writes",
        Some("NOREPLICAS") => "the store has too few replicas and takes no writes",
        _ => "the store cannot be reached just now",
    }
}

/// Codes of a server that takes no writes, within the message of a script's failure.
const REFUSED_IN_A_SCRIPT: [&str; 4] = ["-READONLY ", "-OOM ", "-MISCONF ", "-NOREPLICAS "];

/// The failure to show for an error of Redis.
pub(super) fn fault(error: RedisError) -> Fault {
    let unavailable = |error| {
        Fault::new(Kind::Unavailable, "store_unavailable", "the store cannot be reached just now")
            .with_retry_after(RETRY_AFTER)
            .with_source(error)
    };
    match error.kind() {
        // What a script ran into, as Redis before 7 tells it.
        ErrorKind::Server(ServerErrorKind::ResponseError)
            if error.detail().is_some_and(|detail| REFUSED_IN_A_SCRIPT.iter().any(|code| detail.contains(code))) =>
        {
            unavailable(error)
        }
        ErrorKind::Client
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::InvalidClientConfig
        | ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::CrossSlot) => Fault::internal(error),
        // Away, starting, read only, out of memory, refusing our password: not the caller's doing, and it may pass.
        _ => unavailable(error),
    }
}
