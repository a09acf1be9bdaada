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
    Limiter::new(settings, &[], Arc::new(Told::default()), None).expect("is on")
}

fn check(limiter: &Limiter, policy: Option<u16>, address: &str) -> Option<Ruling> {
    let headers = HeaderMap::new();
    let call = Call { policy, headers: &headers, address: address.parse().expect("an address"), subject: None };
    // Without Redis there is nothing to wait for.
    std::pin::pin!(limiter.check(&call, &Span::none())).now_or_never().expect("is ready")
}

/// How many calls in a row are allowed, of at most ten.
fn allowed(limiter: &Limiter, policy: Option<u16>, address: &str) -> usize {
    let is_allowed = |_: &usize| {
        let ruling = check(limiter, policy, address);
        ruling.is_none_or(|ruling| matches!(ruling.verdict, Verdict::Allowed { .. }))
    };
    (0..10).take_while(is_allowed).count()
}

#[test]
fn each_client_has_a_burst_of_its_own() {
    let limiter = limiter(&settings());
    assert_eq!(allowed(&limiter, None, "1.1.1.1"), 3);
    assert_eq!(allowed(&limiter, None, "1.1.1.1"), 0);
    assert_eq!(allowed(&limiter, None, "2.2.2.2"), 3);
    assert_eq!(limiter.clients(), 2);
    limiter.refresh();
    assert_eq!(limiter.clients(), 2, "their budgets are not full again");
}

#[test]
fn routes_have_budgets_of_their_own_or_none() {
    let route = |name: &str, burst| {
        let limit = RouteLimit { enabled: burst > 0, burst: NonZeroU32::new(burst), ..RouteLimit::default() };
        RoutePolicy { route: name.to_owned(), name: format!("/api/{name}"), limit }
    };
    let routes = [route("payments", 1), route("products", 0)];
    let limiter = Limiter::new(&settings(), &routes, Arc::new(Told::default()), None).expect("is on");
    assert_eq!(allowed(&limiter, Some(0), "1.1.1.1"), 1);
    assert_eq!(allowed(&limiter, None, "1.1.1.1"), 3);
    assert_eq!(allowed(&limiter, Some(1), "1.1.1.1"), 10);
    assert!(check(&limiter, Some(1), "1.1.1.1").is_none(), "not counted, so nothing to tell");
    assert_eq!(allowed(&limiter, None, "1.1.1.1"), 0, "the default budget was used up");
    assert_eq!(allowed(&limiter, Some(0), "1.1.1.2"), 1);
    let headers = HeaderMap::new();
    let call = |policy| Call { policy, headers: &headers, address: [1, 1, 1, 1].into(), subject: None };
    let told = |policy| limiter.explain(&call(policy)).map(|(policy, _)| policy);
    assert_eq!(told(Some(0)).as_deref(), Some("\"/api/payments\";q=100;w=3600;burst=1"));
    assert_eq!((told(Some(1)), told(None).as_deref()), (None, Some("\"client\";q=100;w=3600;burst=3")));
}

#[test]
fn switched_off_there_is_none() {
    assert!(Limiter::new(&RateLimit { enabled: false, ..settings() }, &[], Arc::new(Told::default()), None).is_none());
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
    let former = Limiter::new(&together, &[], observer(), None).expect("is on");
    let redis = former.redis.as_ref().expect("is named");
    assert_eq!(counts(), Some(Counting::Local), "not connected yet");
    redis.counts(true);
    assert_eq!(counts(), Some(Counting::Redis));
    let next = Limiter::new(&together, &[], observer(), Some(&former)).expect("is on");
    next.redis.as_ref().expect("is named").counts(true);
    redis.counts(false);
    assert_eq!(counts(), Some(Counting::Redis), "a late call found the former link broken");
    let off = RateLimit { enabled: false, ..settings() };
    assert!(Limiter::new(&off, &[], observer(), Some(&next)).is_none());
    next.redis.as_ref().expect("is named").counts(false);
    assert_eq!(counts(), Some(Counting::Nowhere));
}
