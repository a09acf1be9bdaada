//! The codec beside hyper's, on what is generated and on what fuzzing begins with.

mod edits;
mod hyper_client;
mod hyper_server;
mod pacing;
mod requests;
mod responses;
mod seeds;
