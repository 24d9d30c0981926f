//! Groups: consumers that share partitions, and the offsets they commit. `core` decides, `link` and `task` carry out,
//! `handle` and `turns` are the program's side, `assignor` is what the leader of a classic group shares out by.

mod assignor;
mod config;
pub(crate) mod core;
mod error;
mod exchange;
mod handle;
mod link;
mod listener;
mod offset_requests;
mod protocol;
mod task;
mod turns;

pub use self::assignor::Assignor;
pub use self::config::{GroupConfig, GroupProtocol};
pub(super) use self::core::Begin;
pub(crate) use self::core::Identity;
pub use self::error::{CommitError, GroupError};
pub(super) use self::handle::{Group, Polling};
pub use self::handle::{GroupMembership, PendingCommit};
pub use self::listener::{Assigned, CommittedOffset, RebalanceListener, Revoked};
pub(crate) use self::offset_requests::{commit, committed, find_coordinator};
pub(crate) use self::protocol::{read_assignment, read_subscription};
