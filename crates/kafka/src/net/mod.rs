//! Sockets and bytes: listeners, connections, frames, and the memory they may take.

mod connection;
mod frame;
mod memory;
mod outgoing;
pub(crate) mod request;
mod server;

pub(crate) use memory::Budget;
pub use server::{BindError, Bound, BoundListener, Server};
