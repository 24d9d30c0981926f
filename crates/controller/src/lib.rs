//! The controller quorum: Raft over the metadata log, and the shell that carries out what the metadata core decides.
//!
//! ```text
//!   broker ──ControllerClient──► services ──► shell (owns the metadata core) ──propose──► openraft ──► sled
//!     ▲                                          ▲                                            │
//!     └── metadata stream ◄── feed ◄─────────────┴──────────── state machine ◄──── applied ◄──┘
//! ```
//!
//! The only crate that names openraft and sled. It decides nothing about brokers and partitions: that is
//! `klamm-metadata`. A node without the controller role uses [`ControllerClient`] and serves [`IdentityService`].

mod config;
mod controller;
mod identity;
mod network;
mod node;
mod quorum;
mod raft;
mod random;
mod remote;
mod service;
mod shell;
pub mod spans;
mod store;

pub use config::{ControllerConfig, Timing};
pub use controller::{Controller, StartError, VoterChangeError};
pub use identity::{IdentityService, NodeIdentity, OtherCluster};
pub use network::channel::{BadAddress, FRAME_BYTES_MAX, MESSAGE_BYTES_MAX, endpoint};
pub use quorum::describe::{DescribeError, MemberDescription, QuorumDescription};
pub use quorum::voters::{VoterAction, VoterChange};
pub use quorum::{backup, recover};
pub use raft::snapshot::SnapshotError;
pub use remote::{
    ControllerClient, MetadataEvent, MetadataFollower, Session, SessionEnd, SessionError, SubmitError, Unanswered,
};
pub use store::StoreError;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;
