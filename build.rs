//! Compiles the protos in pure Rust, and writes the descriptor set to `OUT_DIR` for server reflection.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const PROTOS: [&str; 3] = ["lograft/v1/kv.proto", "lograft/v1/cluster.proto", "lograft/v1/raft.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(PROTOS, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("lograft_descriptor.bin"), descriptors.encode_to_vec())?;
    // Commands and log payloads are shared, not copied: bytes fields become `bytes::Bytes`.
    tonic_build::configure().bytes(".lograft.v1").compile_fds(descriptors)?;
    Ok(())
}
