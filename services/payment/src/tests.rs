//! Tests of the service as a whole, behind its doors.

mod aged;
mod bells;
mod checkout;
mod fairness;
mod one_payment;
mod reconcile;
mod simulation;
