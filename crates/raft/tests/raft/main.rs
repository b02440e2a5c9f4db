//! Tests of the protocol core, with several cores in one thread: the paper's sentences, its figures, and bugs that
//! other systems had.

mod cluster;
mod liveness;
mod paper;
mod partitions;
mod pitfalls;
mod random;
mod script;
mod scripts;
