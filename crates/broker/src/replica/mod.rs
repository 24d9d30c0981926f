//! Replica streams between brokers, over gRPC: the shell around what the replication core wants sent.
//!
//! * `service`, `followers`: the leader's side. * `links`, `dial`: the follower's side.
//! * `outbox`: what waits to be sent, on either side. * `convert`: messages to the core's words and back.

pub(crate) mod convert;
mod dial;
pub(crate) mod followers;
pub(crate) mod links;
pub(crate) mod outbox;
mod service;

pub use dial::MESSAGE_BYTES_MAX;
pub use service::ReplicaService;
