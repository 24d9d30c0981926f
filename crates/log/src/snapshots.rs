//! Producer snapshots: what a partition knew of its producers at an offset, so that a start need not read all batches.
//!
//! The bytes are the caller's. A snapshot is a cache with a checksum and is never flushed: one that is missing or
//! broken costs a longer replay. What must not happen is that one outlives the batches it was made from, so whoever
//! cuts the log removes those above the cut, durably, before the next append.

use std::path::Path;

use bytes::Bytes;
use klamm_record::crc32c;
use klamm_types::Offset;

use crate::disk::{Disk, read_small, remove_if_present, write_cache};
use crate::error::{ChangeError, DiskError, ReadError};
use crate::log::Log;
use crate::names;
use crate::replay::Replay;

/// What the caller stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerSnapshot {
    /// Everything below is in it.
    pub offset: Offset,
    pub bytes: Bytes,
}

const MAGIC: &[u8; 8] = b"klammps1";
/// Magic, offset, checksum.
const FRAME: usize = 8 + 8 + 4;
/// So many snapshots that the disk certainly agrees with are kept.
const KEPT: usize = 2;

fn encode(offset: Offset, bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(FRAME + bytes.len());
    framed.extend_from_slice(MAGIC);
    framed.extend_from_slice(&offset.0.to_be_bytes());
    framed.extend_from_slice(&[0; 4]);
    framed.extend_from_slice(bytes);
    let checksum = checksum(&framed);
    framed[16..FRAME].copy_from_slice(&checksum.to_be_bytes());
    framed
}

/// Over everything but the checksum itself.
fn checksum(framed: &[u8]) -> u32 {
    crc32c(&[&framed[..16], &framed[FRAME..]].concat())
}

fn decode(offset: Offset, framed: Vec<u8>) -> Option<ProducerSnapshot> {
    let stored = u32::from_be_bytes(*framed.get(16..)?.first_chunk()?);
    let is_whole = framed.starts_with(MAGIC) && framed[8..16] == offset.0.to_be_bytes();
    (is_whole && checksum(&framed) == stored).then(|| ProducerSnapshot {
        offset,
        bytes: Bytes::from(framed).slice(FRAME..),
    })
}

/// Reads one; `None` if it is missing or broken.
pub(crate) fn load(disk: &dyn Disk, dir: &Path, offset: Offset) -> Result<Option<ProducerSnapshot>, DiskError> {
    let path = names::path(dir, offset, names::SNAPSHOT);
    let framed = read_small(disk, &path).map_err(DiskError::at("reading", &path))?;
    Ok(framed.and_then(|framed| decode(offset, framed)))
}

pub(crate) fn remove(disk: &dyn Disk, dir: &Path, offset: Offset) -> Result<(), DiskError> {
    let path = names::path(dir, offset, names::SNAPSHOT);
    remove_if_present(disk, &path).map_err(DiskError::at("removing", &path))
}

impl Log {
    /// Whether a segment was closed since the last snapshot: time for another one.
    pub fn needs_producer_snapshot(&self) -> bool {
        self.snapshot_due
    }

    /// Stores what the partition knows of its producers after all records below `offset`, and removes old snapshots.
    ///
    /// # Errors
    /// [`ChangeError::OutOfRange`] if the log does not reach `offset`; after a disk error the log goes on as before.
    pub fn write_producer_snapshot(&mut self, offset: Offset, bytes: &[u8]) -> Result<(), ChangeError> {
        let (start, end) = (self.segments[0].base, self.log_end_offset());
        if offset < start || offset > end {
            return Err(ChangeError::OutOfRange { offset, start, end });
        }
        let path = names::path(&self.dir, offset, names::SNAPSHOT);
        self.shared.directory_changed();
        write_cache(&*self.disk, &path, &encode(offset, bytes)).map_err(DiskError::at("writing", &path))?;
        if let Err(place) = self.snapshots.binary_search(&offset) {
            self.snapshots.insert(place, offset);
        }
        self.snapshot_due = false;
        self.prune_snapshots()
    }

    /// Removes snapshots that no start can need: a power cut takes the log back to its flushed offset at most.
    fn prune_snapshots(&mut self) -> Result<(), ChangeError> {
        let safe = self.snapshots.partition_point(|&offset| offset <= self.flushed);
        for _ in 0..safe.saturating_sub(KEPT) {
            remove(&*self.disk, &self.dir, self.snapshots[0])?;
            self.snapshots.remove(0);
        }
        Ok(())
    }

    /// The newest snapshot that can be read, and the batches above it: what the producers' state is rebuilt from after
    /// a truncation. Waits for the disk.
    ///
    /// # Errors
    /// The disk failed. Broken snapshots are passed over.
    pub fn producer_state(&self) -> Result<(Option<ProducerSnapshot>, Replay), ReadError> {
        let mut newest = None;
        for &offset in self.snapshots.iter().rev() {
            newest = load(&*self.disk, &self.dir, offset)?;
            if newest.is_some() {
                break;
            }
        }
        let from = newest
            .as_ref()
            .map_or(self.segments[0].base, |snapshot| snapshot.offset);
        Ok((newest, self.replay(from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_knows_its_offset_and_its_bytes() {
        let framed = encode(Offset(7), b"state");
        let read = decode(Offset(7), framed.clone()).unwrap();
        assert_eq!((read.offset, &read.bytes[..]), (Offset(7), &b"state"[..]));
        assert_eq!(decode(Offset(8), framed.clone()), None);
        for at in 0..framed.len() {
            let mut broken = framed.clone();
            broken[at] ^= 1;
            assert_eq!(decode(Offset(7), broken), None, "byte {at}");
            assert_eq!(decode(Offset(7), framed[..at].to_vec()), None, "cut at {at}");
        }
    }
}
