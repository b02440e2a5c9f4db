//! The program as scripts see it: exit codes, one line on stderr, output.

#[path = "support/ports.rs"]
mod ports;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ports::free_ports;

const OK: i32 = 0;
const ERROR: i32 = 1;
const BAD_CONNECTION: i32 = 2;
const INVALID_INPUT: i32 = 3;
const NO_SUCH_KEY: i32 = 4;
const BAD_ARGUMENTS: i32 = 128;

fn lograft(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lograft"));
    // The environment of the tests must not leak in.
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    lograft(arguments).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Runs a command that must fail with this code and one line on stderr. Returns the line.
#[track_caller]
fn fails(mut command: Command, code: i32) -> String {
    let output = command.output().unwrap();
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{line}");
    assert_eq!(line.lines().count(), 1, "expected one line on stderr: {line:?}");
    assert!(line.starts_with("lograft: ") && !line.contains("panicked"), "{line:?}");
    line
}

#[track_caller]
fn assert_says(line: &str, parts: &[&str]) {
    for part in parts {
        assert!(line.contains(part), "{line:?} does not say {part:?}");
    }
}

/// An address that nothing listens on.
fn nobody() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn help_and_version_go_to_stdout_and_are_no_failure() {
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["cluster", "--help"],
        &["set", "--help"],
        &["man", "--help"],
        &["help"],
        &["help", "serve"],
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(OK), "{arguments:?}");
        assert!(output.stderr.is_empty());
        assert_says(&stdout(&output), &["Usage:", "lograft"]);
    }
    let help = stdout(&run(&["--help"]));
    assert_says(
        &help,
        &["Exit codes:", "LOGRAFT_ENDPOINTS", "Examples:", "128", "completions", "man", "--color"],
    );
    let help = stdout(&run(&["serve", "--help"]));
    assert_says(
        &help,
        &["--max-value-bytes", "LOGRAFT_MAX_VALUE_BYTES", "--initial-cluster", "--config-file", "100ms"],
    );
    for arguments in [&["--version"][..], &["version"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(OK));
        assert_eq!(stdout(&output), format!("lograft {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn without_a_verb_the_help_is_shown_and_the_code_is_that_of_bad_arguments() {
    let output = run(&[]);
    assert_eq!(output.status.code(), Some(BAD_ARGUMENTS));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}

#[test]
fn bad_arguments_are_told_in_one_line_with_code_128() {
    for (arguments, says) in [
        (&["serve", "--nme", "n1"][..], &["--nme", "--name"][..]),
        (&["fly"], &["fly"]),
        (&["get"], &["<KEY>"]),
        (&["get", "k", "--endpoints", "nowhere"], &["nowhere", "no port"]),
        (&["get", "k", "--endpoints", ""], &["--endpoints names no endpoint"]),
        (&["--endpoints", "a:1", "serve"], &["--endpoints is a flag of the client verbs", "serve does not"]),
        (&["help", "fly"], &["fly"]),
        (&["get", "k", "--command-timeout", "soon"], &["soon", "5s"]),
        (&["get", "k", "--command-timeout", "5"], &["\"5\"", "5s"]),
        (&["get", "k", "--color", "green"], &["green", "auto", "never"]),
        (&["completions", "tcsh"], &["tcsh", "bash"]),
        (&["man", "fly"], &["fly", "serve"]),
        (&["get", "k", "-w", "xml"], &["xml", "json"]),
        (&["set", "k", "v", "--if-mod-revision", "-1"], &["-1"]),
        (&["set", "answer", "-42"], &["-4"]),
        (&["cluster", "--nodes", "0"], &["1..=9"]),
        (&["cluster", "--nodes", "10"], &["1..=9"]),
        (&["cluster", "--base-client-port", "65535"], &["--base-client-port", "65530"]),
    ] {
        assert_says(&fails(lograft(arguments), BAD_ARGUMENTS), says);
    }
}

#[test]
fn a_configuration_that_contradicts_itself_is_told_in_one_line_with_code_128() {
    let three = "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380";
    for (flags, says) in [
        (&["--name", "n4", "--initial-cluster", three][..], &["n4", "not in --initial-cluster"][..]),
        (&["--initial-cluster", "default=http://a:1,default=http://b:1"], &["default", "twice"]),
        (&["--initial-cluster", "default=http://a:1,n2=http://a:1"], &["http://a:1", "same URL"]),
        (&["--advertise-client-urls", "http://0.0.0.0:2379"], &["0.0.0.0", "nobody can reach"]),
        (&["--listen-client-urls", "http://0.0.0.0:2379"], &["--advertise-client-urls"]),
        (&["--listen-client-urls", "https://127.0.0.1:2379"], &["TLS"]),
        (&["--election-timeout", "100ms"], &["five times"]),
        (&["--request-timeout", "5"], &["--request-timeout", "5s"]),
        (&["--max-value-bytes", "2MiB"], &["raise --max-request-bytes"]),
        (&["--config-file", "/nowhere/lograft.toml"], &["/nowhere/lograft.toml"]),
    ] {
        for verb in ["serve", "config"] {
            let arguments = [&[verb], flags].concat();
            assert_says(&fails(lograft(&arguments), BAD_ARGUMENTS), says);
        }
    }
}

#[test]
fn config_prints_the_merged_result_and_where_each_value_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lograft.toml");
    std::fs::write(&file, "heartbeat-interval = 50\nmax-key-bytes = 50\nrequest-timeout = \"1s\"\n").unwrap();
    let mut command = lograft(&["config", "--max-key-bytes", "70"]);
    command.env("LOGRAFT_CONFIG_FILE", &file);
    command.env("LOGRAFT_MAX_KEY_BYTES", "60").env("LOGRAFT_REQUEST_TIMEOUT", "2s");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(OK));
    let text = stdout(&output);
    let from_file = format!("heartbeat-interval = \"50ms\"  # file, {}:1", file.display());
    assert_says(
        &text,
        &[
            "max-key-bytes = 70  # flag",
            "request-timeout = \"2s\"  # environment, LOGRAFT_REQUEST_TIMEOUT",
            &from_file,
            "max-value-bytes = \"1MiB\"  # default",
        ],
    );
    // The output is a valid configuration file.
    let printed = dir.path().join("printed.toml");
    std::fs::write(&printed, &text).unwrap();
    let again = run(&["config", "--config-file", printed.to_str().unwrap()]);
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  #").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&stdout(&again)), values(&text));
}

