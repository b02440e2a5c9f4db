//! The arguments of every verb.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::{CONFIG_FILE_SETTING, HttpUrl, Setting, env_name, settings};

use super::duration;

const EXIT_CODES: &str = "\
Exit codes:
  0    it worked (a key that does not exist is no error: no output)
  1    it did not work; stderr says why, and of a write whether its outcome is unknown
  2    no endpoint could be connected to
  3    the input cannot be used (a key too long, a value that is not UTF-8, not a data directory)
  5    interrupted; or `status` found an endpoint that does not answer
  128  bad arguments or configuration";

const TOP_EXAMPLES: &str = "\
Examples:
  lograft cluster                          three nodes on this machine; Ctrl-C stops them
  lograft set greeting hello               store a value
  lograft get greeting                     the key, then the value
  lograft list --prefix gr                 keys in order
  lograft del greeting                     how many keys were deleted
  lograft status -w table                  every endpoint: role, term, indexes
  lograft serve --name n1 --data-dir d     one node; `lograft serve --help` tells about more
  lograft log d                            the log of a stopped node, an entry a line

Environment:
  LOGRAFT_ENDPOINTS   where the client's verbs connect to (--endpoints wins)
  LOGRAFT_…           every flag of `serve`, in upper case: LOGRAFT_DATA_DIR for --data-dir";

const SERVE_EXAMPLES: &str = "\
Examples:
  lograft serve
      a cluster of one node on 127.0.0.1:2379 and :2380, its data in ./default.lograft
  lograft serve --name n1 --data-dir /var/lib/lograft \\
      --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://10.0.0.1:2379 \\
      --listen-peer-urls http://0.0.0.0:2380 \\
      --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380
      one of three; start the same on the other two with their names and addresses

Each setting is taken from the first place that has it: the flag, the environment
(LOGRAFT_ and the flag in upper case: LOGRAFT_DATA_DIR), the TOML file named by
--config-file (the flags without dashes are its keys), the default. `lograft config`
takes the same flags, prints the result and says where each value came from.
Sizes may be written with KiB, MiB or GiB.";

/// A Raft-replicated key-value node, and what to talk to it with.
#[derive(Debug, Parser)]
#[command(name = "lograft", version, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
#[command(after_help = format!("{TOP_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a node
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Run a cluster on this machine: a process for each node, their news on stdout
    Cluster(ClusterArgs),
    /// Read a key: prints the key, then the value; nothing where there is no such key
    #[command(after_help = EXIT_CODES)]
    Get(GetArgs),
    /// Store a value; prints OK once a majority has it on disk
    #[command(after_help = SET_NOTES)]
    Set(SetArgs),
    /// Delete a key; prints how many were deleted
    #[command(after_help = EXIT_CODES)]
    Del(DelArgs),
    /// Read keys in bytewise order
    #[command(after_help = EXIT_CODES)]
    List(ListArgs),
    /// Ask every endpoint how it fares
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Print the log of a stopped node as JSON, an entry a line
    #[command(after_help = EXIT_CODES)]
    Log(LogArgs),
    /// Print the configuration that `serve` would use, with where each value came from
    Config(ServeArgs),
    /// Prove the program: play seeds on simulated clusters
    #[cfg(feature = "sim")]
    #[command(disable_help_flag = true)]
    Sim(SimArgs),
    /// Print the version
    Version,
}

const SET_NOTES: &str = "\
Examples:
  lograft set greeting hello
  lograft set answer -- -42                      a value that begins with a dash
  printf hello | lograft set greeting            the value from stdin, byte for byte
  lograft set lock mine --if-mod-revision 0      only if the key does not exist

A write is sent once. If its answer is lost the exit code is 1 and stderr says \"outcome unknown\": read before you
send it again, or use --if-mod-revision.";

/// What the simulator's program takes: it reads its arguments itself, as it also stands alone.
#[cfg(feature = "sim")]
#[derive(Debug, Args)]
pub(super) struct SimArgs {
    /// See `lograft sim --help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub(super) arguments: Vec<String>,
}

/// Where the client's verbs connect to, and how they print.
#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    /// Where the nodes listen for clients; the next one is tried when no connection can be made
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "LOGRAFT_ENDPOINTS",
        value_delimiter = ',',
        value_parser = HttpUrl::parse_endpoint,
        default_value = "127.0.0.1:2379"
    )]
    pub(super) endpoints: Vec<HttpUrl>,
    /// How to print
    #[arg(short = 'w', long, value_name = "FORMAT", value_enum, default_value_t = Format::Simple)]
    pub(super) write_out: Format,
    /// How long to wait for the answer
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5s")]
    pub(super) command_timeout: Duration,
    /// How long to wait for a connection, of each endpoint
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "2s")]
    pub(super) dial_timeout: Duration,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Bare lines
    Simple,
    /// One JSON document
    Json,
    /// A table for people
    Table,
}

