//! One segment written anew: batch by batch, under other names, with its indexes.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use klamm_record::{Batch, Candidate, Compacted, DECOMPRESSED_SIZE_MAX, Verdict};
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use super::keys::Keys;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::error::{DamageKind, DiskError};
use crate::files::SegmentFiles;
use crate::names;
use crate::scan::{BatchScan, Expected, Wait};
use crate::segment::{ReadFault, Segment, SegmentView};

/// So much is written at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What decides about records.
#[derive(Debug)]
pub(super) struct Judge {
    pub keys: Keys,
    /// Records from here on are not in `keys`.
    pub keys_end: Offset,
    pub now: Timestamp,
    /// For tombstones that are kept for the first time.
    pub delete_horizon: Timestamp,
    /// Last batches of producers that have not been heard of since may go.
    pub producers_since: Timestamp,
    /// Records of transactions are kept whatever they say, so tombstones after them have to stay.
    pub transactions: Transactions,
}

/// Whether batches of transactions were met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transactions {
    Met,
    NotMet,
}

/// What is left of a batch.
enum Left {
    Batch(Batch),
    /// It may be joined with others like it.
    Nothing,
}

impl Judge {
    fn judge(&mut self, batch: &Batch) -> Result<Left, klamm_record::BatchError> {
        let header = batch.header();
        if header.attributes.is_transactional() || header.attributes.is_control() {
            self.transactions = Transactions::Met;
            return Ok(Left::Batch(batch.clone()));
        }
        if batch.base_offset() >= self.keys_end {
            return Ok(Left::Batch(batch.clone()));
        }
        let is_over = header.attributes.has_delete_horizon()
            && header.base_timestamp <= self.now
            && self.transactions == Transactions::NotMet;
        let judge = |candidate: Candidate<'_>| match candidate.key {
            Some(key) if self.keys.are_newer(key, candidate.offset) => Verdict::Remove,
            Some(_) if candidate.is_tombstone && is_over => Verdict::Remove,
            _ => Verdict::Keep,
        };
        match batch.compacted(self.delete_horizon, DECOMPRESSED_SIZE_MAX, judge)? {
            Compacted::Whole => Ok(Left::Batch(batch.clone())),
            Compacted::Changed(changed) => Ok(Left::Batch(changed)),
            Compacted::Nothing if self.must_remember(batch) => {
                let is_hollow = header.records_count == 0;
                Ok(Left::Batch(if is_hollow { batch.clone() } else { batch.hollow()? }))
            }
            Compacted::Nothing => Ok(Left::Nothing),
        }
    }

    /// Whether the batch is the last sign of a producer that may go on.
    fn must_remember(&self, batch: &Batch) -> bool {
        let header = batch.header();
        header.has_producer_id()
            && !self.keys.is_superseded(header.producer_id, batch.base_offset())
            && header.max_timestamp >= self.producers_since
    }
}

/// A segment's new files, whole and durable, under their temporary names.
#[derive(Debug)]
pub(super) struct Rewritten {
    /// Those that are to be replaced.
    pub old: Arc<SegmentFiles>,
    pub segment: Segment,
}

/// Why a segment could not be written anew.
#[derive(Debug)]
pub(super) enum RewriteFault {
    Read(ReadFault),
    Write(DiskError),
}

/// Writes what is left of a segment. `None`: all of it, so nothing was written.
pub(super) fn rewrite(
    disk: &Arc<dyn Disk>,
    view: &SegmentView,
    config: &LogConfig,
    judge: &mut Judge,
) -> Result<Option<Rewritten>, RewriteFault> {
    let dir: Arc<Path> = Arc::from(
        view.files
            .path(crate::files::Part::Log)
            .parent()
            .unwrap_or(Path::new("")),
    );
    let mut writer = SegmentWriter::new(disk.clone(), dir, view.base, config)?;
    let outcome = copy(view, judge, &mut writer).and_then(|()| writer.finish(view));
    match outcome {
        Ok(Some(segment)) => Ok(Some(Rewritten {
            old: view.files.clone(),
            segment,
        })),
        other => {
            // Whatever is not removed now is removed by the next start.
            let _ = discard(&**disk, &writer.dir, view.base);
            other.map(|_| None)
        }
    }
}

/// Removes new files that are not needed.
pub(super) fn discard(disk: &dyn Disk, dir: &Path, base: Offset) -> Result<(), DiskError> {
    for suffix in REPLACED {
        let path = names::replacement(dir, base, suffix);
        crate::disk::remove_if_present(disk, &path).map_err(DiskError::at("removing", &path))?;
    }
    Ok(())
}

/// The files that are replaced, in the order in which they are: a segment exists by its batches, so they come last.
pub(super) const REPLACED: [&str; 3] = [names::INDEX, names::TIME_INDEX, names::LOG];

fn copy(view: &SegmentView, judge: &mut Judge, writer: &mut SegmentWriter) -> Result<(), RewriteFault> {
    let extent = view.extent(0, Wait::Allowed).map_err(RewriteFault::Read)?;
    let mut scan = BatchScan::new(extent, Some(view.base));
    loop {
        let next = scan.next().map_err(|error| RewriteFault::Read(error.into()))?;
        let Some((position, batch)) = next else {
            return Ok(());
        };
        let at = Expected {
            position,
            offset: Some(batch.base_offset()),
        };
        let left = judge
            .judge(&batch)
            .map_err(|cause| RewriteFault::Read(at.invalid(DamageKind::Batch(cause)).into()))?;
        match left {
            Left::Batch(left) => {
                writer.is_changed |= left != batch;
                writer.put(&left).map_err(RewriteFault::Write)?;
            }
            Left::Nothing => writer.skip(&batch).map_err(RewriteFault::Write)?,
        }
    }
}

