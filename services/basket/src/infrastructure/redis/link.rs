//! The connection to Redis: one, shared and pipelined, with short deadlines, and made anew when it breaks, when nothing comes
//! over it, and when it leads to a replica.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, ready, select_ok};
use redis::{Arg, Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisResult, ServerErrorKind};
use shop_clock::chance;
use shop_config::{Redis, RedisTarget};
use shop_fault::{Fault, Kind};
use shop_redis::{Call, Connection, Node, Source, only_reads, refused_certificate, refuses_login};
use shop_telemetry::{About, KeyValue, Span, SpanKind};
use tokio::time::Instant;

/// How long a client should stay away while Redis cannot be reached.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Pause between two attempts to reach Redis while the process starts.
const START_PAUSE: Duration = Duration::from_millis(500);

/// Pause before another attempt to connect after one that failed: about as often are sentinels asked during a failover, however
/// many calls want an answer.
const PAUSE: Duration = Duration::from_millis(50);

/// Keys that are tried to find whether a cluster takes writes: hardly ever are they all in one of its servers.
const CHECKED: [&str; 4] = ["write-check", "write-check:1", "write-check:2", "write-check:3"];

/// A connection that many share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Link {
    source: Arc<Source>,
    current: Arc<ArcSwap<Attempt>>,
    /// Whether a connection is made to take the place of one that is in use.
    renews: Arc<AtomicBool>,
    prefix: String,
    place: Arc<Place>,
}

/// To connect, under way or done; all calls wait for the same one.
type Attempt = Shared<BoxFuture<'static, RedisResult<Connection>>>;

/// Where Redis is, for traces.
struct Place {
    host: String,
    port: u16,
    database: i64,
}

impl Link {
    /// Connects to `target`; waits for the server up to the start-up timeout of `settings`.
    pub(crate) async fn open(target: &RedisTarget, settings: &Redis) -> anyhow::Result<Self> {
        let (connect, response) = (settings.connect_timeout.get(), settings.response_timeout.get());
        let source = Source::new(target, &settings.tls(), connect, Some(response)).map_err(anyhow::Error::msg);
        let source = Arc::new(source.context("the section redis names no Redis")?);
        let (place, at) = (format!("Redis at {source}"), Arc::new(Place::of(&source)));
        let current = Arc::new(ArcSwap::from_pointee(driven(attempt(source.clone(), Duration::ZERO))));
        let link = Self { source, current, renews: Arc::default(), prefix: settings.key_prefix.clone(), place: at };
        link.wait(&place, settings.startup_timeout.get()).await?;
        Ok(link)
    }

