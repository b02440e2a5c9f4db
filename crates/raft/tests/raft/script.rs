//! Runs protocol scenarios that a person reads: golden scripts on the in-test cluster.
//!
//! `scripts/README.md` says what the commands do. Every command acts on a [`Cluster`], so scripts have all of its
//! checks at each step. What needs the logs of all nodes is checked after each command.

mod arguments;
mod commands;
mod render;

use std::collections::BTreeMap;
use std::error::Error;

use goldenscript::{Command, Context};
use lograft_raft::Configuration;
use lograft_types::EntryId;

use crate::cluster::{Cluster, Packet};

/// A cluster, and the names that a script gives.
#[derive(Default)]
pub(crate) struct Script {
    cluster: Option<Cluster>,
    /// The names of proposed commands, by entry: the core sees no payloads.
    names: BTreeMap<EntryId, String>,
    /// Messages that are held back.
    held: Vec<Packet>,
    /// The configuration of the quorum tables.
    configuration: Option<Configuration>,
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = command.consume_args();
        let output = self.command(&command.name, &mut args)?;
        args.reject_next()?;
        Ok(output)
    }

    fn end_command(&mut self, _: &Command, _: &Context) -> Result<String, Box<dyn Error>> {
        if let Some(cluster) = &self.cluster {
            cluster.assert_logs_match();
        }
        Ok(String::new())
    }
}
