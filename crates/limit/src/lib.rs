//! How often one client may call: a budget for each client and policy, by GCRA, in bounded memory; alone, or together with other
//! processes through Redis.
//!
//! A client is known by its address, or by what only it can have: an API key that is listed, a name that the caller of this crate found
//! to be its own. Who
//! calls under which policy is explained as well as counted, and what is left is told in `RateLimit` fields
//! (draft-ietf-httpapi-ratelimit-headers-10). Redis is a help, not a need: while it is away each process counts by itself.
//!
//! ```
//! use std::num::NonZeroU32;
//! use std::sync::Arc;
//!
//! use http::HeaderMap;
//! use shop_limit::settings::RateLimit;
//! use shop_limit::{Call, Limiter, Unobserved, Verdict};
//! use shop_telemetry::Span;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let settings = RateLimit { burst: NonZeroU32::new(2).expect("not zero"), ..RateLimit::default() };
//! let limiter = Limiter::new(&settings, &[], Arc::new(Unobserved), None).expect("on by default");
//! let headers = HeaderMap::new();
//! let address = "192.0.2.7".parse().expect("an address");
//! let call = Call { policy: None, headers: &headers, address, subject: None };
//!
//! for remaining in [1, 0] {
//!     let ruling = limiter.check(&call, &Span::none()).await.expect("such calls are counted");
//!     assert!(matches!(ruling.verdict, Verdict::Allowed { remaining: left, .. } if left == remaining));
//! }
//! let ruling = limiter.check(&call, &Span::none()).await.expect("counted");
//! assert!(matches!(ruling.verdict, Verdict::Refused { .. }));
//! let mut told = HeaderMap::new();
//! limiter.tell(&ruling, &mut told);
//! assert_eq!(told["ratelimit-policy"], "\"client\";q=100;w=60");
//! assert_eq!(told["ratelimit"], "\"client\";r=0;t=1");
//!
//! // Somebody else still may.
//! let call = Call { address: "192.0.2.8".parse().expect("an address"), ..call };
//! assert!(matches!(limiter.check(&call, &Span::none()).await.expect("counted").verdict, Verdict::Allowed { .. }));
//! # }
//! ```

mod attempts;
mod budgets;
mod call;
mod caller;
mod key;
mod limiter;
mod local;
#[cfg(test)]
mod model;
mod policy;
mod rate;
mod redis;
pub mod settings;

use std::sync::Arc;

pub use attempts::Attempts;
pub use call::{Call, Subject};
pub use limiter::{Limiter, Ruling, run};
pub use policy::RoutePolicy;
pub use rate::Verdict;

/// Who counts clients' calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counting {
    /// This process by itself.
    Local,
    /// Redis, for all processes together.
    Redis,
    /// Nobody: the limiter is off.
    Nowhere,
}

/// Whoever wants to know what a [`Limiter`] does, to show it.
pub trait Observer: Send + Sync {
    /// From now on `who` counts.
    fn counting(&self, who: Counting);
    /// Redis was to count a call and could not.
    fn fell_back(&self);
}

/// An observer for many.
pub type SharedObserver = Arc<dyn Observer>;

/// Nobody wants to know.
#[derive(Debug, Clone, Copy)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn counting(&self, _: Counting) {}
    fn fell_back(&self) {}
}
