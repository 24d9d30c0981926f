//! A run of compaction: on a thread that may wait, over segments as they were when it was started.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use klamm_record::{Batch, DECOMPRESSED_SIZE_MAX};
use klamm_types::{HighWatermark, Offset, Timestamp};

use super::keys::Keys;
use super::plan::{Bounds, Facts, segments_to_compact};
use super::rewrite::{Judge, RewriteFault, Rewritten, Transactions, discard, rewrite};
use super::swap::CompactionOutcome;
use crate::config::{CompactionRules, LogConfig};
use crate::disk::Disk;
use crate::error::{DamageKind, ReadError};
use crate::flush::Shared;
use crate::log::Log;
use crate::read::explain;
use crate::scan::{BatchScan, Expected, HeaderWalk, Wait};
use crate::segment::{ReadFault, SegmentView};

/// Compacts closed segments into new files. To be run on a thread that may wait; dropping it is harmless.
#[derive(Debug)]
pub struct CompactionJob {
    shared: Arc<Shared>,
    generation: u64,
    layout: u64,
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
    config: LogConfig,
    rules: CompactionRules,
    segments: Vec<SegmentView>,
    compacted_to: Offset,
    now: Timestamp,
}

/// What a run has made: new files, not in their places yet. For [`Log::finish_compaction`].
#[derive(Debug)]
pub struct CompactedTo {
    /// Below it no key has an older record once the files are exchanged.
    pub offset: Offset,
    pub(super) generation: u64,
    /// The oldest first.
    pub(super) rewritten: VecDeque<Rewritten>,
    /// What has been exchanged already.
    pub(super) outcome: CompactionOutcome,
    disk: Arc<dyn Disk>,
    dir: Arc<Path>,
}

impl Log {
    /// A run of compaction, if the log is of a compacted topic and a run is worth it. The caller sees to it that only
    /// one is under way.
    pub fn start_compaction(&self, now: Timestamp, high_watermark: HighWatermark) -> Option<CompactionJob> {
        let rules = self.config.compaction.clone()?;
        if self.failure().is_some() {
            return None;
        }
        let (_, closed) = self.segments.split_last()?;
        let facts = closed.iter().map(|segment| Facts {
            end: segment.end,
            size: segment.size,
            first_timestamp: segment.first_timestamp,
            max_timestamp: segment.max_timestamp,
            is_settled: segment.are_indexes_durable(),
        });
        let facts: Vec<Facts> = facts.collect();
        let bounds = Bounds {
            safe: self.flushed.min(Offset(high_watermark.0)),
            compacted_to: self.compacted_to,
            now,
        };
        let count = segments_to_compact(&facts, bounds, &rules);
        (count > 0).then(|| CompactionJob {
            shared: self.shared.clone(),
            generation: self.shared.generation(),
            layout: self.shared.layout(),
            disk: self.disk.clone(),
            dir: self.dir.clone(),
            config: self.config.clone(),
            rules,
            segments: closed[..count]
                .iter()
                .map(|segment| segment.view(&self.config))
                .collect(),
            compacted_to: self.compacted_to,
            now,
        })
    }
}

impl CompactionJob {
    /// Reads the segments and writes what is left of them, as long as it is to go on. Nothing of the log changes.
    ///
    /// # Errors
    /// The log goes on as it was. [`ReadError::Corrupt`] is to be reported as damage of this replica;
    /// [`ReadError::Changed`] means that the log was cut meanwhile, or that the run was ended.
    pub fn run(self, go_on: &dyn Fn() -> bool) -> Result<CompactedTo, ReadError> {
        let mut done = CompactedTo {
            offset: self.compacted_to,
            generation: self.generation,
            rewritten: VecDeque::new(),
            outcome: CompactionOutcome::default(),
            disk: self.disk.clone(),
            dir: self.dir.clone(),
        };
        match self.rewrite_all(go_on, &mut done) {
            Ok(()) => Ok(done),
            Err(error) => {
                done.discard();
                Err(error)
            }
        }
    }

