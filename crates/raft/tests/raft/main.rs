//! The protocol core, several of them in one thread: the paper's sentences, its figures, and what has gone wrong
//! elsewhere.

mod cluster;
mod liveness;
mod paper;
mod partitions;
mod pitfalls;
mod random;
mod script;
mod scripts;
