//! The http edge.
