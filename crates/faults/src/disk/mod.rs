//! A disk that can be broken, for real processes: a file system of ours, mounted where a process keeps its data.
//!
//! ```text
//!  process ── write, fsync, rename ──► kernel ──► Shell ── Troubles::judge ──► EIO, ENOSPC, later
//!                                                   │
//!                                                   ├──► BACKING/tree: what the process sees, at once
//!                                                   └──► Unsynced, Names: what the disk has instead
//! ```
//!
//! A write goes through to the folder behind the mount, so that a killed process finds it. What was there at the last
//! sync is remembered, and [`Disk::power_loss`] puts it back. `unsynced` says what of a file's content is lost, `names`
//! what of the names in folders; both are values.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use klamm_faults::disk::{Disk, Survivors, Trouble};
//!
//! # fn main() -> anyhow::Result<()> {
//! let mut disk = Disk::mount(Path::new("node-1/disk"), Path::new("node-1/data"))?;
//! disk.set(Trouble::fail_syncs().only("*.log").times(1));
//! disk.heal();
//! // Once the process that uses it is dead:
//! let lost = disk.power_loss(Survivors::SomePages { seed: 7 })?;
//! # Ok(())
//! # }
//! ```
//!
//! What is modelled:
//! * content and size of a file are on the disk after fsync or fdatasync of it, or a write with O_SYNC; pages written
//!   through a shared mapping too;
//! * a name that is made, moved or taken away is so on the disk after fsync of its folder ([`NamesLast`] has a milder
//!   way); an unlinked file comes back with its content;
//! * a failed sync leaves pages that no later sync writes.
//!
//! What is not: rights, owners and times; part of the changes of names surviving; a write that is torn within a page;
//! extended attributes, which are refused. Files belong to whoever runs this program. An unlinked file takes room until
//! its folder is synced. Cutting a large file remembers in memory what was cut off. Locks are the kernel's own.
//!
//! It costs a server a third to a half of its highest throughput (170 to 200 MB/s instead of 240 to 345, one node, two
//! busy cores) and shows in no latency at 2,000 records per second.
//!
//! It needs `/dev/fuse` and the right to mount: root, or the namespace of
//! [`enter_own_namespace`](crate::network::enter_own_namespace). There the mount also ends with the program, however that
//! ends; elsewhere a program that is killed leaves a dead mount behind.

mod files;
mod filesystem;
mod folders;
mod names;
mod node;
mod restore;
mod setting;
mod tree;
mod trouble;
mod unsynced;

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::Context;
use fuser::{BackgroundSession, Config, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tracing::warn;

use filesystem::{Controls, Shell};
use tree::Tree;

pub use restore::{Lost, Survivors};
pub use tree::NamesLast;
pub use trouble::{Blow, Counters, Operation, Trouble};

const FUSE: &str = "/dev/fuse";
/// How many requests are worked on at the same time; stalled ones don't count.
const THREADS: usize = 4;

/// A mounted disk. Dropping it unmounts it.
pub struct Disk {
    backing: PathBuf,
    at: PathBuf,
    last: NamesLast,
    controls: Arc<Controls>,
    mounted: Option<Mounted>,
}

/// One mount; a loss of power begins another.
struct Mounted {
    shell: Shell,
    session: BackgroundSession,
}

impl Disk {
    /// Mounts a disk whose content lies in `backing`, at a folder that exists. Names last with their folder.
    pub fn mount(backing: &Path, at: &Path) -> anyhow::Result<Disk> {
        Disk::mount_with(backing, at, NamesLast::WithTheirFolder)
    }

    pub fn mount_with(backing: &Path, at: &Path, last: NamesLast) -> anyhow::Result<Disk> {
        let mut disk = Disk {
            backing: backing.to_owned(),
            at: at.canonicalize().with_context(|| format!("finding {}", at.display()))?,
            last,
            controls: Arc::default(),
            mounted: None,
        };
        disk.mount_anew()?;
        Ok(disk)
    }

    /// Where it is mounted.
    pub fn at(&self) -> &Path {
        &self.at
    }

    /// The content of the disk, past all trouble. Change it only while no process has it open; it takes a second until
    /// the mount shows other names or sizes.
    pub fn content(&self) -> PathBuf {
        self.backing.join("tree")
    }

    /// Something is wrong from now on, beside what is already.
    pub fn set(&self, trouble: Trouble) {
        self.controls.troubles().set(trouble);
    }

    /// Nothing is wrong any more; what was stalled is done.
    pub fn heal(&self) {
        self.controls.heal();
    }

    pub fn counters(&self) -> Counters {
        self.controls.troubles().counters
    }

    /// Whether files are open. The kernel tells of those of a process a moment after its end.
    pub fn is_in_use(&self) -> bool {
        let tree = self.mounted.as_ref().map(|mounted| &mounted.shell.tree);
        tree.is_some_and(|tree| tree.files.is_any_open())
    }

    /// Takes back what was not synced, heals, and mounts the disk anew. End the processes that use it before: handles
    /// that are still open fail from then on.
    pub fn power_loss(&mut self, survivors: Survivors) -> anyhow::Result<Lost> {
        let mounted = self.mounted.take().context("the disk is not mounted")?;
        let tree = mounted.shell.tree.clone();
        self.unmount(mounted)?;
        let lost = restore::lose_power(&tree, survivors).context("taking back what was not synced")?;
        drop(tree);
        self.mount_anew()?;
        Ok(lost)
    }

    fn mount_anew(&mut self) -> anyhow::Result<()> {
        let tree = Tree::open(&self.backing, self.last);
        let tree = tree.with_context(|| format!("opening {}", self.backing.display()))?;
        let shell = Shell {
            tree: Arc::new(tree),
            controls: self.controls.clone(),
            is_over: Arc::new(RwLock::new(false)),
        };
        let fuse = File::options().read(true).write(true).open(FUSE);
        let fuse = OwnedFd::from(fuse.with_context(|| format!("opening {FUSE}"))?);
        let options = format!(
            "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
            fuse.as_raw_fd(),
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let options = CString::new(options).context("no option holds a zero")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOATIME;
        mount("klamm-faults", &self.at, "fuse", flags, options.as_c_str())
            .with_context(|| format!("mounting at {}", self.at.display()))?;
        let mut config = Config::default();
        config.n_threads = Some(THREADS);
        let session = Session::from_fd(shell.clone(), fuse, SessionACL::All, config).and_then(Session::spawn);
        match session {
            Ok(session) => self.mounted = Some(Mounted { shell, session }),
            Err(error) => {
                // The first error tells more than this one.
                let _ = unmount(&self.at, UnmountFlags::DETACH);
                return Err(error).context("answering the kernel");
            }
        }
        Ok(())
    }

    /// Ends a mount, also for those who still have files open: they get errors. Returns once nothing is done on the
    /// tree any more.
    fn unmount(&self, mounted: Mounted) -> anyhow::Result<()> {
        *mounted.shell.is_over.write().unwrap_or_else(PoisonError::into_inner) = true;
        self.heal();
        match unmount(&self.at, UnmountFlags::empty()) {
            // Its threads end, and nothing is left to be told.
            Ok(()) => mounted.session.join().context("ending the file system"),
            Err(Errno::BUSY) => {
                warn!(at = %self.at.display(), "unmounted although files are open");
                unmount(&self.at, UnmountFlags::DETACH).context("unmounting")
            }
            Err(error) => Err(error).context("unmounting"),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Some(mounted) = self.mounted.take()
            && let Err(error) = self.unmount(mounted)
        {
            warn!(at = %self.at.display(), error = format!("{error:#}"), "the disk could not be unmounted");
        }
    }
}
