//! Data directories on which a node must not start: it prints one line with the reason and the remedy, exits
//! with code 1, and never panics.
//!
//! The tests may run as root, for whom file modes are no obstacle: the unwritable paths here are unwritable
//! for any user.

use std::fs;
use std::path::Path;

use crate::support::{Cluster, run};

/// Runs a command that must not start a node. Returns its one line on stderr.
#[track_caller]
fn refused(arguments: &[String]) -> String {
    let (code, _, errors) = run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(code, 1, "{errors}");
    let said: Vec<_> = errors.lines().filter(|line| line.starts_with("lograft: ")).collect();
    assert_eq!(said.len(), 1, "expected one line: {errors}");
    assert!(!errors.contains("panicked"), "{errors}");
    said[0].to_owned()
}

fn serve_in(data_dir: &Path) -> Vec<String> {
    let listen = |what| format!("--listen-{what}-urls=http://127.0.0.1:0");
    vec![
        "serve".to_owned(),
        listen("client"),
        listen("peer"),
        "--advertise-client-urls=http://127.0.0.1:1".to_owned(),
        "--initial-advertise-peer-urls=http://127.0.0.1:2".to_owned(),
        format!("--data-dir={}", data_dir.display()),
    ]
}

#[test]
fn a_directory_that_cannot_be_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("file");
    fs::write(&file, "text").expect("writable");
    for path in [file.join("below"), file.clone(), "/proc/lograft".into(), "/proc/self".into()] {
        let said = refused(&serve_in(&path));
        assert!(said.contains(path.to_str().expect("text")), "{said}");
    }
    assert_eq!(fs::read_to_string(&file).expect("still there"), "text");
}

#[test]
fn a_directory_of_something_else() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("thesis.txt"), "precious").expect("writable");
    let said = refused(&serve_in(dir.path()));
    assert!(said.contains(dir.path().to_str().expect("text")), "{said}");
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 1, "files were added");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_a_newer_format() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.terminate();
    let metas = fs::read_dir(&node.data_dir).expect("readable").map(|entry| entry.expect("an entry").path());
    let meta = metas
        .filter(|path| path.is_file())
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("format_version")))
        .expect("a file with the version");
    let text = fs::read_to_string(&meta).expect("text");
    let mut stamped: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    stamped["format_version"] = 99.into();
    fs::write(&meta, stamped.to_string()).expect("writable");
    let said = refused(&node.arguments());
    assert!(said.contains("99") && said.contains("newer lograft"), "{said}");
    fs::write(&meta, text).expect("writable");
    node.start();
    node.eventually_gets("ready", |_| true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_35_a_directory_of_another_node() {
    let mut cluster = Cluster::start(3).await;
    cluster.nodes.iter_mut().for_each(|node| assert!(node.terminate().success()));
    let theirs = format!("--data-dir={}", cluster.nodes[1].data_dir.display());
    let mut arguments = cluster.nodes[0].arguments();
    arguments
        .iter_mut()
        .find(|argument| argument.starts_with("--data-dir"))
        .expect("the flag is set")
        .clone_from(&theirs);
    let said = refused(&arguments);
    assert!(said.contains("n1") && said.contains("n2"), "{said}");
}
