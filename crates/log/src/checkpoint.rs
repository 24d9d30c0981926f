//! The broker's own small files: an offset for each partition of a data directory, in one file, replaced whole.
//!
//! Text, so that a person can read it, with a checksum, so that a damaged file is not believed. Partitions are named
//! by topic id: a topic that was deleted and made again has no checkpoint. What the offsets mean is for the caller.

use std::collections::BTreeMap;
use std::path::Path;

use klamm_record::crc32c;
use klamm_types::{Offset, PartitionId, TopicPartition};

use crate::disk::{Disk, read_small, write_atomically};
use crate::error::DiskError;

/// Recovery points: below them everything is flushed.
pub const RECOVERY_POINT: &str = "recovery-point-offset-checkpoint";
/// High watermarks, as lower bounds.
pub const REPLICATION: &str = "replication-offset-checkpoint";
/// Log start offsets that lie above the first segment.
pub const LOG_START: &str = "log-start-offset-checkpoint";

const VERSION: &str = "1";

/// Offsets by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    pub offsets: BTreeMap<TopicPartition, Offset>,
}

/// Why a checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("reading the checkpoint")]
    Disk(#[from] DiskError),
    /// As good as none; what it held has to be found out otherwise.
    #[error("the checkpoint is damaged")]
    Damaged,
}

impl Checkpoint {
    /// Reads the checkpoint at `path`; `None` if there is none.
    ///
    /// # Errors
    /// The disk failed, or the file is not as it was written.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Checkpoint>, CheckpointError> {
        let bytes = read_small(disk, path).map_err(DiskError::at("reading", path))?;
        bytes
            .map(|bytes| Checkpoint::decode(&bytes).ok_or(CheckpointError::Damaged))
            .transpose()
    }

    /// Replaces the checkpoint at `path`; durable when it returns.
    ///
    /// # Errors
    /// The disk failed; the old checkpoint or the new one is there.
    pub fn write(&self, disk: &dyn Disk, path: &Path) -> Result<(), DiskError> {
        write_atomically(disk, path, &self.encode()).map_err(DiskError::at("writing", path))
    }

    fn encode(&self) -> Vec<u8> {
        let mut text = format!("{VERSION}\n{}\n", self.offsets.len());
        for (at, offset) in &self.offsets {
            text.push_str(&format!("{} {} {offset}\n", at.topic, at.partition));
        }
        let checksum = crc32c(text.as_bytes());
        text.push_str(&format!("crc {checksum:08x}\n"));
        text.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Option<Checkpoint> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (body, checksum) = text.strip_suffix('\n')?.rsplit_once("\ncrc ")?;
        let body = &text[..body.len() + 1];
        if u32::from_str_radix(checksum, 16).ok()? != crc32c(body.as_bytes()) {
            return None;
        }
        let mut lines = body.lines();
        if lines.next()? != VERSION {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut offsets = BTreeMap::new();
        for line in lines {
            let mut words = line.split(' ');
            let at = TopicPartition {
                topic: words.next()?.parse().ok()?,
                partition: PartitionId(words.next()?.parse().ok()?),
            };
            offsets.insert(at, Offset(words.next()?.parse().ok()?));
        }
        (offsets.len() == count).then_some(Checkpoint { offsets })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;
    use klamm_types::TopicId;

    #[test]
    fn is_read_as_written_or_not_believed() {
        let at = |topic, partition| TopicPartition {
            topic: TopicId::from_u128(topic),
            partition: PartitionId(partition),
        };
        let checkpoint = Checkpoint {
            offsets: BTreeMap::from([
                (at(1, 0), Offset(5)),
                (at(1, 2), Offset(0)),
                (at(9, 0), Offset(1 << 40)),
            ]),
        };
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes), Some(checkpoint.clone()));
        for position in 0..bytes.len() {
            let mut broken = bytes.clone();
            broken[position] ^= 1;
            let read = Checkpoint::decode(&broken);
            assert!(read.is_none() || read.as_ref() == Some(&checkpoint), "byte {position}");
            assert_eq!(Checkpoint::decode(&bytes[..position]), None, "cut at {position}");
        }

        let disk = SimDisk::new();
        let path = Path::new("/").join(RECOVERY_POINT);
        assert!(Checkpoint::read(&disk, &path).unwrap().is_none());
        checkpoint.write(&disk, &path).unwrap();
        disk.crash(&mut |_| 0);
        assert_eq!(Checkpoint::read(&disk, &path).unwrap(), Some(checkpoint));
        assert!(disk.flip_bit(&path, 3, 0));
        assert!(matches!(Checkpoint::read(&disk, &path), Err(CheckpointError::Damaged)));
    }
}
