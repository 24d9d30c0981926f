//! Whose store this is: cluster, node, store id and Raft id, in one small file beside the database.
//!
//! The store id is drawn with the store and stands in the database too. If the two differ, the store is not the one
//! that the quorum knows, and it is treated as lost.

use std::io;
use std::path::{Path, PathBuf};

use klamm_types::{ClusterId, NodeId};
use prost::Message;

use super::codec::{self, CodecError};
use super::files::replace_file;
use crate::raft::types::{RaftId, StoreId};

const FILE: &str = "quorum.identity";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub node_id: NodeId,
    pub store_id: StoreId,
    /// Unknown until the node has been taken into a quorum, unless it was given before.
    pub cluster_id: Option<ClusterId>,
    /// Given by the quorum; none while this store has not been taken in.
    pub raft_id: Option<RaftId>,
    /// It took the place of a store that was lost: there was a quorum.
    pub replaces_lost: bool,
    /// Counts the starts of this store, and the intervals that it has run: an old copy is younger.
    pub age: u64,
    /// It is an old copy: the next opening puts it aside.
    pub outdated: bool,
}

/// Why the file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("reading {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} is damaged", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: CodecError,
    },
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(int32, tag = "1")]
    node_id: i32,
    #[prost(bytes = "vec", tag = "2")]
    store_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    cluster_id: Vec<u8>,
    #[prost(uint64, optional, tag = "4")]
    raft_id: Option<u64>,
    #[prost(bool, tag = "5")]
    replaces_lost: bool,
    #[prost(uint64, tag = "6")]
    age: u64,
    #[prost(bool, tag = "7")]
    outdated: bool,
}

impl Identity {
    pub fn fresh(node_id: NodeId, store_id: StoreId, cluster_id: Option<ClusterId>) -> Identity {
        Identity {
            node_id,
            store_id,
            cluster_id,
            raft_id: None,
            replaces_lost: false,
            age: 0,
            outdated: false,
        }
    }

    pub fn read(folder: &Path) -> Result<Option<Identity>, IdentityError> {
        let path = folder.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        codec::unseal(&bytes)
            .and_then(|body| Stored::decode(body).map_err(|_| CodecError::Content))
            .and_then(Identity::from_stored)
            .map(Some)
            .map_err(|source| IdentityError::Damaged { path, source })
    }

    /// Durable when it returns.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let stored = Stored {
            node_id: self.node_id.0,
            store_id: self.store_id.0.to_vec(),
            cluster_id: self.cluster_id.map(|id| id.as_bytes().to_vec()).unwrap_or_default(),
            raft_id: self.raft_id,
            replaces_lost: self.replaces_lost,
            age: self.age,
            outdated: self.outdated,
        };
        replace_file(&folder.join(FILE), &codec::seal(&stored.encode_to_vec()))
    }

    fn from_stored(stored: Stored) -> Result<Identity, CodecError> {
        let cluster_id = match stored.cluster_id.as_slice() {
            [] => None,
            bytes => Some(ClusterId::from_slice(bytes).ok_or(CodecError::Content)?),
        };
        Ok(Identity {
            node_id: NodeId(stored.node_id),
            store_id: StoreId::from_slice(&stored.store_id).ok_or(CodecError::Content)?,
            cluster_id,
            raft_id: stored.raft_id,
            replaces_lost: stored.replaces_lost,
            age: stored.age,
            outdated: stored.outdated,
        })
    }
}

#[cfg(test)]
mod tests {
    use klamm_types::Uuid;

    use super::*;

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Identity::read(folder.path()).unwrap().is_none());
        let mut identity = Identity::fresh(NodeId(3), Uuid::from_u128(7), Some(ClusterId::from_u128(9)));
        identity.raft_id = Some(4);
        identity.replaces_lost = true;
        identity.age = 12;
        identity.outdated = true;
        identity.write(folder.path()).unwrap();
        assert_eq!(Identity::read(folder.path()).unwrap(), Some(identity));
        std::fs::write(folder.path().join(FILE), b"nonsense").unwrap();
        assert!(matches!(
            Identity::read(folder.path()),
            Err(IdentityError::Damaged { .. })
        ));
    }
}
