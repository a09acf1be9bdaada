//! One server: its address, who we are there, and a client of it.

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo, RedisResult, TlsCertificates,
};
use shop_config::{RedisLogin, RedisNodes};

/// A client of it, with the files for TLS if there are some.
pub(crate) fn one(info: &ConnectionInfo, files: Option<TlsCertificates>) -> RedisResult<Client> {
    match files {
        Some(files) => Client::build_with_tls(info.clone(), files),
        None => Client::open(info.clone()),
    }
}

/// One of several, and who we are there.
pub(crate) fn place(nodes: &RedisNodes, node: &(String, u16), login: &RedisLogin) -> RedisResult<ConnectionInfo> {
    let mut redis = RedisConnectionInfo::default();
    if !login.user.is_empty() {
        redis = redis.set_username(&login.user);
    }
    if !login.password.is_empty() {
        redis = redis.set_password(&login.password);
    }
    Ok(address(nodes, node).into_connection_info()?.set_redis_settings(redis))
}

fn address(nodes: &RedisNodes, (host, port): &(String, u16)) -> ConnectionAddr {
    let (host, port) = (host.clone(), *port);
    if nodes.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}