#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// The key
    pub(super) key: String,
    /// Answer from the asked node's own map at once: it may be behind
    #[arg(long)]
    pub(super) serializable: bool,
    /// Print only the value
    #[arg(long)]
    pub(super) print_value_only: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The key
    pub(super) key: String,
    /// The value; absent or "-": from stdin
    pub(super) value: Option<String>,
    /// Only if the key's mod_revision is this; 0: only if the key does not exist
    #[arg(long, value_name = "REVISION")]
    pub(super) if_mod_revision: Option<u64>,
    /// Print the key as it was before, too
    #[arg(long)]
    pub(super) prev_kv: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct DelArgs {
    /// The key
    pub(super) key: String,
    /// Only if the key's mod_revision is this
    #[arg(long, value_name = "REVISION")]
    pub(super) if_mod_revision: Option<u64>,
    /// Print the key as it was before, too
    #[arg(long)]
    pub(super) prev_kv: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) prefix: String,
    /// Only keys behind this one
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub(super) start_after: String,
    /// At most so many keys; 0: all, page by page
    #[arg(long, value_name = "KEYS", default_value_t = 0)]
    pub(super) limit: u64,
    /// Print no values
    #[arg(long)]
    pub(super) keys_only: bool,
    /// Answer from the asked node's own map at once: it may be behind
    #[arg(long)]
    pub(super) serializable: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The node's data directory
    pub(super) dir: PathBuf,
    /// From this index on
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(super) from: u64,
    /// At most so many lines; 0: all
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    pub(super) limit: u64,
    /// Every record as it lies in the files: also terms and votes, marks, and entries that were replaced
    #[arg(long)]
    pub(super) records: bool,
}

/// Flags of the nodes may follow behind `--`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ports: node 1 serves clients on 2379 and peers on 2380, node i of 2 to 6 on i0000 more
(22379 and 22380, 32379 and 32380, …), nodes 7 to 9 on i00 more (3079 and 3080, …).
With --base-client-port P node i serves clients on P + 2(i − 1) and peers on the port
behind it.

Each node writes what it has to say into DIR/NAME.log. They end with this process, however it ends.")]
pub(super) struct ClusterArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(super) nodes: u16,
    /// Where the nodes' data directories lie: n1.lograft, n2.lograft, …
    #[arg(long, value_name = "DIR", default_value = "./lograft-data")]
    pub(super) data_dir: PathBuf,
    /// Leave it to you to start a node again that died
    #[arg(long)]
    pub(super) no_restart: bool,
    /// Use the ports from here on instead of the ones told below
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) base_client_port: Option<u16>,
    /// Flags for each node: lograft cluster -- --log-level debug
    #[arg(last = true, value_name = "SERVE-FLAGS")]
    pub(super) serve_flags: Vec<String>,
}

/// What stands on the command line of `serve` and `config`: pairs of a setting and its value.
#[derive(Clone, Debug, Default)]
pub(super) struct ServeArgs {
    pub(super) flags: Vec<(String, String)>,
    /// End when stdin does: whoever started this node is gone.
    pub(super) exit_on_stdin_eof: bool,
}

const EXIT_ON_STDIN_EOF: &str = "exit-on-stdin-eof";

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = settings().into_iter().map(|setting| setting.name).chain([CONFIG_FILE_SETTING]);
        let flags = names
            .filter_map(|name| Some((name.to_owned(), matches.get_one::<String>(name)?.clone())))
            .collect();
        Ok(Self { flags, exit_on_stdin_eof: matches.get_flag(EXIT_ON_STDIN_EOF) })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ServeArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG_FILE_SETTING)
            .long(CONFIG_FILE_SETTING)
            .value_name("FILE")
            .help("A TOML file with any of these settings [env: LOGRAFT_CONFIG_FILE]");
        let parent = Arg::new(EXIT_ON_STDIN_EOF)
            .long(EXIT_ON_STDIN_EOF)
            .action(ArgAction::SetTrue)
            .hide(true)
            .help("End when stdin does");
        settings().iter().fold(command.arg(file).arg(parent), |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Clap only carries the text: what it means, and what else may say it, is the configuration's business.
fn flag(setting: &Setting) -> Arg {
    let default = setting.default.as_ref().map_or(String::new(), |default| format!(" [default: {default}]"));
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value_name)
        .help(format!("{}{default} [env: {}]", setting.help, env_name(setting.name)))
        .help_heading(setting.group)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_value_may_begin_with_a_dash_behind_two_of_them() {
        let cli = Cli::try_parse_from(["lograft", "set", "answer", "--", "-42"]).unwrap();
        let Verb::Set(args) = cli.verb else { panic!("a set") };
        assert_eq!(args.value.as_deref(), Some("-42"));
    }

    #[test]
    fn endpoints_are_a_list() {
        let cli = Cli::try_parse_from(["lograft", "get", "k", "--endpoints", "a:1,http://b:2"]).unwrap();
        let Verb::Get(args) = cli.verb else { panic!("a get") };
        let shown: Vec<String> = args.client.endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn the_readme_tells_each_limit_with_its_default() {
        let readme = include_str!("../../README.md");
        for setting in settings().iter().filter(|setting| ["Limits", "Timing"].contains(&setting.group)) {
            let start = format!("| `--{}` | ", setting.name);
            let row = readme.lines().find_map(|line| line.strip_prefix(&start));
            let told = row.and_then(|rest| rest.split(" | ").next()).expect(&start);
            let (number, unit) = told.split_once(' ').unwrap_or((told, ""));
            let unit = match unit {
                "MiB" => 1 << 20,
                "KiB" => 1 << 10,
                "ms" | "" => 1,
                other => panic!("{other:?} of {start}"),
            };
            let told = number.parse::<f64>().unwrap() * f64::from(unit);
            assert_eq!(
                Some(told),
                setting.default.as_ref().map(|default| default.parse().unwrap()),
                "{start}"
            );
        }
    }

    #[test]
    fn serve_keeps_only_what_was_said() {
        let cli = Cli::try_parse_from(["lograft", "serve", "--max-key-bytes", "7"]).unwrap();
        let Verb::Serve(args) = cli.verb else { panic!("a serve") };
        assert_eq!(args.flags, [("max-key-bytes".to_owned(), "7".to_owned())]);
        assert!(!args.exit_on_stdin_eof);
    }
}