    fn rewrite_all(&self, go_on: &dyn Fn() -> bool, done: &mut CompactedTo) -> Result<(), ReadError> {
        let (keys, keys_end) = self.keys(go_on, done)?;
        let mut judge = Judge {
            keys,
            keys_end,
            now: self.now,
            delete_horizon: Timestamp(self.now.0.saturating_add(self.rules.delete_retention_ms)),
            producers_since: Timestamp(self.now.0.saturating_sub(self.rules.producer_expiration_ms)),
            transactions: Transactions::NotMet,
        };
        for view in self.segments.iter().filter(|view| view.base < keys_end) {
            if !go_on() {
                return Err(ReadError::Changed);
            }
            done.outcome.bytes_read += view.size;
            match rewrite(&self.disk, view, &self.config, &mut judge) {
                Ok(rewritten) => done.rewritten.extend(rewritten),
                Err(RewriteFault::Read(fault)) => return Err(self.explain(fault, view)),
                Err(RewriteFault::Write(error)) => return Err(ReadError::Disk(error)),
            }
            view.files.release_log();
        }
        done.offset = keys_end;
        Ok(())
    }

    /// The keys of what is new, as far as they fit into memory, and where that ends.
    fn keys(&self, go_on: &dyn Fn() -> bool, done: &mut CompactedTo) -> Result<(Keys, Offset), ReadError> {
        let mut keys = Keys::new(self.rules.keys_bytes_max);
        let mut end = self.compacted_to;
        for view in &self.segments {
            if !go_on() {
                return Err(ReadError::Changed);
            }
            let is_old = view.end <= self.compacted_to;
            let filled = match is_old {
                true => note_producers(view, &mut keys),
                false => {
                    done.outcome.bytes_read += view.size;
                    note_keys(view, self.compacted_to, &mut keys)
                }
            };
            end = end.max(filled.map_err(|fault| self.explain(fault, view))?);
            if keys.are_full() && !is_old {
                break;
            }
        }
        Ok((keys, end))
    }

    fn explain(&self, fault: ReadFault, view: &SegmentView) -> ReadError {
        explain(fault, &self.shared, self.layout, view, view.base)
    }
}

impl CompactedTo {
    /// Removes the new files again.
    pub(super) fn discard(self) {
        for rewritten in &self.rewritten {
            // Whatever is not removed now is removed by the next start.
            let _ = discard(&*self.disk, &self.dir, rewritten.segment.base);
        }
    }
}

fn note_producers(view: &SegmentView, keys: &mut Keys) -> Result<Offset, ReadFault> {
    let mut walk = HeaderWalk::new(view.extent(0, Wait::Allowed)?, Some(view.base), Wait::Allowed);
    while let Some((_, header)) = walk.next()? {
        if header.has_producer_id() {
            keys.note_producer(header.producer_id, header.base_offset);
        }
    }
    Ok(view.end)
}

/// Takes keys batch by batch until memory is full; returns the offset up to which all are known.
fn note_keys(view: &SegmentView, from: Offset, keys: &mut Keys) -> Result<Offset, ReadFault> {
    let mut scan = BatchScan::new(view.extent(0, Wait::Allowed)?, Some(view.base));
    while let Some((position, batch)) = scan.next()? {
        let header = batch.header();
        if header.has_producer_id() {
            keys.note_producer(header.producer_id, header.base_offset);
        }
        if batch.next_offset() <= from {
            continue;
        }
        if keys.are_full() {
            return Ok(batch.base_offset());
        }
        let of_transaction = header.attributes.is_transactional() || header.attributes.is_control();
        if !of_transaction {
            let at = Expected {
                position,
                offset: Some(batch.base_offset()),
            };
            note_batch(&batch, keys).map_err(|cause| at.invalid(DamageKind::Batch(cause)))?;
        }
    }
    Ok(view.end)
}

fn note_batch(batch: &Batch, keys: &mut Keys) -> Result<(), klamm_record::BatchError> {
    if batch.records_count() == 0 {
        return Ok(());
    }
    for record in batch.records(DECOMPRESSED_SIZE_MAX)? {
        let record = record?;
        if let Some(key) = &record.key {
            keys.note(key, record.offset);
        }
    }
    Ok(())
}
