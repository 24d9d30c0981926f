//! One segment: a file of batches, its two indexes, and what the log must know of it without reading.
//!
//! A segment does its own bookkeeping and nothing else; when to roll, flush or delete is the log's decision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use klamm_record::BatchHeader;
use klamm_types::{Offset, Timestamp};

use crate::config::LogConfig;
use crate::error::DiskError;
use crate::files::{Part, SegmentFiles, disk_error};
use crate::index::{Entry, Found, Index, OffsetEntry, TimeEntry, read_entry, search_file};
use crate::scan::{Extent, ScanError, Wait};

/// Positions in the index have 32 bits with a sign in Kafka.
const SEGMENT_BYTES_MAX: u64 = i32::MAX as u64;

#[derive(Debug)]
pub(crate) struct Segment {
    pub files: Arc<SegmentFiles>,
    pub base: Offset,
    /// Where the next batch goes in the file.
    pub size: u64,
    /// The offset that the next batch has.
    pub end: Offset,
    pub index: Index<OffsetEntry>,
    pub times: Index<TimeEntry>,
    pub bytes_since_entry: u64,
    /// The largest timestamp so far, and the last offset of the first batch that has it.
    pub max_timestamp: Timestamp,
    pub max_timestamp_offset: Offset,
    /// What the age of the segment counts from: the timestamp of its first batch.
    pub first_timestamp: Timestamp,
    /// When the first batch was appended in this run of the process, for batches without timestamps.
    pub opened_at: Timestamp,
    /// Every batch has been checked since the process started.
    pub verified: Arc<AtomicBool>,
    /// The index files of a closed segment are on the disk. Set by the flush that did it.
    pub indexes_durable: Arc<AtomicBool>,
}

impl Segment {
    pub fn new(files: Arc<SegmentFiles>) -> Segment {
        let base = files.base();
        Segment {
            files,
            base,
            size: 0,
            end: base,
            index: Index::default(),
            times: Index::default(),
            bytes_since_entry: 0,
            max_timestamp: Timestamp::NONE,
            max_timestamp_offset: base,
            first_timestamp: Timestamp::NONE,
            opened_at: Timestamp::NONE,
            verified: Arc::new(AtomicBool::new(true)),
            indexes_durable: Arc::new(AtomicBool::new(false)),
        }
    }

    /// Makes the file. Its directory entry is not durable yet.
    pub fn create(files: Arc<SegmentFiles>) -> Result<Segment, DiskError> {
        let file = files.create(Part::Log)?;
        // A roll that failed half way may have left an empty file, and nothing else can.
        if file.size().map_err(disk_error("measuring", &files, Part::Log))? > 0 {
            file.set_size(0).map_err(disk_error("emptying", &files, Part::Log))?;
        }
        Ok(Segment::new(files))
    }

    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    pub fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    pub fn are_indexes_durable(&self) -> bool {
        self.indexes_durable.load(Ordering::Acquire)
    }

