//! Between nodes: channels, probes, and the network of Raft. No decision is made here.

pub mod channel;
pub mod messages;
pub mod peers;
pub mod probe;
pub mod promises;
