//! What changes in a cluster, found out by asking the nodes.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{self, MissedTickBehavior};

use crate::client::{Client, Options};
use crate::proto::v1;

use super::super::render::leader_name;
use super::child::Event;
use super::plan::Plan;

/// How often the nodes are asked.
const EVERY: Duration = Duration::from_millis(500);
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the nodes for ever, and tells what has changed.
pub(super) async fn observe(plan: Arc<Plan>, events: mpsc::Sender<Event>) {
    let clients: Vec<Client> = plan.nodes.iter().filter_map(|node| client(node.client())).collect();
    let mut news = News::new(plan.nodes.iter().map(|node| node.name.clone()).collect());
    let mut ready = false;
    let mut interval = time::interval(EVERY);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let seen: Vec<Option<Seen>> =
            join_all(clients.iter().map(async |client| client.status().await.ok().map(Seen::from))).await;
        for line in news.observe(&seen) {
            if events.send(Event::News(line)).await.is_err() {
                return;
            }
        }
        if !ready && news.has_leader() && all_serve(&clients).await {
            ready = true;
            if events.send(Event::Ready).await.is_err() {
                return;
            }
        }
    }
}

fn client(endpoint: String) -> Option<Client> {
    let options = Options { endpoints: vec![endpoint], dial_timeout: PATIENCE, command_timeout: PATIENCE };
    Client::new(&options).ok()
}

/// Whether each node serves a linearizable read.
async fn all_serve(clients: &[Client]) -> bool {
    let read = async |client: &Client| {
        let request = v1::GetRequest { key: "ready?".to_owned(), serializable: false };
        client.get(request).await.is_ok()
    };
    join_all(clients.iter().map(read)).await.into_iter().all(|served| served)
}

/// What a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    term: u64,
    /// The node says that it leads.
    leads: bool,
    /// The name of the leader that it knows.
    leader: Option<String>,
    disk_full: bool,
}

impl From<v1::StatusResponse> for Seen {
    fn from(status: v1::StatusResponse) -> Self {
        Self {
            term: status.header.as_ref().map_or(0, |header| header.term),
            leads: status.role == "leader",
            leader: (status.leader_id != 0).then(|| leader_name(&status)),
            disk_full: status.disk_full,
        }
    }
}

/// Compares what is seen with what was seen before.
struct News {
    names: Vec<String>,
    /// Whether each node answered when it was last asked.
    answers: Vec<bool>,
    disk_full: Vec<bool>,
    /// Term and name of the leader that was told last.
    leader: Option<(u64, String)>,
    /// It was said that there is none.
    leaderless: bool,
}

impl News {
    fn new(names: Vec<String>) -> Self {
        let nothing = vec![false; names.len()];
        Self { names, answers: nothing.clone(), disk_full: nothing, leader: None, leaderless: false }
    }

    fn has_leader(&self) -> bool {
        self.leader.is_some() && !self.leaderless
    }

    fn observe(&mut self, seen: &[Option<Seen>]) -> Vec<String> {
        let mut lines = Vec::new();
        for (node, seen) in seen.iter().enumerate().take(self.names.len()) {
            let name = &self.names[node];
            let was = std::mem::replace(&mut self.answers[node], seen.is_some());
            match (was, seen.is_some()) {
                (false, true) => lines.push(format!("{name} is up")),
                (true, false) => lines.push(format!("{name} is down: it does not answer")),
                (true, true) | (false, false) => {}
            }
            let full = seen.as_ref().is_some_and(|seen| seen.disk_full);
            if full != std::mem::replace(&mut self.disk_full[node], full) {
                let words =
                    if full { "the disk is full: writes are refused" } else { "the disk has room again" };
                lines.push(format!("{name}: {words}"));
            }
        }
        lines.extend(self.observe_leader(seen));
        lines
    }

    /// The leader of the latest term counts: one of an earlier term does not know yet that it is none.
    fn observe_leader(&mut self, seen: &[Option<Seen>]) -> Option<String> {
        let answers = || seen.iter().zip(&self.names).filter_map(|(seen, name)| Some((seen.as_ref()?, name)));
        let latest = answers().map(|(seen, _)| seen.term).max().unwrap_or(0);
        let leads = answers().filter(|(seen, _)| seen.leads && seen.term == latest).map(|(_, name)| name);
        // A node that answers slowly may still lead: its followers know.
        let known =
            answers().filter(|(seen, _)| seen.term == latest).find_map(|(seen, _)| seen.leader.as_ref());
        match leads.chain(known).next() {
            Some(name) => {
                let found = (latest, name.clone());
                if self.leader.as_ref() == Some(&found) && !self.leaderless {
                    return None;
                }
                let line = format!("{name} leads (term {latest})");
                self.leader = Some(found);
                self.leaderless = false;
                Some(line)
            }
            // Before the first election there is nothing to miss.
            None if self.leader.is_none() || self.leaderless => None,
            None => {
                self.leaderless = true;
                Some("no leader is known".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn news() -> News {
        News::new(["n1", "n2", "n3"].map(str::to_owned).to_vec())
    }

    fn follower(term: u64, leader: Option<&str>) -> Option<Seen> {
        Some(Seen { term, leads: false, leader: leader.map(str::to_owned), disk_full: false })
    }

    fn leader(term: u64, name: &str) -> Option<Seen> {
        Some(Seen { term, leads: true, leader: Some(name.to_owned()), disk_full: false })
    }

    #[test]
    fn nodes_come_up_and_a_leader_is_elected_each_told_once() {
        let mut news = news();
        assert_eq!(news.observe(&[None, None, None]), Vec::<String>::new());
        assert_eq!(news.observe(&[follower(0, None), None, None]), ["n1 is up"]);
        let seen = [follower(1, Some("n2")), leader(1, "n2"), follower(1, Some("n2"))];
        assert_eq!(news.observe(&seen), ["n2 is up", "n3 is up", "n2 leads (term 1)"]);
        assert!(news.has_leader());
        assert_eq!(news.observe(&seen), Vec::<String>::new());
    }

    #[test]
    fn a_leader_that_dies_is_missed_and_the_next_one_is_told() {
        let mut news = news();
        news.observe(&[leader(1, "n1"), follower(1, Some("n1")), follower(1, Some("n1"))]);
        let seen = [None, follower(1, None), follower(1, None)];
        assert_eq!(news.observe(&seen), ["n1 is down: it does not answer", "no leader is known"]);
        assert!(!news.has_leader());
        assert_eq!(news.observe(&seen), Vec::<String>::new());
        let seen = [None, follower(2, Some("n3")), leader(2, "n3")];
        assert_eq!(news.observe(&seen), ["n3 leads (term 2)"]);
    }

    #[test]
    fn a_leader_of_an_earlier_term_does_not_count() {
        let mut news = news();
        news.observe(&[leader(1, "n1"), follower(1, Some("n1")), follower(1, Some("n1"))]);
        let seen = [leader(1, "n1"), leader(2, "n2"), follower(2, Some("n2"))];
        assert_eq!(news.observe(&seen), ["n2 leads (term 2)"]);
    }

    #[test]
    fn a_full_disk_is_told_when_it_comes_and_when_it_goes() {
        let mut news = news();
        let mut full = leader(1, "n1");
        news.observe(&[full.clone(), None, None]);
        full.as_mut().unwrap().disk_full = true;
        assert_eq!(news.observe(&[full, None, None]), ["n1: the disk is full: writes are refused"]);
        assert_eq!(news.observe(&[leader(1, "n1"), None, None]), ["n1: the disk has room again"]);
    }
}
