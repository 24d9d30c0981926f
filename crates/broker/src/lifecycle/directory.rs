//! The data directory's own papers: whose it is, which broker epoch it saw last, how the last run ended.
//!
//! ```text
//!   identity.json   cluster, node, directory id, last broker epoch   rewritten and fsynced at each registration
//!   boot-id         the kernel's boot id of the run under way         written before the first write of a run
//!   clean-stop      empty; the last thing a clean run writes          removed, directory synced, before the first write
//!   lock            held while a process uses the directory
//! ```
//! The controller decides by these what a restarted replica may claim; this file only reports truthfully. It does not
//! look into partitions.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use klamm_types::{BrokerEpoch, ClusterId, DirectoryId, NodeId};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// How the run before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastRun {
    /// There was none, or it closed everything and said so.
    Clean,
    /// It died, but the kernel lived on: what it had written is in the page cache or on the disk.
    DiedSameBoot,
    /// The machine went down with it, or nobody knows: what it had not flushed may be gone.
    DiedOtherBoot,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    #[error("using the data directory {path}: {doing}")]
    Io {
        path: PathBuf,
        doing: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the data directory {path} is in use by another process")]
    InUse { path: PathBuf },
    #[error("the data directory {path} belongs to node {found}, and this is node {expected}")]
    OtherNode {
        path: PathBuf,
        found: NodeId,
        expected: NodeId,
    },
    #[error("the data directory {path} belongs to cluster {found}, and this node to {expected}")]
    OtherCluster {
        path: PathBuf,
        found: ClusterId,
        expected: ClusterId,
    },
    #[error(
        "the data directory {path} holds partitions but no readable identity.json; \
         restore the file, or move the directory away to come back as a new replica"
    )]
    NoIdentity { path: PathBuf },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Empty until the node belongs to a cluster.
    cluster_id: String,
    node_id: i32,
    directory_id: String,
    broker_epoch: i64,
    /// A run ended with its machine, and no registration has said so yet.
    #[serde(default)]
    unreported_other_boot: bool,
}

/// An open data directory; the lock is held as long as it lives.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    node: NodeId,
    pub id: DirectoryId,
    pub cluster: Option<ClusterId>,
    pub stored_epoch: BrokerEpoch,
    /// The worst end of a run that no registration has reported.
    pub last_run: LastRun,
    _lock: File,
}

const IDENTITY: &str = "identity.json";
const BOOT_ID: &str = "boot-id";
const CLEAN_STOP: &str = "clean-stop";
const LOCK: &str = "lock";

