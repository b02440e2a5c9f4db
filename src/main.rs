//! The `lograft` program.

fn main() {}
