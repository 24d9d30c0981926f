//! One error per operation of the log, and what it means for the log.

use std::io;
use std::path::{Path, PathBuf};

use klamm_record::BatchError;
use klamm_types::{LeaderEpoch, Offset};

/// The disk refused something. What, where, and the system's own words.
#[derive(Debug, thiserror::Error)]
#[error("{act} {path}")]
pub struct DiskError {
    /// What we were doing: "writing", "syncing".
    pub act: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl DiskError {
    /// The disk or the quota is full: nothing is broken, and it may work again later.
    pub fn is_full(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    pub(crate) fn at(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        move |source| DiskError {
            act,
            path: path.to_owned(),
            source,
        }
    }
}

/// Why a log could not be opened at all. Damage is no such reason; see [`Recovery`](crate::Recovery).
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("opening the log")]
    Disk(#[from] DiskError),
}

/// Bytes of the log that are not what was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log is damaged at offset {offset}, in segment {segment} at byte {position}")]
pub struct Damage {
    /// The first offset that can no longer be vouched for. Everything below is intact.
    pub offset: Offset,
    /// The base offset of the segment.
    pub segment: Offset,
    /// Where in its file.
    pub position: u64,
    #[source]
    pub kind: DamageKind,
}

/// In which way a log is damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DamageKind {
    #[error("a batch is invalid")]
    Batch(#[source] BatchError),
    #[error("a batch announces {size} bytes, more than any batch has")]
    TooLarge { size: usize },
    #[error("offset {expected} should follow, {found} does")]
    Gap { expected: Offset, found: Offset },
    #[error("leader epoch {found} follows {last}")]
    FallingEpoch { last: LeaderEpoch, found: LeaderEpoch },
    #[error("the log ends below its recovery point {recovery_point}")]
    EndsBelowRecoveryPoint { recovery_point: Offset },
}

/// Why nothing more may be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A write failed and may have left a part of itself. [`Log::truncate_to`](crate::Log::truncate_to) mends it.
    #[error("a write failed in part")]
    Write,
    /// A flush failed: what the disk holds is unknown, and reading it back shows only what memory holds. Only opening
    /// the log again mends it, by writing everything above the recovery point once more.
    #[error("a flush failed")]
    Flush,
    /// Recovery found damage. Truncation to its offset or below mends it.
    #[error("the log is damaged")]
    Damaged,
}

/// Why batches were not appended. None of them is in the log, and the end offset has not moved.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error("appending to a log that has failed")]
    Failed(#[source] Failure),
    #[error("the log ends at {expected}, the batch begins at {found}")]
    NotContiguous { expected: Offset, found: Offset },
    #[error("the log is in leader epoch {last}, the batch has {found}")]
    FallingEpoch { last: LeaderEpoch, found: LeaderEpoch },
    #[error("the batch has {size} bytes, {max} are allowed")]
    TooLarge { size: usize, max: usize },
    /// The log has failed: a part of the batches may be in the file, past the end of the log.
    #[error("writing batches")]
    Write(#[source] DiskError),
    /// Nothing of the batches was written; the log is as it was. A full disk is the usual cause.
    #[error("preparing to write batches")]
    Prepare(#[source] DiskError),
}

impl AppendError {
    /// The disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, AppendError::Write(cause) | AppendError::Prepare(cause) if cause.is_full())
    }

    /// The disk, not the request, is at fault, and the log should be given up on this disk.
    pub fn is_disk_failure(&self) -> bool {
        match self {
            AppendError::Write(cause) | AppendError::Prepare(cause) => !cause.is_full(),
            AppendError::Failed(failure) => *failure != Failure::Write,
            _ => false,
        }
    }
}

/// A flush failed: the log takes no more appends, and nothing above its flushed offset may be acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum FlushError {
    #[error("flushing the log")]
    Disk(#[from] DiskError),
    #[error("flushing a log that has failed")]
    Failed(#[source] Failure),
}

/// Why a read gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("offset {offset} is outside the log, which holds {start} to {end} (exclusive)")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// To be reported: the replica is damaged.
    #[error("reading a damaged batch")]
    Corrupt(#[source] Damage),
    /// The log was cut, or the segment deleted, while the read was under way. Ask again.
    #[error("the log changed during the read")]
    Changed,
    #[error("reading the log")]
    Disk(#[from] DiskError),
}

/// Why a log could not be cut, deleted from or closed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("changing the log")]
    Disk(#[from] DiskError),
    #[error("offset {offset} is outside the log, which holds {start} to {end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    #[error("changing a log that has failed")]
    Failed(#[source] Failure),
}
