//! Opening a log: what is on the disk becomes what is in memory, and what a power cut left half done is put right.
//!
//! Two kinds of segments. Those that end below the recovery point were flushed, indexes included, and are taken at
//! their word after a look at their ends. From the one that holds the recovery point on, every batch is read and
//! checked. Where batches stop making sense decides what it means: above the recovery point it is the end of an
//! interrupted write and is cut off; below, flushed bytes have changed, which is damage: nothing is touched and the
//! replica has to say so. After a clean stop nothing is read through. What is found above the recovery point is written
//! again, or a later sync would prove nothing (see `rewrite`).
//!
//! Deciding what a damaged replica does next is not done here.

mod load;
mod opening;
mod rewrite;

use std::path::Path;
use std::sync::Arc;

use klamm_types::Offset;

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::error::{Damage, DamageKind, OpenError};
use crate::log::Log;
use crate::replay::Replay;
use crate::snapshots::ProducerSnapshot;

pub(crate) use self::load::largest_timestamp;
use self::opening::Opening;

/// What is known of a log before it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryHint {
    /// From the recovery-point checkpoint. `None`: unknown, so everything may be cut.
    pub recovery_point: Option<Offset>,
    /// The last run ended with [`Log::close_clean`].
    pub clean_stop: bool,
}

/// What opening a log found and did.
#[derive(Debug)]
pub struct Recovery {
    pub log_end_offset: Offset,
    /// What was cut off above the recovery point.
    pub cut: Option<Cut>,
    /// What is wrong below the recovery point. The log then ends before the damage, takes no batches until it is
    /// truncated, and everything on the disk is as it was.
    pub damage: Option<Damage>,
    pub rebuilt: Rebuilt,
    /// The newest producer snapshot that can be used.
    pub producer_snapshot: Option<ProducerSnapshot>,
    /// The batches above that snapshot, or all, up to the log end.
    pub replay: Replay,
}

/// An interrupted write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The log end offset after the cut.
    pub from: Offset,
    pub bytes: u64,
    /// What the batches stopped with.
    pub cause: DamageKind,
}

/// Caches that were missing or broken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Base offsets of the segments whose indexes were built anew, not counting those above the recovery point.
    pub indexes: Vec<Offset>,
    pub leader_epochs: bool,
}

impl Log {
    /// Opens the log in `dir`; the directory and a first segment are made if there are none.
    ///
    /// # Errors
    /// The disk failed. Damage is no error but part of the report.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: LogConfig,
        hint: RecoveryHint,
    ) -> Result<(Log, Recovery), OpenError> {
        let mut recovery = Opening::new(disk, dir, config, hint);
        let found = recovery.inventory()?;
        recovery.read_segments(&found.bases, hint)?;
        Ok(recovery.finish(found, hint)?)
    }
}
