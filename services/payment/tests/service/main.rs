//! The payment service as a whole: HTTP and gRPC on port 0, an embedded store, neighbours that do as they are told.

mod grpc;
mod hostile;
mod http;
mod identity;
mod moves;
mod neighbours;
mod personal;
mod provider;
mod settlement;
mod stripe;
mod world;

#[test]
fn no_layer_knows_what_it_must_not() {
    shop_testing::layers::check(env!("CARGO_MANIFEST_DIR"));
}
