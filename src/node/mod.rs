//! The node.

#[cfg(feature = "server")]
mod handle;
mod request;

#[cfg(feature = "server")]
pub use handle::NodeHandle;
#[cfg(all(test, feature = "server"))]
pub(crate) use handle::{ClientMessage, Completion, PendingRequest};
pub use request::{
    Answer, Consistency, Header, ListRequest, MemberStatus, Reply, Request, RequestError, RoleName, Status,
};
