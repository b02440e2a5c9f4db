//! The identity of a node: made from the configuration at the first start, and compared with it at every later one.
//!
//! The cluster's id is a hash of the token and the sorted first members, so that members that were told the same agree
//! on it without talking; a node's id is a hash of the cluster's and its name. A node that was told of no cluster draws
//! its cluster's id at random: two lone nodes must not take each other for one cluster. The hash is XXH3 with 64 bits,
//! the same on every machine and in every version. It keeps mistakes apart; it is no defence against an attacker.

use twox_hash::XxHash3_64;

use lograft_types::{ClusterId, Identity, Member, NodeId};

use super::error::ConfigError;
use super::server::ServerConfig;

/// What a new data directory is stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// The cluster and this node.
    pub identity: Identity,
    /// The first members, by name; this node is one of them.
    pub members: Vec<Member>,
}

/// What a data directory says about itself.
#[derive(Clone, Copy, Debug)]
pub struct Existing<'a> {
    /// The cluster and the node.
    pub identity: Identity,
    /// The node's name.
    pub name: &'a str,
}

impl ServerConfig {
    /// The identity of a new data directory. `random` decides the cluster's id of a lone node, and only that.
    ///
    /// # Errors
    /// If the configuration says that the cluster exists already: joining one is not supported yet.
    pub fn found(&self, random: u64) -> Result<Founded, ConfigError> {
        self.may_found()?;
        let cluster = self.derived_cluster_id().unwrap_or_else(|| ClusterId::new(random.max(1)));
        let member = |name: &str, url: String| Member {
            id: node_id(cluster, name),
            name: name.to_owned(),
            peer_urls: vec![url],
        };
        let members: Vec<Member> = match &self.initial_cluster {
            Some(initial) => initial.iter().map(|(name, url)| member(name, url.to_string())).collect(),
            None => vec![member(&self.name, self.peer_url.to_string())],
        };
        let mut ids: Vec<NodeId> = members.iter().map(|member| member.id).collect();
        ids.sort();
        ids.dedup();
        if ids.len() < members.len() {
            return Err(ConfigError::Contradiction(
                "two members' names have the same hash: use another --initial-cluster-token".to_owned(),
            ));
        }
        Ok(Founded { identity: Identity { cluster, node: node_id(cluster, &self.name) }, members })
    }

    /// Whether an empty data directory may become this node's.
    ///
    /// # Errors
    /// If the configuration says that the cluster exists already.
    pub fn may_found(&self) -> Result<(), ConfigError> {
        if !self.join_existing {
            return Ok(());
        }
        Err(ConfigError::Contradiction(format!(
            "--initial-cluster-state existing: {} holds no node, and a node cannot join a running cluster yet. If this \
             member had a data directory, put that very directory back: an empty one in its place can lose \
             acknowledged writes. Only the members of a new cluster start with --initial-cluster-state new",
            self.data_dir.display()
        )))
    }

    /// Compares the configuration with what the data directory says about itself. Returns warnings:
    /// the settings that are set but not read, unless they describe the very cluster that the directory belongs to.
    ///
    /// # Errors
    /// If the directory belongs to another node or another cluster.
    pub fn reconcile(&self, existing: &Existing<'_>) -> Result<Vec<String>, ConfigError> {
        let dir = self.data_dir.display();
        let Identity { cluster, node } = existing.identity;
        if existing.name != self.name {
            return Err(ConfigError::OtherDirectory(format!(
                "{dir} belongs to node {}, not to {}: give --name {0}, or another --data-dir",
                existing.name, self.name
            )));
        }
        let described = self.derived_cluster_id();
        if let Some(described) = described.filter(|described| *described != cluster) {
            return Err(ConfigError::OtherDirectory(format!(
                "{dir} belongs to cluster {cluster}, --initial-cluster and --initial-cluster-token describe \
                 {described}: drop these two (they are read at the first start only), or give another --data-dir"
            )));
        }
        if node != node_id(cluster, &self.name) {
            return Err(ConfigError::OtherDirectory(format!(
                "{dir} says that it is node {node}, but {} of cluster {cluster} is {}: give another --data-dir",
                self.name,
                node_id(cluster, &self.name)
            )));
        }
        // What agrees with the directory needs no warning: a unit file or a compose file gives it at every start.
        if self.initial_given.is_empty() || described.is_some() {
            return Ok(Vec::new());
        }
        let flags: Vec<String> = self.initial_given.iter().map(|name| format!("--{name}")).collect();
        Ok(vec![format!(
            "ignored: {}: read at the first start only, and {dir} is node {} of cluster {cluster} already",
            flags.join(", "),
            self.name
        )])
    }

    /// The cluster's id as the settings describe it; `None`: they describe none, this node is alone.
    fn derived_cluster_id(&self) -> Option<ClusterId> {
        let initial = self.initial_cluster.as_ref()?;
        let mut text = format!("lograft cluster 1\n{}\n", self.token);
        // A map by name: the order in which the members were written does not matter.
        for (name, url) in initial {
            text.push_str(&format!("{name}={url}\n"));
        }
        Some(ClusterId::new(XxHash3_64::oneshot(text.as_bytes()).max(1)))
    }
}

fn node_id(cluster: ClusterId, name: &str) -> NodeId {
    // The text that is hashed can never change, however ids are shown.
    let text = format!("lograft node 1\n{:016x}\n{name}", cluster.get());
    NodeId::new(XxHash3_64::oneshot(text.as_bytes()).max(1))
}
