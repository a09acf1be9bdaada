//! The configurations of other proxies in `docs/gateway-from.md` and ours beside them: do both what the page says?

mod backend;
mod expected;
mod page;
mod proxy;

use std::net::SocketAddr;

use self::backend::Backend;
use self::expected::{Line, Reply};
use self::page::Pair;
use self::proxy::Proxy;
use crate::support::Running;

/// Tries all pairs whose titles begin with `peer`, and says what was not as the page has it.
async fn try_all(peer: &str, count: usize) {
    let pairs = page::pairs();
    let pairs: Vec<_> = pairs.into_iter().filter(|pair| pair.title.starts_with(peer)).collect();
    assert_eq!(pairs.len(), count, "pairs of {peer}");
    let mut wrong = Vec::new();
    for pair in pairs {
        let (one, two) = (Backend::start("one").await, Backend::start("two").await);
        let fill = |text: &str, port: u16| {
            let filled = text.replace("@ONE@", &one.addr.to_string()).replace("@TWO@", &two.addr.to_string());
            filled.replace("@PORT@", &port.to_string())
        };
        let gateway = Running::start(page::settings(&fill(&pair.ours, 0))).await;
        let theirs = Proxy::start(peer, [one.addr, two.addr], |port| fill(&pair.theirs, port)).await;
        let of = |who: &str, found: Vec<String>| {
            found.into_iter().map(|said| format!("{} ({who}): {said}", pair.title)).collect::<Vec<_>>()
        };
        let (ours, others) = (ask_all(&pair, gateway.addr, true), async {
            match &theirs {
                Some(proxy) => ask_all(&pair, proxy.addr, false).await,
                None => Vec::new(),
            }
        });
        wrong.extend(of("the gateway", ours.await));
        wrong.extend(of(peer, others.await));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn ask_all(pair: &Pair, addr: SocketAddr, is_ours: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for text in &pair.list {
        let line = Line::read(text);
        let replies = line.ask(addr).await;
        if let Err(said) = line.judge(is_ours, &replies) {
            let last: Option<&Reply> = replies.last();
            wrong.push(format!("{text}\n    {said}; the last answer was {last:?}"));
        }
    }
    wrong
}

#[tokio::test]
async fn what_nginx_does_the_gateway_does() {
    try_all("nginx", 4).await;
}

#[tokio::test]
async fn what_traefik_would_do_the_gateway_does() {
    try_all("Traefik", 3).await;
}

#[tokio::test]
async fn what_envoy_does_the_gateway_does() {
    try_all("Envoy", 3).await;
}
