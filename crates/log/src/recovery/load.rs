//! Bringing one segment into memory: by its indexes if they can be trusted, otherwise by reading it through.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use klamm_types::{LeaderEpoch, Offset, Timestamp};

use crate::config::LogConfig;
use crate::epochs::EpochCache;
use crate::error::{DamageKind, DiskError};
use crate::files::{Part, SegmentFiles, disk_error};
use crate::index::{Index, OffsetEntry, TimeEntry};
use crate::read::locate;
use crate::scan::{BatchScan, HeaderWalk, ScanError, Wait};
use crate::segment::{Hint, LastEntry, ReadFault, Segment, last_entry};

use super::rewrite::Rewrite;

/// A segment and the leader epoch of its last batch.
pub(super) struct Loaded {
    pub segment: Segment,
    pub last_epoch: Option<LeaderEpoch>,
}

/// Where and why the batches of a log cannot be followed any further.
#[derive(Debug)]
pub(super) struct Stop {
    pub offset: Offset,
    pub segment: Offset,
    pub position: u64,
    pub kind: DamageKind,
}

fn measure(files: &Arc<SegmentFiles>) -> Result<u64, DiskError> {
    let log = files.open(Part::Log)?;
    log.size().map_err(disk_error("measuring", files, Part::Log))
}

/// Reads the ends of the indexes and the headers behind them. `None`: something does not fit, and the segment has to
/// be read through.
pub(super) fn load(files: &Arc<SegmentFiles>, config: &LogConfig) -> Result<Option<Loaded>, DiskError> {
    let mut segment = Segment::new(files.clone());
    segment.size = measure(files)?;
    segment.verified = Arc::new(AtomicBool::new(segment.size == 0));
    match try_load(&mut segment, config) {
        Ok(last_epoch) => Ok(last_epoch.map(|last_epoch| Loaded { segment, last_epoch })),
        Err(ReadFault::Disk(error)) => Err(error),
        Err(ReadFault::Scan(ScanError::Io(source))) => Err(disk_error("reading", files, Part::Log)(source)),
        Err(ReadFault::Scan(_)) => Ok(None),
    }
}

fn try_load(segment: &mut Segment, config: &LogConfig) -> Result<Option<Option<LeaderEpoch>>, ReadFault> {
    if segment.size == 0 {
        return Ok(Some(None));
    }
    let mut start = 0;
    let mut indexed: Option<Offset> = None;
    match last_entry::<OffsetEntry>(&segment.files, Part::Index)? {
        LastEntry::Broken => return Ok(None),
        LastEntry::Empty => {}
        // The first batch never gets an entry: zeros are what a lost write leaves.
        LastEntry::Entry { entry, .. } if entry.position == 0 => return Ok(None),
        LastEntry::Entry { entries, entry } => {
            segment.index = Index::loaded(entries, Some(entry));
            start = u64::from(entry.position);
            indexed = Some(Offset(segment.base.0 + i64::from(entry.relative)));
        }
    }
    let first = (start == 0).then_some(segment.base);
    let mut walk = HeaderWalk::new(segment.view(config).extent(start, Wait::Allowed)?, first, Wait::Allowed);
    let mut last_epoch = None;
    while let Some((position, header)) = walk.next()? {
        if position == start && indexed.is_some_and(|indexed| indexed != header.last_offset()) {
            return Ok(None);
        }
        last_epoch = Some(header.partition_leader_epoch);
        segment.end = header.next_offset();
    }
    if last_epoch.is_none() {
        return Ok(None);
    }
    segment.bytes_since_entry = segment.size - start;
    let trusted = load_times(segment, config)?;
    segment.indexes_durable = Arc::new(AtomicBool::new(true));
    Ok(trusted.then_some(last_epoch))
}

