//! What can be asked of payments, and what is done for them unasked.

mod bells;
mod commands;
mod held;
mod looks;
mod personal;
mod queries;
mod reconcile;
mod recovery;
mod refunds;
mod releasing;
mod retention;

pub(crate) use bells::{Bells, Rung};
pub(crate) use commands::{Cancel, CapturePayment, Commands, Made, Neighbours, Process};
pub(crate) use held::Held;
pub(crate) use personal::{Dossier, Personal};
pub(crate) use queries::{List, Queries};
pub(crate) use reconcile::{Drift, Reconcile, Report};
pub(crate) use recovery::{Attempt, Recovery};
pub(crate) use refunds::RefundPayment;
pub(crate) use retention::Retention;