    /// Takes note of a batch that is in the file now.
    #[inline]
    pub fn note(&mut self, header: &BatchHeader, index_interval_bytes: u64) {
        let last = header.last_offset();
        // One without records may keep a time for its producer's sake.
        if header.records_count > 0 && header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_timestamp_offset = last;
        }
        if self.size == 0 {
            self.first_timestamp = header.max_timestamp;
        }
        if self.bytes_since_entry > index_interval_bytes {
            self.add_entries(last);
        }
        let size = header.size() as u64;
        self.bytes_since_entry += size;
        self.size += size;
        self.end = header.next_offset();
    }

    fn add_entries(&mut self, last: Offset) {
        // The roll rules keep both numbers inside 32 bits.
        self.index.push(OffsetEntry {
            relative: self.relative(last),
            position: self.size as u32,
        });
        self.add_time_entry();
        self.bytes_since_entry = 0;
    }

    fn add_time_entry(&mut self) {
        let known = self.times.last().map_or(Timestamp::NONE, |entry| entry.timestamp);
        if self.max_timestamp > known {
            self.times.push(TimeEntry {
                timestamp: self.max_timestamp,
                relative: self.relative(self.max_timestamp_offset),
            });
        }
    }

    pub fn relative(&self, offset: Offset) -> u32 {
        u32::try_from(offset.0 - self.base.0).unwrap_or(u32::MAX)
    }

    /// Whether the segment can take the batch at all: by size, offsets and indexes.
    pub fn has_room(&self, header: &BatchHeader, bytes_before: u64, config: &LogConfig) -> bool {
        let limit = config.segment_bytes.min(SEGMENT_BYTES_MAX);
        let taken = self.size + bytes_before;
        (taken == 0 || taken + header.size() as u64 <= limit)
            && header.last_offset().0 - self.base.0 <= i64::from(i32::MAX)
    }

    /// Whether the segment has grown too old, or its indexes too large, for another batch.
    pub fn is_due(&self, header: &BatchHeader, now: Timestamp, config: &LogConfig) -> bool {
        if self.size == 0 {
            return false;
        }
        let index_full = |size: u64, entry: usize| size + entry as u64 > config.segment_index_bytes;
        let age = match (self.first_timestamp.is_none(), header.max_timestamp.is_none()) {
            (false, false) => header.max_timestamp.0.saturating_sub(self.first_timestamp.0),
            _ if self.opened_at.is_none() => 0,
            _ => now.0.saturating_sub(self.opened_at.0),
        };
        age > config.segment_ms
            || index_full(self.index.size(), OffsetEntry::SIZE)
            || index_full(self.times.size(), TimeEntry::SIZE)
    }

    /// Writes index entries once a page of them is there.
    pub fn spill(&mut self) -> Result<(), DiskError> {
        if self.index.is_due() {
            let file = self.files.create(Part::Index)?;
            let result = self.index.write(&*file);
            result.map_err(disk_error("writing", &self.files, Part::Index))?;
        }
        if self.times.is_due() {
            let file = self.files.create(Part::TimeIndex)?;
            let result = self.times.write(&*file);
            result.map_err(disk_error("writing", &self.files, Part::TimeIndex))?;
        }
        Ok(())
    }

    /// The time index of a closed segment ends with its largest timestamp.
    pub fn end_times(&mut self) {
        self.add_time_entry();
    }

    /// Completes both index files: at a roll and at a clean stop. They are not durable yet.
    pub fn seal(&mut self) -> Result<(), DiskError> {
        self.end_times();
        let file = self.files.create(Part::Index)?;
        let result = self.index.finish(&*file);
        result.map_err(disk_error("writing", &self.files, Part::Index))?;
        let file = self.files.create(Part::TimeIndex)?;
        let result = self.times.finish(&*file);
        result.map_err(disk_error("writing", &self.files, Part::TimeIndex))
    }

    /// What a job needs to read the segment as it is now.
    pub fn view(&self, config: &LogConfig) -> SegmentView {
        SegmentView {
            files: self.files.clone(),
            base: self.base,
            size: self.size,
            end: self.end,
            index_entries: self.index.written(),
            time_entries: self.times.written(),
            batch_bytes_max: config.batch_bytes_max,
        }
    }
}

/// A segment as it was at one moment, for jobs on other threads.
#[derive(Clone, Debug)]
pub(crate) struct SegmentView {
    pub files: Arc<SegmentFiles>,
    pub base: Offset,
    pub size: u64,
    pub end: Offset,
    pub index_entries: u64,
    pub time_entries: u64,
    pub batch_bytes_max: usize,
}

/// Where to start looking for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// An index entry, or a place where another read ended; to be checked.
    Position(u64),
    /// The index file knows.
    IndexFile,
}

