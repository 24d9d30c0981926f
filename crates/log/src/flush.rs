//! Making a log durable, on a thread that may wait.
//!
//! The log hands out a [`FlushJob`] that knows which files to sync; the job's result goes back to the log, which then
//! raises its flushed offset. One job covers all that was appended before it: that is group commit. When and where
//! jobs run is the broker's business.
//!
//! Order inside a job: data of closed segments, their indexes, the epochs, data of the open segment, the directory.
//! Only then is anything reported. A closed segment's indexes and epochs are durable before the recovery point can
//! pass its end, because recovery does not read such a segment through.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_types::Offset;
use klamm_types::planted::{Bug, is_planted};

use crate::disk::{Disk, write_atomically};
use crate::error::{DiskError, Failure, FlushError};
use crate::files::{Part, SegmentFiles, disk_error};

pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";

/// What the log and its jobs on other threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    /// Held while files are synced or cut: two syncs of one file must not run at once, because the system reports a
    /// lost write to only one of them.
    syncing: Mutex<()>,
    failure: AtomicU8,
    /// Counts truncations. What was read or flushed before one says nothing about the log after it.
    generation: AtomicU64,
    /// Counts truncations and compactions: a place in a file from before one is no place any more.
    layout: AtomicU64,
    /// The directory has entries that may not be durable.
    dir_dirty: AtomicBool,
    /// The version of the epochs that the file has.
    epochs_saved: AtomicU64,
}

impl Shared {
    pub fn failure(&self) -> Option<Failure> {
        match self.failure.load(Ordering::Acquire) {
            0 => None,
            1 => Some(Failure::Write),
            2 => Some(Failure::Damaged),
            _ => Some(Failure::Flush),
        }
    }

    /// A failure is only ever replaced by a worse one; [`Shared::mend`] takes back the mild ones.
    pub fn fail(&self, failure: Failure) {
        let rank = match failure {
            Failure::Write => 1,
            Failure::Damaged => 2,
            Failure::Flush => 3,
        };
        self.failure.fetch_max(rank, Ordering::AcqRel);
    }

    /// After a truncation: what was written in part, or damaged, is gone. A failed flush stays.
    pub fn mend(&self) {
        let mild = |rank: u8| (rank < 3).then_some(0);
        // An error means that the rank was 3, and that is as it should be.
        let _ = self.failure.fetch_update(Ordering::AcqRel, Ordering::Acquire, mild);
    }

    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.next_layout();
    }

    pub fn layout(&self) -> u64 {
        self.layout.load(Ordering::Acquire)
    }

    pub fn next_layout(&self) {
        self.layout.fetch_add(1, Ordering::AcqRel);
    }

    pub fn lock_syncs(&self) -> MutexGuard<'_, ()> {
        self.syncing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn directory_changed(&self) {
        self.dir_dirty.store(true, Ordering::Release);
    }

    pub fn epochs_saved(&self) -> u64 {
        self.epochs_saved.load(Ordering::Acquire)
    }

    pub fn set_epochs_saved(&self, version: u64) {
        self.epochs_saved.fetch_max(version, Ordering::AcqRel);
    }

    /// Syncs the directory if it changed; returns the number of syncs.
    pub fn sync_dir(&self, disk: &dyn Disk, dir: &Path) -> Result<u32, DiskError> {
        // Cleared first: a change that comes meanwhile is for the next sync.
        if !self.dir_dirty.swap(false, Ordering::AcqRel) {
            return Ok(0);
        }
        match disk.sync_dir(dir) {
            Ok(()) => Ok(1),
            Err(source) => {
                self.directory_changed();
                Err(DiskError::at("syncing the directory", dir)(source))
            }
        }
    }
}

/// One segment to be synced.
#[derive(Debug)]
pub(crate) struct FlushPart {
    pub files: Arc<SegmentFiles>,
    pub kind: PartKind,
}

