//! The arguments of every verb.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{
    Arg, ArgAction, ArgMatches, Args, ColorChoice, Command, CommandFactory, FromArgMatches, Parser,
    Subcommand, ValueEnum,
};
use clap_complete::Shell;

use crate::config::{CONFIG_FILE_SETTING, HttpUrl, SETTINGS, Setting, env_name, parse_duration};

const EXIT_CODES: &str = "\
Exit codes:
  0    success (a missing key is no error: it prints nothing)
  1    failure; stderr says why, and whether the outcome of a write is unknown
  2    no endpoint accepted a connection
  3    invalid input (a key too long, a value that is not UTF-8, not a data directory)
  4    `get --fail`: there is no such key
  5    interrupted; or `status` or `health` found an endpoint that does not respond
  128  bad arguments or configuration";

const TOP_EXAMPLES: &str = "\
Examples:
  lograft cluster                          run three nodes on this machine; Ctrl-C stops them
  lograft set greeting hello               store a value
  lograft get greeting                     print the key, then the value
  lograft list --prefix gr                 print keys in order
  lograft del greeting                     delete a key, print how many were deleted
  lograft status --cluster -w table        print the role, term and indexes of each member
  lograft health                           print whether each endpoint can serve
  lograft serve --name n1 --data-dir d     run one node; see `lograft serve --help`
  lograft log d                            print the log of a stopped node, one entry per line
  source <(lograft completions bash)       complete verbs and flags in this shell
  lograft man serve | man -l -             read the manual page of a verb

Client flags may also come before the verb: lograft --endpoints n1:2379 get greeting

Environment:
  LOGRAFT_ENDPOINTS   where the client verbs connect to (--endpoints takes precedence)
  LOGRAFT_…           each flag of `serve`, in upper case: LOGRAFT_DATA_DIR for --data-dir
  NO_COLOR            no colors, unless --color says otherwise";

const SERVE_EXAMPLES: &str = "\
Examples:
  lograft serve
      run a cluster of one node on 127.0.0.1:2379 and :2380 with its data in ./default.lograft
  lograft serve --name n1 --data-dir /var/lib/lograft \\
      --listen-client-urls http://0.0.0.0:2379 --advertise-client-urls http://10.0.0.1:2379 \\
      --listen-peer-urls http://0.0.0.0:2380 \\
      --initial-cluster n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380
      run one node of three; run the same on the other two with their names and addresses

Each setting is taken from the first place that has it: the flag, the environment
(LOGRAFT_ and the flag in upper case: LOGRAFT_DATA_DIR), the TOML file named by
--config-file (the flags without dashes are its keys), the default. `lograft config`
takes the same flags, and prints the result and where each value came from.
Sizes may have the unit KiB, MiB or GiB; durations are written as 100ms, 5s or 1m.";

/// A Raft-replicated key-value node, and its client
#[derive(Debug, Parser)]
#[command(name = "lograft", version, max_term_width = 110)]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = format!("{TOP_EXAMPLES}\n\n{EXIT_CODES}"))]
pub(super) struct Cli {
    /// When to color the help and the log of `serve`: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t = ColorChoice::Auto,
        hide_possible_values = true,
        display_order = 900
    )]
    pub(super) color: ColorChoice,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// The definition of the arguments. The flags of the client verbs are taken before the verb as well; their help is with
/// the verbs.
fn command() -> Command {
    let early = client_flags().map(|flag| flag.global(true).hide(true));
    Cli::command().args(early)
}

fn client_flags() -> impl Iterator<Item = Arg> {
    let flags = ClientArgs::augment_args(Command::new("client"));
    flags.get_arguments().cloned().collect::<Vec<_>>().into_iter()
}

/// Reads the arguments.
///
/// # Errors
/// What is wrong with them, or the help.
pub(super) fn parse(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    color: ColorChoice,
) -> Result<Cli, clap::Error> {
    let mut command = command().color(color);
    let matches = command.try_get_matches_from_mut(arguments)?;
    if let Some((name, flags)) = matches.subcommand() {
        check_client_flags(&mut command, name, flags)?;
    }
    Cli::from_arg_matches(&matches)
}

