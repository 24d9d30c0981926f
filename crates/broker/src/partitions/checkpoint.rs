//! The marks of a data directory's partitions, in three checkpoint files that are written together.
//!
//! * recovery points: below them everything was flushed; recovery may cut only above.
//! * high watermarks, as lower bounds, and log starts.
//!
//! They are written every few seconds by one thread. Marks also have to go back, durably and before anything new is
//! appended, where a log ends lower than before: what comes at these offsets later may be something else. Which offsets
//! are right is known to the workers, not here.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_log::{Checkpoint, CheckpointError, Disk, DiskError, LOG_START, RECOVERY_POINT, REPLICATION};
use klamm_types::{Offset, TopicPartition};

/// What is kept of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub recovery_point: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

impl Marks {
    /// As they may stand for a log that recovery found to end here. Its recovery point stays: if it lies above, the
    /// log is damaged, and the next start must find that too.
    fn found(self, end: Offset) -> Marks {
        Marks {
            high_watermark: self.high_watermark.min(end),
            log_start: self.log_start.min(end),
            ..self
        }
    }

    /// As they may stand for a log that is cut back to this offset.
    fn cut(self, to: Offset) -> Marks {
        Marks {
            recovery_point: self.recovery_point.min(to),
            ..self.found(to)
        }
    }

    fn max(self, other: Marks) -> Marks {
        Marks {
            recovery_point: self.recovery_point.max(other.recovery_point),
            high_watermark: self.high_watermark.max(other.high_watermark),
            log_start: self.log_start.max(other.log_start),
        }
    }
}

type Offsets = BTreeMap<TopicPartition, Offset>;
type AllMarks = HashMap<TopicPartition, Marks>;

#[derive(Debug, Default)]
struct Known {
    marks: AllMarks,
    changed: bool,
}

/// The checkpoints of one data directory.
///
/// Two locks: workers hold `known` for a moment only; `durable` is held while the files are written, and taken first.
#[derive(Debug)]
pub struct Checkpoints {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    known: Mutex<Known>,
    /// The marks as they lie on the disk.
    durable: Mutex<AllMarks>,
}

impl Checkpoints {
    /// Reads what an earlier run left. A file that is missing or damaged counts as empty: every mark is a lower bound,
    /// so knowing nothing is safe.
    pub fn open(disk: Arc<dyn Disk>, data: &Path) -> Result<Checkpoints, DiskError> {
        let mut marks = AllMarks::new();
        for (partition, offset) in read(disk.as_ref(), &data.join(RECOVERY_POINT))? {
            marks.entry(partition).or_default().recovery_point = offset;
        }
        for (partition, offset) in read(disk.as_ref(), &data.join(REPLICATION))? {
            marks.entry(partition).or_default().high_watermark = offset;
        }
        for (partition, offset) in read(disk.as_ref(), &data.join(LOG_START))? {
            marks.entry(partition).or_default().log_start = offset;
        }
        Ok(Checkpoints {
            disk,
            data: data.to_owned(),
            durable: Mutex::new(marks.clone()),
            known: Mutex::new(Known { marks, changed: false }),
        })
    }

    /// What is known of a partition.
    pub fn get(&self, partition: TopicPartition) -> Option<Marks> {
        lock(&self.known).marks.get(&partition).copied()
    }

    /// Takes over newer marks; they are on the disk after the next `write`. Never waits for the disk.
    pub fn update(&self, partition: TopicPartition, newer: Marks) {
        let mut known = lock(&self.known);
        let changed = known.marks.insert(partition, newer) != Some(newer);
        known.changed |= changed;
    }

    /// Recovery has left a log that ends here. On the disk after the next `write`, which MUST come before appends.
    pub fn found_end(&self, partition: TopicPartition, end: Offset) {
        self.change(partition, |marks| marks.found(end));
    }

    /// Forgets everything about a partition, durably where the disk remembers anything.
    pub fn forget(&self, partition: TopicPartition) -> Result<(), DiskError> {
        let mut durable = lock(&self.durable);
        let mut known = lock(&self.known);
        let was_known = known.marks.remove(&partition).is_some();
        known.changed |= was_known;
        drop(known);
        if durable.contains_key(&partition) {
            self.write_all(&mut durable)
        } else {
            Ok(())
        }
    }

    /// A log will be cut back to `to`: no mark lies above it from now on. Durable when it returns.
    pub fn lower(&self, partition: TopicPartition, to: Offset) -> Result<(), DiskError> {
        let mut durable = lock(&self.durable);
        self.change(partition, |marks| marks.cut(to));
        match durable.get(&partition) {
            Some(marks) if *marks != marks.cut(to) => self.write_all(&mut durable),
            _ => Ok(()),
        }
    }

    fn change(&self, partition: TopicPartition, changed: impl FnOnce(Marks) -> Marks) {
        let mut known = lock(&self.known);
        if let Some(marks) = known.marks.get(&partition).copied() {
            let newer = changed(marks);
            known.marks.insert(partition, newer);
            known.changed |= newer != marks;
        }
    }

