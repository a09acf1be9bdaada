//! The service as its clients see it: HTTP, gRPC and events on a process that runs in the test.

mod events;
mod grpc;
mod harness;
mod hostile;
mod http;
mod identity;
mod settlement;