/// Whether the verb takes the flags of the client verbs that are given, before it or after it.
fn check_client_flags(command: &mut Command, verb: &str, flags: &ArgMatches) -> Result<(), clap::Error> {
    let definition = command.find_subcommand(verb).expect("clap knows the verb that it found");
    let takes = |flag: &Arg| {
        definition.get_arguments().any(|own| own.get_id() == flag.get_id() && !own.is_hide_set())
    };
    let given: Vec<Arg> = client_flags()
        .filter(|flag| flags.value_source(flag.get_id().as_str()) == Some(ValueSource::CommandLine))
        .collect();
    if let Some(flag) = given.iter().find(|flag| !takes(flag)) {
        let flag = flag.get_long().unwrap_or_default();
        let message = format!("--{flag} is a flag of the client verbs: {verb} does not take it");
        return Err(command.error(ErrorKind::UnknownArgument, message));
    }
    let no_endpoint = given.iter().any(|flag| flag.get_id() == "endpoints")
        && flags.get_one::<Endpoints>("endpoints").is_some_and(|endpoints| endpoints.0.is_empty());
    if no_endpoint {
        return Err(command.error(ErrorKind::InvalidValue, "--endpoints names no endpoint: give HOST:PORT"));
    }
    Ok(())
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a node
    #[command(after_help = SERVE_EXAMPLES)]
    Serve(ServeArgs),
    /// Run a cluster on this machine: one process per node, events on stdout
    Cluster(ClusterArgs),
    /// Read a key: prints the key, then the value; nothing if the key does not exist
    #[command(after_help = EXIT_CODES)]
    Get(GetArgs),
    /// Store a value; prints OK once a majority has it on disk
    #[command(after_help = SET_NOTES, visible_alias = "put")]
    Set(SetArgs),
    /// Delete a key; prints how many were deleted
    #[command(after_help = EXIT_CODES, visible_alias = "rm")]
    Del(DelArgs),
    /// Read keys in bytewise order
    #[command(after_help = EXIT_CODES)]
    List(ListArgs),
    /// Show the status of every endpoint
    #[command(after_help = EXIT_CODES)]
    Status(StatusArgs),
    /// Show whether every endpoint can serve linearizable reads
    #[command(after_help = EXIT_CODES)]
    Health(StatusArgs),
    /// Print the log of a stopped node as JSON, one entry per line
    #[command(after_help = EXIT_CODES)]
    Log(LogArgs),
    /// Print the configuration that `serve` would use, and where each value came from
    Config(ServeArgs),
    /// Print completions for a shell
    #[command(after_help = COMPLETION_EXAMPLES)]
    Completions(CompletionArgs),
    /// Print a manual page
    Man(ManArgs),
    /// Print the version
    Version,
}

const SET_NOTES: &str = "\
Examples:
  lograft set greeting hello
  lograft set answer -- -42                      store a value that begins with a dash
  printf hello | lograft set greeting            store the value from stdin, byte for byte
  lograft set lock mine --if-mod-revision 0      store it only if the key does not exist
  lograft set empty ''                           store an empty value; nothing on stdin is taken for a mistake

A write is sent once. If its response is lost, the exit code is 1 and stderr says \"outcome unknown\": read before you
send it again, or use --if-mod-revision.";

const COMPLETION_EXAMPLES: &str = "\
Examples:
  source <(lograft completions bash)
  lograft completions zsh > ~/.zfunc/_lograft
  lograft completions fish > ~/.config/fish/completions/lograft.fish";

#[derive(Debug, Args)]
pub(super) struct CompletionArgs {
    /// The shell
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct ManArgs {
    /// The verb to document; absent: the program
    pub(super) verb: Option<String>,
}

/// Where the client verbs connect to, and how they print.
#[derive(Clone, Debug, Args)]
pub(super) struct ClientArgs {
    /// Where the nodes listen for clients; if one cannot be reached or is slow, the next is tried
    #[arg(
        long,
        value_name = "HOST:PORT,…",
        env = "LOGRAFT_ENDPOINTS",
        value_parser = Endpoints::parse,
        default_value = DEFAULT_ENDPOINT
    )]
    pub(super) endpoints: Endpoints,
    /// How to print
    #[arg(short = 'w', long, value_name = "FORMAT", value_enum, default_value_t = Format::Simple)]
    pub(super) write_out: Format,
    /// How long to wait for the response
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "5s")]
    pub(super) command_timeout: Duration,
    /// How long each endpoint may take to accept a connection and to say something on it
    #[arg(long, value_name = "DURATION", value_parser = patience, default_value = "2s")]
    pub(super) dial_timeout: Duration,
}

const DEFAULT_ENDPOINT: &str = "127.0.0.1:2379";

/// Where the client verbs connect to.
#[derive(Clone, Debug)]
pub(super) struct Endpoints(Vec<HttpUrl>);

impl Endpoints {
    /// Reads a list with commas between its items, or after the last one. The list may be empty: see [`Self::urls`].
    fn parse(text: &str) -> Result<Self, String> {
        let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
        items.map(HttpUrl::parse_endpoint).collect::<Result<_, _>>().map(Self)
    }

