//! The log of one partition: its state, appending and rolling.
//!
//! A log has one writer, which owns it, and knows neither threads nor clocks: what may wait for the disk is handed
//! out as a job, the time is told. It takes batches as they are; offsets, epochs and checksums are set by then.
//!
//! ```text
//!   log start                     flushed            log end
//!       │  deleted below, or      │  on the disk     │  written to the file
//!       ▼  about to be            ▼  below here      ▼  below here
//!   ────┼──────────┬──────────┬───┼───────────┬──────┤
//!       │ segment  │ segment  │ segment       │ open segment
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Mutex};

use klamm_record::Batch;
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::config::LogConfig;
use crate::disk::Disk;
use crate::epochs::{EpochCache, EpochStart};
use crate::error::{AppendError, DiskError, Failure, FlushError};
use crate::files::{Part, SegmentFiles, disk_error};
use crate::flush::{EpochsToSave, FlushJob, FlushPart, FlushedTo, PartKind, Shared};
use crate::segment::Segment;
use crate::tail::Tail;

/// The log of one partition.
#[derive(Debug)]
pub struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: Arc<Path>,
    pub(crate) config: LogConfig,
    /// Never empty; the last one is open, the others are closed.
    pub(crate) segments: Vec<Segment>,
    /// Base offsets of segments behind damage: still on the disk, not part of the log.
    pub(crate) beyond_damage: Vec<Offset>,
    pub(crate) epochs: EpochCache,
    pub(crate) log_start: Offset,
    pub(crate) flushed: Offset,
    /// Appended since this log was opened and not flushed; what a truncation took away counts until the next flush.
    pub(crate) unflushed_bytes: u64,
    pub(crate) tail: Tail,
    pub(crate) shared: Arc<Shared>,
    /// Offsets of the producer snapshots on the disk, rising.
    pub(crate) snapshots: Vec<Offset>,
    pub(crate) snapshot_due: bool,
    /// Below it no key has an older record in the log, as far as this process knows.
    pub(crate) compacted_to: Offset,
    /// Closed segments with open files, the last used at the back.
    pub(crate) recent: Mutex<VecDeque<Arc<SegmentFiles>>>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The log end offset now.
    pub log_end_offset: Offset,
    pub bytes: usize,
    /// How many segments it closed.
    pub rolled: u32,
}

impl Log {
    /// The first offset that is served.
    pub fn log_start_offset(&self) -> Offset {
        self.log_start
    }

    /// The offset that the next record gets.
    pub fn log_end_offset(&self) -> Offset {
        self.active().end
    }

    /// Everything below is on the disk.
    pub fn flushed_offset(&self) -> Offset {
        self.flushed
    }

    /// The leader epoch of the last batch.
    pub fn last_epoch(&self) -> Option<LeaderEpoch> {
        self.epochs.last_epoch()
    }

    /// Where each leader epoch that the log knows began.
    pub fn epochs(&self) -> &[EpochStart] {
        self.epochs.entries()
    }

