//! The protocol.

mod effects;
mod message;

pub use effects::{Append, Effects, Halt, Input, ReadId, ReadOutcome, Write};
pub use message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Outgoing, ReplyTo, Request, RequestVote,
    RequestVoteResponse, Response,
};
