//! Reading records. `core` decides, `task` carries out, `reader` opens batches, `collect` hands their records out,
//! `handle` is the program's side. Which partitions are read says the program, or `group`, where consumers share them.

mod collect;
mod config;
mod core;
mod error;
pub(crate) mod group;
mod handle;
mod offsets;
mod reader;
mod record;
mod requests;
mod task;

pub use self::config::{ConsumerConfig, IsolationLevel, OffsetReset, Start};
pub use self::error::{ConsumeError, Obstacle};
pub use self::group::{
    Assigned, Assignor, CommitError, CommittedOffset, GroupConfig, GroupError, GroupMembership, GroupProtocol,
    PendingCommit, RebalanceListener, Revoked,
};
pub use self::handle::Consumer;
pub use self::record::{ConsumerRecord, TopicPartition};
