//! What must hold of any bytes from outside: one function for each way in, for `tests/fuzz`.
//!
//! A [`Target`] takes bytes and panics if something does not hold: a parser that panics, an allocation that the input
//! does not pay for, a value that does not survive its own encoding, a request that passes a check which it should not.
//! The functions stand in the rooms whose private parts they drive. They are compiled for tests and with the feature
//! `fuzzing`, and for nobody else.
//!
//! `cargo fuzz` looks for bytes that break them (`scripts/fuzz`), and `cargo test` plays the corpora again that it
//! has collected in `tests/fuzz/corpus`. Each answer of a target says how far the input came; the corpus of a target
//! has to reach all of [`Target::reaches`], so that no corpus turns into noise when a format changes.

mod input;

pub(crate) use input::Input;

/// A way in for bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: that of the fuzz target and of its corpus.
    pub name: &'static str,
    /// Tries one input, and says how far it came.
    ///
    /// # Panics
    /// If something does not hold that must hold of every input.
    pub run: fn(&[u8]) -> &'static str,
    /// How far inputs of the corpus have to come: each of these is reached by one of them at least.
    pub reaches: &'static [&'static str],
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target {
        name: "record",
        run: lograft_storage::fuzzing::record,
        reaches: &["broken", "unknown kind", "record", "segment start", "segment header"],
    },
    Target {
        name: "segment",
        run: lograft_storage::fuzzing::segment,
        reaches: &["whole", "cut", "damaged", "newer", "foreign"],
    },
    Target {
        name: "directory",
        run: lograft_storage::fuzzing::directory,
        reaches: &["whole", "damage found", "damage survived"],
    },
    Target { name: "meta", run: lograft_storage::fuzzing::meta, reaches: &["meta", "newer format", "broken"] },
    Target {
        name: "command",
        run: lograft_kv::fuzzing::command,
        reaches: &["applied", "unknown command", "no command"],
    },
    Target {
        name: "node",
        run: lograft_node::fuzzing::node,
        reaches: &["leader", "follower", "candidate", "pre-candidate", "halted"],
    },
    #[cfg(feature = "server")]
    Target {
        name: "wire",
        run: crate::rpc::fuzzing::wire,
        reaches: &[
            "get",
            "set",
            "delete",
            "list",
            "append",
            "append response",
            "vote",
            "vote response",
            "forward",
            "forward response",
            "handshake",
            "refused",
            "no message",
        ],
    },
    #[cfg(feature = "server")]
    Target {
        name: "http",
        run: crate::http::fuzzing::http,
        reaches: &["2xx", "400", "404", "405", "412", "413", "no request"],
    },
    #[cfg(feature = "server")]
    Target {
        name: "arguments",
        run: crate::cli::fuzzing::arguments,
        reaches: &["serve", "cluster", "client", "log", "help", "refused"],
    },
    #[cfg(feature = "server")]
    Target {
        name: "config",
        run: crate::config::fuzzing::config,
        reaches: &["configured", "refused", "no layers"],
    },
];

/// Tries one input on the target of this name, for a program that has nothing else to do.
///
/// # Panics
/// As [`Target::run`]; and if there is no such target.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.run)(bytes);
}

#[cfg(test)]
mod tests;
