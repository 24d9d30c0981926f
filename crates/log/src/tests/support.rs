//! What the tests of the log share: batches, logs on simulated disks, readers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use klamm_record::{Batch, BatchBuilder, BatchOptions, Batches};
use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::{Log, LogConfig, Read, Recovery, RecoveryHint, SimDisk};

pub const NOW: Timestamp = Timestamp(1_000_000);

pub fn dir() -> PathBuf {
    PathBuf::from("/topic-0")
}

pub fn segment_path(base: i64, suffix: &str) -> PathBuf {
    crate::names::path(&dir(), Offset(base), suffix)
}

/// Small segments and a dense index, so that little data shows everything.
pub fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 100,
        tail_bytes_max: 0,
        ..LogConfig::default()
    }
}

/// A batch of records with these timestamps and values of `size` bytes.
pub fn batch_at(base: i64, epoch: i32, timestamps: &[i64], size: usize) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for (index, timestamp) in timestamps.iter().enumerate() {
        let value = vec![(base as u8).wrapping_add(index as u8); size];
        builder.append(Timestamp(*timestamp), None, Some(&value), &[]).unwrap();
    }
    builder.build().unwrap().assigned(Offset(base), LeaderEpoch(epoch))
}

/// A batch of `records` records, each with its offset as its timestamp.
pub fn batch(base: i64, epoch: i32, records: i64, size: usize) -> Batch {
    let timestamps: Vec<i64> = (base..base + records).collect();
    batch_at(base, epoch, &timestamps, size)
}

/// Batches of one record each, from the log end on.
pub fn append_some(log: &mut Log, epoch: i32, count: i64, size: usize) -> Vec<Batch> {
    let end = log.log_end_offset().0;
    let batches: Vec<Batch> = (end..end + count).map(|base| batch(base, epoch, 1, size)).collect();
    for batch in &batches {
        log.append(std::slice::from_ref(batch), NOW).unwrap();
    }
    batches
}

pub fn open_with(disk: &SimDisk, config: LogConfig, hint: RecoveryHint) -> (Log, Recovery) {
    Log::open(Arc::new(disk.clone()), &dir(), config, hint).unwrap()
}

pub fn open(disk: &SimDisk) -> (Log, Recovery) {
    open_with(disk, config(), RecoveryHint::default())
}

pub fn unclean(recovery_point: i64) -> RecoveryHint {
    RecoveryHint {
        recovery_point: Some(Offset(recovery_point)),
        clean_stop: false,
    }
}

pub fn clean(recovery_point: i64) -> RecoveryHint {
    RecoveryHint {
        recovery_point: Some(Offset(recovery_point)),
        clean_stop: true,
    }
}

/// One read, waited for.
pub fn read_once(log: &Log, offset: i64, max_bytes: usize) -> Bytes {
    match log.read(Offset(offset), max_bytes, Offset(i64::MAX)).unwrap() {
        Read::Ready(batches) => batches.into_bytes(),
        Read::Cold(job) => job.run().unwrap().into_bytes(),
    }
}

/// All batches from `offset` on, read in pieces of `max_bytes`.
pub fn read_all(log: &Log, offset: i64, max_bytes: usize) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    let mut next = offset;
    while next < log.log_end_offset().0 {
        let bytes = read_once(log, next, max_bytes);
        assert!(!bytes.is_empty(), "nothing at {next}");
        batches.extend(Batches::new(bytes).map(Result::unwrap));
        next = batches.last().unwrap().next_offset().0;
    }
    batches
}

pub fn names(disk: &SimDisk) -> Vec<String> {
    let entries = crate::Disk::list(disk, Path::new("/topic-0")).unwrap();
    entries.into_iter().map(|entry| entry.name).collect()
}
