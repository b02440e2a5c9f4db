//! The wire: generated types and services of package `lograft.v1`, their descriptors for reflection, and the names of
//! metadata.

/// Package `lograft.v1`.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("lograft.v1");
}

/// The compiled protos, for server reflection.
pub const DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/lograft_descriptor.bin"));

/// Metadata of an error, in gRPC and as a header in HTTP: what is certain about the write, `not-applied` or `unknown`.
pub const OUTCOME: &str = "lograft-outcome";
/// Metadata of a failed condition: the key's mod_revision, 0 if the key does not exist.
pub const FOUND_MOD_REVISION: &str = "lograft-found-mod-revision";
