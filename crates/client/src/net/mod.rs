//! Connections: framing, pipelining, deadlines, negotiated versions, and who is dialled when.
//!
//! Nothing here knows what a request means or whether repeating it is harmless; that is for those who send it.

pub(crate) mod address;
pub(crate) mod backoff;
pub(crate) mod connection;
pub(crate) mod dial;
pub(crate) mod hedge;
pub(crate) mod pool;
mod reply;
mod segments;
pub(crate) mod versions;

pub(crate) use address::HostPort;
pub(crate) use connection::{Connection, PendingReply};
pub(crate) use dial::Dialer;
pub(crate) use pool::Pool;
pub(crate) use reply::Reply;