    /// Writes the files if anything has changed.
    pub fn write(&self) -> Result<(), DiskError> {
        let mut durable = lock(&self.durable);
        let changed = lock(&self.known).changed;
        if changed { self.write_all(&mut durable) } else { Ok(()) }
    }

    fn write_all(&self, durable: &mut AllMarks) -> Result<(), DiskError> {
        let mut known = lock(&self.known);
        known.changed = false;
        let marks = known.marks.clone();
        drop(known);
        let written = self.write_files(&marks);
        if written.is_err() {
            lock(&self.known).changed = true;
            // Some of the files may be the new ones.
            for (partition, newer) in marks {
                let older = durable.entry(partition).or_default();
                *older = older.max(newer);
            }
        } else {
            *durable = marks;
        }
        written
    }

    fn write_files(&self, marks: &AllMarks) -> Result<(), DiskError> {
        self.write_one(RECOVERY_POINT, marks, |marks| marks.recovery_point)?;
        self.write_one(REPLICATION, marks, |marks| marks.high_watermark)?;
        self.write_one(LOG_START, marks, |marks| marks.log_start)
    }

    fn write_one(&self, file: &str, marks: &AllMarks, offset_of: fn(&Marks) -> Offset) -> Result<(), DiskError> {
        let offsets = marks
            .iter()
            .map(|(&partition, marks)| (partition, offset_of(marks)))
            .collect();
        let checkpoint = Checkpoint { offsets };
        checkpoint.write(self.disk.as_ref(), &self.data.join(file))
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Offsets, DiskError> {
    match Checkpoint::read(disk, path) {
        Ok(checkpoint) => Ok(checkpoint.unwrap_or_default().offsets),
        Err(CheckpointError::Disk(error)) => Err(error),
        Err(CheckpointError::Damaged) => {
            tracing::warn!(path = %path.display(), "ignoring a damaged checkpoint");
            Ok(Offsets::new())
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use klamm_log::RealDisk;
    use klamm_types::{PartitionId, TopicId};

    use super::*;

    fn at(topic: u128) -> TopicPartition {
        TopicPartition {
            topic: TopicId::from_u128(topic),
            partition: PartitionId(0),
        }
    }

    fn marks(recovery_point: i64, high_watermark: i64, log_start: i64) -> Marks {
        Marks {
            recovery_point: Offset(recovery_point),
            high_watermark: Offset(high_watermark),
            log_start: Offset(log_start),
        }
    }

    #[test]
    fn survives_and_goes_back_durably() {
        let temporary = tempfile::tempdir().unwrap();
        let open = || Checkpoints::open(Arc::new(RealDisk), temporary.path()).unwrap();
        let first = open();
        assert_eq!(first.get(at(1)), None);
        first.update(at(1), marks(10, 9, 1));
        first.update(at(2), marks(5, 5, 0));
        assert_eq!(open().get(at(1)), None);
        first.write().unwrap();
        assert_eq!(
            (open().get(at(1)), open().get(at(2))),
            (Some(marks(10, 9, 1)), Some(marks(5, 5, 0)))
        );
        first.lower(at(1), Offset(12)).unwrap();
        assert_eq!(open().get(at(1)), Some(marks(10, 9, 1)));
        first.lower(at(1), Offset(9)).unwrap();
        assert_eq!(open().get(at(1)), Some(marks(9, 9, 1)));
        first.forget(at(1)).unwrap();
        assert_eq!((open().get(at(1)), open().get(at(2))), (None, Some(marks(5, 5, 0))));
    }

    /// Found by simulation: a high watermark kept over a cut below it, after an election with loss, was believed by the
    /// next start, when other records lay at these offsets: a reader was sent into the middle of a batch.
    #[test]
    fn no_mark_lies_above_a_log_that_was_cut() {
        let temporary = tempfile::tempdir().unwrap();
        let open = || Checkpoints::open(Arc::new(RealDisk), temporary.path()).unwrap();
        let at = at(1);
        let first = open();
        first.update(at, marks(5, 58, 8));
        first.write().unwrap();
        first.lower(at, Offset(13)).unwrap();
        assert_eq!(open().get(at), Some(marks(5, 13, 8)), "above the recovery point too");
        first.lower(at, Offset(0)).unwrap();
        assert_eq!(open().get(at), Some(marks(0, 0, 0)), "the log begins anew");

        first.update(at, marks(20, 58, 40));
        first.write().unwrap();
        let second = open();
        second.found_end(at, Offset(30));
        assert_eq!(open().get(at), Some(marks(20, 58, 40)));
        second.write().unwrap();
        assert_eq!(open().get(at), Some(marks(20, 30, 30)));
        second.found_end(at, Offset(10));
        second.write().unwrap();
        assert_eq!(
            open().get(at),
            Some(marks(20, 10, 10)),
            "damage must be found by the next start too"
        );
    }
}
