//! Reads every key back through a node, page by page, as part of the history.

use std::collections::BTreeSet;
use std::time::Duration;

use lograft::client::{Client, Options};
use lograft::proto::v1;
use tokio::time::Instant;

use crate::history::{Ask, Clock, Heard, Operation};
use crate::support::{Cluster, PATIENCE, pause};

/// The longest attempt at one page: the cluster is healthy.
const DEADLINE: Duration = Duration::from_secs(10);
/// The client number of the sweeper.
pub(crate) const SWEEPER: usize = 999;

/// Reads all keys that begin with `prefix` through a node. A List is a linearizable read of each key in its
/// pages, and of each key of `asked_for` that its pages leave out.
pub(crate) async fn sweep(
    cluster: &Cluster,
    node: usize,
    prefix: &str,
    asked_for: &BTreeSet<&str>,
    clock: Clock,
) -> Vec<Operation> {
    let client = Client::new(&Options {
        endpoints: vec![format!("127.0.0.1:{}", cluster.nodes[node].client_port)],
        dial_timeout: DEADLINE,
        command_timeout: DEADLINE,
    });
    let client = client.expect("an address");
    let mut start_after = String::new();
    let mut operations = Vec::new();
    let absent: BTreeSet<&str> = asked_for.iter().copied().filter(|key| key.starts_with(prefix)).collect();
    loop {
        let request = v1::ListRequest {
            prefix: prefix.to_owned(),
            start_after: start_after.clone(),
            ..v1::ListRequest::default()
        };
        let begun = Instant::now();
        let (asked_at, page) = loop {
            let asked_at = clock.now();
            match client.list(request.clone()).await {
                Ok(page) => break (asked_at, page),
                // On a busy machine a leader may be replaced without any fault.
                Err(error) => {
                    let node = &cluster.nodes[node];
                    assert!(begun.elapsed() < PATIENCE, "{}: {error}\n{}", node.name, node.log_tail());
                    pause().await;
                }
            }
        };
        let heard_at = clock.now();
        let revision = page.header.expect("each response has a header").revision;
        let read = |key: String, found| Operation {
            client: SWEEPER,
            node,
            life: None,
            by: "List",
            key,
            ask: Ask::Get { serializable: false },
            heard: Heard::Got { found, revision },
            asked_at,
            heard_at,
        };
        let last = page.kvs.last().map(|kv| kv.key.clone());
        let here = |key: &&str| {
            *key > start_after.as_str() && (!page.more || last.as_deref().is_some_and(|last| *key <= last))
        };
        let present: BTreeSet<&str> = page.kvs.iter().map(|kv| kv.key.as_str()).collect();
        let missing = absent.iter().copied().filter(here).filter(|key| !present.contains(key));
        operations.extend(missing.map(|key| read(key.to_owned(), None)));
        operations.extend(
            page.kvs.iter().map(|kv| read(kv.key.clone(), Some((kv.value.clone(), kv.mod_revision)))),
        );
        match last {
            Some(last) if page.more => start_after = last,
            _ => return operations,
        }
    }
}
