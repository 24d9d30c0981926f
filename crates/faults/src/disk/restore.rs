//! A loss of power: gives the folder behind the mount the state that the disk has.

use std::io;
use std::os::unix::fs::FileExt;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::fs::{AtFlags, RenameFlags, linkat, renameat_with, unlinkat};

use super::names::Entry;
use super::node::{Node, inode_at};
use super::tree::{NameRecord, Tree, kept_name};

/// What of the writes that were not synced is there after a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// Each file has the content and size of its last sync.
    None,
    /// Any of its pages may be newer, and its size too; which, comes from the seed.
    SomePages { seed: u64 },
}

/// What a loss of power took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Files that had unsynced content, by their path below the mount.
    pub files: Vec<String>,
    /// Pages of theirs that went back.
    pub pages: u64,
    /// Names that stand for something else or nothing again, by their path below the mount.
    pub names: Vec<String>,
    /// Programs still had files open: their handles fail from now on.
    pub were_open: bool,
}

/// Takes back what was not synced. Nothing may use the tree meanwhile.
pub fn lose_power(tree: &Tree, survivors: Survivors) -> io::Result<Lost> {
    let mut lost = Lost {
        were_open: tree.files.is_any_open(),
        ..Lost::default()
    };
    let mut chance = match survivors {
        Survivors::None => None,
        Survivors::SomePages { seed } => Some(StdRng::seed_from_u64(seed)),
    };
    let mut records = tree.files.take_records();
    // Which page survives depends on the seed and on what was written, on nothing else.
    records.sort_by_cached_key(|record| tree.path_of(&record.node, None));
    for record in records {
        if record.node.is_gone()? {
            continue;
        }
        let size_now = record.node.size()?;
        let restore = record.unsynced.restore(size_now, chance.as_mut());
        lost.files.push(tree.path_of(&record.node, None));
        let file = record.node.open(true)?;
        file.set_len(restore.size)?;
        for (offset, content) in &restore.pages {
            file.write_all_at(content, *offset)?;
        }
        lost.pages += restore.pages.len() as u64;
    }
    lost.names = restore_names(tree, &tree.names())?;
    Ok(lost)
}

/// First takes away what changed names stand for, then gives back what the disk has for them; so a name may have gone
/// anywhere in between.
fn restore_names(tree: &Tree, record: &NameRecord) -> io::Result<Vec<String>> {
    let (mut changed, mut paths) = (Vec::new(), Vec::new());
    for entry in record.names.entries() {
        let Some(folder) = record.folders.get(&entry.folder) else {
            continue;
        };
        let now = inode_at(folder, &entry.name)?;
        if now != entry.on_disk {
            paths.push(tree.path_of(folder, Some(&entry.name)));
            changed.push((folder, entry, now));
        }
    }
    for (folder, entry, now) in &changed {
        if now.is_some() {
            take_away(tree, folder, entry)?;
        }
    }
    for (folder, entry, _) in &changed {
        if let Some(inode) = entry.on_disk {
            give_back(tree, folder, entry, inode)?;
        }
    }
    Ok(paths)
}

/// Moves what the name stands for among the kept.
fn take_away(tree: &Tree, folder: &Node, entry: &Entry) -> io::Result<()> {
    let node = Node::at(folder, &entry.name)?;
    let kept = kept_name(node.inode);
    if inode_at(&tree.kept, &kept)?.is_some() {
        return Ok(unlinkat(folder, &entry.name, AtFlags::empty())?);
    }
    Ok(renameat_with(
        folder,
        &entry.name,
        &tree.kept,
        kept,
        RenameFlags::empty(),
    )?)
}

fn give_back(tree: &Tree, folder: &Node, entry: &Entry, inode: u64) -> io::Result<()> {
    let kept = kept_name(inode);
    let node = Node::at(&tree.kept, &kept)?;
    if node.is_folder() {
        return Ok(renameat_with(
            &tree.kept,
            kept,
            folder,
            &entry.name,
            RenameFlags::empty(),
        )?);
    }
    // It may have had several names.
    Ok(linkat(&tree.kept, kept, folder, &entry.name, AtFlags::empty())?)
}
