//! The rpc edge.
