//! The master that sentinels name.
//!
//! All are asked, for they do not know of a failover at the same moment: who began it knows first, and until the others have
//! heard of it they name the server before, which may be there again by then and take itself for the master. What counts is
//! the newest configuration, by its epoch.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ErrorKind, RedisResult, ServerErrorKind, TlsCertificates, Value, cmd};
use shop_config::RedisNodes;
use tokio::time::{Instant, sleep, timeout_at};

use crate::server::{one, place};

/// How long the others may take once one has answered.
const OTHERS: Duration = Duration::from_millis(100);

/// How long until they are asked again while the server that they name does not answer: it may be the one whose place another is
/// about to take.
const AGAIN: Duration = Duration::from_millis(200);

/// What one sentinel says.
struct Named {
    epoch: u64,
    at: (String, u16),
}

/// The master's place, and what else a sentinel says of it.
type Told = (Option<(String, u16)>, HashMap<String, String>);

/// What is wrong with where they are shall show now, not when they are asked.
pub(crate) fn check(nodes: &RedisNodes, files: Option<&TlsCertificates>) -> RedisResult<()> {
    nodes.nodes.iter().try_for_each(|node| one(&place(nodes, node, &nodes.sentinel_login)?, files.cloned()).map(drop))
}

/// A connection to the master, which says itself that it is one.
pub(crate) async fn master(
    nodes: &RedisNodes,
    files: Option<&TlsCertificates>,
    config: &AsyncConnectionConfig,
) -> RedisResult<MultiplexedConnection> {
    let mut named = newest(nodes, files, config).await?;
    loop {
        let Named { epoch, at } = named;
        let another = async {
            loop {
                sleep(AGAIN).await;
                match newest(nodes, files, config).await {
                    Ok(now) if now.epoch > epoch => break now,
                    _ => {}
                }
            }
        };
        match select(pin!(connected(nodes, files, config, &at)), pin!(another)).await {
            Either::Left((connection, _)) => return connection,
            Either::Right((now, _)) => named = now,
        }
    }
}

async fn connected(
    nodes: &RedisNodes,
    files: Option<&TlsCertificates>,
    config: &AsyncConnectionConfig,
    (host, port): &(String, u16),
) -> RedisResult<MultiplexedConnection> {
    let info = place(nodes, &(host.clone(), *port), &nodes.login)?;
    let there = info.redis_settings().clone().set_db(nodes.db.into());
    let client = one(&info.set_redis_settings(there), files.cloned())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(config).await?;
    let told: Vec<Value> = cmd("ROLE").query_async(&mut connection).await?;
    if told.first().is_some_and(|role| *role == Value::BulkString(b"master".to_vec())) {
        return Ok(connection);
    }
    let words = format!("{host}:{port}, which sentinels name, is no master yet");
    Err((ErrorKind::Io, "no master", words).into())
}

async fn newest(
    nodes: &RedisNodes,
    files: Option<&TlsCertificates>,
    config: &AsyncConnectionConfig,
) -> RedisResult<Named> {
    let mut asked: FuturesUnordered<_> = nodes.nodes.iter().map(|node| named(nodes, files, config, node)).collect();
    let mut answered: Option<(Named, Instant)> = None;
    let mut failed = None;
    loop {
        let next = match &answered {
            None => asked.next().await,
            Some((_, until)) => timeout_at(*until, asked.next()).await.ok().flatten(),
        };
        match next {
            Some(Ok(named)) => match &mut answered {
                None => answered = Some((named, Instant::now() + OTHERS)),
                Some((newest, _)) if named.epoch > newest.epoch => *newest = named,
                Some(_) => {}
            },
            Some(Err(error)) => failed = Some(error),
            None => break,
        }
    }
    let nobody = || (ErrorKind::Io, "no sentinel answers").into();
    answered.map(|(named, _)| named).ok_or_else(|| failed.unwrap_or_else(nobody))
}

async fn named(
    nodes: &RedisNodes,
    files: Option<&TlsCertificates>,
    config: &AsyncConnectionConfig,
    node: &(String, u16),
) -> RedisResult<Named> {
    let client = one(&place(nodes, node, &nodes.sentinel_login)?, files.cloned())?;
    let mut connection = client.get_multiplexed_async_connection_with_config(config).await?;
    let name = nodes.master.as_deref().unwrap_or_default();
    let mut both = redis::pipe();
    // During a failover the first names who takes over already, with the epoch that the second tells.
    both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
    both.cmd("SENTINEL").arg("MASTER").arg(name);
    let unknown = || (ErrorKind::Io, "the sentinel knows no such master", name.to_owned()).into();
    let told: RedisResult<Told> = both.query_async(&mut connection).await;
    let (at, told) = told.map_err(|error| match error.kind() {
        ErrorKind::Server(ServerErrorKind::ResponseError) => unknown(),
        _ => error,
    })?;
    let epoch = told.get("config-epoch").and_then(|epoch| epoch.parse().ok());
    at.zip(epoch).map(|(at, epoch)| Named { epoch, at }).ok_or_else(unknown)
}
