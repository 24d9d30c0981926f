//! The checkpoint files of a data directory: one line per partition with an offset, in Kafka's form.
//!
//! * `recovery-point-offset-checkpoint`: below it everything was flushed; recovery may cut only above it.
//! * `replication-offset-checkpoint`: a lower bound of the high watermark.
//! * `log-start-offset-checkpoint`: the first offset that counts.
//!
//! They are written together, every few seconds, by one thread. A recovery point may also have to go back, before a
//! log is cut or begun anew under an old name; that is durable when `lower` returns. Which offsets are right is
//! known to the workers, not here.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_log::Disk;
use klamm_log::disk::{read_small, write_atomically};
use klamm_types::Offset;

const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";
const LOG_STARTS: &str = "log-start-offset-checkpoint";

/// What is kept of one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    pub recovery_point: Offset,
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// A checkpoint file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{act} the checkpoint {}", path.display())]
pub struct CheckpointError {
    pub act: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

#[derive(Debug, Default)]
struct Known {
    /// By directory name.
    marks: HashMap<String, Marks>,
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
    durable: Mutex<HashMap<String, Offset>>,
}

impl Checkpoints {
    /// Reads what an earlier run left. A file that is missing or malformed counts as empty: every mark is a lower
    /// bound, so knowing nothing is safe.
    pub fn open(disk: Arc<dyn Disk>, data: &Path) -> Result<Checkpoints, CheckpointError> {
        let recovery_points = read(disk.as_ref(), &data.join(RECOVERY_POINTS))?;
        let high_watermarks = read(disk.as_ref(), &data.join(HIGH_WATERMARKS))?;
        let log_starts = read(disk.as_ref(), &data.join(LOG_STARTS))?;
        let mut marks: HashMap<String, Marks> = HashMap::new();
        for (name, offset) in &recovery_points {
            marks.entry(name.clone()).or_default().recovery_point = *offset;
        }
        for (name, offset) in high_watermarks {
            marks.entry(name).or_default().high_watermark = offset;
        }
        for (name, offset) in log_starts {
            marks.entry(name).or_default().log_start = offset;
        }
        let known = Mutex::new(Known { marks, changed: false });
        Ok(Checkpoints { disk, data: data.to_owned(), known, durable: Mutex::new(recovery_points) })
    }

    /// What is known of a partition, by directory name.
    pub fn get(&self, name: &str) -> Option<Marks> {
        lock(&self.known).marks.get(name).copied()
    }

    /// Takes over newer marks; they are on the disk after the next `write`. Never waits for the disk.
    pub fn update(&self, name: &str, newer: Marks) {
        let mut known = lock(&self.known);
        if let Some(marks) = known.marks.get_mut(name) {
            let changed = *marks != newer;
            *marks = newer;
            known.changed |= changed;
            return;
        }
        known.marks.insert(name.to_owned(), newer);
        known.changed = true;
    }

    /// Forgets everything about the partition of this name, durably where the disk remembers a recovery point.
    pub fn forget(&self, name: &str) -> Result<(), CheckpointError> {
        let mut durable = lock(&self.durable);
        let mut known = lock(&self.known);
        let was_known = known.marks.remove(name).is_some();
        known.changed |= was_known;
        drop(known);
        if durable.contains_key(name) { self.write_all(&mut durable) } else { Ok(()) }
    }

    /// Takes the recovery point of a log that will be cut back to at most `to`. Durable when it returns.
    pub fn lower(&self, name: &str, to: Offset) -> Result<(), CheckpointError> {
        let mut durable = lock(&self.durable);
        if let Some(marks) = lock(&self.known).marks.get_mut(name) {
            marks.recovery_point = marks.recovery_point.min(to);
        }
        match durable.get(name) {
            Some(&point) if point > to => self.write_all(&mut durable),
            _ => Ok(()),
        }
    }

    /// Writes the files if anything has changed.
    pub fn write(&self) -> Result<(), CheckpointError> {
        let mut durable = lock(&self.durable);
        let changed = lock(&self.known).changed;
        if changed { self.write_all(&mut durable) } else { Ok(()) }
    }

