//! The generated wire types and services of package `lograft.v1`, and their descriptors for reflection.

/// Package `lograft.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("lograft.v1");
}

/// The compiled protos, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lograft_descriptor.bin"));