    /// At least one: a variable that is set to nothing is as good as none.
    pub(super) fn urls(&self) -> Vec<HttpUrl> {
        match self.0.as_slice() {
            [] => vec![HttpUrl::parse_endpoint(DEFAULT_ENDPOINT).expect("the default is an endpoint")],
            urls => urls.to_vec(),
        }
    }
}

fn patience(text: &str) -> Result<Duration, String> {
    // A day is longer than anybody waits for one command, and far below where timers overflow.
    parse_duration(text, Duration::from_millis(1)..=Duration::from_secs(86_400))
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
    /// Read the endpoint's own map at once; it may be behind
    #[arg(long)]
    pub(super) serializable: bool,
    /// Print only the value
    #[arg(long)]
    pub(super) print_value_only: bool,
    /// Fail with exit code 4 if the key does not exist
    #[arg(long)]
    pub(super) fail: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The key
    pub(super) key: String,
    /// The value; absent or "-": read it from stdin. Only with "-" stdin may be empty
    pub(super) value: Option<String>,
    /// Write only if the key's mod_revision is this; 0: only if the key does not exist
    #[arg(long, value_name = "REVISION")]
    pub(super) if_mod_revision: Option<u64>,
    /// Also print the previous value
    #[arg(long)]
    pub(super) prev_kv: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct DelArgs {
    /// The key
    pub(super) key: String,
    /// Delete only if the key's mod_revision is this
    #[arg(long, value_name = "REVISION")]
    pub(super) if_mod_revision: Option<u64>,
    /// Also print the previous value
    #[arg(long)]
    pub(super) prev_kv: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// Print only keys that begin with this
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) prefix: String,
    /// Print only keys that sort after this one
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub(super) start_after: String,
    /// Print at most this many keys; 0: all
    #[arg(long, value_name = "KEYS", default_value_t = 0)]
    pub(super) limit: u64,
    /// Print only the keys
    #[arg(long)]
    pub(super) keys_only: bool,
    /// Read the endpoint's own map at once; it may be behind
    #[arg(long)]
    pub(super) serializable: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Ask an endpoint for the members of the cluster, then each of them
    #[arg(long)]
    pub(super) cluster: bool,
    #[command(flatten)]
    pub(super) client: ClientArgs,
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// The node's data directory
    pub(super) dir: PathBuf,
    /// Begin at this index
    #[arg(long, value_name = "INDEX", default_value_t = 0)]
    pub(super) from: u64,
    /// Print at most this many lines; 0: all
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    pub(super) limit: u64,
    /// Print every record in the files: also terms and votes, sync markers, and entries that were replaced
    #[arg(long)]
    pub(super) records: bool,
}

/// Flags for the nodes may follow after `--`.
#[derive(Debug, Args)]
#[command(after_help = "\
Ports: node 1 serves clients on 2379 and peers on 2380. Node i from 2 to 6 adds i0000
(22379 and 22380, 32379 and 32380, …), node i from 7 to 9 adds i00 (3079 and 3080, …).
With --base-client-port P, node i serves clients on P + 2(i − 1) and peers on the next
port.

Each node logs to DIR/NAME.log. The nodes end with this process, however it ends.")]
pub(super) struct ClusterArgs {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    pub(super) nodes: u16,
    /// The directory for the nodes' data directories: n1.lograft, n2.lograft, …
    #[arg(long, value_name = "DIR", default_value = "./lograft-data")]
    pub(super) data_dir: PathBuf,
    /// Do not restart a node that died
    #[arg(long)]
    pub(super) no_restart: bool,
    /// Use the ports from this one on instead of those below
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) base_client_port: Option<u16>,
    /// Flags for each node: lograft cluster -- --log-level debug
    #[arg(last = true, value_name = "SERVE-FLAGS")]
    pub(super) serve_flags: Vec<String>,
}

/// The flags of `serve` and `config`: pairs of a setting and its value.
#[derive(Clone, Debug, Default)]
pub(super) struct ServeArgs {
    pub(super) flags: Vec<(String, String)>,
    /// Stop when stdin ends: the process that started this node is gone.
    pub(super) exit_on_stdin_eof: bool,
}

const EXIT_ON_STDIN_EOF: &str = "exit-on-stdin-eof";

