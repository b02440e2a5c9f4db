//! The client edge.