impl SegmentView {
    pub fn extent(&self, start: u64, wait: Wait) -> Result<Extent, ReadFault> {
        let file = match wait {
            Wait::Allowed => self.files.open(Part::Log)?,
            Wait::Never => self.files.opened(Part::Log).ok_or(ScanError::WouldBlock)?,
        };
        Ok(Extent {
            file,
            start,
            end: self.size,
            batch_bytes_max: self.batch_bytes_max,
        })
    }

    /// Asks the index file for the last entry at or below `offset`: where it leads, 0 without one.
    pub fn look_up(&self, offset: Offset, wait: Wait) -> Result<u64, ReadFault> {
        let Some(file) = self.part(Part::Index, self.index_entries, wait)? else {
            return Ok(0);
        };
        let relative = offset.0 - self.base.0;
        let fits = |entry: &OffsetEntry| i64::from(entry.relative) <= relative;
        let found = search_file(&*file, self.index_entries, wait, fits).map_err(disk_error(
            "reading",
            &self.files,
            Part::Index,
        ))?;
        match found {
            Found::Entry(entry) => Ok(u64::from(entry.position)),
            Found::Nothing => Ok(0),
            Found::WouldBlock => Err(ScanError::WouldBlock.into()),
        }
    }

    /// Asks the time index file for the last entry at or below `timestamp`.
    pub fn look_up_time(&self, timestamp: Timestamp) -> Result<Option<TimeEntry>, ReadFault> {
        let Some(file) = self.part(Part::TimeIndex, self.time_entries, Wait::Allowed)? else {
            return Ok(None);
        };
        let fits = |entry: &TimeEntry| entry.timestamp <= timestamp;
        let found = search_file(&*file, self.time_entries, Wait::Allowed, fits).map_err(disk_error(
            "reading",
            &self.files,
            Part::TimeIndex,
        ))?;
        Ok(match found {
            Found::Entry(entry) => Some(entry),
            Found::Nothing | Found::WouldBlock => None,
        })
    }

    fn part(&self, part: Part, entries: u64, wait: Wait) -> Result<Option<Arc<dyn crate::disk::DiskFile>>, ReadFault> {
        match wait {
            _ if entries == 0 => Ok(None),
            // Without its index a segment is read from the front.
            Wait::Allowed => Ok(self.files.open_if_present(part)?),
            Wait::Never => Ok(Some(self.files.opened(part).ok_or(ScanError::WouldBlock)?)),
        }
    }
}

/// The last entry of an index file, if there is one.
pub(crate) fn last_entry<E: Entry>(files: &SegmentFiles, part: Part) -> Result<LastEntry<E>, DiskError> {
    let Some(file) = files.open_if_present(part)? else {
        return Ok(LastEntry::Broken);
    };
    let size = file.size().map_err(disk_error("measuring", files, part))?;
    if size % E::SIZE as u64 != 0 {
        return Ok(LastEntry::Broken);
    }
    let entries = size / E::SIZE as u64;
    if entries == 0 {
        return Ok(LastEntry::Empty);
    }
    let entry = read_entry(&*file, entries - 1, Wait::Allowed).map_err(disk_error("reading", files, part))?;
    Ok(match entry.flatten() {
        Some(entry) => LastEntry::Entry { entries, entry },
        None => LastEntry::Broken,
    })
}

/// The end of an index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastEntry<E> {
    Entry {
        entries: u64,
        entry: E,
    },
    Empty,
    /// Missing, or no whole number of entries.
    Broken,
}

/// Why something could not be read from a segment.
#[derive(Debug)]
pub(crate) enum ReadFault {
    Disk(DiskError),
    Scan(ScanError),
}

impl From<DiskError> for ReadFault {
    fn from(error: DiskError) -> ReadFault {
        ReadFault::Disk(error)
    }
}

impl From<ScanError> for ReadFault {
    fn from(error: ScanError) -> ReadFault {
        ReadFault::Scan(error)
    }
}
