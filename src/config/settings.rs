//! The table of settings: flags, environment variables, keys of the file and the help all come from here.

use super::limits;

/// The setting that names the configuration file. It is the one that the file itself cannot hold.
pub const CONFIG_FILE_SETTING: &str = "config-file";

/// One thing that can be set.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The flag without the dashes in front, and the key in the configuration file.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// One line for the help.
    pub help: String,
    /// The value where nothing is set; `None`: it depends on other settings, as `help` says.
    pub default: Option<String>,
    /// How the value is written in a file.
    pub kind: Kind,
    /// The heading in the help.
    pub group: &'static str,
}

/// How a value is written in a configuration file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// Strings, separated by commas or as an array.
    List,
    /// A whole number; of bytes also a string with KiB, MiB or GiB.
    Number,
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
pub fn settings() -> Vec<Setting> {
    let mut all: Vec<Setting> = PLAIN.iter().map(Plain::setting).collect();
    all.extend(limits::table().into_iter().map(|limit| Setting {
        name: limit.name,
        value_name: limit.value_name,
        help: limit.help.to_owned(),
        default: Some(limit.default.to_string()),
        kind: Kind::Number,
        group: LIMITS,
    }));
    all
}

struct Plain {
    group: &'static str,
    name: &'static str,
    value_name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    help: &'static str,
}

impl Plain {
    fn setting(&self) -> Setting {
        Setting {
            name: self.name,
            value_name: self.value_name,
            help: self.help.to_owned(),
            default: self.default.map(str::to_owned),
            kind: self.kind,
            group: self.group,
        }
    }
}

const PLAIN: &[Plain] = &[
    Plain {
        group: NODE,
        name: "name",
        value_name: "NAME",
        kind: Kind::Text,
        default: Some("default"),
        help: "This node's name, as it stands in --initial-cluster",
    },
    Plain {
        group: NODE,
        name: "data-dir",
        value_name: "DIR",
        kind: Kind::Text,
        default: None,
        help: "Where the log lives [default: ./NAME.lograft]",
    },
    Plain {
        group: NODE,
        name: "listen-client-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: Some("http://127.0.0.1:2379"),
        help: "Where to bind for clients (gRPC and HTTP); http://0.0.0.0:2379 binds everywhere",
    },
    Plain {
        group: NODE,
        name: "advertise-client-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: None,
        help: "How clients reach this node, never 0.0.0.0 [default: --listen-client-urls]",
    },
    Plain {
        group: NODE,
        name: "listen-peer-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: Some("http://127.0.0.1:2380"),
        help: "Where to bind for the other nodes",
    },
    Plain {
        group: CLUSTER,
        name: "initial-advertise-peer-urls",
        value_name: "URLS",
        kind: Kind::List,
        default: None,
        help: "How the other nodes reach this one, never 0.0.0.0 [default: this node's URL in --initial-cluster, else --listen-peer-urls]",
    },
    Plain {
        group: CLUSTER,
        name: "initial-cluster",
        value_name: "MEMBERS",
        kind: Kind::List,
        default: None,
        help: "All first members, the same on each: n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,… [default: this node alone]",
    },
    Plain {
        group: CLUSTER,
        name: "initial-cluster-token",
        value_name: "TOKEN",
        kind: Kind::Text,
        default: Some("lograft-cluster"),
        help: "Tells clusters with equal members apart: it goes into the cluster's id",
    },
    Plain {
        group: CLUSTER,
        name: "initial-cluster-state",
        value_name: "STATE",
        kind: Kind::Text,
        default: Some("new"),
        help: "new; existing (joining a running cluster) is not there yet",
    },
    Plain {
        group: TIMING,
        name: "heartbeat-interval",
        value_name: "MS",
        kind: Kind::Number,
        default: Some("100"),
        help: "How often a leader says that it lives, in milliseconds (10 to 10000)",
    },
    Plain {
        group: TIMING,
        name: "election-timeout",
        value_name: "MS",
        kind: Kind::Number,
        default: Some("1000"),
        help: "After how long without a leader a node asks for votes, in milliseconds (50 to 50000, at least five heartbeats)",
    },
    Plain {
        group: LOGGING,
        name: "log-level",
        value_name: "LEVEL",
        kind: Kind::Text,
        default: Some("info"),
        help: "error, warn, info, debug or trace",
    },
    Plain {
        group: LOGGING,
        name: "log-format",
        value_name: "FORMAT",
        kind: Kind::Text,
        default: Some("console"),
        help: "console (for people) or json (a line an event); the log goes to stderr",
    },
];