impl FromArgMatches for ServeArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let names = SETTINGS.iter().map(|setting| setting.name).chain([CONFIG_FILE_SETTING]);
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
            .help("Stop when stdin ends");
        SETTINGS.iter().fold(command.arg(file).arg(parent), |command, setting| command.arg(flag(setting)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Clap only carries the text: the configuration parses it, for it may come from the environment or a file too.
fn flag(setting: &Setting) -> Arg {
    let default = setting.default.map_or(String::new(), |default| format!(" [default: {default}]"));
    Arg::new(setting.name)
        .long(setting.name)
        .value_name(setting.value_name)
        .help(format!("{}{default} [env: {}]", setting.help, env_name(setting.name)))
        .help_heading(setting.group)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_sound() {
        command().debug_assert();
    }

    fn read(arguments: &[&str]) -> Result<Cli, clap::Error> {
        parse([&["lograft"], arguments].concat(), ColorChoice::Never)
    }

    fn endpoints(cli: Cli) -> Vec<String> {
        let Verb::Get(args) = cli.verb else { panic!("a get") };
        args.client.endpoints.urls().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_flags_of_the_client_verbs_may_come_before_the_verb() {
        let cli = read(&["--endpoints", "a:1", "-w", "json", "--command-timeout", "7s", "get", "k"]).unwrap();
        let Verb::Get(args) = &cli.verb else { panic!("a get") };
        assert_eq!(
            (args.client.write_out, args.client.command_timeout),
            (Format::Json, Duration::from_secs(7))
        );
        assert_eq!(endpoints(cli), ["http://a:1"]);
        assert_eq!(endpoints(read(&["get", "k", "--endpoints", "b:2"]).unwrap()), ["http://b:2"]);
        for verb in [&["serve"][..], &["cluster"], &["config"], &["log", "d"], &["version"]] {
            for flags in [[&["--endpoints", "a:1"][..], verb].concat(), [verb, &["-w", "json"]].concat()] {
                let refused = read(&flags).unwrap_err().to_string();
                assert!(refused.contains("is a flag of the client verbs"), "{flags:?}: {refused}");
            }
        }
    }

    #[test]
    fn a_list_of_endpoints_may_end_with_a_comma_and_the_flag_must_not_be_empty() {
        assert_eq!(
            endpoints(read(&["get", "k", "--endpoints", "a:1, b:2,"]).unwrap()),
            ["http://a:1", "http://b:2"]
        );
        for nothing in ["", ",", " "] {
            let refused = read(&["get", "k", "--endpoints", nothing]).unwrap_err().to_string();
            assert!(refused.contains("names no endpoint"), "{refused}");
            assert_eq!(Endpoints::parse(nothing).unwrap().urls().len(), 1, "a variable may be empty");
        }
    }

    #[test]
    fn verbs_have_the_names_that_others_use_and_help_takes_a_verb() {
        assert!(matches!(read(&["put", "k", "v"]).unwrap().verb, Verb::Set(_)));
        assert!(matches!(read(&["rm", "k"]).unwrap().verb, Verb::Del(_)));
        let help = read(&["help", "serve"]).unwrap_err();
        assert!(help.kind() == ErrorKind::DisplayHelp && help.to_string().contains("--data-dir"), "{help}");
    }

    #[test]
    fn a_value_may_begin_with_a_dash_after_two_of_them() {
        let cli = Cli::try_parse_from(["lograft", "set", "answer", "--", "-42"]).unwrap();
        let Verb::Set(args) = cli.verb else { panic!("a set") };
        assert_eq!(args.value.as_deref(), Some("-42"));
    }

    #[test]
    fn endpoints_are_a_list() {
        let cli = Cli::try_parse_from(["lograft", "get", "k", "--endpoints", "a:1,http://b:2"]).unwrap();
        let Verb::Get(args) = cli.verb else { panic!("a get") };
        let shown: Vec<String> = args.client.endpoints.urls().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["http://a:1", "http://b:2"]);
    }

    #[test]
    fn the_readme_tells_each_limit_with_its_default() {
        let readme = include_str!("../../README.md");
        let flags: Vec<&str> = readme.lines().filter_map(|line| line.strip_prefix("| `--")).collect();
        let told: Vec<(&str, Option<&str>)> =
            flags.iter().map(|row| (row.split('`').next().unwrap_or(row), row.split(" | ").nth(1))).collect();
        let settings = SETTINGS.iter().filter(|setting| ["Limits", "Timing"].contains(&setting.group));
        let settings: Vec<_> = settings.map(|setting| (setting.name, setting.default)).collect();
        for setting in &settings {
            assert!(told.contains(setting), "the README has no row for {setting:?}: {told:?}");
        }
        assert_eq!(told.len(), settings.len(), "a row of the README has no setting: {told:?}");
    }

    #[test]
    fn serve_keeps_only_what_was_said() {
        let cli = Cli::try_parse_from(["lograft", "serve", "--max-key-bytes", "7"]).unwrap();
        let Verb::Serve(args) = cli.verb else { panic!("a serve") };
        assert_eq!(args.flags, [("max-key-bytes".to_owned(), "7".to_owned())]);
        assert!(!args.exit_on_stdin_eof);
    }
}
