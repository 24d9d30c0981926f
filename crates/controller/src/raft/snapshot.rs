//! The state machine as a file, and as bytes on the wire: the same message in both.
//!
//! The file is plain and fsynced, so that a new quorum can be built from it when the old one is lost.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use klamm_metadata::image::{ApplyError, Image, SnapshotError as ImageError};
use klamm_proto::quorum::v1 as wire;
use klamm_schema::metadata::MetadataBatch;
use prost::Message;

use super::allocations::Allocations;
use super::convert::{
    Malformed, log_id_from_wire, log_id_to_wire, stored_membership_from_wire, stored_membership_to_wire,
};
use super::machine::leader_term;
use super::types::{Command, Entry, LogId, Outcome, Payload, SnapshotMeta, StoredMembership};
use crate::store::codec::{self, CodecError};
use crate::store::replace_file;

/// Kafka's word for the metadata's snapshot, in the quorum's folder.
pub const SNAPSHOT_FILE: &str = "metadata.snapshot";
/// The largest snapshot that is taken from the network.
pub const SNAPSHOT_BYTES_MAX: usize = 1 << 30;

/// The whole state as of one entry.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub applied: Option<LogId>,
    pub membership: StoredMembership,
    pub allocations: Allocations,
    pub image: Image,
}

/// Why a snapshot cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("reading the snapshot {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("checking the snapshot's frame")]
    Frame(#[from] CodecError),
    #[error("decoding the snapshot")]
    Decode(#[from] prost::DecodeError),
    #[error("reading the snapshot's members")]
    Members(#[from] Malformed),
    #[error("reading the snapshot's image")]
    Image(#[from] ImageError),
}

/// Why an entry cannot be applied: it comes from a newer program, or from a bug.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("decoding the records of entry {index}")]
    Decode {
        index: u64,
        #[source]
        cause: prost::DecodeError,
    },
    #[error("applying entry {index}")]
    Apply {
        index: u64,
        #[source]
        cause: ApplyError,
    },
}

impl State {
    /// Applies the next entry of the log; says what came of it, and the encoded records that it holds.
    pub fn apply(&mut self, entry: &Entry) -> Result<(Outcome, Bytes), EntryError> {
        let mut records = Bytes::new();
        let mut outcome = Outcome::Applied;
        match &entry.payload {
            Payload::Blank => {}
            Payload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                self.allocations.note(membership);
            }
            Payload::Normal(Command::Records(bytes)) => records = bytes.clone(),
            Payload::Normal(Command::AllocateRaftId { node_id, store_id }) => {
                outcome = Outcome::Allocated(self.allocations.allocate(*node_id, *store_id));
            }
        }
        self.applied = Some(entry.log_id);
        let (index, term) = (entry.log_id.index, leader_term(&entry.log_id.leader_id));
        // Entry 0 is the founding membership; an image counts from 1.
        if index > 0 {
            let batch = MetadataBatch::decode(records.clone());
            let batch = batch.map_err(|cause| EntryError::Decode { index, cause })?;
            let applied = self.image.apply_batch(index, term, &batch);
            applied.map_err(|cause| EntryError::Apply { index, cause })?;
        }
        Ok((outcome, records))
    }

    pub fn meta(&self) -> SnapshotMeta {
        SnapshotMeta {
            last_log_id: self.applied,
            last_membership: self.membership.clone(),
        }
    }

    pub fn encode(&self) -> Bytes {
        self.to_wire().encode_to_vec().into()
    }

    pub fn decode(bytes: Bytes) -> Result<State, SnapshotError> {
        State::from_wire(&wire::Snapshot::decode(bytes)?)
    }

    pub fn to_wire(&self) -> wire::Snapshot {
        wire::Snapshot {
            last_log_id: self.applied.as_ref().map(log_id_to_wire),
            membership: Some(stored_membership_to_wire(&self.membership)),
            allocations: self.allocations.to_wire(),
            parts: self.image.to_snapshot(),
            taken_at_ms: 0,
        }
    }

    pub fn from_wire(snapshot: &wire::Snapshot) -> Result<State, SnapshotError> {
        Ok(State {
            applied: snapshot.last_log_id.as_ref().map(log_id_from_wire),
            membership: stored_membership_from_wire(snapshot.membership.as_ref())?,
            allocations: Allocations::from_wire(&snapshot.allocations)?,
            image: Image::from_snapshot(&snapshot.parts)?,
        })
    }
}

/// Replaces the snapshot file in `folder`. Blocking.
pub fn write(folder: &Path, encoded: &[u8]) -> io::Result<()> {
    replace_file(&folder.join(SNAPSHOT_FILE), &codec::seal(encoded))
}

/// The snapshot in `folder`, if there is one. Blocking.
pub fn read(folder: &Path) -> Result<Option<(State, Bytes)>, SnapshotError> {
    read_file(&folder.join(SNAPSHOT_FILE))
}

/// The snapshot in the file at `path`, if there is one. Blocking.
pub fn read_file(path: &Path) -> Result<Option<(State, Bytes)>, SnapshotError> {
    let sealed = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(SnapshotError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let body = Bytes::copy_from_slice(codec::unseal(&sealed)?);
    Ok(Some((State::decode(body.clone())?, body)))
}
