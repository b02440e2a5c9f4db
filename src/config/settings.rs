//! The table of settings: flags, environment variables, keys of the file and the help all come from here.

/// The setting that names the configuration file. It is the one that the file itself cannot hold.
pub const CONFIG_FILE_SETTING: &str = "config-file";

/// One thing that can be set.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The heading in the help.
    pub group: &'static str,
    /// The flag without the leading dashes, and the key in the configuration file.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// How the value is written in a file.
    pub kind: Kind,
    /// The value where nothing is set; `None`: it depends on other settings, as `help` says.
    pub default: Option<&'static str>,
    /// One line for the help.
    pub help: &'static str,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// Strings, separated by commas or as an array.
    List,
    /// A whole number; of bytes also a string with KiB, MiB or GiB.
    Number,
    /// A string such as 100ms or 5s.
    Duration,
    /// The same; a bare number means milliseconds, as etcd's users write it.
    Milliseconds,
}

/// The environment variable of a setting: `LOGRAFT_` and its name in upper case.
pub fn env_name(setting: &str) -> String {
    format!("LOGRAFT_{}", setting.to_ascii_uppercase().replace('-', "_"))
}

const NODE: &str = "Node";
const CLUSTER: &str = "Cluster (read at the first start only)";
const TIMING: &str = "Timing";
const LOGGING: &str = "Logging";
const LIMITS: &str = "Limits";

/// All settings, in the order of the help.
pub const SETTINGS: &[Setting] = &[
    Setting {
        group: NODE,
        name: "name",
        value_name: "NAME",
        kind: Kind::Text,
        default: Some("default"),
        help: "This node's name, as --initial-cluster lists it",
    },
    Setting {
        group: NODE,
        name: "data-dir",
        value_name: "DIR",
        kind: Kind::Text,
        default: None,
        help: "Where the node keeps its log [default: ./NAME.lograft]",
    },
    Setting {
        group: NODE,
        name: "listen-client-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: Some("http://127.0.0.1:2379"),
        help: "Where to listen for clients (gRPC and HTTP); http://0.0.0.0:2379 listens on every address",
    },
    Setting {
        group: NODE,
        name: "advertise-client-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: None,
        help: "How clients reach this node, never 0.0.0.0 [default: --listen-client-urls]",
    },
    Setting {
        group: NODE,
        name: "listen-peer-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: Some("http://127.0.0.1:2380"),
        help: "Where to listen for the other nodes",
    },
    Setting {
        group: CLUSTER,
        name: "initial-advertise-peer-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: None,
        help: "How the other nodes reach this one, never 0.0.0.0 [default: this node's URL in --initial-cluster, else --listen-peer-urls]",
    },
    Setting {
        group: CLUSTER,
        name: "initial-cluster",
        value_name: "MEMBERS",
        kind: Kind::List,
        default: None,
        help: "All initial members, the same on every node: n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,… [default: this node alone]",
    },
    Setting {
        group: CLUSTER,
        name: "initial-cluster-token",
        value_name: "TOKEN",
        kind: Kind::Text,
        default: Some("lograft-cluster"),
        help: "Part of the cluster's id: tells clusters with the same members apart",
    },
    Setting {
        group: CLUSTER,
        name: "initial-cluster-state",
        value_name: "STATE",
        kind: Kind::Text,
        default: Some("new"),
        help: "new: an empty data directory becomes this node's; existing: it is refused (joining a running cluster is not supported yet)",
    },
    Setting {
        group: TIMING,
        name: "heartbeat-interval",
        value_name: "DURATION",
        kind: Kind::Milliseconds,
        default: Some("100ms"),
        help: "How often a leader sends heartbeats (10ms to 10s; a bare number is milliseconds)",
    },
    Setting {
        group: TIMING,
        name: "election-timeout",
        value_name: "DURATION",
        kind: Kind::Milliseconds,
        default: Some("1s"),
        help: "How long a node waits for a leader before it asks for votes (50ms to 50s, at least five heartbeats; a bare number is milliseconds)",
    },
    Setting {
        group: LOGGING,
        name: "log-level",
        value_name: "LEVEL",
        kind: Kind::Text,
        default: Some("info"),
        help: "error, warn, info, debug or trace",
    },
    Setting {
        group: LOGGING,
        name: "log-format",
        value_name: "FORMAT",
        kind: Kind::Text,
        default: Some("console"),
        help: "console (for people) or json (one object per line); the log goes to stderr",
    },
    Setting {
        group: LIMITS,
        name: "max-key-bytes",
        value_name: "BYTES",
        kind: Kind::Number,
        default: Some("4KiB"),
        help: "The longest key",
    },
    Setting {
        group: LIMITS,
        name: "max-value-bytes",
        value_name: "BYTES",
        kind: Kind::Number,
        default: Some("1MiB"),
        help: "The longest value",
    },
    Setting {
        group: LIMITS,
        name: "max-request-bytes",
        value_name: "BYTES",
        kind: Kind::Number,
        default: Some("1536KiB"),
        help: "The largest client request on the wire",
    },
    Setting {
        group: LIMITS,
        name: "max-pending-requests",
        value_name: "REQUESTS",
        kind: Kind::Number,
        default: Some("4096"),
        help: "How many client requests may wait at a time; the next one is refused at once",
    },
    Setting {
        group: LIMITS,
        name: "max-pending-bytes",
        value_name: "BYTES",
        kind: Kind::Number,
        default: Some("64MiB"),
        help: "How many bytes of client requests may wait at a time",
    },
    Setting {
        group: LIMITS,
        name: "max-connections",
        value_name: "CONNECTIONS",
        kind: Kind::Number,
        default: Some("auto"),
        help: "How many connections clients may have; auto: half of the file descriptors that the process may open, at most 10000",
    },
    Setting {
        group: LIMITS,
        name: "request-timeout",
        value_name: "DURATION",
        kind: Kind::Duration,
        default: Some("5s"),
        help: "How long a request may wait for its response (1ms to 1h)",
    },
    Setting {
        group: LIMITS,
        name: "max-segment-bytes",
        value_name: "BYTES",
        kind: Kind::Number,
        default: Some("64MiB"),
        help: "Where the log's segments stop doubling, a power of two (128KiB to 1GiB); the disk needs room for three. A larger entry gets a larger segment",
    },
];