    /// Another to the same Redis, with a connection of its own.
    pub(super) fn another(&self) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(driven(attempt(self.source.clone(), Duration::ZERO))));
        Self { current, renews: Arc::default(), ..self.clone() }
    }

    /// Waits until Redis answers; not for one that refuses our password, which will not change by itself.
    async fn wait(&self, place: &str, patience: Duration) -> anyhow::Result<()> {
        let give_up = Instant::now() + patience;
        loop {
            let Err(error) = self.ping().await else { return Ok(()) };
            if refuses_login(&error) {
                return Err(error).with_context(|| format!("{place} refuses the user or its password"));
            }
            if refused_certificate(&error).is_some() {
                return Err(error)
                    .with_context(|| format!("{place} cannot be trusted, or does not trust this service"));
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
    /// set, and this one never is. A cluster is well while one of those asked for goes through: while a server of it is away,
    /// the baskets of the others are not.
    pub(super) async fn check(&self) -> RedisResult<()> {
        let number = if self.source.is_cluster() { CHECKED.len() } else { 1 };
        let writes = CHECKED.iter().take(number).map(|name| {
            let mut write = redis::cmd("SET");
            write.arg(self.key(name)).arg("").arg("XX").arg("PX").arg(1);
            async move { self.query::<()>(&write).await }.boxed()
        });
        select_ok(writes).await.map(drop)
    }

    /// Whether keys are in slots.
    pub(super) fn is_cluster(&self) -> bool {
        self.source.is_cluster()
    }

    /// The connection there is, for calls that have to go over the same; it is not made anew when it breaks.
    pub(super) async fn pinned(&self) -> RedisResult<Connection> {
        self.connection().await.map(|(_, connection)| connection)
    }

    /// Runs a command at one of the servers of a connection that was pinned.
    pub(super) async fn query_at<T: FromRedisValue>(
        &self,
        pinned: &mut Connection,
        node: &Node,
        command: &Cmd,
    ) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || self.place.about(name(command), 1));
        told(span, pinned.query_at(node, command).await)
    }

    /// Runs a command that may be run twice.
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || self.place.about(name(command), 1));
        told(span, self.run(|mut connection| async move { command.query_async(&mut connection).await }).await)
    }

    /// Runs commands that may be run twice. On a cluster their keys have to be in one slot.
    pub(super) async fn pipeline<T: FromRedisValue>(&self, commands: &Pipeline) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || {
            let together = if commands.is_transaction() { "MULTI" } else { "PIPELINE" };
            let mut names = commands.cmd_iter().map(name);
            let first = names.next().unwrap_or_default();
            let alike = names.all(|name| name == first);
            let operation = if alike { format!("{together} {first}") } else { together.to_owned() };
            self.place.about(operation, commands.len())
        });
        told(span, self.run(|mut connection| async move { commands.query_async(&mut connection).await }).await)
    }

    /// Runs a script that may be run twice.
    pub(super) async fn script<T: FromRedisValue>(&self, call: &Call) -> RedisResult<T> {
        let span = Span::child(SpanKind::Client, || self.place.about("EVALSHA".to_owned(), 1));
        told(span, self.run(|mut connection| async move { call.invoke(&mut connection).await }).await)
    }

    /// Runs what may run twice: again when the connection broke, or leads to a server that only reads.
    ///
    /// After a failover the server that writes is another: sentinels name it, or the name leads there. A connection stays where
    /// it is: at a server that became a replica, or at one that is gone without a word.
    pub(super) async fn run<T, Fut>(&self, work: impl Fn(Connection) -> Fut) -> RedisResult<T>
    where
        Fut: Future<Output = RedisResult<T>>,
    {
        let (used, connection) = self.connection().await?;
        let answer = work(connection).await;
        let Err(error) = &answer else { return answer };
        if self.source.is_cluster() {
            // It finds its servers again and has tried again by itself. A server that is silent it takes for a slow one, and it
            // goes on to show a certificate that was renewed meanwhile.
            if error.is_timeout() || self.source.has_new_files() {
                self.renew(used);
            }
            return answer;
        }
        let (only_reads, is_stale) = (only_reads(error), is_stale(error));
        if only_reads || error.is_timeout() || error.is_unrecoverable_error() {
            self.replace(&used, Duration::ZERO);
        }
        // Who waited in vain waits no second time.
        if only_reads || is_stale {
            let (_, connection) = self.connection().await?;
            return work(connection).await;
        }
        answer
    }

    /// Has the next call make a connection: this one leads to a server that should not be believed. Not while one is made.
    pub(super) fn leave(&self) {
        let used = self.current.load_full();
        if !matches!(used.peek(), Some(Ok(_))) {
            return;
        }
        if self.source.is_cluster() {
            self.renew(used);
        } else {
            // The next may be no better.
            self.replace(&used, chance::around(PAUSE));
        }
    }

    /// The connection, as soon as it is there. One that could not be made is tried anew by whoever comes next.
    async fn connection(&self) -> RedisResult<(Arc<Attempt>, Connection)> {
        let mut used = self.current.load_full();
        if matches!(used.peek(), Some(Err(_))) {
            self.replace(&used, chance::around(PAUSE));
            used = self.current.load_full();
        }
        let connection = Attempt::clone(&used).await?;
        Ok((used, connection))
    }

    /// Makes a connection in place of the one that was `used`, which serves until then: some of a cluster's servers answer on it.
    fn renew(&self, used: Arc<Attempt>) {
        if self.renews.swap(true, SeqCst) {
            return;
        }
        let link = self.clone();
        #[expect(clippy::disallowed_methods, reason = "it connects once, within the time for that, and ends")]
        tokio::spawn(async move {
            if let Ok(connection) = link.source.connect().await {
                let fresh = ready(Ok(connection)).boxed().shared();
                link.current.compare_and_swap(&used, Arc::new(fresh));
            }
            link.renews.store(false, SeqCst);
        });
    }

    /// Lets the next call make a connection, unless another call did. The old one closes when nobody waits on it any more.
    fn replace(&self, used: &Arc<Attempt>, pause: Duration) {
        let fresh = attempt(self.source.clone(), pause);
        let before = self.current.compare_and_swap(used, Arc::new(fresh.clone()));
        if Arc::ptr_eq(&before, used) {
            drop(driven(fresh));
        }
    }
}

/// To connect after a pause, once somebody wants it.
fn attempt(source: Arc<Source>, pause: Duration) -> Attempt {
    let connecting = async move {
        tokio::time::sleep(pause).await;
        source.connect().await
    };
    connecting.boxed().shared()
}

/// Has it begin, and go on when who waits for it goes away, for others do.
fn driven(attempt: Attempt) -> Attempt {
    let driven = attempt.clone();
    #[expect(clippy::disallowed_methods, reason = "it connects once, within the time for that, and ends")]
    tokio::spawn(async move { drop(driven.await) });
    attempt
}

impl Place {
    fn of(source: &Source) -> Self {
        let (host, port) = source.place();
        Self { host, port, database: source.database() }
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
