//! What commands go over.

use std::collections::BTreeSet;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo, SingleNodeRoutingInfo};
use redis::{Cmd, FromRedisValue, Pipeline, RedisFuture, RedisResult, Value};

/// A connection that many share. Cheap to clone.
#[derive(Clone)]
pub enum Connection {
    /// To one server, until it breaks.
    One(MultiplexedConnection),
    /// To all servers of a cluster.
    Cluster(ClusterConnection),
}

/// One of the servers that have keys; none where there is only one.
pub type Node = Option<(String, u16)>;

impl Connection {
    /// The servers among which the keys are.
    pub async fn nodes(&mut self) -> RedisResult<Vec<Node>> {
        let Self::Cluster(cluster) = self else { return Ok(vec![None]) };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        let answers = cluster.route_command(redis::cmd("PING"), everywhere).await?;
        // By the names that the client has for them.
        let answers: Vec<(String, Value)> = redis::from_redis_value(answers)?;
        let place = |(name, _): (String, Value)| {
            let (host, port) = name.rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?))
        };
        let places: BTreeSet<_> = answers.into_iter().filter_map(place).collect();
        Ok(places.into_iter().map(Some).collect())
    }

    /// Runs a command at one of them.
    pub async fn query_at<T: FromRedisValue>(&mut self, node: &Node, command: &Cmd) -> RedisResult<T> {
        match (self, node) {
            (Self::Cluster(cluster), Some((host, port))) => {
                let there = SingleNodeRoutingInfo::ByAddress { host: host.clone(), port: *port };
                let answer = cluster.route_command(command.clone(), RoutingInfo::SingleNode(there)).await?;
                Ok(redis::from_redis_value(answer.extract_error()?)?)
            }
            (connection, _) => command.query_async(connection).await,
        }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::One(one) => one.req_packed_command(command),
            Self::Cluster(cluster) => cluster.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::One(one) => one.req_packed_commands(commands, offset, count),
            Self::Cluster(cluster) => cluster.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::One(one) => one.get_db(),
            Self::Cluster(cluster) => cluster.get_db(),
        }
    }
}
