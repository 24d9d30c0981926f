//! `partition.metadata`: which topic a partition directory belongs to. The directory's name is for people; this file
//! decides. Kafka's format.

use std::path::Path;

use klamm_types::TopicId;

use crate::disk::{Disk, read_small, write_atomically};
use crate::error::DiskError;

const FILE: &str = "partition.metadata";

/// Whose directory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub topic_id: TopicId,
}

/// Why it could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PartitionMetadataError {
    #[error("reading the partition's metadata")]
    Disk(#[from] DiskError),
    #[error("the partition's metadata is damaged")]
    Damaged,
}

impl PartitionMetadata {
    /// Reads it from a partition directory; `None` if there is none.
    ///
    /// # Errors
    /// The disk failed, or the file is not of this format.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<PartitionMetadata>, PartitionMetadataError> {
        let path = dir.join(FILE);
        let bytes = read_small(disk, &path).map_err(DiskError::at("reading", &path))?;
        bytes
            .map(|bytes| PartitionMetadata::decode(&bytes).ok_or(PartitionMetadataError::Damaged))
            .transpose()
    }

    /// Writes it into a partition directory, which must exist; durable when it returns.
    ///
    /// # Errors
    /// The disk failed.
    pub fn write(self, disk: &dyn Disk, dir: &Path) -> Result<(), DiskError> {
        let path = dir.join(FILE);
        let text = format!("version: 0\ntopic_id: {}", self.topic_id);
        write_atomically(disk, &path, text.as_bytes()).map_err(DiskError::at("writing", &path))
    }

    fn decode(bytes: &[u8]) -> Option<PartitionMetadata> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        if lines.next()? != "version: 0" {
            return None;
        }
        let topic_id: TopicId = lines.next()?.strip_prefix("topic_id: ")?.parse().ok()?;
        (lines.next().is_none() && topic_id != TopicId::ZERO).then_some(PartitionMetadata { topic_id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SimDisk;

    #[test]
    fn is_read_as_written() {
        let disk = SimDisk::new();
        let dir = Path::new("/topic-0");
        disk.create_dir(dir).unwrap();
        assert_eq!(PartitionMetadata::read(&disk, dir).unwrap(), None);
        let metadata = PartitionMetadata {
            topic_id: TopicId::from_u128(77),
        };
        metadata.write(&disk, dir).unwrap();
        assert_eq!(PartitionMetadata::read(&disk, dir).unwrap(), Some(metadata));
        for bad in [
            "",
            "version: 1\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ",
            "version: 0\ntopic_id: x",
        ] {
            assert_eq!(PartitionMetadata::decode(bad.as_bytes()), None, "{bad:?}");
        }
    }
}
