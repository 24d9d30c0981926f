//! The directories of partitions: their names, `partition.metadata`, and how they are made, put aside and deleted.
//!
//! `<data>/<topic>-<partition>/` is a partition, `….<topic id>-delete` one that waits for its removal, `…-stray` one
//! that the metadata does not know; a stray one is kept for a person to look at. What a directory holds besides
//! `partition.metadata` is the log's business.

use std::io;
use std::path::{Path, PathBuf};

use klamm_log::disk::remove_dir_all;
use klamm_log::{Disk, DiskError, EntryKind, PartitionMetadata, PartitionMetadataError};
use klamm_types::{PartitionId, TopicId, TopicPartition, validate_topic_name};

const DELETE_SUFFIX: &str = "-delete";
const STRAY_SUFFIX: &str = "-stray";

/// What we were doing to a partition's directory when the disk refused.
#[derive(Debug, thiserror::Error)]
#[error("{act} the partition directory {}", path.display())]
pub struct DirectoryError {
    pub act: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

/// One entry of the data directory, by its name and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Partition {
        name: String,
        partition: TopicPartition,
    },
    /// Renamed for removal by an earlier run.
    Deleted {
        name: String,
    },
    /// Looks like a partition, but holds no readable `partition.metadata`.
    Nameless {
        name: String,
    },
}

/// Kafka's directory name of a partition.
pub fn directory_name(topic: &str, partition: PartitionId) -> String {
    format!("{topic}-{partition}")
}

/// The partition directories of `data`, in the order of their names.
pub fn list(disk: &dyn Disk, data: &Path) -> Result<Vec<Found>, DirectoryError> {
    let entries = disk.list(data).map_err(failed("listing", data))?;
    let mut found = Vec::new();
    for entry in entries {
        if entry.kind != EntryKind::Directory || entry.name.ends_with(STRAY_SUFFIX) {
            continue;
        }
        if entry.name.ends_with(DELETE_SUFFIX) {
            found.push(Found::Deleted { name: entry.name });
        } else if let Some(number) = parse_name(&entry.name) {
            let path = data.join(&entry.name);
            found.push(match read_topic_id(disk, &path)? {
                Some(topic) => Found::Partition {
                    partition: TopicPartition {
                        topic,
                        partition: number,
                    },
                    name: entry.name,
                },
                None => Found::Nameless { name: entry.name },
            });
        }
    }
    Ok(found)
}

/// Makes the directory of a new partition, durably, with its `partition.metadata`.
pub fn create(disk: &dyn Disk, data: &Path, name: &str, topic: TopicId) -> Result<(), DirectoryError> {
    let path = data.join(name);
    match disk.create_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        other => other.map_err(failed("making", &path))?,
    }
    PartitionMetadata { topic_id: topic }
        .write(disk, &path)
        .map_err(within("writing into", &path))?;
    disk.sync_dir(data).map_err(failed("syncing the parent of", &path))
}

/// Whether nothing was ever appended there.
pub fn holds_no_segment(disk: &dyn Disk, path: &Path) -> Result<bool, DirectoryError> {
    let entries = disk.list(path).map_err(failed("listing", path))?;
    Ok(!entries.iter().any(|entry| entry.name.ends_with(".log")))
}

/// Renames the directory so that no start takes it for a partition. Returns where it is now, to be removed later.
pub fn mark_deleted(disk: &dyn Disk, data: &Path, name: &str, topic: TopicId) -> Result<PathBuf, DirectoryError> {
    put_aside(disk, data, name, &format!("{name}.{topic}{DELETE_SUFFIX}"))
}

/// Renames the directory of a partition that the metadata does not know. It is kept.
pub fn mark_stray(disk: &dyn Disk, data: &Path, name: &str, topic: TopicId) -> Result<PathBuf, DirectoryError> {
    put_aside(disk, data, name, &format!("{name}.{topic}{STRAY_SUFFIX}"))
}

