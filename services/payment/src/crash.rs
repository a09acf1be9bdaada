//! Named points at which a test build can be made to die (`SHOP_CRASH_AT=<name>`); nothing in any other build.

use std::sync::Arc;

use shop_events::Bus;

use crate::domain::{Payment, Status};

macro_rules! points {
    ($($(#[$when:meta])? $point:ident: $name:literal,)+) => {
        /// A place between two steps that must not come apart.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Point {
            $($(#[$when])? $point,)+
        }

        impl Point {
            const fn name(self) -> &'static str {
                match self {
                    $($(#[$when])? Self::$point => $name,)+
                }
            }
        }

        /// The points along the checkout, for tests to go through.
        #[cfg(feature = "crash-points")]
        pub const POINTS: &[&str] = &[$($name),+];
    };
}

points! {
    CreateAfterInsert: "create.after_insert",
    ReplaceBeforeCommit: "replace.before_commit",
    CreateAfterReserve: "create.after_reserve",
    ProcessAfterReserve: "process.after_reserve",
    ProcessAfterOpen: "process.after_open",
    ProcessBeforeCommit1: "process.before_commit1",
    ProcessAfterProcessing: "process.after_processing",
    ProcessAfterCharge: "process.after_charge",
    ProcessBeforeCommit2: "process.before_commit2",
    ProcessAfterCommit2: "process.after_commit2",
    #[cfg(feature = "crash-points")]
    RelayBeforePublish: "relay.before_publish",
    #[cfg(feature = "crash-points")]
    RelayAfterPublish: "relay.after_publish",
    CancelAfterCommit: "cancel.after_commit",
    CancelAfterVoid: "cancel.after_void",
    CaptureBeforeCommit: "capture.before_commit",
    CaptureAfterRequest: "capture.after_request",
    CaptureAfterCapture: "capture.after_capture",
    CaptureAfterSettle: "capture.after_settle",
    ActionBeforeCommit: "action.before_commit",
    RefundBeforeCommit: "refund.before_commit",
    RefundAfterRequest: "refund.after_request",
    RefundAfterPayback: "refund.after_payback",
    RefundAfterSettle: "refund.after_settle",
    RecoveryAfterVerdict: "recovery.after_verdict",
    ExpireAfterCommit: "expire.after_commit",
}

/// Dies here when told to.
pub(crate) fn at(point: Point) {
    shop_runtime::crash_point(point.name());
}

/// Dies, when told to, before a change is committed.
pub(crate) fn before_commit(before: Status, after: &Payment) {
    match (before, after.status) {
        (Status::Pending, Status::Processing) => at(Point::ProcessBeforeCommit1),
        (Status::Processing, Status::Completed | Status::RequiresAction | Status::Authorised) => {
            at(Point::ProcessBeforeCommit2);
        }
        (Status::Authorised, Status::Processing) => at(Point::CaptureBeforeCommit),
        (Status::RequiresAction, _) => at(Point::ActionBeforeCommit),
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

    fn system(&self) -> &'static str {
        self.0.system()
    }
}