/// A run of batches without records.
#[derive(Clone, Copy, Debug)]
struct Run {
    base: Offset,
    last: Offset,
    epoch: LeaderEpoch,
    batches: usize,
}

struct SegmentWriter {
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    config: LogConfig,
    segment: Segment,
    log: Arc<dyn DiskFile>,
    log_path: PathBuf,
    /// Batches that are noted in `segment` and not written yet.
    waiting: Vec<Batch>,
    waiting_bytes: usize,
    written: u64,
    run: Option<Run>,
    is_changed: bool,
}

impl SegmentWriter {
    fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, base: Offset, config: &LogConfig) -> Result<Self, RewriteFault> {
        let log_path = names::replacement(&dir, base, names::LOG);
        let log = open_empty(&*disk, &log_path).map_err(RewriteFault::Write)?;
        Ok(SegmentWriter {
            segment: Segment::new(SegmentFiles::new(disk.clone(), dir.clone(), base)),
            disk,
            dir,
            config: config.clone(),
            log,
            log_path,
            waiting: Vec::new(),
            waiting_bytes: 0,
            written: 0,
            run: None,
            is_changed: false,
        })
    }

    fn put(&mut self, batch: &Batch) -> Result<(), DiskError> {
        self.end_run()?;
        self.write(batch.clone())
    }

    /// The batch's offsets stay, nothing else.
    fn skip(&mut self, batch: &Batch) -> Result<(), DiskError> {
        let next = Run {
            base: batch.base_offset(),
            last: batch.last_offset(),
            epoch: batch.leader_epoch(),
            batches: 1,
        };
        self.is_changed |= !batch.is_filler();
        match &mut self.run {
            Some(run) if run.epoch == next.epoch && next.last.0 - run.base.0 <= i64::from(i32::MAX) => {
                run.last = next.last;
                run.batches += 1;
                self.is_changed = true;
            }
            _ => {
                self.end_run()?;
                self.run = Some(next);
            }
        }
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), DiskError> {
        match self.run.take() {
            Some(run) => {
                let filler = Batch::filler(run.base, run.last, run.epoch);
                self.write(filler.expect("a run is ended before it becomes too long for one"))
            }
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: Batch) -> Result<(), DiskError> {
        self.segment.note(batch.header(), self.config.index_interval_bytes);
        self.waiting_bytes += batch.size();
        self.waiting.push(batch);
        match self.waiting_bytes >= CHUNK_BYTES {
            true => self.write_waiting(),
            false => Ok(()),
        }
    }

    fn write_waiting(&mut self) -> Result<(), DiskError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let buffers: Vec<IoSlice<'_>> = self.waiting.iter().map(|batch| IoSlice::new(batch.bytes())).collect();
        self.log
            .write_at(&buffers, self.written)
            .map_err(DiskError::at("writing", &self.log_path))?;
        self.written += self.waiting_bytes as u64;
        self.waiting.clear();
        self.waiting_bytes = 0;
        Ok(())
    }

    /// Makes everything durable. `None`: there is no difference to the old segment.
    fn finish(&mut self, view: &SegmentView) -> Result<Option<Segment>, RewriteFault> {
        self.end_run().map_err(RewriteFault::Write)?;
        if !self.is_changed {
            return Ok(None);
        }
        self.write_waiting().map_err(RewriteFault::Write)?;
        assert_eq!(
            self.segment.end, view.end,
            "a segment that is written anew covers what the old one did"
        );
        let synced = self.log.sync_data();
        synced.map_err(|source| RewriteFault::Write(DiskError::at("syncing", &self.log_path)(source)))?;
        self.write_indexes().map_err(RewriteFault::Write)?;
        let files = SegmentFiles::new(self.disk.clone(), self.dir.clone(), view.base);
        let mut segment = std::mem::replace(&mut self.segment, Segment::new(files));
        segment.indexes_durable = Arc::new(AtomicBool::new(true));
        Ok(Some(segment))
    }

    fn write_indexes(&mut self) -> Result<(), DiskError> {
        let base = self.segment.base;
        self.segment.end_times();
        let path = names::replacement(&self.dir, base, names::INDEX);
        let file = open_empty(&*self.disk, &path)?;
        let written = self.segment.index.finish(&*file).and_then(|()| file.sync_data());
        written.map_err(DiskError::at("writing", &path))?;
        let path = names::replacement(&self.dir, base, names::TIME_INDEX);
        let file = open_empty(&*self.disk, &path)?;
        let written = self.segment.times.finish(&*file).and_then(|()| file.sync_data());
        written.map_err(DiskError::at("writing", &path))
    }
}

/// A file of an earlier run that did not end may be there.
fn open_empty(disk: &dyn Disk, path: &Path) -> Result<Arc<dyn DiskFile>, DiskError> {
    let file = disk
        .open(path, OpenMode::Create)
        .map_err(DiskError::at("opening", path))?;
    file.set_size(0).map_err(DiskError::at("emptying", path))?;
    Ok(file)
}
