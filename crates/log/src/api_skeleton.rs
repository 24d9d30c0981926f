//! Signatures first; the bodies follow.

use std::path::Path;
use std::sync::Arc;
use bytes::Bytes;
use klamm_record::Batch;
use klamm_types::*;
use crate::config::LogConfig;
use crate::disk::{Disk, DiskFile};
use crate::error::*;

/// What is known before a log is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoveryHint {
    /// From the recovery-point checkpoint. `None`: unknown, everything may be cut.
    pub recovery_point: Option<Offset>,
    /// The last run ended cleanly: sizes, indexes and snapshot can be trusted.
    pub clean_stop: bool,
}
/// What recovery found and did.
#[derive(Debug)]
pub struct Recovery {
    pub log_end_offset: Offset,
    /// Cut off above the recovery point: an interrupted write.
    pub cut: Option<Cut>,
    /// Below the recovery point: nothing was cut; the log reads up to the damage and refuses appends.
    pub damage: Option<Damage>,
    pub rebuilt: Rebuilt,
    /// The newest usable producer snapshot.
    pub producer_snapshot: Option<ProducerSnapshot>,
    /// The batches above that snapshot (or from the log's first one), up to the end, in order.
    pub replay: Replay,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut { pub from: Offset, pub bytes: u64 }
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Base offsets of the segments whose indexes were rebuilt.
    pub indexes: Vec<Offset>,
    pub leader_epochs: bool,
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot { pub offset: Offset, pub bytes: Bytes }
/// Iterator over batches of the files; owns what it needs, `Send`.
#[derive(Debug)]
pub struct Replay {}
impl Iterator for Replay { type Item = Result<Batch, ReadError>; fn next(&mut self) -> Option<Self::Item> { unimplemented!() } }

#[derive(Debug)]
pub struct Log {}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The log end offset now.
    pub log_end_offset: Offset,
    pub bytes: usize,
    /// Segments closed by this append.
    pub rolled: u32,
}
/// Whole batches, one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchBytes {
    pub chunks: Vec<Bytes>,
    /// Bytes in all chunks.
    pub size: usize,
    /// The offset after the last batch; the offset asked for if there is none.
    pub next_offset: Offset,
}
impl BatchBytes { pub fn into_bytes(self) -> Bytes { unimplemented!() } pub fn is_empty(&self) -> bool { self.size == 0 } }
#[derive(Debug)]
pub enum Read { Ready(BatchBytes), Cold(ColdRead) }
/// A read that may wait for the disk. `Send`.
#[derive(Debug)]
pub struct ColdRead {}
impl ColdRead { pub fn run(self) -> Result<BatchBytes, ReadError> { unimplemented!() } }
/// A flush to run on another thread. `Send`.
#[derive(Debug)]
pub struct FlushJob {}
impl FlushJob { pub fn run(self) -> Result<FlushedTo, FlushError> { unimplemented!() } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushedTo { pub offset: Offset, pub syncs: u32, pub(crate) generation: u64 }
/// A range of a sealed, verified segment file for `sendfile`.
#[derive(Debug)]
pub struct SegmentSlice { pub file: Arc<dyn DiskFile>, pub position: u64, pub size: u64, pub next_offset: Offset }
/// Removes files that were renamed to `.deleted`; run it `delay_ms` after it was made. `Send`.
#[derive(Debug)]
pub struct RemoveJob { pub delay_ms: u64 }
impl RemoveJob { pub fn run(self) -> Result<(), DiskError> { unimplemented!() } }
#[derive(Debug)]
pub struct Retired { pub segments: Vec<Offset>, pub bytes: u64, pub log_start_offset: Offset, pub remove: RemoveJob }
/// Looks a timestamp up, reading files. `Send`.
#[derive(Debug)]
pub struct TimestampLookup {}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset { pub offset: Offset, pub timestamp: Timestamp, pub leader_epoch: LeaderEpoch }
impl TimestampLookup { pub fn run(self) -> Result<Option<TimestampOffset>, ReadError> { unimplemented!() } }
/// Checks every batch of one closed segment, so that it may be sent by `sendfile`. `Send`.
#[derive(Debug)]
pub struct VerifyJob {}
impl VerifyJob { pub fn run(self) -> Result<(), ReadError> { unimplemented!() } }
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart { pub epoch: LeaderEpoch, pub start: Offset }

impl Log {
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, config: LogConfig, hint: RecoveryHint) -> Result<(Log, Recovery), OpenError> { unimplemented!() }
    /// `now` decides only whether a segment is rolled by time.
    pub fn append(&mut self, batches: &[Batch], now: Timestamp) -> Result<Appended, AppendError> { unimplemented!() }
    pub fn log_start_offset(&self) -> Offset { unimplemented!() }
    pub fn log_end_offset(&self) -> Offset { unimplemented!() }
    pub fn flushed_offset(&self) -> Offset { unimplemented!() }
    pub fn last_epoch(&self) -> Option<LeaderEpoch> { unimplemented!() }
    pub fn epochs(&self) -> &[EpochStart] { unimplemented!() }
    pub fn end_offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> { unimplemented!() }
    pub fn failure(&self) -> Option<Failure> { unimplemented!() }
    pub fn size_bytes(&self) -> u64 { unimplemented!() }
    pub fn config(&self) -> &LogConfig { unimplemented!() }
    pub fn set_config(&mut self, config: LogConfig) { unimplemented!() }
    pub fn start_flush(&self) -> Option<FlushJob> { unimplemented!() }
    /// Raises the flushed offset; a result from before a truncation is ignored.
    pub fn flush_done(&mut self, flushed: FlushedTo) { unimplemented!() }
    /// Blocking: start, run, done.
    pub fn flush(&mut self) -> Result<u32, FlushError> { unimplemented!() }
    pub fn read(&self, offset: Offset, max_bytes: usize, up_to: Offset) -> Result<Read, ReadError> { unimplemented!() }
    pub fn segment_slice(&self, offset: Offset, max_bytes: u64, up_to: Offset) -> Result<Option<SegmentSlice>, ReadError> { unimplemented!() }
    pub fn start_verify(&self) -> Option<VerifyJob> { unimplemented!() }
    /// The first record with a timestamp of at least `target`.
    pub fn offset_for_timestamp(&self, target: Timestamp) -> TimestampLookup { unimplemented!() }
    /// The first record with the largest timestamp.
    pub fn max_timestamp_offset(&self) -> TimestampLookup { unimplemented!() }
    /// Durable when it returns. The caller first stores a recovery point of at most `offset`, durably.
    pub fn truncate_to(&mut self, offset: Offset) -> Result<(), ChangeError> { unimplemented!() }
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset) -> Result<(), ChangeError> { unimplemented!() }
    /// Never lowers; up to the log end. Storing it is the caller's business.
    pub fn advance_log_start(&mut self, offset: Offset) -> Result<(), ChangeError> { unimplemented!() }
    /// Retention by log start, time and size, bounded by the high watermark.
    pub fn delete_old_segments(&mut self, now: Timestamp, high_watermark: HighWatermark) -> Result<Option<Retired>, ChangeError> { unimplemented!() }
    pub fn needs_producer_snapshot(&self) -> bool { unimplemented!() }
    pub fn write_producer_snapshot(&mut self, offset: Offset, bytes: &[u8]) -> Result<(), ChangeError> { unimplemented!() }
    /// After a truncation: the newest snapshot at or below the end, and what to replay on it.
    pub fn producer_state(&self) -> Result<(Option<ProducerSnapshot>, Replay), ReadError> { unimplemented!() }
    /// Drops open files; the next use opens them again. Dirty files stay open.
    pub fn release_files(&mut self) { unimplemented!() }
    /// Flushes all, writes indexes and epochs durably. Returns the recovery point to be stored.
    pub fn close_clean(self) -> Result<Offset, ChangeError> { unimplemented!() }
}
