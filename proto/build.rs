//! Compiles the proto files in pure Rust, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

const FILES: [&str; 7] = [
    "shop/common/v1/money.proto",
    "shop/product/v1/product.proto",
    "shop/product/v1/stock.proto",
    "shop/basket/v1/basket.proto",
    "shop/payment/v1/payment.proto",
    "shop/payment/v1/settlement.proto",
    "shop/notification/v1/personal.proto",
];

#[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write by environment")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=shop");
    let descriptors = protox::Compiler::new(["."])?
        .include_imports(true)
        .include_source_info(true)
        .open_files(FILES)?
        .file_descriptor_set();
    tonic_prost_build::configure().compile_fds(descriptors.clone())?;

    // Reflection has no use for comments: they stay out of the binaries.
    let mut described = descriptors;
    for file in &mut described.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?).join("shop.binpb");
    fs::write(out, prost::Message::encode_to_vec(&described))?;
    Ok(())
}
