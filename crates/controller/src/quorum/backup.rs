//! The metadata in one file, to be kept far from the cluster: what a new quorum can be built from when every controller
//! has lost its store.
//!
//! The file is a snapshot as controllers keep it, in the same frame with a checksum, and says when it was taken. One that
//! a running node gives away has no members in it; a new quorum has others anyway.

use std::io;
use std::path::Path;

use bytes::Bytes;
use klamm_metadata::Image;
use klamm_proto::quorum::v1 as wire;
use klamm_types::{ClusterId, Timestamp};
use prost::Message;

use super::describe::now_millis;
use super::recover::{self, RecoverError};
use crate::raft::snapshot::{SnapshotError, State};
use crate::store::{codec, replace_file};

/// A backup that has been read and checked.
#[derive(Clone, Debug)]
pub struct Backup {
    pub taken_at: Timestamp,
    pub cluster_id: ClusterId,
    state: State,
}

/// Why bytes are no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the metadata names no cluster")]
    NoCluster,
}

/// What a running node gives away: its image as it is now.
pub fn of_image(image: &Image) -> Bytes {
    let state = State {
        image: image.clone(),
        ..State::default()
    };
    seal(&state, Timestamp(now_millis()))
}

/// What a stopped node has: its newest snapshot and the log after it. Blocking.
pub fn of_store(folder: &Path) -> Result<Bytes, RecoverError> {
    let (_, state) = recover::newest(folder)?;
    Ok(seal(&state, Timestamp(now_millis())))
}

/// Puts a backup into a file, durably. Blocking.
pub fn write(path: &Path, backup: &[u8]) -> io::Result<()> {
    replace_file(path, backup)
}

impl Backup {
    /// Checks everything: frame, checksum, every record.
    pub fn decode(bytes: &[u8]) -> Result<Backup, BackupError> {
        let body = codec::unseal(bytes).map_err(SnapshotError::from)?;
        let snapshot = wire::Snapshot::decode(body).map_err(SnapshotError::from)?;
        let state = State::from_wire(&snapshot)?;
        Ok(Backup {
            taken_at: match snapshot.taken_at_ms {
                0 => Timestamp::NONE,
                at => Timestamp(at),
            },
            cluster_id: state.image.cluster_id().ok_or(BackupError::NoCluster)?,
            state,
        })
    }

    pub fn image(&self) -> &Image {
        &self.state.image
    }

    /// Term and index of the last entry: of two backups of one cluster the larger one is the newer.
    pub fn last_entry(&self) -> (u64, u64) {
        recover::order(&self.state)
    }

    pub(super) fn into_state(self) -> State {
        self.state
    }
}

fn seal(state: &State, taken_at: Timestamp) -> Bytes {
    let snapshot = wire::Snapshot {
        taken_at_ms: taken_at.0,
        ..state.to_wire()
    };
    codec::seal(&snapshot.encode_to_vec()).into()
}

#[cfg(test)]
mod tests {
    use klamm_schema::id_bytes;
    use klamm_schema::metadata::metadata_record::Record;
    use klamm_schema::metadata::{ClusterIdentity, MetadataBatch, MetadataRecord};

    use super::*;

    fn image(records: Vec<Record>) -> Image {
        let record = |record| MetadataRecord {
            version: klamm_metadata::feature::RECORD_VERSION,
            record: Some(record),
        };
        let batch = MetadataBatch {
            records: records.into_iter().map(record).collect(),
            ..MetadataBatch::default()
        };
        let mut image = Image::new();
        image.apply_batch(1, 7, &batch).unwrap();
        image
    }

    #[test]
    fn a_backup_says_whose_it_is_and_every_changed_byte_is_noticed() {
        let cluster_id = ClusterId::from_u128(5);
        let identity = ClusterIdentity {
            cluster_id: id_bytes(cluster_id.as_bytes()),
        };
        let image = image(vec![Record::ClusterIdentity(identity)]);
        let state = State {
            image: image.clone(),
            ..State::default()
        };
        let bytes = seal(&state, Timestamp(1_000));
        let backup = Backup::decode(&bytes).unwrap();
        assert_eq!(
            (backup.cluster_id, backup.taken_at, backup.last_entry(), backup.image()),
            (cluster_id, Timestamp(1_000), (7, 1), &image)
        );
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert!(Backup::decode(&changed).is_err(), "byte {at}");
            assert!(Backup::decode(&bytes[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn metadata_of_no_cluster_is_no_backup() {
        let bytes = of_image(&image(Vec::new()));
        assert!(matches!(Backup::decode(&bytes), Err(BackupError::NoCluster)));
    }
}
