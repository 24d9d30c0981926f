//! The store against openraft's published suite, large entries, restarts and damage.

use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use klamm_types::{ClusterId, NodeId, Uuid};
use openraft::StorageError;
use openraft::storage::{IOFlushed, RaftLogReader, RaftLogStorage};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::vote::RaftLeaderId;
use tempfile::TempDir;

use super::*;
use crate::raft::types::{Command, Entry, LeaderId, LogId, Payload, Types, Vote};
use crate::raft::{Feed, StateMachine};

pub fn owner(store: u128) -> Owner {
    Owner {
        node_id: NodeId(1),
        cluster_id: Some(ClusterId::from_u128(9)),
        fresh_store_id: Uuid::from_u128(store),
    }
}

fn id(index: u64) -> LogId {
    LogId {
        leader_id: LeaderId::new(1, 1),
        index,
    }
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry {
        log_id: id(index),
        payload: Payload::Normal(Command::Records(Bytes::from(vec![index as u8; bytes]))),
    }
}

async fn append(log: &mut LogStore, entries: Vec<Entry>) -> std::io::Result<()> {
    let (sender, flushed) = Types::oneshot();
    log.append(entries, IOFlushed::signal(sender)).await?;
    flushed.await.expect("the writer answers")
}

/// A store with a vote and entries 0 to 9 of 1 KiB, closed.
async fn written(folder: &Path) {
    let mut log = open(folder, &owner(5)).unwrap().log;
    log.save_vote(&Vote {
        leader_id: LeaderId::new(1, 1),
        committed: true,
    })
    .await
    .unwrap();
    append(&mut log, (0..10).map(|index| entry(index, 1024)).collect())
        .await
        .unwrap();
}

struct Builder;

impl StoreBuilder<Types, LogStore, StateMachine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let opened = open(folder.path(), &owner(1)).unwrap();
        let machine = StateMachine::new(Arc::new(Feed::default()), folder.path().to_owned());
        Ok((folder, opened.log, machine))
    }
}

#[test]
fn openrafts_suite_passes() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(Suite::test_all(Builder)).unwrap();
}

#[tokio::test]
async fn a_large_entry_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut log = open(folder.path(), &owner(5)).unwrap().log;
        log.save_vote(&Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true,
        })
        .await
        .unwrap();
        append(&mut log, vec![entry(0, 10), entry(1, 1 << 20), entry(2, 10)])
            .await
            .unwrap();
    }
    let opened = open(folder.path(), &owner(6)).unwrap();
    assert_eq!((opened.damage, opened.identity.store_id), (None, Uuid::from_u128(5)));
    let mut log = opened.log;
    assert_eq!(
        log.try_get_log_entries(0..3).await.unwrap(),
        [entry(0, 10), entry(1, 1 << 20), entry(2, 10)]
    );
    assert_eq!(
        log.read_vote().await.unwrap(),
        Some(Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true
        })
    );
}

#[tokio::test]
async fn an_entry_beyond_the_bound_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path(), &owner(5)).unwrap().log;
    assert!(append(&mut log, vec![entry(0, 2 << 20)]).await.is_err());
    append(&mut log, vec![entry(0, 10)]).await.unwrap();
}

#[tokio::test]
async fn truncation_and_purge_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    {
        let mut log = open(folder.path(), &owner(6)).unwrap().log;
        log.truncate_after(Some(id(6))).await.unwrap();
        append(&mut log, vec![entry(7, 5)]).await.unwrap();
    }
    let mut log = open(folder.path(), &owner(6)).unwrap().log;
    let sizes: Vec<u64> = log
        .try_get_log_entries(5..)
        .await
        .unwrap()
        .iter()
        .map(|entry| entry.log_id.index)
        .collect();
    assert_eq!(sizes, [5, 6, 7]);
    assert_eq!(log.get_log_state().await.unwrap().last_log_id, Some(id(7)));
    log.purge(id(3)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_purged_log_id, Some(id(3)));
    assert_eq!(log.try_get_log_entries(0..).await.unwrap().len(), 4);
}

#[tokio::test]
async fn reads_for_replication_are_bounded() {
    let folder = tempfile::tempdir().unwrap();
    {
        let mut log = open(folder.path(), &owner(5)).unwrap().log;
        log.save_vote(&Vote {
            leader_id: LeaderId::new(1, 1),
            committed: true,
        })
        .await
        .unwrap();
        append(&mut log, (0..5).map(|index| entry(index, 900 << 10)).collect())
            .await
            .unwrap();
        assert_eq!(log.limited_get_log_entries(0, 5).await.unwrap().len(), 2);
    }
    let mut log = open(folder.path(), &owner(5)).unwrap().log;
    assert_eq!(log.limited_get_log_entries(1, 5).await.unwrap().len(), 2);
    assert_eq!(log.limited_get_log_entries(4, 5).await.unwrap().len(), 1);
}

/// Every damaged copy is given up, or reads as it was written; none panics, none is shorter.
#[tokio::test]
async fn a_damaged_store_is_a_lost_one() {
    let original = tempfile::tempdir().unwrap();
    written(original.path()).await;
    let size = fs::metadata(original.path().join("raft/db")).unwrap().len();
    let mut lost = 0;
    for page in 0..size.div_ceil(4096) {
        let copy = tempfile::tempdir().unwrap();
        copy_folder(original.path(), copy.path());
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(copy.path().join("raft/db"))
            .unwrap();
        let at = page * 4096;
        let mut bytes = vec![0; 4096.min((size - at) as usize)];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        if bytes.iter().all(|byte| *byte == 0) {
            continue;
        }
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(&vec![0; bytes.len()]).unwrap();
        drop(file);
        let opened = open(copy.path(), &owner(6)).unwrap();
        let mut log = opened.log;
        match opened.damage {
            Some(_) => {
                lost += 1;
                assert_eq!(opened.identity.store_id, Uuid::from_u128(6));
                assert_eq!(opened.identity.raft_id, None);
                assert!(!log.is_initialized());
                assert!(copy.path().join("raft.damaged-1").exists());
            }
            // Sled takes a page of zeros for the end of what was written; the mark of what was acknowledged does not.
            None => {
                let entries = log.try_get_log_entries(0..).await.unwrap();
                let expected: Vec<Entry> = (0..10).map(|index| entry(index, 1024)).collect();
                assert_eq!(entries, expected, "page {page}");
            }
        }
    }
    assert!(lost > 0, "no page of the database mattered");
}

#[tokio::test]
async fn a_store_without_its_identity_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    fs::remove_file(folder.path().join("quorum.identity")).unwrap();
    let opened = open(folder.path(), &owner(6)).unwrap();
    assert!(opened.damage.is_some() && !opened.log.is_initialized());
}

#[tokio::test]
async fn the_store_of_another_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    written(folder.path()).await;
    let stranger = Owner {
        node_id: NodeId(2),
        ..owner(6)
    };
    assert!(matches!(
        open(folder.path(), &stranger),
        Err(StoreError::OtherNode { .. })
    ));
    let stranger = Owner {
        cluster_id: Some(ClusterId::from_u128(8)),
        ..owner(6)
    };
    assert!(matches!(
        open(folder.path(), &stranger),
        Err(StoreError::OtherCluster { .. })
    ));
}

pub fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
