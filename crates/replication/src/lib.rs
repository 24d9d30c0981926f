//! The whole life of one partition's replica, as leader and as follower, decided without doing anything.
//!
//! [`Replica`] is a value. The shell gives it [`Event`]s with the time, and carries out the [`Effect`]s that come back;
//! the log, the streams to other brokers and the clients are the shell's. Nothing in here asks a clock, a disk or a
//! random number generator, so a simulation drives exactly the object that a broker runs.
//!
//! What is decided here: producer state and sequences, offsets, the in-sync replicas, the high watermark, leader
//! epochs and truncation, waiting acknowledgements and parked fetches, subscriptions and their credit. Beside the replicas:
//! whose thread a disk holds up, so that its leaders are to be replaced.
//!
//! Three words for how far a batch is: *accepted* (it has an offset), *written* (the write call succeeded),
//! *flushed* (it is on the disk).

mod catch_up;
mod context;
mod effect;
mod epochs;
mod event;
mod fetches;
mod follower;
mod leader;
mod log_state;
pub mod producers;
mod promises;
mod queries;
mod refused;
mod replica;
mod stalls;
mod view;

pub use effect::{Alarm, AlterPartition, Effect, Lane, ProduceError, Produced, ReplaceReason, Role};
pub use epochs::{EpochEnd, EpochTable};
pub use event::{
    Acknowledge, Acks, AlterAttempt, AlterOutcome, AppendId, Event, FlushId, Isolation, Now, Origin, Produce,
    PushFailure, ReplicaBatches, RequestId, Subscribe, SubscribeAnswer, SubscriptionNumber,
};
pub use producers::{ProducerTable, SnapshotError};
pub use queries::{LatestOffset, ReadFrom};
pub use replica::Replica;
pub use stalls::{Judge, Looks, isr_without};
pub use view::{BrokerState, BrokerView, Durability, Limits, OpenedLog, PartitionView, Settings};
