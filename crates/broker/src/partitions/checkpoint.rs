//! The marks of a data directory's partitions, in three checkpoint files that are written together.
//!
//! * recovery points: below them everything was flushed; recovery may cut only above.
//! * high watermarks, as lower bounds, and log starts.
//!
//! They are written every few seconds by one thread. A recovery point may also have to go back, before a log is cut;
//! that is durable when `lower` returns. Which offsets are right is known to the workers, not here.

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

type Offsets = BTreeMap<TopicPartition, Offset>;

#[derive(Debug, Default)]
struct Known {
    marks: HashMap<TopicPartition, Marks>,
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
    /// The recovery points as they lie on the disk.
    durable: Mutex<Offsets>,
}

impl Checkpoints {
    /// Reads what an earlier run left. A file that is missing or damaged counts as empty: every mark is a lower bound,
    /// so knowing nothing is safe.
    pub fn open(disk: Arc<dyn Disk>, data: &Path) -> Result<Checkpoints, DiskError> {
        let recovery_points = read(disk.as_ref(), &data.join(RECOVERY_POINT))?;
        let mut marks: HashMap<TopicPartition, Marks> = HashMap::new();
        for (&partition, &offset) in &recovery_points {
            marks.entry(partition).or_default().recovery_point = offset;
        }
        for (partition, offset) in read(disk.as_ref(), &data.join(REPLICATION))? {
            marks.entry(partition).or_default().high_watermark = offset;
        }
        for (partition, offset) in read(disk.as_ref(), &data.join(LOG_START))? {
            marks.entry(partition).or_default().log_start = offset;
        }
        let known = Mutex::new(Known { marks, changed: false });
        Ok(Checkpoints {
            disk,
            data: data.to_owned(),
            known,
            durable: Mutex::new(recovery_points),
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

    /// Forgets everything about a partition, durably where the disk remembers a recovery point.
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

    /// Takes the recovery point of a log that will be cut back to at most `to`. Durable when it returns.
    pub fn lower(&self, partition: TopicPartition, to: Offset) -> Result<(), DiskError> {
        let mut durable = lock(&self.durable);
        if let Some(marks) = lock(&self.known).marks.get_mut(&partition) {
            marks.recovery_point = marks.recovery_point.min(to);
        }
        match durable.get(&partition) {
            Some(&point) if point > to => self.write_all(&mut durable),
            _ => Ok(()),
        }
    }

    /// Writes the files if anything has changed.
    pub fn write(&self) -> Result<(), DiskError> {
        let mut durable = lock(&self.durable);
        let changed = lock(&self.known).changed;
        if changed { self.write_all(&mut durable) } else { Ok(()) }
    }

    fn write_all(&self, durable: &mut Offsets) -> Result<(), DiskError> {
        let mut known = lock(&self.known);
        known.changed = false;
        let marks = known.marks.clone();
        drop(known);
        let written = self.write_files(&marks);
        if written.is_err() {
            lock(&self.known).changed = true;
        }
        *durable = written?;
        Ok(())
    }

    /// Gives the recovery points that are on the disk now.
    fn write_files(&self, marks: &HashMap<TopicPartition, Marks>) -> Result<Offsets, DiskError> {
        let recovery_points = self.write_one(RECOVERY_POINT, marks, |marks| marks.recovery_point)?;
        self.write_one(REPLICATION, marks, |marks| marks.high_watermark)?;
        self.write_one(LOG_START, marks, |marks| marks.log_start)?;
        Ok(recovery_points)
    }

    fn write_one(
        &self,
        file: &str,
        marks: &HashMap<TopicPartition, Marks>,
        offset_of: fn(&Marks) -> Offset,
    ) -> Result<Offsets, DiskError> {
        let offsets = marks
            .iter()
            .map(|(&partition, marks)| (partition, offset_of(marks)))
            .collect();
        let checkpoint = Checkpoint { offsets };
        checkpoint.write(self.disk.as_ref(), &self.data.join(file))?;
        Ok(checkpoint.offsets)
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

    #[test]
    fn survives_and_goes_back_durably() {
        let temporary = tempfile::tempdir().unwrap();
        let open = || Checkpoints::open(Arc::new(RealDisk), temporary.path()).unwrap();
        let marks = |recovery_point, high_watermark, log_start| Marks {
            recovery_point: Offset(recovery_point),
            high_watermark: Offset(high_watermark),
            log_start: Offset(log_start),
        };
        let at = |topic| TopicPartition {
            topic: TopicId::from_u128(topic),
            partition: PartitionId(0),
        };
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
        first.lower(at(1), Offset(7)).unwrap();
        assert_eq!(open().get(at(1)), Some(marks(7, 9, 1)));
        first.forget(at(1)).unwrap();
        assert_eq!((open().get(at(1)), open().get(at(2))), (None, Some(marks(5, 5, 0))));
    }
}
