//! A load on connections that stay open, and what it came to.

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::gate::{Gate, Plan};
use crate::scenario::{Scenario, Wire};
use crate::{http1, http2, tls};

/// What a load came to.
pub(crate) struct Load {
    pub(crate) elapsed: Duration,
    /// Nanoseconds of each request, sorted.
    times: Vec<u64>,
}

impl Load {
    pub(crate) fn requests(&self) -> usize {
        self.times.len()
    }

    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time in microseconds that `share` of the requests stayed under.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let index = (self.times.len().saturating_sub(1) as f64 * share).round() as usize;
        self.times.get(index).copied().unwrap_or_default() as f64 / 1e3
    }
}

/// Connections that stay open between loads.
pub(crate) enum Clients {
    Http1(Vec<http1::Connection>),
    Http2(Vec<http2::Connection>),
}

impl Clients {
    /// Opens the connections of `scenario` to `port`; `dir` has the certificate.
    pub(crate) async fn open(scenario: &Scenario, port: u16, dir: &Path) -> anyhow::Result<Self> {
        Ok(match scenario.wire {
            Wire::Http1 => Self::Http1(http1::open(scenario, port, None).await?),
            Wire::Https => {
                Self::Http1(http1::open(scenario, port, Some(tls::Client::new(dir, scenario.opens)?)).await?)
            }
            Wire::Http2 | Wire::Grpc => Self::Http2(http2::open(scenario, port).await?),
        })
    }

    /// Makes the load of `plan`; fails on the first answer that is not the right one.
    pub(crate) async fn run(&mut self, plan: Plan) -> anyhow::Result<Load> {
        let gate = Rc::new(Gate::new(plan));
        let began = Instant::now();
        let times = match self {
            Self::Http1(connections) => http1::run(connections, &gate).await?,
            Self::Http2(connections) => http2::run(connections, &gate).await?,
        };
        let elapsed = began.elapsed();
        let mut times: Vec<_> = times.into_iter().flatten().collect();
        ensure!(times.len() == plan.requests, "{} of {} requests were answered", times.len(), plan.requests);
        times.sort_unstable();
        Ok(Load { elapsed, times })
    }
}
