//! The two sparse indexes of a segment, in Kafka's format: offset to position (8 bytes an entry) and timestamp to
//! offset (12 bytes).
//!
//! An index is a cache. The newest entries wait in memory and are written in pages; nothing here makes them durable
//! or judges whether they are true. Whoever follows an entry checks that the batch it leads to is the right one.

use std::io::{self, IoSlice};

use klamm_types::Timestamp;

use crate::disk::DiskFile;
use crate::scan::Wait;

/// An entry of a fixed size.
pub(crate) trait Entry: Copy {
    const SIZE: usize;
    fn encode(&self, out: &mut Vec<u8>);
    /// From exactly `SIZE` bytes.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// The batch with this last offset begins at this position. Offsets count from the segment's base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    pub relative: u32,
    pub position: u32,
}

/// Up to the batch with this last offset no timestamp is larger; it is the first that has this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub timestamp: Timestamp,
    pub relative: u32,
}

fn number(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.first_chunk()?))
}

impl Entry for OffsetEntry {
    const SIZE: usize = 8;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.relative.to_be_bytes());
        out.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<OffsetEntry> {
        Some(OffsetEntry {
            relative: number(bytes)?,
            position: number(bytes.get(4..)?)?,
        })
    }
}

impl Entry for TimeEntry {
    const SIZE: usize = 12;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.relative.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<TimeEntry> {
        Some(TimeEntry {
            timestamp: Timestamp(i64::from_be_bytes(*bytes.first_chunk()?)),
            relative: number(bytes.get(8..)?)?,
        })
    }
}

/// So many entries wait in memory at most before they are written.
const PENDING_MAX: usize = 512;
/// So many entries are read at once at the end of a search.
const BLOCK: u64 = 512;

/// One index: entries in the file, then entries in memory.
#[derive(Clone, Debug)]
pub(crate) struct Index<E> {
    written: u64,
    pending: Vec<E>,
    last: Option<E>,
}

impl<E> Default for Index<E> {
    fn default() -> Index<E> {
        Index {
            written: 0,
            pending: Vec::new(),
            last: None,
        }
    }
}

impl<E: Entry> Index<E> {
    /// An index whose file has `written` entries, the last of them `last`.
    pub fn loaded(written: u64, last: Option<E>) -> Index<E> {
        Index {
            written,
            pending: Vec::new(),
            last,
        }
    }

    pub fn push(&mut self, entry: E) {
        self.pending.push(entry);
        self.last = Some(entry);
    }

    pub fn last(&self) -> Option<E> {
        self.last
    }

    pub fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that the file has once all is written.
    pub fn size(&self) -> u64 {
        (self.written + self.pending.len() as u64) * E::SIZE as u64
    }

    /// Whether enough entries wait to be worth a write.
    pub fn is_due(&self) -> bool {
        self.pending.len() >= PENDING_MAX
    }

    /// The last waiting entry that `fits`; entries that fit come before those that do not. `None` sends the search
    /// to the file.
    pub fn find_pending(&self, fits: impl Fn(&E) -> bool) -> Option<E> {
        let count = self.pending.partition_point(fits);
        self.pending[..count].last().copied()
    }

    /// Writes what waits.
    pub fn write(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(self.pending.len() * E::SIZE);
        for entry in &self.pending {
            entry.encode(&mut bytes);
        }
        file.write_at(&[IoSlice::new(&bytes)], self.written * E::SIZE as u64)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Writes what waits and cuts off what an earlier use of the file left behind.
    pub fn finish(&mut self, file: &dyn DiskFile) -> io::Result<()> {
        self.write(file)?;
        let size = self.size();
        if file.size()? != size {
            file.set_size(size)?;
        }
        // A sealed segment needs no room for more.
        self.pending = Vec::new();
        Ok(())
    }

    /// Forgets all entries behind the last that `fits`.
    pub fn truncate(&mut self, file: Option<&dyn DiskFile>, fits: impl Fn(&E) -> bool) -> io::Result<()> {
        let count = self.pending.partition_point(&fits);
        self.pending.truncate(count);
        if count == 0 {
            self.written = match file {
                Some(file) => count_in_file(file, self.written, &fits)?,
                None => 0,
            };
        }
        self.last = match (self.pending.last(), file) {
            (Some(last), _) => Some(*last),
            (None, Some(file)) if self.written > 0 => read_entry(file, self.written - 1, Wait::Allowed)?.flatten(),
            (None, _) => None,
        };
        Ok(())
    }
}

/// The entry with this number: `None` if that would block, `Some(None)` if there is none.
pub(crate) fn read_entry<E: Entry>(file: &dyn DiskFile, number: u64, wait: Wait) -> io::Result<Option<Option<E>>> {
    let mut bytes = vec![0; E::SIZE];
    match read_some(file, &mut bytes, number * E::SIZE as u64, wait)? {
        None => Ok(None),
        Some(count) if count < E::SIZE => Ok(Some(None)),
        Some(_) => Ok(Some(E::decode(&bytes))),
    }
}

fn read_some(file: &dyn DiskFile, bytes: &mut [u8], position: u64, wait: Wait) -> io::Result<Option<usize>> {
    match wait {
        Wait::Allowed => file.read_at(bytes, position).map(Some),
        Wait::Never => file.read_at_nowait(bytes, position),
    }
}

fn count_in_file<E: Entry>(file: &dyn DiskFile, entries: u64, fits: &impl Fn(&E) -> bool) -> io::Result<u64> {
    let (mut low, mut high) = (0, entries);
    while low < high {
        let middle = low + (high - low) / 2;
        match read_entry::<E>(file, middle, Wait::Allowed)?.flatten() {
            Some(entry) if fits(&entry) => low = middle + 1,
            // A file that is too short has no entry there.
            _ => high = middle,
        }
    }
    Ok(low)
}

/// What a search in an index file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<E> {
    Entry(E),
    /// No entry fits: the search starts at the beginning of the segment.
    Nothing,
    WouldBlock,
}

/// The last of the first `entries` entries that `fits`.
pub(crate) fn search_file<E: Entry>(
    file: &dyn DiskFile,
    entries: u64,
    wait: Wait,
    fits: impl Fn(&E) -> bool,
) -> io::Result<Found<E>> {
    let (mut low, mut high) = (0, entries);
    while high - low > BLOCK {
        let middle = low + (high - low) / 2;
        match read_entry::<E>(file, middle, wait)? {
            None => return Ok(Found::WouldBlock),
            Some(Some(entry)) if fits(&entry) => low = middle,
            Some(_) => high = middle,
        }
    }
    let mut bytes = vec![0; (high - low) as usize * E::SIZE];
    let Some(count) = read_some(file, &mut bytes, low * E::SIZE as u64, wait)? else {
        return Ok(Found::WouldBlock);
    };
    let block: Vec<E> = bytes[..count].chunks_exact(E::SIZE).filter_map(E::decode).collect();
    let count = block.partition_point(fits);
    Ok(match block[..count].last() {
        Some(entry) => Found::Entry(*entry),
        None => Found::Nothing,
    })
}