/// Removes a directory that was marked deleted, with everything in it; calls `rest` after each piece of a large file.
pub fn remove(disk: &dyn Disk, path: &Path, rest: &mut dyn FnMut()) -> Result<(), DirectoryError> {
    remove_dir_all(disk, path, rest).map_err(failed("removing", path))?;
    match path.parent() {
        Some(parent) => disk.sync_dir(parent).map_err(failed("syncing the parent of", path)),
        None => Ok(()),
    }
}

fn put_aside(disk: &dyn Disk, data: &Path, from: &str, to: &str) -> Result<PathBuf, DirectoryError> {
    let (from, mut to_path) = (data.join(from), data.join(to));
    let taken = disk.list(data).map_err(failed("listing", data))?;
    let mut attempt = 1;
    while taken.iter().any(|entry| to_path.ends_with(&entry.name)) {
        // The same partition was put aside before: keep both.
        to_path = data.join(numbered(to, attempt));
        attempt += 1;
    }
    disk.rename(&from, &to_path).map_err(failed("renaming", &from))?;
    disk.sync_dir(data).map_err(failed("syncing the parent of", &from))?;
    Ok(to_path)
}

fn numbered(name: &str, number: u32) -> String {
    match name.rsplit_once('-') {
        Some((stem, suffix)) => format!("{stem}.{number}-{suffix}"),
        None => format!("{name}.{number}"),
    }
}

fn parse_name(name: &str) -> Option<PartitionId> {
    let (topic, number) = name.rsplit_once('-')?;
    validate_topic_name(topic).ok()?;
    let canonical = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: i32 = number.parse().ok()?;
    canonical.then_some(PartitionId(number))
}

fn read_topic_id(disk: &dyn Disk, path: &Path) -> Result<Option<TopicId>, DirectoryError> {
    match PartitionMetadata::read(disk, path) {
        Ok(metadata) => Ok(metadata.map(|metadata| metadata.topic_id)),
        Err(PartitionMetadataError::Damaged) => Ok(None),
        Err(PartitionMetadataError::Disk(error)) => Err(within("reading", path)(error)),
    }
}

fn within(act: &'static str, path: &Path) -> impl FnOnce(DiskError) -> DirectoryError {
    move |error| DirectoryError {
        act,
        path: path.to_owned(),
        source: error.source,
    }
}

fn failed(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    move |source| DirectoryError {
        act,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use klamm_log::RealDisk;

    use super::*;

    #[test]
    fn makes_finds_and_puts_aside() {
        let temporary = tempfile::tempdir().unwrap();
        let (disk, data) = (RealDisk, temporary.path());
        let topic = TopicId::from_u128(7);
        let partition = TopicPartition {
            topic,
            partition: PartitionId(12),
        };
        create(&disk, data, "a-b-12", topic).unwrap();
        std::fs::create_dir(data.join("empty-0")).unwrap();
        std::fs::create_dir(data.join("not a partition")).unwrap();
        let found = list(&disk, data).unwrap();
        assert_eq!(
            found,
            [
                Found::Partition {
                    name: "a-b-12".to_owned(),
                    partition
                },
                Found::Nameless {
                    name: "empty-0".to_owned()
                }
            ]
        );
        let deleted = mark_deleted(&disk, data, "a-b-12", topic).unwrap();
        create(&disk, data, "a-b-12", topic).unwrap();
        let again = mark_deleted(&disk, data, "a-b-12", topic).unwrap();
        assert_ne!(deleted, again);
        mark_stray(&disk, data, "empty-0", topic).unwrap();
        assert!(
            list(&disk, data)
                .unwrap()
                .iter()
                .all(|found| matches!(found, Found::Deleted { .. }))
        );
        remove(&disk, &deleted, &mut || ()).unwrap();
        remove(&disk, &again, &mut || ()).unwrap();
        assert_eq!(list(&disk, data).unwrap(), []);
    }

    #[test]
    fn names() {
        assert_eq!(parse_name("orders-0"), Some(PartitionId(0)));
        assert_eq!(parse_name("a.b-c-31"), Some(PartitionId(31)));
        for bad in ["orders", "orders-", "orders-x", "orders-+1", "-1", "orders-99999999999"] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
