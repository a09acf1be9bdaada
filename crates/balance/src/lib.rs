//! Which backend takes the next call, and which are left alone. It knows no socket and no protocol: a backend is whatever is a
//! [`Candidate`], and what an answer says of it, an [`Outcome`], is for the user to read.
//!
//! | part | what it says |
//! |---|---|
//! | [`Balancer`] | whose turn it is: round robin, smooth weights, fewest calls, the better of two ([`PeakEwma`]) |
//! | [`hashing`] | who a key belongs to, such as a user, so that the same backend sees the same keys |
//! | [`Availability`] | who is asked first and who only in need, by the [`Verdict`]s of a [`HealthRecord`]; the panic rule |
//! | [`PassiveHealth`] | whether live traffic failed a moment ago |
//! | [`Outliers`] | who does worse than the others of the list, in failures or in time |
//! | [`Breaker`] | whether a call may be made at all: it opens on failures and tries again with a few |
//! | [`SlowStart`] | how much of its share a backend gets that came back |
//! | [`RetryBudget`] | how many repetitions a service can afford |
//!
//! Calls read atomics; locks are taken where failures are noted, and by two of the strategies.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
//! use std::time::Duration;
//!
//! use shop_balance::settings::{CircuitBreaker, LoadBalancer, Strategy};
//! use shop_balance::{BackendSet, Balancer, Breaker, Candidate, Outcome, Permit, SlowStart, hashing};
//!
//! struct Backend {
//!     name: &'static str,
//!     in_flight: AtomicUsize,
//!     breaker: Arc<Breaker>,
//! }
//!
//! impl Candidate for Backend {
//!     fn in_flight(&self) -> usize {
//!         self.in_flight.load(Relaxed)
//!     }
//!     fn latency(&self) -> Option<f64> {
//!         None
//!     }
//!     fn weight(&self) -> i64 {
//!         1
//!     }
//!     fn identity(&self) -> u64 {
//!         hashing::number(self.name.as_bytes())
//!     }
//! }
//!
//! /// The next backend whose breaker lets a call through.
//! fn pick<'a>(balancer: &Balancer, backends: &'a [Backend]) -> Option<(&'a Backend, Permit)> {
//!     let mut left = <BackendSet>::first(backends.len());
//!     while !left.is_empty() {
//!         let place = balancer.choose(backends, left, false);
//!         left.remove(place);
//!         if let Some(permit) = backends[place].breaker.permit(true) {
//!             return Some((&backends[place], permit));
//!         }
//!     }
//!     None
//! }
//!
//! let rules = CircuitBreaker::default().rules().expect("on by default");
//! let backends = ["a", "b"].map(|name| Backend {
//!     name,
//!     in_flight: AtomicUsize::new(0),
//!     breaker: Breaker::new(rules, name, Arc::new(SlowStart::new(Duration::from_secs(10))), |state| println!("{state:?}")),
//! });
//! let settings = LoadBalancer { strategy: Strategy::LeastConnections, ..LoadBalancer::default() };
//! let balancer = Balancer::new(&settings, backends.len());
//!
//! // Whoever has fewer calls in flight is next.
//! backends[0].in_flight.store(3, Relaxed);
//! assert_eq!(pick(&balancer, &backends).expect("both are well").0.name, "b");
//!
//! // It fails every call, until its breaker keeps calls away from it.
//! for _ in 0..3 {
//!     let (backend, permit) = pick(&balancer, &backends).expect("one of them");
//!     permit.judge(if backend.name == "b" { Outcome::Ill } else { Outcome::Well });
//! }
//! assert_eq!(pick(&balancer, &backends).expect("one is left").0.name, "a");
//! ```

mod availability;
mod backend_set;
mod balancer;
pub mod breaker;
pub mod hashing;
mod health_record;
mod outcome;
mod outliers;
mod passive_health;
mod peak_ewma;
mod retry_budget;
pub mod settings;
mod slow_start;

pub use availability::Availability;
pub use backend_set::{BackendSet, MOST, WIDE};
pub use balancer::{Balancer, Candidate};
pub use breaker::{Breaker, Permit};
pub use health_record::{HealthRecord, Report, Trouble, Verdict};
pub use outcome::Outcome;
pub use outliers::{Ejected, News, Outlier, Outliers};
pub use passive_health::{PassiveHealth, Seen};
pub use peak_ewma::PeakEwma;
pub use retry_budget::{Reservation, RetryBudget};
pub use slow_start::SlowStart;
