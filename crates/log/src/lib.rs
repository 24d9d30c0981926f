//! The log of one partition: segments of record batches on a disk, real or simulated.
//!
//! A [`Log`] appends, reads, recovers, cuts and deletes. It is driven by one writer, starts no thread, reads no clock
//! and waits for the disk only where its methods say so; what may take long is handed out as a job. Names and formats
//! of its files are Kafka's. Replication, offsets assignment and producer state are not known here.
//!
//! * [`Disk`], [`DiskFile`]: the port to a file system; [`RealDisk`] and [`SimDisk`] carry it out.
//! * [`Log::open`] with [`RecoveryHint`] gives a log and a [`Recovery`]: what was cut, what is damaged.
//! * [`Log::append`], [`Log::start_flush`], [`Log::read`]: the three things that happen all the time.
//! * [`Log::start_compaction`]: what keeps the log of a compacted topic small.
//! * [`Log::truncate_to`], [`Log::delete_old_segments`], [`Log::close_clean`]: the things that happen now and then.
//! * [`Checkpoint`], [`PartitionMetadata`], [`UnflushedMark`]: the small files around the logs.
//!
//! ```
//! use std::{path::Path, sync::Arc};
//! use klamm_log::{Log, LogConfig, Read, RecoveryHint, SimDisk};
//! use klamm_record::{BatchBuilder, BatchOptions};
//! use klamm_types::{LeaderEpoch, Offset, Timestamp};
//!
//! let disk = Arc::new(SimDisk::new());
//! let (mut log, recovery) = Log::open(disk, Path::new("/topic-0"), LogConfig::default(), RecoveryHint::default())?;
//! assert_eq!(recovery.log_end_offset, Offset(0));
//!
//! let mut builder = BatchBuilder::new(BatchOptions::default());
//! builder.append(Timestamp(1), None, Some(b"hello"), &[])?;
//! let batch = builder.build()?.assigned(Offset(0), LeaderEpoch(1));
//! log.append(&[batch.clone()], Timestamp(1))?;
//! log.flush()?;
//! assert_eq!(log.flushed_offset(), Offset(1));
//!
//! let Read::Ready(read) = log.read(Offset(0), 1 << 20, Offset(1))? else { unreachable!("it is in memory") };
//! assert_eq!(read.into_bytes(), batch.into_bytes());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
mod compaction;
mod config;
pub mod disk;
mod epochs;
mod error;
mod files;
mod flush;
mod index;
mod log;
mod log_read;
mod names;
mod partition_metadata;
mod read;
mod recovery;
mod replay;
mod retention;
mod scan;
mod segment;
mod snapshots;
mod tail;
mod timestamps;
mod truncate;
mod unflushed;

#[cfg(test)]
mod tests;

pub use checkpoint::{Checkpoint, CheckpointError, LOG_START, RECOVERY_POINT, REPLICATION};
pub use compaction::{CompactedTo, CompactionJob, CompactionOutcome, Exchanged};
pub use config::{CompactionRules, LogConfig};
pub use disk::{DirectoryEntry, Disk, DiskFile, EntryKind, OpenMode, RealDisk, SimDisk, Space};
pub use epochs::EpochStart;
pub use error::{AppendError, ChangeError, Damage, DamageKind, DiskError, Failure, FlushError, OpenError, ReadError};
pub use flush::{FlushJob, FlushedTo};
pub use log::{Appended, Log};
pub use log_read::VerifyJob;
pub use partition_metadata::{PartitionMetadata, PartitionMetadataError};
pub use read::{ColdRead, Read, SegmentSlice};
pub use recovery::{Cut, Rebuilt, Recovery, RecoveryHint};
pub use replay::Replay;
pub use retention::{RemoveJob, Retired};
pub use snapshots::ProducerSnapshot;
pub use tail::BatchBytes;
pub use timestamps::{TimestampLookup, TimestampOffset};
pub use unflushed::UnflushedMark;
