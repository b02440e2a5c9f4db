//! The node's status.

use lograft_types::NodeId;

use super::Node;
use super::request::{MemberStatus, Status};

impl Node {
    /// The status of the node and its cluster, as far as the node knows.
    pub fn status(&self) -> Status {
        Status {
            header: self.header(self.store.revision()),
            name: self.name.clone(),
            role: self.raft.role(),
            leader: self.raft.leader(),
            first_index: self.raft.first_index(),
            last_index: self.raft.last().index,
            persisted_index: self.raft.persisted_index(),
            commit_index: self.commit,
            applied_index: self.store.applied(),
            state_hash: self.store.state_hash(),
            keys: self.store.len() as u64,
            log_size_bytes: self.log_size_bytes,
            pending_requests: self.waiting.len() as u64,
            refused_messages: self.refused_messages,
            disk_full: self.credit.disk_full(),
            members: self.members.iter().map(|member| self.member_status(member.id)).collect(),
        }
    }

    fn member_status(&self, id: NodeId) -> MemberStatus {
        let member = self.members.iter().find(|member| member.id == id).expect("asked only about members");
        let progress = self.raft.progress(id);
        MemberStatus {
            id,
            name: member.name.clone(),
            peer_urls: member.peer_urls.clone(),
            client_urls: self.client_urls.get(&id).cloned().unwrap_or_default(),
            match_index: progress.map(|(match_index, _)| match_index),
            progress: progress.map(|(_, name)| name),
            losses: self.losses.get(&id).copied().unwrap_or(0),
        }
    }
}
