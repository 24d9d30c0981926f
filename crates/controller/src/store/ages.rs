//! How old this node has seen each node's store, in one small file that is synced before anybody is answered.
//!
//! It outlives the store that it speaks of, which is its use: a copy of that store that comes back is younger.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use klamm_proto::quorum::v1 as wire;
use klamm_types::{Incarnation, NodeId};
use prost::Message;

use super::codec::{self, CodecError};
use super::files::replace_file;
use crate::raft::convert::Malformed;
use crate::raft::types::RaftId;

const FILE: &str = "quorum.ages";
/// More nodes than a quorum has; the file does not grow beyond.
const NODES_MAX: usize = 1_000;

/// How far one store has come. A later store of a node has a larger Raft id; each start and each interval raises the age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreAge {
    pub raft_id: RaftId,
    pub age: u64,
    /// The run that reached this age.
    pub incarnation: Incarnation,
}

impl StoreAge {
    pub fn to_wire(self) -> wire::StoreAge {
        wire::StoreAge {
            raft_id: self.raft_id,
            age: self.age,
            incarnation: self.incarnation.as_bytes().to_vec().into(),
        }
    }

    pub fn from_wire(message: &wire::StoreAge) -> Result<StoreAge, Malformed> {
        Ok(StoreAge {
            raft_id: message.raft_id,
            age: message.age,
            incarnation: Incarnation::from_slice(&message.incarnation).ok_or(Malformed("incarnation"))?,
        })
    }
}

/// The oldest that each node's store has been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ages {
    path: PathBuf,
    known: BTreeMap<NodeId, StoreAge>,
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<StoredAge>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredAge {
    #[prost(int32, tag = "1")]
    node_id: i32,
    #[prost(message, optional, tag = "2")]
    store: Option<wire::StoreAge>,
}

impl Ages {
    /// What the file in `folder` says. Without a readable one this node remembers nothing of the others. Blocking.
    pub fn read(folder: &Path) -> Ages {
        let path = folder.join(FILE);
        let known = match std::fs::read(&path) {
            Ok(bytes) => decode(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, path = %path.display(), "the ages of the others' stores cannot be read, and are forgotten");
                BTreeMap::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, path = %path.display(), "the ages of the others' stores cannot be read, and are forgotten");
                }
                BTreeMap::new()
            }
        };
        Ages { path, known }
    }

    pub fn get(&self, node: NodeId) -> Option<StoreAge> {
        self.known.get(&node).copied()
    }

    /// These ages with `seen` among them; none if that changes nothing.
    pub fn with(&self, node: NodeId, seen: StoreAge) -> Option<Ages> {
        let older = match self.known.get(&node) {
            Some(known) => (seen.raft_id, seen.age) > (known.raft_id, known.age),
            None => self.known.len() < NODES_MAX,
        };
        older.then(|| {
            let mut ages = self.clone();
            ages.known.insert(node, seen);
            ages
        })
    }

    /// Durable when it returns. Blocking.
    pub fn write(&self) -> io::Result<()> {
        let nodes = self.known.iter().map(|(node, age)| StoredAge {
            node_id: node.0,
            store: Some(age.to_wire()),
        });
        let stored = Stored { nodes: nodes.collect() };
        replace_file(&self.path, &codec::seal(&stored.encode_to_vec()))
    }
}

fn decode(bytes: &[u8]) -> Result<BTreeMap<NodeId, StoreAge>, CodecError> {
    let stored = Stored::decode(codec::unseal(bytes)?).map_err(|_| CodecError::Content)?;
    let one = |stored: StoredAge| {
        let store = stored.store.ok_or(CodecError::Content)?;
        let age = StoreAge::from_wire(&store).map_err(|_| CodecError::Content)?;
        Ok((NodeId(stored.node_id), age))
    };
    stored.nodes.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age(raft_id: RaftId, age: u64) -> StoreAge {
        StoreAge {
            raft_id,
            age,
            incarnation: Incarnation::from_u128(7),
        }
    }

    #[test]
    fn the_oldest_is_kept_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let ages = Ages::read(folder.path());
        assert_eq!(ages.get(NodeId(1)), None);
        let ages = ages.with(NodeId(1), age(3, 5)).unwrap();
        assert_eq!(ages.with(NodeId(1), age(3, 5)), None);
        assert_eq!(ages.with(NodeId(1), age(2, 9)), None);
        let ages = ages.with(NodeId(1), age(4, 1)).unwrap();
        ages.write().unwrap();
        assert_eq!(Ages::read(folder.path()), ages);
        assert_eq!(ages.get(NodeId(1)), Some(age(4, 1)));
        std::fs::write(folder.path().join(FILE), b"nonsense").unwrap();
        assert_eq!(Ages::read(folder.path()).get(NodeId(1)), None);
    }
}
