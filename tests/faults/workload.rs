//! Clients that write and read through every node at once, and record what they receive.
//!
//! A workload has a name, and its keys begin with it, so that the history of each key is short. There are
//! keys that one client sets once, keys that many share, and a few hot ones. A few keys outlive the workload,
//! so that some histories span all faults of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use lograft_sim::chance::Chance;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::doors::Door;
use crate::history::{Ask, Clock, Heard, Operation};
use crate::support::{Cluster, PATIENCE, pause};

const SHARED_KEYS: u64 = 200;
const HOT_KEYS: u64 = 5;
const LASTING_KEYS: u64 = 20;
/// The prefix of keys that outlive a workload.
pub(crate) const LASTING: &str = "lasting/";
/// How long a client waits for a response: each draws its own, in milliseconds. Some are shorter than an
/// election.
const DEADLINE_MS: (u64, u64) = (300, 2000);
/// The longest value.
const VALUE_BYTES: usize = 400;

/// The parameters of a workload.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The prefix of its keys, different for each workload of a run.
    pub(crate) name: String,
    pub(crate) clients: usize,
    pub(crate) seed: u64,
    pub(crate) clock: Clock,
}

/// Clients at work.
pub(crate) struct Workload {
    stop: Arc<AtomicBool>,
    /// Operations that each node has taken.
    taken: Vec<Arc<AtomicU64>>,
    clients: Vec<JoinHandle<Vec<Operation>>>,
}

/// What a client needs to know about a node.
#[derive(Clone)]
struct Target {
    client_port: u16,
    lives: Arc<AtomicU64>,
    taken: Arc<AtomicU64>,
}

impl Workload {
    /// Starts clients on the nodes of a cluster, whether these are running or not.
    pub(crate) fn start(cluster: &Cluster, plan: &Plan) -> Self {
        let targets = cluster.nodes.iter().map(|node| Target {
            client_port: node.client_port,
            lives: Arc::clone(&node.lives),
            taken: Arc::default(),
        });
        let targets: Vec<_> = targets.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..plan.clients).map(|number| {
            let worker = Worker::new(number, plan, targets.clone());
            tokio::spawn(worker.run(Arc::clone(&stop)))
        });
        let clients = clients.collect();
        Self { stop, taken: targets.into_iter().map(|target| target.taken).collect(), clients }
    }

    /// Operations that the nodes have taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken.iter().map(|taken| taken.load(Ordering::Relaxed)).sum()
    }

    /// Waits until the nodes have taken this many operations in total.
    pub(crate) async fn reaches(&self, operations: u64) {
        let mut before = (self.taken(), Instant::now());
        while self.taken() < operations {
            if self.taken() > before.0 {
                before = (self.taken(), Instant::now());
            }
            assert!(before.1.elapsed() < PATIENCE, "no more requests are answered");
            pause().await;
        }
    }

    /// Waits until every node has taken this many more operations.
    pub(crate) async fn is_taken_by_all(&self, operations: u64) {
        let begun = Instant::now();
        let goals: Vec<_> =
            self.taken.iter().map(|taken| taken.load(Ordering::Relaxed) + operations).collect();
        while self.taken.iter().zip(&goals).any(|(taken, goal)| taken.load(Ordering::Relaxed) < *goal) {
            assert!(begun.elapsed() < PATIENCE, "not every node serves: {:?} of {goals:?}", self.taken);
            pause().await;
        }
    }

    /// Ends the workload and returns its operations. Each has its response, or its client has stopped waiting
    /// for it.
    pub(crate) async fn stop(self) -> Vec<Operation> {
        self.stop.store(true, Ordering::Relaxed);
        let mut operations = Vec::new();
        for client in self.clients {
            let ended =
                tokio::time::timeout(PATIENCE, client).await.expect("a client hangs past its deadline");
            operations.extend(ended.expect("a client does not panic"));
        }
        operations
    }
}

/// One client.
struct Worker {
    number: usize,
    name: String,
    clock: Clock,
    chance: Chance,
    targets: Vec<Target>,
    /// For each node one over gRPC and one over HTTP.
    doors: Vec<[Door; 2]>,
    /// The last known mod_revision of each key; 0: it did not exist.
    known: BTreeMap<String, u64>,
    asked: u64,
    set_once: u64,
    operations: Vec<Operation>,
}

