//! Compiles the wire format with protox: no protoc is looked for, even where one is installed.

use prost::Message as _;
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = ["ranking", "feedback", "catalog", "users", "insight", "log"]
        .map(|name| format!("offer_ranker/v1/{name}.proto"));
    let descriptors = protox::compile(files, ["proto"])?;
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR for build scripts")?);
    fs::write(out_dir.join("descriptors.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // Maps with a stable order: equal messages encode to equal bytes, which fingerprints rely on.
        .btree_map(".")
        .boxed(".offer_ranker.v1.LogRecord.event.decision")
        .boxed(".offer_ranker.v1.LogRecord.event.ledger")
        .compile_fds(descriptors)?;
    Ok(())
}