impl DataDirectory {
    /// Opens or founds a directory. `fresh_id` names it if it is new; `boot_id` is the kernel's.
    pub fn open(path: &Path, node: NodeId, fresh_id: DirectoryId, boot_id: &str) -> Result<Self, DirectoryError> {
        let failed = |doing| {
            move |source| DirectoryError::Io {
                path: path.to_owned(),
                doing,
                source,
            }
        };
        fs::create_dir_all(path).map_err(failed("creating it"))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK));
        let lock = lock.map_err(failed("opening its lock"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(DirectoryError::InUse { path: path.to_owned() });
        }
        let stored = read_identity(path).map_err(failed("reading its identity"))?;
        let mut directory = Self {
            path: path.to_owned(),
            node,
            id: fresh_id,
            cluster: None,
            stored_epoch: BrokerEpoch::NONE,
            last_run: last_run(path, boot_id).map_err(failed("reading how the last run ended"))?,
            _lock: lock,
        };
        match stored {
            Found::Identity(stored) => directory.adopt(&stored)?,
            Found::Nothing if holds_partitions(path).map_err(failed("listing it"))? => {
                return Err(DirectoryError::NoIdentity { path: path.to_owned() });
            }
            Found::Nothing => {
                directory.last_run = LastRun::Clean;
                directory.write_identity()?;
            }
            Found::Damaged => return Err(DirectoryError::NoIdentity { path: path.to_owned() }),
        }
        Ok(directory)
    }

    fn adopt(&mut self, stored: &Stored) -> Result<(), DirectoryError> {
        let found = NodeId(stored.node_id);
        if found != self.node {
            return Err(DirectoryError::OtherNode {
                path: self.path.clone(),
                found,
                expected: self.node,
            });
        }
        let damaged = || DirectoryError::NoIdentity {
            path: self.path.clone(),
        };
        self.id = stored.directory_id.parse().map_err(|_| damaged())?;
        if !stored.cluster_id.is_empty() {
            self.cluster = Some(stored.cluster_id.parse().map_err(|_| damaged())?);
        }
        self.stored_epoch = BrokerEpoch(stored.broker_epoch);
        if stored.unreported_other_boot {
            // The run since then may have ended well; what was lost before it is lost all the same.
            self.last_run = LastRun::DiedOtherBoot;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Binds the directory to a cluster, durably; refuses another than the one it belongs to.
    pub fn join(&mut self, cluster: ClusterId) -> Result<(), DirectoryError> {
        match self.cluster {
            Some(found) if found != cluster => Err(DirectoryError::OtherCluster {
                path: self.path.clone(),
                found,
                expected: cluster,
            }),
            Some(_) => Ok(()),
            None => {
                self.cluster = Some(cluster);
                self.write_identity()
            }
        }
    }

    /// Stores the epoch that the quorum granted, durably; called before asking to be unfenced. The registration has
    /// reported how the last run ended; from here on that is this process's life.
    pub fn store_epoch(&mut self, epoch: BrokerEpoch) -> Result<(), DirectoryError> {
        self.stored_epoch = epoch;
        self.last_run = LastRun::DiedSameBoot;
        self.write_identity()
    }

    /// Notes that a run begins, durably: from here on an end without [`Self::mark_clean`] is a death.
    pub fn mark_running(&self, boot_id: &str) -> Result<(), DirectoryError> {
        if self.last_run == LastRun::DiedOtherBoot {
            // The boot id below would make a second death before the registration look harmless.
            self.write_identity()?;
        }
        self.io("noting the start of a run", || {
            write_durably(&self.path, BOOT_ID, boot_id.as_bytes())?;
            remove_if_there(&self.path.join(CLEAN_STOP))?;
            File::open(&self.path)?.sync_all()
        })
    }

    /// Notes that everything is closed and flushed. The last write of a run.
    pub fn mark_clean(&self) -> Result<(), DirectoryError> {
        self.io("noting a clean stop", || write_durably(&self.path, CLEAN_STOP, b""))
    }

    fn write_identity(&self) -> Result<(), DirectoryError> {
        let stored = Stored {
            version: 1,
            cluster_id: self.cluster.map(|cluster| cluster.to_string()).unwrap_or_default(),
            node_id: self.node.0,
            directory_id: self.id.to_string(),
            broker_epoch: self.stored_epoch.0,
            unreported_other_boot: self.last_run == LastRun::DiedOtherBoot,
        };
        self.io("writing its identity", || {
            let text = serde_json::to_vec_pretty(&stored).map_err(io::Error::other)?;
            write_durably(&self.path, IDENTITY, &text)
        })
    }

    fn io(&self, doing: &'static str, act: impl FnOnce() -> io::Result<()>) -> Result<(), DirectoryError> {
        act().map_err(|source| DirectoryError::Io {
            path: self.path.clone(),
            doing,
            source,
        })
    }
}

/// The kernel's boot id; empty if it cannot be read, which counts as another boot.
pub fn kernel_boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_owned()
}

/// The cluster that a data directory belongs to, as its papers say; nothing is opened or changed.
pub fn stored_cluster(path: &Path) -> io::Result<Option<ClusterId>> {
    Ok(match read_identity(path)? {
        Found::Identity(stored) => stored.cluster_id.parse().ok(),
        Found::Nothing | Found::Damaged => None,
    })
}

enum Found {
    Identity(Stored),
    Nothing,
    Damaged,
}

fn read_identity(path: &Path) -> io::Result<Found> {
    match fs::read(path.join(IDENTITY)) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).map_or(Found::Damaged, Found::Identity)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(error),
    }
}

