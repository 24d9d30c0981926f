//! Changes of a file's attributes. Only its size is in the record of what was not synced.

use std::io;

use fuser::{FileAttr, INodeNo, TimeOrNow};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid, chmod, chownat, utimensat,
};

use super::tree::Tree;

/// What is to be different.
pub struct Changes {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub accessed: Option<TimeOrNow>,
    pub modified: Option<TimeOrNow>,
}

pub fn change(tree: &Tree, inode: INodeNo, changes: &Changes) -> io::Result<FileAttr> {
    let node = tree.node(inode)?;
    let path = node.proc_path();
    if let Some(size) = changes.size {
        tree.files.resize(&node, size)?;
    }
    if let Some(mode) = changes.mode {
        chmod(&path, Mode::from_raw_mode(mode))?;
    }
    if changes.uid.is_some() || changes.gid.is_some() {
        let (uid, gid) = (changes.uid.map(Uid::from_raw), changes.gid.map(Gid::from_raw));
        chownat(CWD, &path, uid, gid, AtFlags::empty())?;
    }
    if changes.accessed.is_some() || changes.modified.is_some() {
        let times = Timestamps {
            last_access: time(changes.accessed),
            last_modification: time(changes.modified),
        };
        utimensat(CWD, &path, &times, AtFlags::empty())?;
    }
    tree.attributes(&node)
}

fn time(to: Option<TimeOrNow>) -> Timespec {
    let special = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
    match to {
        None => special(UTIME_OMIT),
        Some(TimeOrNow::Now) => special(UTIME_NOW),
        Some(TimeOrNow::SpecificTime(time)) => {
            let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Timespec {
                tv_sec: since.as_secs().cast_signed(),
                tv_nsec: since.subsec_nanos().into(),
            }
        }
    }
}