#[test]
fn an_unknown_key_of_the_file_is_named_with_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lograft.toml");
    std::fs::write(&file, "name = \"n1\"\nheart-beat = 50\n").unwrap();
    let line = fails(lograft(&["config", "--config-file", file.to_str().unwrap()]), BAD_ARGUMENTS);
    assert_says(&line, &["lograft.toml:2", "heart-beat"]);
}

#[test]
fn completions_for_each_shell_name_verbs_and_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = run(&["completions", shell]);
        assert_eq!(output.status.code(), Some(OK), "{shell}");
        assert!(output.stderr.is_empty());
        assert_says(&stdout(&output), &["lograft", "serve", "max-value-bytes", "command-timeout"]);
    }
    assert_says(&stdout(&run(&["completions", "--help"])), &["bash", "zsh", "fish"]);
    // The flags that are taken before a verb are offered where they are documented.
    let script = stdout(&run(&["completions", "bash"]));
    let serve = script.lines().find(|line| line.contains("--initial-cluster-token")).unwrap();
    assert!(!serve.contains("--endpoints"), "{serve}");
}

#[test]
fn bash_takes_its_completions_and_completes_a_verb() {
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("lograft.bash");
    std::fs::write(&script, run(&["completions", "bash"]).stdout).unwrap();
    let test = "source \"$1\"; COMP_WORDS=(lograft se); COMP_CWORD=1; _lograft lograft se lograft; echo \"${COMPREPLY[@]}\"";
    let output = Command::new("bash").args(["-c", test, "bash"]).arg(&script).output().unwrap();
    assert_eq!(stdout(&output), "serve set\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn manual_pages_of_the_program_and_of_each_verb() {
    let page = stdout(&run(&["man"]));
    assert_says(&page, &[".TH lograft 1", ".SH SYNOPSIS", "LOGRAFT_ENDPOINTS", "serve"]);
    for (verb, says) in [("serve", "max\\-value\\-bytes"), ("get", "serializable"), ("man", "VERB")] {
        let page = stdout(&run(&["man", verb]));
        assert_says(&page, &[&format!(".TH lograft\\-{verb} 1").replace("\\-", "-"), ".SH SYNOPSIS", says]);
    }
}

#[test]
fn colors_are_used_when_asked_for_and_never_in_what_programs_read() {
    let escapes = |command: &mut Command| command.output().unwrap().stdout.contains(&0x1b);
    for always in [&["--color", "always", "--help"][..], &["serve", "--help", "--color=always"]] {
        assert!(escapes(&mut lograft(always)), "{always:?}");
        assert!(escapes(lograft(always).env("NO_COLOR", "1")), "the flag takes precedence");
    }
    // Stdout is no terminal here.
    for plain in [&["--help"][..], &["--color", "auto", "--help"], &["--color=never", "serve", "--help"]] {
        assert!(!escapes(&mut lograft(plain)), "{plain:?}");
    }
    for machine in [&["config", "--color", "always"][..], &["man", "--color", "always"]] {
        assert!(!escapes(&mut lograft(machine)), "{machine:?}");
    }
    fails(lograft(&["fly", "--color", "always"]), BAD_ARGUMENTS);
}

#[test]
fn the_log_of_serve_is_colored_when_asked_for() {
    for (color, colored) in [("always", true), ("auto", false), ("never", false)] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = lograft(&["serve", "--color", color]);
        command.arg("--listen-client-urls=http://127.0.0.1:0").arg("--listen-peer-urls=http://127.0.0.1:0");
        command.arg("--advertise-client-urls=http://127.0.0.1:1");
        command.arg("--initial-advertise-peer-urls=http://127.0.0.1:2").arg("--data-dir").arg(dir.path());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(line.contains("INFO"), "{color}: {line:?}");
        assert_eq!(line.contains('\x1b'), colored, "{color}: {line:?}");
    }
}

