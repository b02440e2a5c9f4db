//! Damaged logs: what a power cut leaves is repaired and reported; what only a fault explains prevents the
//! start.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::{Cluster, Node, run, segments};

/// The segment that contains this text, and the offset.
fn find(node: &Node, text: &str) -> (PathBuf, u64) {
    let mut places = segments(&node.data_dir).into_iter().filter_map(|path| {
        let bytes = fs::read(&path).expect("a segment");
        let found = bytes.windows(text.len()).position(|window| window == text.as_bytes())?;
        Some((path, found as u64))
    });
    places.next().expect("the text is in the log")
}

fn flip_bit(path: &Path, offset: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).expect("a segment");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("readable");
    byte[0] ^= 1;
    file.write_all_at(&byte, offset).expect("writable");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_68_a_flipped_bit_in_the_middle_refuses_the_start() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.set("first", "damaged-value").await.expect("acknowledged");
    node.set("second", "proves that the first was durable").await.expect("acknowledged");
    node.kill();
    let (path, offset) = find(node, "damaged-value");
    flip_bit(&path, offset);

    node.start();
    assert_eq!(node.wait().code(), Some(1));
    let said = fs::read_to_string(node.log_path()).expect("a log");
    let name = path.file_name().expect("a name").to_str().expect("text");
    assert!(said.contains(name) && said.contains("offset"), "{said}");
    // An older directory or an empty one would lose what this node acknowledged.
    assert!(said.contains("Keep this data directory") && said.contains("lose acknowledged writes"), "{said}");
    assert!(!said.contains("new identity") && !said.contains("from a copy"), "{said}");

    flip_bit(&path, offset);
    node.start();
    node.eventually_gets("first", |value| value == Some("damaged-value")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pitfall_67_a_torn_tail_is_cut_and_said() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.set("kept", "1").await.expect("acknowledged");
    node.terminate();
    // What a power cut leaves of a write that was not acknowledged: garbage after the last record.
    let (path, _) = find(node, "kept");
    let bytes = fs::read(&path).expect("a segment");
    let end = bytes.iter().rposition(|byte| *byte != 0).expect("records") as u64 + 1;
    let behind = end.next_multiple_of(8);
    let file = fs::OpenOptions::new().write(true).open(&path).expect("a segment");
    file.write_all_at(&[0xAB; 100], behind).expect("writable");

    node.start();
    node.eventually_gets("kept", |value| value == Some("1")).await;
    let said = fs::read_to_string(node.log_path()).expect("a log");
    assert!(said.contains("torn"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_of_a_stopped_node_is_read_an_entry_a_line() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.set("greeting", "hello").await.expect("acknowledged");
    let directory = node.data_dir.to_str().expect("text").to_owned();
    let (code, _, errors) = run(&["log", &directory]);
    assert_eq!(code, 1, "the log of a running node must not be read");
    assert!(errors.contains("in use"), "{errors}");

    node.kill();
    let (code, output, errors) = run(&["log", &directory]);
    assert_eq!(code, 0, "{errors}");
    let lines: Vec<serde_json::Value> =
        output.lines().map(|line| serde_json::from_str(line).expect("a JSON object on each line")).collect();
    assert!(
        lines
            .iter()
            .any(|line| line["key"] == "greeting" && line["value"] == "hello" && line["command"] == "SET"),
        "{output}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_whose_files_are_gone_is_said_to_be_gone() {
    let mut cluster = Cluster::start(1).await;
    let node = &mut cluster.nodes[0];
    node.set("greeting", "hello").await.expect("acknowledged");
    node.kill();
    for path in segments(&node.data_dir) {
        fs::remove_file(path).expect("a segment");
    }
    let directory = node.data_dir.to_str().expect("text").to_owned();
    let (code, output, errors) = run(&["log", &directory]);
    assert_eq!((code, output.as_str()), (1, ""), "{errors}");
    assert!(errors.contains("begun once") && errors.contains(&directory), "{errors}");

    fs::remove_file(node.data_dir.join("log.started")).expect("the log was begun");
    let (code, output, errors) = run(&["log", &directory]);
    assert_eq!((code, output.as_str()), (1, ""), "{errors}");
    assert!(errors.contains("holds no log") && errors.contains(&directory), "{errors}");
}
