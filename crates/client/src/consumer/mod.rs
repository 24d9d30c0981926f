//! Reading records by assignment. `core` decides, `task` carries out, `reader` opens batches, `handle` is the program's
//! side. Sharing partitions in a group is not done here.

mod config;
mod core;
mod error;
mod handle;
mod offsets;
mod reader;
mod record;
mod requests;
mod task;

pub use self::config::{ConsumerConfig, IsolationLevel, OffsetReset, Start};
pub use self::error::{ConsumeError, Obstacle};
pub use self::handle::Consumer;
pub use self::record::{ConsumerRecord, TopicPartition};