    fn write_all(&self, durable: &mut HashMap<String, Offset>) -> Result<(), CheckpointError> {
        let mut known = lock(&self.known);
        known.changed = false;
        let marks: BTreeMap<String, Marks> = known.marks.iter().map(|(name, marks)| (name.clone(), *marks)).collect();
        drop(known);
        let written = self.write_files(&marks);
        if written.is_err() {
            lock(&self.known).changed = true;
        }
        written?;
        *durable = marks.into_iter().map(|(name, marks)| (name, marks.recovery_point)).collect();
        Ok(())
    }

    fn write_files(&self, marks: &BTreeMap<String, Marks>) -> Result<(), CheckpointError> {
        self.write_one(RECOVERY_POINTS, marks, |marks| marks.recovery_point)?;
        self.write_one(HIGH_WATERMARKS, marks, |marks| marks.high_watermark)?;
        self.write_one(LOG_STARTS, marks, |marks| marks.log_start)
    }

    fn write_one(
        &self,
        file: &str,
        marks: &BTreeMap<String, Marks>,
        offset_of: fn(&Marks) -> Offset,
    ) -> Result<(), CheckpointError> {
        let path = self.data.join(file);
        let text = encode(marks, offset_of);
        let written = write_atomically(self.disk.as_ref(), &path, text.as_bytes());
        written.map_err(|source| CheckpointError { act: "writing", path, source })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn encode(marks: &BTreeMap<String, Marks>, offset_of: fn(&Marks) -> Offset) -> String {
    let mut text = format!("0\n{}\n", marks.len());
    for (name, marks) in marks {
        if let Some((topic, partition)) = name.rsplit_once('-') {
            let _ = writeln!(text, "{topic} {partition} {}", offset_of(marks));
        }
    }
    text
}

fn read(disk: &dyn Disk, path: &Path) -> Result<HashMap<String, Offset>, CheckpointError> {
    let bytes = read_small(disk, path);
    let bytes = bytes.map_err(|source| CheckpointError { act: "reading", path: path.to_owned(), source })?;
    let Some(bytes) = bytes else {
        return Ok(HashMap::new());
    };
    let offsets = String::from_utf8(bytes).ok().and_then(|text| decode(&text));
    Ok(offsets.unwrap_or_else(|| {
        tracing::warn!(path = %path.display(), "ignoring a malformed checkpoint");
        HashMap::new()
    }))
}

fn decode(text: &str) -> Option<HashMap<String, Offset>> {
    let mut lines = text.lines();
    if lines.next() != Some("0") {
        return None;
    }
    let count: usize = lines.next()?.parse().ok()?;
    let mut offsets = HashMap::new();
    for line in lines {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        let number: i32 = partition.parse().ok()?;
        let offset: i64 = offset.parse().ok()?;
        if offset < 0 || words.next().is_some() {
            return None;
        }
        offsets.insert(format!("{topic}-{number}"), Offset(offset));
    }
    (offsets.len() == count).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use klamm_log::RealDisk;

    use super::*;

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
        assert_eq!(first.get("a-0"), None);
        first.update("a-0", marks(10, 9, 1));
        first.update("b-c-3", marks(5, 5, 0));
        assert_eq!(open().get("a-0"), None);
        first.write().unwrap();
        assert_eq!((open().get("a-0"), open().get("b-c-3")), (Some(marks(10, 9, 1)), Some(marks(5, 5, 0))));
        first.lower("a-0", Offset(12)).unwrap();
        assert_eq!(open().get("a-0"), Some(marks(10, 9, 1)));
        first.lower("a-0", Offset(7)).unwrap();
        assert_eq!(open().get("a-0"), Some(marks(7, 9, 1)));
        first.forget("a-0").unwrap();
        assert_eq!((open().get("a-0"), open().get("b-c-3")), (None, Some(marks(5, 5, 0))));
    }

    #[test]
    fn malformed_files_count_as_empty() {
        for text in ["", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0 -1\n", "0\n1\na x 1\n", "0\n1\na 0 1 2\n"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
        assert_eq!(decode("0\n1\na 0 1\n"), Some(HashMap::from([("a-0".to_owned(), Offset(1))])));
    }
}