impl Worker {
    fn new(number: usize, plan: &Plan, targets: Vec<Target>) -> Self {
        let mut chance = Chance::new(plan.seed, 1 + number as u64);
        let deadline = Duration::from_millis(chance.between(DEADLINE_MS.0, DEADLINE_MS.1));
        let doors = targets.iter().map(|target| {
            [Door::grpc(target.client_port, deadline), Door::http(target.client_port, deadline)]
        });
        let doors = doors.collect();
        Self {
            number,
            name: plan.name.clone(),
            clock: plan.clock,
            chance,
            targets,
            doors,
            known: BTreeMap::new(),
            asked: 0,
            set_once: 0,
            operations: Vec::new(),
        }
    }

    async fn run(mut self, stop: Arc<AtomicBool>) -> Vec<Operation> {
        while !stop.load(Ordering::Relaxed) {
            let (key, ask) = self.draw();
            let node = self.chance.index(self.targets.len());
            let kind = self.chance.index(2);
            let operation = self.ask(node, kind, key, ask).await;
            let refused = !operation.counts();
            self.operations.push(operation);
            if refused {
                // Without a pause, a client whose requests are refused at once would send thousands per
                // second.
                pause().await;
            } else {
                self.targets[node].taken.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.operations
    }

    async fn ask(&mut self, node: usize, kind: usize, key: String, ask: Ask) -> Operation {
        let lives = Arc::clone(&self.targets[node].lives);
        let door = &mut self.doors[node][kind];
        let (life, asked_at) = (lives.load(Ordering::SeqCst), self.clock.now());
        let heard = door.ask(&key, &ask).await;
        let heard_at = self.clock.now();
        let life = (lives.load(Ordering::SeqCst) == life).then_some(life);
        let by = door.name();
        self.learn(&key, &ask, &heard);
        Operation { client: self.number, node, life, by, key, ask, heard, asked_at, heard_at }
    }

    fn learn(&mut self, key: &str, ask: &Ask, heard: &Heard) {
        let known = match (ask, heard) {
            (_, Heard::Got { found, .. }) => found.as_ref().map_or(0, |(_, revision)| *revision),
            (Ask::Set { .. }, Heard::Applied { revision, .. }) => *revision,
            (_, Heard::Applied { .. }) => 0,
            _ => return,
        };
        self.known.insert(key.to_owned(), known);
    }

    fn draw(&mut self) -> (String, Ask) {
        let name = &self.name;
        let key = match self.chance.below(100) {
            0..20 => {
                self.set_once += 1;
                let key = format!("{name}/once/{}/{}", self.number, self.set_once);
                return (key, Ask::Set { value: self.value(), only_if: None });
            }
            20..30 if self.set_once > 0 => {
                let earlier = self.chance.between(1, self.set_once);
                format!("{name}/once/{}/{earlier}", self.number)
            }
            20..85 => format!("{name}/shared/{}", self.chance.below(SHARED_KEYS)),
            85..97 => format!("{name}/hot/{}", self.chance.below(HOT_KEYS)),
            _ => format!("{LASTING}{}", self.chance.below(LASTING_KEYS)),
        };
        if key.contains("/once/") {
            return (key, Ask::Get { serializable: self.chance.percent(20) });
        }
        let known = self.known.get(&key).copied();
        let ask = match (self.chance.below(100), known) {
            (0..40, _) => Ask::Get { serializable: false },
            (40..52, _) => Ask::Get { serializable: true },
            (52..75, Some(known)) => Ask::Set { value: self.value(), only_if: Some(known) },
            (75..78, Some(known)) => Ask::Delete { only_if: Some(known) },
            (78..82, _) => Ask::Delete { only_if: None },
            _ => Ask::Set { value: self.value(), only_if: None },
        };
        (key, ask)
    }

    /// A value that no other request writes.
    fn value(&mut self) -> String {
        self.asked += 1;
        let filling = "~".repeat(self.chance.index(VALUE_BYTES));
        format!("{}.{}.{}{filling}", self.name, self.number, self.asked)
    }
}
