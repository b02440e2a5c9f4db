//! Who listens where, and how each node is started.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use clap::Parser;

use super::super::args::{Cli, ClusterArgs, Verb};
use super::super::exit::one_line;
use super::super::serve;
use super::founding::other_cluster;
use crate::config::ServerConfig;
use lograft_storage::Directory;
use lograft_types::Member;

/// A cluster on this machine.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) nodes: Vec<NodePlan>,
    pub(super) dir: PathBuf,
    serve_flags: Vec<String>,
}

/// One of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NodePlan {
    pub(super) name: String,
    pub(super) client_port: u16,
    pub(super) peer_port: u16,
    pub(super) log_file: PathBuf,
    pub(super) data_dir: PathBuf,
}

impl NodePlan {
    /// Where clients connect to.
    pub(super) fn client(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    /// Where the other nodes connect to.
    pub(super) fn peer(&self) -> String {
        format!("127.0.0.1:{}", self.peer_port)
    }
}

impl Plan {
    /// Lays a cluster out.
    ///
    /// # Errors
    /// If the ports do not suffice.
    pub(super) fn new(args: &ClusterArgs) -> Result<Self, String> {
        let nodes = (1..=args.nodes)
            .map(|number| {
                let client_port = client_port(number, args.base_client_port)?;
                let name = format!("n{number}");
                Some(NodePlan {
                    client_port,
                    peer_port: client_port.checked_add(1)?,
                    log_file: args.data_dir.join(format!("{name}.log")),
                    data_dir: args.data_dir.join(format!("{name}.lograft")),
                    name,
                })
            })
            .collect::<Option<_>>();
        let nodes = nodes.ok_or_else(|| {
            let most = u16::MAX - 2 * args.nodes + 1;
            format!("--base-client-port: {} nodes need ports up to 65535: give at most {most}", args.nodes)
        })?;
        Ok(Self { nodes, dir: args.data_dir.clone(), serve_flags: args.serve_flags.clone() })
    }

    /// Where the nodes' logs are, for people.
    pub(super) fn logs(&self) -> String {
        let names: Vec<String> = self.nodes.iter().map(|node| format!("{}.log", node.name)).collect();
        format!("{}: {}", self.dir.display(), names.join(", "))
    }

    /// The arguments that a node is started with: its directory was made before, and an empty one is refused.
    pub(super) fn arguments(&self, node: usize) -> Vec<String> {
        let mut arguments = self.founding_arguments(node);
        arguments.extend(["--initial-cluster-state".to_owned(), "existing".to_owned()]);
        arguments
    }

    /// The configuration with which a node's directory is made.
    ///
    /// # Errors
    /// What is wrong with the flags for the nodes, the environment or the configuration file.
    pub(super) fn config(&self, node: usize) -> Result<ServerConfig, String> {
        let arguments = std::iter::once("lograft".to_owned()).chain(self.founding_arguments(node));
        let cli = Cli::try_parse_from(arguments).map_err(|error| one_line(&error.render().to_string()))?;
        let Verb::Serve(args) = cli.verb else { unreachable!("the arguments begin with serve") };
        let layers = serve::layers(&args).map_err(|failure| failure.message)?;
        ServerConfig::from_layers(&layers).map_err(|error| error.to_string())
    }

    fn founding_arguments(&self, node: usize) -> Vec<String> {
        let NodePlan { name, data_dir, .. } = &self.nodes[node];
        let members: Vec<String> =
            self.nodes.iter().map(|node| format!("{}=http://{}", node.name, node.peer())).collect();
        let mut arguments = vec!["serve".to_owned()];
        for (flag, value) in [
            ("--name", name.clone()),
            ("--data-dir", data_dir.display().to_string()),
            ("--listen-client-urls", format!("http://{}", self.nodes[node].client())),
            ("--advertise-client-urls", format!("http://{}", self.nodes[node].client())),
            ("--listen-peer-urls", format!("http://{}", self.nodes[node].peer())),
            ("--initial-cluster", members.join(",")),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.serve_flags.iter().cloned());
        arguments
    }

    /// The same as a line for a shell.
    pub(super) fn command_line(&self, node: usize) -> String {
        let words: Vec<String> = self.arguments(node).iter().map(|word| quoted(word)).collect();
        format!("lograft {}", words.join(" "))
    }

    /// Whether the data directories, those that are there, hold nodes of a cluster with these nodes and ports.
    ///
    /// # Errors
    /// The first one that does not, its members, and what to do.
    pub(super) fn try_directories(&self) -> Result<(), String> {
        let same = |member: &Member, node: &NodePlan| {
            member.name == node.name && member.peer_urls == [format!("http://{}", node.peer())]
        };
        for node in &self.nodes {
            // A directory that cannot be read, or is in use, is for the node to explain.
            let Ok(directory) = Directory::open_for_inspection(&node.data_dir) else { continue };
            let Some(meta) = directory.meta() else { continue };
            let members = &meta.members;
            let all = self.nodes.iter().all(|node| members.iter().any(|member| same(member, node)));
            if all && members.len() == self.nodes.len() {
                continue;
            }
            let members: Vec<String> = members
                .iter()
                .map(|member| format!("{}={}", member.name, member.peer_urls.join(",")))
                .collect();
            return Err(other_cluster(&node.data_dir, &members));
        }
        Ok(())
    }

    /// Whether every port is free.
    ///
    /// # Errors
    /// The first one that is not, and what to do.
    pub(super) fn try_ports(&self) -> Result<(), String> {
        for node in &self.nodes {
            for port in [node.client_port, node.peer_port] {
                // The listener is closed again at once: the node binds the port itself.
                TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
                    format!(
                        "{} cannot use 127.0.0.1:{port}: {error}: does a cluster run already? Stop what uses the \
                         port, or give --base-client-port; nothing was started",
                        node.name
                    )
                })?;
            }
        }
        Ok(())
    }
}