    /// The last epoch at or below `epoch`, and the offset at which it ends; as OffsetForLeaderEpoch answers. `None`:
    /// `epoch` is none, or newer than all in this log.
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        self.epochs.end_offset_for(epoch, self.log_end_offset())
    }

    /// Why the log takes no more batches, if it does not.
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Bytes of all segments.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.size).sum()
    }

    /// Bytes that a loss of power would take.
    pub fn unflushed_bytes(&self) -> u64 {
        if self.log_end_offset() <= self.flushed {
            0
        } else {
            self.unflushed_bytes
        }
    }

    pub fn segments_count(&self) -> usize {
        self.segments.len()
    }

    /// Where the log lies.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Settings for what comes from now on.
    pub fn set_config(&mut self, config: LogConfig) {
        self.tail.set_max(config.tail_bytes_max);
        self.config = config;
    }

    /// Bytes of memory that the tail pins.
    pub fn tail_bytes(&self) -> usize {
        self.tail.pinned()
    }

    /// Lets go of the oldest batches in memory until at most `bytes` are pinned.
    pub fn shrink_tail(&mut self, bytes: usize) {
        self.tail.shrink(bytes);
    }

    /// Closes files that are not needed now; they are opened again when they are. For partitions that lie idle.
    /// Files with unflushed bytes stay open: who opens them later might not be told of a lost write.
    pub fn release_files(&mut self) {
        for segment in &self.segments {
            if segment.end <= self.flushed {
                segment.files.release();
            }
        }
        self.recent
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clear();
    }

    pub(crate) fn active(&self) -> &Segment {
        self.segments.last().expect("a log has a segment at any time")
    }

    pub(crate) fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has a segment at any time")
    }

    /// Writes batches to the end of the log. `now` decides only whether a segment without timestamps is too old.
    ///
    /// The batches follow the log end and one another without gaps, and their leader epochs do not fall. They are
    /// written, not flushed.
    ///
    /// # Errors
    /// [`AppendError::Write`] leaves the log failed; [`Log::log_end_offset`] says what is in it. After the others
    /// nothing has changed.
    pub fn append(&mut self, batches: &[Batch], now: Timestamp) -> Result<Appended, AppendError> {
        if let Some(failure) = self.shared.failure() {
            return Err(AppendError::Failed(failure));
        }
        let bytes = self.admit(batches)?;
        let (mut rest, mut rolled) = (batches, 0);
        while let Some(first) = rest.first() {
            let active = self.active();
            let full = !active.has_room(first.header(), 0, &self.config);
            if full || active.is_due(first.header(), now, &self.config) {
                self.roll()
                    .map_err(|cause| self.give_up(cause, rest.len() < batches.len()))?;
                rolled += 1;
            }
            let spilled = self.active_mut().spill();
            spilled.map_err(|cause| self.give_up(cause, rest.len() < batches.len()))?;
            let (group, later) = rest.split_at(self.group_len(rest));
            self.write(group, now)?;
            rest = later;
        }
        self.unflushed_bytes += bytes as u64;
        Ok(Appended {
            log_end_offset: self.log_end_offset(),
            bytes,
            rolled,
        })
    }

    /// Appends batches whose append failed because the disk was full, once there is room. They MUST be the very batches
    /// of that call: a part of them may lie past the end of the log, and is written over.
    pub fn append_again(&mut self, batches: &[Batch], now: Timestamp) -> Result<Appended, AppendError> {
        if self.shared.failure() == Some(Failure::Write) {
            self.shared.mend();
        }
        let end = self.log_end_offset();
        let written = batches.iter().take_while(|batch| batch.base_offset() < end).count();
        let (written, missing) = batches.split_at(written);
        let bytes: usize = written.iter().map(Batch::size).sum();
        let appended = self.append(missing, now)?;
        self.unflushed_bytes += bytes as u64;
        Ok(Appended {
            bytes: bytes + appended.bytes,
            ..appended
        })
    }

    /// Checks that the batches belong at the end of the log; returns their bytes.
    fn admit(&self, batches: &[Batch]) -> Result<usize, AppendError> {
        let mut expected = self.log_end_offset();
        let mut last = self.epochs.last_epoch().unwrap_or(LeaderEpoch::NONE);
        let mut bytes = 0;
        for batch in batches {
            let (found, epoch) = (batch.base_offset(), batch.leader_epoch());
            if found != expected {
                return Err(AppendError::NotContiguous { expected, found });
            }
            if epoch < last {
                return Err(AppendError::FallingEpoch { last, found: epoch });
            }
            let (size, max) = (batch.size(), self.config.batch_bytes_max);
            if size > max {
                return Err(AppendError::TooLarge { size, max });
            }
            (expected, last) = (batch.next_offset(), epoch);
            bytes += size;
        }
        Ok(bytes)
    }

    /// An error before the write. If batches of the same call are in the file already, the call has failed in part.
    fn give_up(&self, cause: DiskError, in_part: bool) -> AppendError {
        match in_part {
            true => {
                self.shared.fail(Failure::Write);
                AppendError::Write(cause)
            }
            false => AppendError::Prepare(cause),
        }
    }

    /// How many batches the open segment takes in one write. At least one.
    fn group_len(&self, batches: &[Batch]) -> usize {
        let active = self.active();
        let mut taken = 0;
        let fits = |batch: &&Batch| {
            let fits = taken == 0 || active.has_room(batch.header(), taken, &self.config);
            taken += batch.size() as u64;
            fits
        };
        batches.iter().take_while(fits).count()
    }

    fn write(&mut self, batches: &[Batch], now: Timestamp) -> Result<(), AppendError> {
        let interval = self.config.index_interval_bytes;
        let Log {
            segments,
            epochs,
            shared,
            ..
        } = self;
        let active = segments.last_mut().expect("a log has a segment at any time");
        write_batches(active, batches).map_err(|cause| {
            shared.fail(Failure::Write);
            AppendError::Write(cause)
        })?;
        if active.opened_at.is_none() {
            active.opened_at = now;
        }
        if active.are_indexes_durable() {
            // They were complete when the log was opened and are no longer.
            active.indexes_durable = Arc::default();
        }
        for batch in batches {
            active.note(batch.header(), interval);
            epochs.assign(batch.leader_epoch(), batch.base_offset());
        }
        self.tail.push(batches);
        Ok(())
    }

    /// Closes the open segment and begins another one at the log end.
    pub(crate) fn roll(&mut self) -> Result<(), DiskError> {
        let base = self.log_end_offset();
        self.active_mut().seal()?;
        let files = SegmentFiles::new(self.disk.clone(), self.dir.clone(), base);
        let created = Segment::create(files);
        // Afterwards, and whatever became of it: a flush under way may have synced the directory just before.
        self.shared.directory_changed();
        self.segments.push(created?);
        self.snapshot_due = true;
        Ok(())
    }

    /// What has to be synced so that everything appended so far is durable; `None` if it is already.
    pub fn start_flush(&self) -> Option<FlushJob> {
        if self.log_end_offset() <= self.flushed {
            return None;
        }
        let open = self.segments.len() - 1;
        let is_clean = |segment: &Segment| segment.end <= self.flushed && segment.are_indexes_durable();
        let first = self.segments[..open]
            .iter()
            .rposition(is_clean)
            .map_or(0, |clean| clean + 1);
        let part = |(index, segment): (usize, &Segment)| FlushPart {
            files: segment.files.clone(),
            kind: match index < open {
                true => PartKind::Sealed {
                    indexes_durable: segment.indexes_durable.clone(),
                },
                false => PartKind::Open,
            },
        };
        let behind = first < open && self.epochs.version() > self.shared.epochs_saved();
        Some(FlushJob {
            shared: self.shared.clone(),
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            parts: self.segments.iter().enumerate().skip(first).map(part).collect(),
            epochs: behind.then(|| self.epochs_to_save()),
            to: self.log_end_offset(),
            bytes: self.unflushed_bytes,
            generation: self.shared.generation(),
        })
    }

    pub(crate) fn epochs_to_save(&self) -> EpochsToSave {
        EpochsToSave {
            bytes: self.epochs.encode(),
            version: self.epochs.version(),
        }
    }

    /// Takes the result of a flush. One from before a truncation counts for nothing.
    pub fn flush_done(&mut self, flushed: FlushedTo) {
        if flushed.generation != self.shared.generation() || flushed.offset <= self.flushed {
            return;
        }
        self.unflushed_bytes = self.unflushed_bytes.saturating_sub(flushed.bytes);
        let before = self.flushed;
        self.flushed = flushed.offset.min(self.log_end_offset());
        let (_, closed) = self.segments.split_last().expect("a log has a segment at any time");
        // Segments that were waiting for this flush only are rarely read again.
        for segment in closed.iter().rev().take_while(|segment| segment.end > before) {
            if segment.end <= self.flushed {
                segment.files.release();
            }
        }
    }

    /// Flushes here and now, for callers that may wait. Returns the number of syncs.
    ///
    /// # Errors
    /// As [`FlushJob::run`].
    pub fn flush(&mut self) -> Result<u32, FlushError> {
        let Some(job) = self.start_flush() else { return Ok(0) };
        let flushed = job.run()?;
        self.flush_done(flushed);
        Ok(flushed.syncs)
    }
}

fn write_batches(active: &Segment, batches: &[Batch]) -> Result<(), DiskError> {
    let file = active.files.open(Part::Log)?;
    let written = match batches {
        [one] => file.write_at(&[IoSlice::new(one.bytes())], active.size),
        many => {
            let buffers: Vec<IoSlice<'_>> = many.iter().map(|batch| IoSlice::new(batch.bytes())).collect();
            file.write_at(&buffers, active.size)
        }
    };
    written.map_err(disk_error("writing", &active.files, Part::Log))
}