#[test]
fn no_endpoint_is_a_bad_connection_that_names_each() {
    let (one, two) = (nobody(), nobody());
    let endpoints = format!("{one},{two}");
    for verb in [&["get", "k"][..], &["set", "k", "v"], &["del", "k"], &["list"]] {
        let line = fails(lograft(&[verb, &["--endpoints", &endpoints]].concat()), BAD_CONNECTION);
        assert_says(&line, &[&one, &two]);
    }
    for variable in [one.clone(), format!("{one},")] {
        let mut command = lograft(&["get", "k"]);
        command.env("LOGRAFT_ENDPOINTS", variable);
        assert_says(&fails(command, BAD_CONNECTION), &[&one]);
    }
    assert_says(&fails(lograft(&["--endpoints", &one, "get", "k"]), BAD_CONNECTION), &[&one]);
    let output = run(&["-w", "table", "--endpoints", &endpoints, "status"]);
    assert_eq!(output.status.code(), Some(BAD_CONNECTION));
    assert_says(&stdout(&output), &[&one, &two, "unreachable"]);
    let output = run(&["health", "--endpoints", &endpoints]);
    assert_eq!(output.status.code(), Some(BAD_CONNECTION));
    assert_says(&stdout(&output), &[&format!("{one}, unhealthy: "), &format!("{two}, unhealthy: ")]);
    let output = run(&["status", "-w", "json", "--endpoints", &endpoints]);
    assert_eq!(output.status.code(), Some(BAD_CONNECTION));
    assert_says(&stdout(&output), &["\"error\"", &one, &two]);
}

#[test]
fn a_value_from_stdin_that_is_not_utf_8_is_invalid_input() {
    for arguments in [&["set", "k"][..], &["set", "k", "-"]] {
        let mut child = lograft(arguments).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(b"\xff\xfe").unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(INVALID_INPUT));
        assert_says(&String::from_utf8(output.stderr).unwrap(), &["stdin", "not UTF-8"]);
    }
}

#[test]
fn a_set_without_a_value_and_with_nothing_on_stdin_is_invalid_input() {
    // Stdin is /dev/null, as in many scripts.
    let line = fails(lograft(&["set", "k", "--endpoints", &nobody()]), INVALID_INPUT);
    assert_says(&line, &["no value", "stdin is empty", "''"]);
    // These go on to the connection.
    for explicit in ["-", ""] {
        fails(lograft(&["set", "k", explicit, "--endpoints", &nobody()]), BAD_CONNECTION);
    }
}

