//! The cli edge.