/// The time index of a closed segment ends with its largest timestamp. Says whether that is so.
fn load_times(segment: &mut Segment, config: &LogConfig) -> Result<bool, ReadFault> {
    let extent = segment.view(config).extent(0, Wait::Allowed)?;
    let mut walk = HeaderWalk::new(extent, Some(segment.base), Wait::Allowed);
    let Some((_, first)) = walk.next()? else {
        return Ok(false);
    };
    segment.first_timestamp = first.max_timestamp;
    match last_entry::<TimeEntry>(&segment.files, Part::TimeIndex)? {
        LastEntry::Broken => Ok(false),
        // Only a segment whose batches have no timestamps has no entry. After compaction the first one says nothing.
        LastEntry::Empty if first.records_count == 0 => {
            while let Some((_, header)) = walk.next()? {
                if header.records_count > 0 && !header.max_timestamp.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        LastEntry::Empty => Ok(first.max_timestamp.is_none()),
        LastEntry::Entry { entries, entry } => {
            let offset = Offset(segment.base.0 + i64::from(entry.relative));
            if offset >= segment.end {
                return Ok(false);
            }
            let place = locate(&segment.view(config), Hint::IndexFile, offset, Wait::Allowed)?;
            segment.times = Index::loaded(entries, Some(entry));
            segment.max_timestamp = entry.timestamp;
            segment.max_timestamp_offset = offset;
            Ok(place.header.last_offset() == offset && place.header.max_timestamp == entry.timestamp)
        }
    }
}

/// Reads a segment through, checks every batch and builds its indexes anew. Batches behind a fault are not looked at;
/// the segment ends before it. Batches that reach past `flushed` are written again.
pub(super) fn scan(
    files: &Arc<SegmentFiles>,
    config: &LogConfig,
    epochs: &mut EpochCache,
    flushed: Offset,
) -> Result<(Loaded, Option<Stop>), DiskError> {
    let mut rewrite = Rewrite::new(files, flushed);
    let mut segment = Segment::new(files.clone());
    let mut view = segment.view(config);
    view.size = measure(files)?;
    let extent = match view.extent(0, Wait::Allowed) {
        Ok(extent) => extent,
        Err(ReadFault::Disk(error)) => return Err(error),
        Err(ReadFault::Scan(_)) => {
            return Err(disk_error("reading", files, Part::Log)(
                std::io::ErrorKind::Other.into(),
            ));
        }
    };
    let mut batches = BatchScan::new(extent, Some(segment.base));
    let mut last_epoch = None;
    let (position, kind) = loop {
        match batches.next() {
            Ok(None) => {
                rewrite.write()?;
                return Ok((Loaded { segment, last_epoch }, None));
            }
            Ok(Some((position, batch))) => {
                let (found, last) = (batch.leader_epoch(), epochs.last_epoch().or(last_epoch));
                if let Some(last) = last
                    && found < last
                {
                    break (position, DamageKind::FallingEpoch { last, found });
                }
                segment.note(batch.header(), config.index_interval_bytes);
                segment.spill()?;
                epochs.assign(found, batch.base_offset());
                last_epoch = Some(found);
                rewrite.take(position, batch)?;
            }
            Err(ScanError::Io(source)) => return Err(disk_error("reading", files, Part::Log)(source)),
            Err(ScanError::Invalid { position, kind, .. }) => break (position, kind),
            Err(ScanError::WouldBlock) => {
                return Err(disk_error("reading", files, Part::Log)(
                    std::io::ErrorKind::WouldBlock.into(),
                ));
            }
        }
    };
    rewrite.write()?;
    let stop = Stop {
        offset: segment.end,
        segment: segment.base,
        position,
        kind,
    };
    Ok((Loaded { segment, last_epoch }, Some(stop)))
}

/// Finds the largest timestamp again after a segment was cut.
pub(crate) fn largest_timestamp(segment: &mut Segment) -> Result<(), ReadFault> {
    segment.max_timestamp = Timestamp::NONE;
    segment.max_timestamp_offset = segment.base;
    if segment.size == 0 {
        segment.first_timestamp = Timestamp::NONE;
        return Ok(());
    }
    // The bound on batches does not matter: those that stay have been admitted before.
    let config = LogConfig {
        batch_bytes_max: usize::MAX,
        ..LogConfig::default()
    };
    let view = segment.view(&config);
    let mut start = 0;
    if let Some(entry) = segment.times.last() {
        let offset = Offset(segment.base.0 + i64::from(entry.relative));
        start = locate(&view, crate::log_read::hint(segment, offset), offset, Wait::Allowed)?.position;
    }
    let mut walk = HeaderWalk::new(view.extent(start, Wait::Allowed)?, None, Wait::Allowed);
    while let Some((_, header)) = walk.next()? {
        if header.records_count > 0 && header.max_timestamp > segment.max_timestamp {
            segment.max_timestamp = header.max_timestamp;
            segment.max_timestamp_offset = header.last_offset();
        }
    }
    Ok(())
}
