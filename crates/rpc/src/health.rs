//! `grpc.health.v1.Health` on the same checks as `/health/ready`.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, Stream};
use shop_runtime::Health;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{self, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// How often a watcher's answer is looked at again; the checks behind it are remembered as long.
const PERIOD: Duration = Duration::from_secs(1);

/// The health service for the services named in `names`; the empty name stands for the process.
pub(crate) fn server(health: Health, names: HashSet<String>) -> HealthServer<impl health_server::Health> {
    HealthServer::new(Answers { health, names: Arc::new(names) })
}

struct Answers {
    health: Health,
    names: Arc<HashSet<String>>,
}

impl Answers {
    fn knows(&self, name: &str) -> bool {
        name.is_empty() || self.names.contains(name)
    }
}

async fn status(health: &Health) -> ServingStatus {
    if health.ready().await { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl health_server::Health for Answers {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if !self.knows(&request.get_ref().service) {
            return Err(Status::not_found("no such service"));
        }
        Ok(Response::new(response(status(&self.health).await)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        if !self.knows(&request.get_ref().service) {
            // The protocol wants watchers of unknown services to wait for them; ours never come, so say it once.
            let unknown = stream::iter([Ok(response(ServingStatus::ServiceUnknown))]);
            return Ok(Response::new(Box::pin(unknown)));
        }
        Ok(Response::new(Box::pin(changes(self.health.clone()))))
    }
}

/// The status now and whenever it changes; ends when the process drains, so that it does not hold up the stop.
fn changes(health: Health) -> impl Stream<Item = Result<HealthCheckResponse, Status>> + Send {
    stream::unfold((health, None), async |(health, last)| {
        loop {
            if last == Some(ServingStatus::NotServing) && health.draining() {
                return None;
            }
            let now = status(&health).await;
            if Some(now) != last {
                return Some((Ok(response(now)), (health, Some(now))));
            }
            health.pause(PERIOD).await;
        }
    })
}