/// The rule of the help; `None` past the last port.
fn client_port(number: u16, base: Option<u16>) -> Option<u16> {
    const FIRST: u16 = 2379;
    match (base, number) {
        (Some(base), _) => base.checked_add(2 * (number - 1)),
        (None, 1) => Some(FIRST),
        (None, 2..=6) => Some(FIRST + 10_000 * number),
        (None, _) => Some(FIRST + 100 * number),
    }
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What a node wrote into its log after `start`: its last lines, at most a few.
pub(super) fn last_lines(file: &Path, start: u64) -> Vec<String> {
    use std::io::{Read, Seek, SeekFrom};
    const LINES: usize = 5;
    const BYTES: u64 = 8 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(file)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(BYTES)).min(end)))?;
        let mut bytes = Vec::new();
        file.take(BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use lograft_types::{ClusterId, NodeId};

    fn plan(nodes: u16, base: Option<u16>) -> Result<Plan, String> {
        plan_in(Path::new("d d"), nodes, base)
    }

    fn plan_in(dir: &Path, nodes: u16, base: Option<u16>) -> Result<Plan, String> {
        Plan::new(&ClusterArgs {
            nodes,
            data_dir: dir.into(),
            no_restart: false,
            base_client_port: base,
            serve_flags: vec!["--log-level".to_owned(), "debug".to_owned()],
        })
    }

    #[test]
    fn three_nodes_use_the_ports_that_everybody_knows() {
        let plan = plan(3, None).unwrap();
        let ports: Vec<_> = plan.nodes.iter().map(|node| (node.client_port, node.peer_port)).collect();
        assert_eq!(ports, [(2379, 2380), (22379, 22380), (32379, 32380)]);
        assert_eq!(plan.nodes[0].name, "n1");
    }

    #[test]
    fn up_to_nine_nodes_share_no_port() {
        for base in [None, Some(40_000), Some(65_518)] {
            let plan = plan(9, base).unwrap();
            let ports: BTreeSet<u16> =
                plan.nodes.iter().flat_map(|node| [node.client_port, node.peer_port]).collect();
            assert_eq!(ports.len(), 18);
        }
        assert!(plan(9, Some(65_519)).unwrap_err().contains("at most 65518"));
    }

    #[test]
    fn each_node_is_started_with_arguments_that_serve_takes() {
        let plan = plan(3, None).unwrap();
        for node in 0..3 {
            let arguments = [vec!["lograft".to_owned()], plan.arguments(node)].concat();
            let cli = Cli::try_parse_from(arguments).unwrap();
            let Verb::Serve(serve) = cli.verb else { panic!("a serve") };
            let layers = crate::config::Layers::load(&serve.flags, &|_| None).unwrap();
            let config = ServerConfig::from_layers(&layers).unwrap();
            assert_eq!(config.name, plan.nodes[node].name);
            let refusal = config.found(0).unwrap_err().to_string();
            assert!(refusal.contains("holds no node"), "an empty directory is refused: {refusal}");
            assert_eq!(plan.config(node).unwrap().found(0).unwrap().members.len(), 3);
        }
        assert!(plan.command_line(0).contains("--data-dir 'd d/n1.lograft'"));
    }

    #[test]
    fn a_directory_of_a_cluster_with_other_nodes_or_ports_is_named() {
        use lograft_storage::{FORMAT_VERSION, Meta};
        let dir = tempfile::tempdir().unwrap();
        let plan = |nodes, base| plan_in(dir.path(), nodes, base).unwrap();
        let three = plan(3, None);
        assert_eq!(three.try_directories(), Ok(()), "nothing is there yet");
        let member = |node: &NodePlan| Member {
            id: NodeId::new(u64::from(node.client_port)),
            name: node.name.clone(),
            peer_urls: vec![format!("http://{}", node.peer())],
        };
        let meta = Meta {
            format_version: FORMAT_VERSION,
            cluster_id: ClusterId::new(1),
            node_id: NodeId::new(22_379),
            name: "n2".to_owned(),
            members: three.nodes.iter().map(member).collect(),
        };
        Directory::open(&three.nodes[1].data_dir).unwrap().initialize(meta).unwrap();
        assert_eq!(three.try_directories(), Ok(()));
        for other in [plan(5, None), plan(2, None), plan(3, Some(40_000))] {
            let line = other.try_directories().unwrap_err();
            for part in
                ["n2.lograft belongs to a cluster of 3", "n1=http://127.0.0.1:2380", "nothing was started"]
            {
                assert!(line.contains(part), "{line}");
            }
        }
    }

    #[test]
    fn a_port_in_use_is_named() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let line = plan(1, Some(port.min(65_534))).unwrap().try_ports().unwrap_err();
        assert!(
            line.contains(&format!("127.0.0.1:{port}")) && line.contains("nothing was started"),
            "{line}"
        );
    }

    #[test]
    fn the_last_lines_of_a_log_are_those_of_this_life() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("n1.log");
        let before = "an earlier life\n";
        std::fs::write(&file, format!("{before}1\n2\n\n3\n4\n5\n6\n")).unwrap();
        assert_eq!(last_lines(&file, before.len() as u64), ["2", "3", "4", "5", "6"]);
        assert_eq!(last_lines(&file, 1 << 40), Vec::<String>::new());
        assert_eq!(last_lines(&dir.path().join("none"), 0), Vec::<String>::new());
    }
}
