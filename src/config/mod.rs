//! The config edge.
