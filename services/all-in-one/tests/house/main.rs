//! What the repository says of itself is so: pictures, versions, links, names of parts.

mod pages;
mod picture;
mod versions;

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the checkout")
}

fn file(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether to write what is compared otherwise.
#[expect(clippy::disallowed_methods, reason = "how a person asks for it")]
fn is_update() -> bool {
    std::env::var("SHOP_TEST_UPDATE").is_ok_and(|value| value == "1")
}