#[derive(Clone, Debug)]
pub(crate) enum PartKind {
    /// Closed: its indexes are complete and are synced with it, which is noted here.
    Sealed {
        indexes_durable: Arc<AtomicBool>,
    },
    Open,
}

/// The epochs as they were when the job was made.
#[derive(Debug)]
pub(crate) struct EpochsToSave {
    pub bytes: Vec<u8>,
    pub version: u64,
}

/// A flush, to be run on a thread that may wait. Dropping it without running is harmless.
#[derive(Debug)]
pub struct FlushJob {
    pub(crate) shared: Arc<Shared>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    pub(crate) parts: Vec<FlushPart>,
    pub(crate) epochs: Option<EpochsToSave>,
    pub(crate) to: Offset,
    /// Appended below `to` and not yet flushed.
    pub(crate) bytes: u64,
    pub(crate) generation: u64,
}

/// The log below `offset` is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushedTo {
    pub offset: Offset,
    /// How many times the disk was made to sync.
    pub syncs: u32,
    pub(crate) bytes: u64,
    pub(crate) generation: u64,
}

impl FlushJob {
    /// The offset below which everything is durable if the job succeeds.
    pub fn target(&self) -> Offset {
        self.to
    }

    /// Syncs. Waits for the disk, and for another job or truncation of the same log.
    ///
    /// # Errors
    /// The log has failed for good: nothing above its flushed offset may be acknowledged, and it takes no appends.
    /// Trying again is refused, because the system may have dropped the pages that it could not write.
    pub fn run(self) -> Result<FlushedTo, FlushError> {
        let _guard = self.shared.lock_syncs();
        if self.shared.failure() == Some(Failure::Flush) {
            return Err(FlushError::Failed(Failure::Flush));
        }
        let done = |syncs| FlushedTo {
            offset: self.to,
            syncs,
            bytes: self.bytes,
            generation: self.generation,
        };
        // The log was cut meanwhile: its files are others now, and the result counts for nothing.
        if self.generation != self.shared.generation() {
            return Ok(done(0));
        }
        match self.sync() {
            Ok(syncs) => Ok(done(syncs)),
            Err(error) => {
                self.shared.fail(Failure::Flush);
                Err(FlushError::Disk(error))
            }
        }
    }

    fn sync(&self) -> Result<u32, DiskError> {
        let mut syncs = 0;
        if is_planted(Bug::FlushNothing) {
            return Ok(0);
        }
        for part in &self.parts {
            if is_planted(Bug::FlushOpenSegmentOnly) && !matches!(part.kind, PartKind::Open) {
                continue;
            }
            sync_file(&part.files, Part::Log)?;
            syncs += 1;
            if let PartKind::Sealed { indexes_durable } = &part.kind {
                sync_file(&part.files, Part::Index)?;
                sync_file(&part.files, Part::TimeIndex)?;
                indexes_durable.store(true, Ordering::Release);
                syncs += 2;
            }
        }
        if let Some(epochs) = &self.epochs
            && epochs.version > self.shared.epochs_saved()
        {
            save_epochs(&*self.disk, &self.dir, epochs)?;
            self.shared.set_epochs_saved(epochs.version);
            syncs += 2;
        }
        if is_planted(Bug::FlushWithoutDirectory) {
            return Ok(syncs);
        }
        Ok(syncs + self.shared.sync_dir(&*self.disk, &self.dir)?)
    }
}

/// A sealed segment that is gone was deleted by retention: there is nothing left to keep.
fn sync_file(files: &SegmentFiles, part: Part) -> Result<(), DiskError> {
    match files.open_if_present(part)? {
        Some(file) => file.sync_data().map_err(disk_error("syncing", files, part)),
        None => Ok(()),
    }
}

pub(crate) fn save_epochs(disk: &dyn Disk, dir: &Path, epochs: &EpochsToSave) -> Result<(), DiskError> {
    let path = dir.join(EPOCHS_FILE);
    write_atomically(disk, &path, &epochs.bytes).map_err(DiskError::at("writing", &path))
}
