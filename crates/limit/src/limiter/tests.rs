//! The limiter as a whole.

use std::num::NonZeroU32;

use futures_util::FutureExt;
use http::HeaderMap;
use parking_lot::Mutex;

use super::*;
use crate::Observer;
use crate::settings::RouteLimit;

fn settings() -> RateLimit {
    RateLimit {
        burst: NonZeroU32::new(3).expect("not zero"),
        window: shop_config::Duration::secs(3600),
        ..RateLimit::default()
    }
}

/// Who counts, as it was told last.
#[derive(Default)]
struct Told(Mutex<Option<Counting>>);

impl Observer for Told {
    fn counting(&self, who: Counting) {
        *self.0.lock() = Some(who);
    }

    fn fell_back(&self) {}
}

fn limiter(settings: &RateLimit) -> Limiter {
    Limiter::new(settings, Arc::new(Told::default()), None).expect("is on")
}

fn check(limiter: &Limiter, method: &str, path: &str, address: &str) -> Option<Ruling> {
    let (method, address) = (method.parse().expect("a method"), address.parse().expect("an address"));
    let headers = HeaderMap::new();
    let call = Call { method: &method, path, headers: &headers, address, subject: None };
    // Without Redis there is nothing to wait for.
    std::pin::pin!(limiter.check(&call, &Span::none())).now_or_never().expect("is ready")
}

/// How many calls in a row are allowed, of at most ten.
fn allowed(limiter: &Limiter, method: &str, path: &str, address: &str) -> usize {
    let is_allowed = |_: &usize| {
        let ruling = check(limiter, method, path, address);
        ruling.is_none_or(|ruling| matches!(ruling.verdict, Verdict::Allowed { .. }))
    };
    (0..10).take_while(is_allowed).count()
}

#[test]
fn each_client_has_a_burst_of_its_own() {
    let limiter = limiter(&settings());
    assert_eq!(allowed(&limiter, "GET", "/api/products", "1.1.1.1"), 3);
    assert_eq!(allowed(&limiter, "GET", "/api/baskets", "1.1.1.1"), 0, "one budget for all paths");
    assert_eq!(allowed(&limiter, "GET", "/api/products", "2.2.2.2"), 3);
    assert_eq!(limiter.clients(), 2);
    limiter.refresh();
    assert_eq!(limiter.clients(), 2, "their budgets are not full again");
}

#[test]
fn routes_have_budgets_of_their_own_or_none() {
    let route = |path: &str, methods: &[&str], burst| RouteLimit {
        path: path.to_owned(),
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        enabled: burst > 0,
        requests: None,
        window: None,
        burst: NonZeroU32::new(burst),
    };
    let routes = vec![route("/api/payments", &["POST"], 1), route("/api/products", &["GET"], 0)];
    let limiter = limiter(&RateLimit { routes, ..settings() });
    assert_eq!(allowed(&limiter, "POST", "/api/payments", "1.1.1.1"), 1);
    assert_eq!(allowed(&limiter, "GET", "/api/payments", "1.1.1.1"), 3);
    assert_eq!(allowed(&limiter, "GET", "/api/products/7", "1.1.1.1"), 10);
    assert!(check(&limiter, "GET", "/api/products/7", "1.1.1.1").is_none(), "not counted, so nothing to tell");
    assert_eq!(allowed(&limiter, "POST", "/api/products", "1.1.1.1"), 0, "the default budget was used up");
    assert_eq!(allowed(&limiter, "POST", "/api/payments", "1.1.1.2"), 1);
}

#[test]
fn switched_off_there_is_none() {
    assert!(Limiter::new(&RateLimit { enabled: false, ..settings() }, Arc::new(Told::default()), None).is_none());
}

#[test]
fn it_is_told_who_counts_now_whatever_a_former_limiter_finds() {
    let told = Arc::new(Told::default());
    let counts = || *told.0.lock();
    let observer = || Arc::clone(&told) as SharedObserver;
    let together = RateLimit {
        redis: crate::settings::RedisLimit { url: "redis://127.0.0.1:1".into(), ..Default::default() },
        ..settings()
    };
    let former = Limiter::new(&together, observer(), None).expect("is on");
    let redis = former.redis.as_ref().expect("is named");
    assert_eq!(counts(), Some(Counting::Local), "not connected yet");
    redis.counts(true);
    assert_eq!(counts(), Some(Counting::Redis));
    let next = Limiter::new(&together, observer(), Some(&former)).expect("is on");
    next.redis.as_ref().expect("is named").counts(true);
    redis.counts(false);
    assert_eq!(counts(), Some(Counting::Redis), "a late call found the former link broken");
    let off = RateLimit { enabled: false, ..settings() };
    assert!(Limiter::new(&off, observer(), Some(&next)).is_none());
    next.redis.as_ref().expect("is named").counts(false);
    assert_eq!(counts(), Some(Counting::Nowhere));
}
