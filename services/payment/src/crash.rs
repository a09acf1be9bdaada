//! Named points at which a test build can be made to die (`SHOP_CRASH_AT=<name>`); nothing in any other build.

use std::sync::Arc;

use shop_events::Bus;

use crate::domain::{Payment, Status};

/// The points along the checkout, for tests to go through.
#[cfg(feature = "crash-points")]
pub const POINTS: [&str; 17] = {
    let mut names = [""; Point::ALL.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = Point::ALL[index].name();
        index += 1;
    }
    names
};

/// A place between two steps that must not come apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Point {
    CreateAfterInsert,
    CreateAfterReserve,
    ProcessAfterReserve,
    ProcessBeforeCommit1,
    ProcessAfterProcessing,
    ProcessAfterCharge,
    ProcessBeforeCommit2,
    ProcessAfterCommit2,
    #[cfg(feature = "crash-points")]
    RelayBeforePublish,
    #[cfg(feature = "crash-points")]
    RelayAfterPublish,
    CancelAfterCommit,
    RefundBeforeCommit,
    RefundAfterRequest,
    RefundAfterPayback,
    RefundAfterSettle,
    RecoveryAfterVerdict,
    ExpireAfterCommit,
}

impl Point {
    #[cfg(feature = "crash-points")]
    const ALL: [Self; 17] = [
        Self::CreateAfterInsert,
        Self::CreateAfterReserve,
        Self::ProcessAfterReserve,
        Self::ProcessBeforeCommit1,
        Self::ProcessAfterProcessing,
        Self::ProcessAfterCharge,
        Self::ProcessBeforeCommit2,
        Self::ProcessAfterCommit2,
        Self::RelayBeforePublish,
        Self::RelayAfterPublish,
        Self::CancelAfterCommit,
        Self::RefundBeforeCommit,
        Self::RefundAfterRequest,
        Self::RefundAfterPayback,
        Self::RefundAfterSettle,
        Self::RecoveryAfterVerdict,
        Self::ExpireAfterCommit,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::CreateAfterInsert => "create.after_insert",
            Self::CreateAfterReserve => "create.after_reserve",
            Self::ProcessAfterReserve => "process.after_reserve",
            Self::ProcessBeforeCommit1 => "process.before_commit1",
            Self::ProcessAfterProcessing => "process.after_processing",
            Self::ProcessAfterCharge => "process.after_charge",
            Self::ProcessBeforeCommit2 => "process.before_commit2",
            Self::ProcessAfterCommit2 => "process.after_commit2",
            #[cfg(feature = "crash-points")]
            Self::RelayBeforePublish => "relay.before_publish",
            #[cfg(feature = "crash-points")]
            Self::RelayAfterPublish => "relay.after_publish",
            Self::CancelAfterCommit => "cancel.after_commit",
            Self::RefundBeforeCommit => "refund.before_commit",
            Self::RefundAfterRequest => "refund.after_request",
            Self::RefundAfterPayback => "refund.after_payback",
            Self::RefundAfterSettle => "refund.after_settle",
            Self::RecoveryAfterVerdict => "recovery.after_verdict",
            Self::ExpireAfterCommit => "expire.after_commit",
        }
    }
}

/// Dies here when told to.
pub(crate) fn at(point: Point) {
    shop_runtime::crash_point(point.name());
}

/// Dies, when told to, with a change written but not committed.
pub(crate) fn before_commit(before: Status, after: &Payment) {
    match (before, after.status) {
        (Status::Pending, Status::Processing) => at(Point::ProcessBeforeCommit1),
        (Status::Processing, Status::Completed) => at(Point::ProcessBeforeCommit2),
        (Status::Completed | Status::PartiallyRefunded, _) => at(Point::RefundBeforeCommit),
        _ => {}
    }
}

/// A bus at which the process can die just before an event leaves, and just after.
#[cfg(feature = "crash-points")]
pub(crate) fn at_publish(bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
    Arc::new(Deadly(bus))
}

/// The bus as it is.
#[cfg(not(feature = "crash-points"))]
pub(crate) fn at_publish(bus: Arc<dyn Bus>) -> Arc<dyn Bus> {
    bus
}

#[cfg(feature = "crash-points")]
struct Deadly(Arc<dyn Bus>);

#[cfg(feature = "crash-points")]
#[async_trait::async_trait]
impl Bus for Deadly {
    async fn publish(&self, message: &shop_events::Message) -> Result<(), shop_events::BusError> {
        at(Point::RelayBeforePublish);
        self.0.publish(message).await?;
        at(Point::RelayAfterPublish);
        Ok(())
    }

    fn subscribe(
        &self,
        subscription: shop_events::Subscription,
        stop: shop_runtime::CancellationToken,
    ) -> futures_util::future::BoxFuture<'static, ()> {
        self.0.subscribe(subscription, stop)
    }

    async fn check(&self) -> Result<(), shop_events::BusError> {
        self.0.check().await
    }
}