/// A node of its own cluster. Dropping it kills it.
struct Solo {
    process: Child,
    endpoint: String,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

impl Solo {
    fn start() -> Self {
        let ports = free_ports(2);
        let (client, peer) = (format!("127.0.0.1:{}", ports[0]), format!("127.0.0.1:{}", ports[1]));
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut command = lograft(&["serve", "--name", "solo", "--log-format", "json", "--data-dir"]);
        command.arg(dir.path().join("data"));
        command.arg(format!("--listen-client-urls=http://{client}"));
        command.arg(format!("--listen-peer-urls=http://{peer}"));
        let process = command.stderr(File::create(&log).unwrap()).spawn().unwrap();
        let solo = Self { process, endpoint: client, log, _dir: dir };
        // The bound is far above what a start takes.
        for _ in 0..600 {
            if solo.run(&["health"]).status.success() {
                return solo;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{}", std::fs::read_to_string(&solo.log).unwrap());
    }

    fn command(&self, arguments: &[&str]) -> Command {
        lograft(&[arguments, &["--endpoints", &self.endpoint]].concat())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }
}

impl Drop for Solo {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_running_node_is_asked_by_every_name_of_a_verb() {
    let node = Solo::start();
    let ok = |arguments: &[&str]| {
        let output = node.run(arguments);
        assert_eq!(output.status.code(), Some(OK), "{arguments:?}: {output:?}");
        stdout(&output)
    };
    assert_eq!(ok(&["put", "k", "v"]), "OK\n");
    assert_eq!(ok(&["get", "--fail", "k"]), "k\nv\n");
    assert_eq!(ok(&["rm", "k"]), "1\n");
    assert_eq!(ok(&["get", "k"]), "", "without the flag a missing key is no failure");
    assert_says(&fails(node.command(&["get", "--fail", "k"]), NO_SUCH_KEY), &["no such key"]);
    assert_eq!(ok(&["set", "escape", "\x1b[31mred\x1b[0m"]), "OK\n");
    assert_eq!(ok(&["get", "escape"]), "escape\n\x1b[31mred\x1b[0m\n", "a pipe gets what was stored");

    let endpoint = &node.endpoint;
    assert_eq!(ok(&["health"]), format!("{endpoint}, healthy\n"));
    assert_eq!(
        ok(&["health", "--cluster", "-w", "json"]),
        format!("[{{\"endpoint\":\"{endpoint}\",\"health\":true}}]\n")
    );
    assert_says(&ok(&["status", "--cluster"]), &[&format!("{endpoint}, solo, leader, leader solo, ")]);
    let id = ok(&["status", "-w", "json"]);
    let id: serde_json::Value = serde_json::from_str(&id).unwrap();
    let id = id[0]["status"]["members"][0]["id"].as_str().unwrap();
    assert!(id.parse::<u64>().is_ok(), "ids are decimal: {id}");

    let log = std::fs::read_to_string(&node.log).unwrap();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let role = lines.iter().rfind(|line| line["message"] == "role").unwrap();
    assert!(role["term"].is_u64(), "numbers are numbers: {role}");
    let recovered = lines.iter().find(|line| line["message"] == "recovered the log").unwrap();
    assert!(recovered["term"].is_u64() && recovered["entries"].is_u64(), "{recovered}");
}

#[test]
fn log_of_what_is_no_data_directory_is_invalid_input() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    for path in [path, "/nowhere"] {
        assert_says(&fails(lograft(&["log", path]), INVALID_INPUT), &[path, "not a data directory"]);
    }
}

#[test]
fn a_cluster_whose_port_is_in_use_starts_nothing() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port().min(65_530).to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let arguments = ["cluster", "--base-client-port", &port, "--data-dir", data.to_str().unwrap()];
    let line = fails(lograft(&arguments), ERROR);
    assert_says(&line, &[&port, "--base-client-port", "nothing was started"]);
    assert!(!Path::new(&data).exists());
}

#[test]
fn a_reader_of_stdout_that_has_seen_enough_is_no_panic() {
    let mut child = lograft(&["config"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(OK), "{said}");
    assert_eq!(said, "");
}
