//! For `tests/fuzz`: any bytes as a command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use clap::ColorChoice;
use clap::error::ErrorKind;

use super::args::{self, ClientArgs, ClusterArgs, ServeArgs, Verb};
use super::exit::one_line;
use crate::config::{HttpUrl, Layers, ServerConfig};

/// Any arguments, each ended by a zero byte, as `/proc` shows those of a process.
///
/// They are taken, or refused in one line; what is taken is within the bounds that the help tells.
pub fn arguments(bytes: &[u8]) -> &'static str {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    let arguments = bytes.split(|byte| *byte == 0).map(|argument| OsStr::from_bytes(argument).to_owned());
    let cli = match args::parse(std::iter::once("lograft".into()).chain(arguments), ColorChoice::Never) {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return "help";
        }
        Err(error) => {
            let said = one_line(&error.render().to_string());
            assert!(!said.contains('\n'), "one line: {said:?}");
            return "refused";
        }
    };
    match cli.verb {
        Verb::Serve(args) | Verb::Config(args) => serve(&args),
        Verb::Cluster(args) => cluster(&args),
        Verb::Get(args) => client(&args.client),
        Verb::Set(args) => client(&args.client),
        Verb::Del(args) => client(&args.client),
        Verb::List(args) => client(&args.client),
        Verb::Status(args) | Verb::Health(args) => client(&args.client),
        Verb::Log(_) => "log",
        Verb::Completions(_) | Verb::Man(_) | Verb::Version => "help",
    }
}

/// Flags mean the same whether they are checked here or in `lograft config`; no file is opened.
fn serve(args: &ServeArgs) -> &'static str {
    let layers = Layers::merge(&args.flags, &|_| None, None).expect("flags alone can be merged");
    if let Err(error) = ServerConfig::from_layers(&layers) {
        assert!(!error.to_string().contains('\n'), "one line: {error}");
    }
    "serve"
}

fn cluster(args: &ClusterArgs) -> &'static str {
    assert!((1..=9).contains(&args.nodes));
    super::cluster::check_plan(args);
    "cluster"
}

fn client(args: &ClientArgs) -> &'static str {
    let endpoints = args.endpoints.urls();
    assert!(!endpoints.is_empty());
    for endpoint in &endpoints {
        assert_eq!(HttpUrl::parse_endpoint(&endpoint.to_string()).as_ref(), Ok(endpoint));
    }
    let waits = Duration::from_millis(1)..=Duration::from_secs(86_400);
    assert!(waits.contains(&args.command_timeout) && waits.contains(&args.dial_timeout));
    "client"
}