fn last_run(path: &Path, boot_id: &str) -> io::Result<LastRun> {
    if path.join(CLEAN_STOP).try_exists()? {
        return Ok(LastRun::Clean);
    }
    let last = match fs::read_to_string(path.join(BOOT_ID)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let same = !boot_id.is_empty() && last.trim() == boot_id;
    Ok(if same {
        LastRun::DiedSameBoot
    } else {
        LastRun::DiedOtherBoot
    })
}

/// Whether a folder lies there that only a partition leaves behind.
fn holds_partitions(path: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && entry.path().join("partition.metadata").try_exists()? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Replaces a small file so that a crash leaves the old or the new content.
fn write_durably(folder: &Path, name: &str, content: &[u8]) -> io::Result<()> {
    let temporary = folder.join(format!("{name}.new"));
    let mut file = File::create(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(name))?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, node: i32, boot: &str) -> Result<DataDirectory, DirectoryError> {
        DataDirectory::open(path, NodeId(node), DirectoryId::from_u128(7), boot)
    }

    #[test]
    fn a_directory_remembers_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = open(dir.path(), 1, "a").unwrap();
        assert_eq!(
            (first.cluster, first.stored_epoch, first.last_run),
            (None, BrokerEpoch::NONE, LastRun::Clean)
        );
        assert!(matches!(open(dir.path(), 1, "a"), Err(DirectoryError::InUse { .. })));
        first.join(ClusterId::from_u128(9)).unwrap();
        first.store_epoch(BrokerEpoch(12)).unwrap();
        drop(first);
        let mut second = DataDirectory::open(dir.path(), NodeId(1), DirectoryId::from_u128(8), "a").unwrap();
        assert_eq!(second.id, DirectoryId::from_u128(7));
        assert_eq!(
            (second.cluster, second.stored_epoch),
            (Some(ClusterId::from_u128(9)), BrokerEpoch(12))
        );
        assert!(matches!(
            second.join(ClusterId::from_u128(10)),
            Err(DirectoryError::OtherCluster { .. })
        ));
        drop(second);
        assert!(matches!(
            open(dir.path(), 2, "a"),
            Err(DirectoryError::OtherNode { .. })
        ));
    }

    #[test]
    fn how_the_last_run_ended() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1, "a").unwrap().mark_running("a").unwrap();
        assert_eq!(open(dir.path(), 1, "a").unwrap().last_run, LastRun::DiedSameBoot);
        assert_eq!(open(dir.path(), 1, "b").unwrap().last_run, LastRun::DiedOtherBoot);
        assert_eq!(open(dir.path(), 1, "").unwrap().last_run, LastRun::DiedOtherBoot);
        open(dir.path(), 1, "a").unwrap().mark_clean().unwrap();
        let clean = open(dir.path(), 1, "b").unwrap();
        assert_eq!(clean.last_run, LastRun::Clean);
        clean.mark_running("b").unwrap();
        drop(clean);
        assert_eq!(open(dir.path(), 1, "b").unwrap().last_run, LastRun::DiedSameBoot);
    }

    #[test]
    fn a_lost_machine_is_reported_even_after_another_death() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), 1, "a").unwrap().mark_running("a").unwrap();
        open(dir.path(), 1, "b").unwrap().mark_running("b").unwrap();
        let again = open(dir.path(), 1, "b").unwrap();
        assert_eq!(again.last_run, LastRun::DiedOtherBoot);
        again.mark_running("b").unwrap();
        again.mark_clean().unwrap();
        drop(again);
        let mut last = open(dir.path(), 1, "b").unwrap();
        assert_eq!(last.last_run, LastRun::DiedOtherBoot);
        last.mark_running("b").unwrap();
        last.store_epoch(BrokerEpoch(3)).unwrap();
        drop(last);
        assert_eq!(open(dir.path(), 1, "b").unwrap().last_run, LastRun::DiedSameBoot);
    }

    #[test]
    fn partitions_without_papers_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("t-0")).unwrap();
        fs::write(dir.path().join("t-0/partition.metadata"), "").unwrap();
        assert!(matches!(
            open(dir.path(), 1, "a"),
            Err(DirectoryError::NoIdentity { .. })
        ));
        fs::write(dir.path().join(IDENTITY), "{").unwrap();
        assert!(matches!(
            open(dir.path(), 1, "a"),
            Err(DirectoryError::NoIdentity { .. })
        ));
    }
}
