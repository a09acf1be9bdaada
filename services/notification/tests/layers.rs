//! Who may know whom inside this service.

#[test]
fn every_layer_knows_only_what_it_may() {
    shop_testing::layers::check(env!("CARGO_MANIFEST_DIR"));
}
