//! Compiles the schema with protox (no system `protoc`) into prost types and their proto3 JSON mapping.
//! `Text` is left out of the generated mapping: it reads and writes as the plain string (see `src/text.rs`).

use std::{env, error::Error, path::PathBuf};

use prost::Message;
use prost_build::Config;

fn main() -> Result<(), Box<dyn Error>> {
    let descriptors = protox::compile(["harmony/log/v1/log.proto"], ["proto"])?;
    let encoded = descriptors.encode_to_vec();
    println!("cargo:rerun-if-changed=proto");
    Config::new().compile_fds(descriptors)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    pbjson_build::Builder::new()
        .out_dir(out)
        .register_descriptors(&encoded)?
        .exclude([".harmony.log.v1.Text"])
        .build(&[".harmony.log.v1"])?;
    Ok(())
}
