//! Nobody in this service knows more than its layer may.

#[test]
fn the_layers_know_only_what_they_may() {
    shop_testing::layers::check(env!("CARGO_MANIFEST_DIR"));
}
