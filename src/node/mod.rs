//! The node.

#[cfg(feature = "server")]
mod handle;
mod request;

#[cfg(feature = "server")]
pub use handle::NodeHandle;
pub use request::{
    Answer, Consistency, Header, ListRequest, MemberStatus, Reply, Request, RequestError, RoleName, Status,
};
