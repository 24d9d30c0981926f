//! The state of a simulated disk: files and directories, each as its readers see it, as it is on the platter, and the
//! changes between the two.

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path};

use super::PageCache;
use super::faults::Fault;
use crate::disk::{DirectoryEntry, EntryKind};

pub(super) type NodeId = u64;
const ROOT: NodeId = 0;

/// Everything that a simulated disk holds and is told to do. A value: it can be copied and put back.
#[derive(Clone, Debug)]
pub struct SimState {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    next_id: NodeId,
    /// Counts restarts: a handle of an earlier one is dead.
    pub(super) boot: u64,
    pub(super) operations_count: u64,
    pub(super) syncs_count: u64,
    pub(super) faults: Vec<Fault>,
    pub(super) capacity: Option<u64>,
    pub(super) used: u64,
    pub(super) stalled: bool,
    pub(super) powered_off: bool,
    pub(super) page_cache: PageCache,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    File(FileNode),
    Directory(DirectoryNode),
}

#[derive(Clone, Debug, Default)]
pub(super) struct FileNode {
    /// What readers see.
    pub bytes: Vec<u8>,
    /// What is on the platter.
    pub durable: Vec<u8>,
    /// What happened since the last sync, in order.
    pub pending: Vec<FileChange>,
    pub handles: u32,
}

#[derive(Clone, Debug)]
pub(super) enum FileChange {
    Write { position: usize, bytes: Vec<u8> },
    Size(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct DirectoryNode {
    pub entries: BTreeMap<String, NodeId>,
    pub durable: BTreeMap<String, NodeId>,
    /// What happened since the last sync, in order. Names set in one change are set together or not at all.
    pub pending: Vec<Vec<(String, Option<NodeId>)>>,
}

impl FileChange {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            FileChange::Size(size) => bytes.resize(*size, 0),
            FileChange::Write { position, bytes: new } => {
                let end = position + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*position..end].copy_from_slice(new);
            }
        }
    }
}

impl FileNode {
    /// Changes what readers see and notes it for the next sync.
    pub fn change(&mut self, change: FileChange) {
        change.apply(&mut self.bytes);
        self.pending.push(change);
    }

    pub fn sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// A sync has failed: the pages keep what they hold and count as written. A length that was set is in the file
    /// system's journal, which comes later all the same.
    pub fn forget_writes(&mut self) {
        self.pending.retain(|change| matches!(change, FileChange::Size(_)));
    }
}

pub(super) fn set_names(entries: &mut BTreeMap<String, NodeId>, change: &[(String, Option<NodeId>)]) {
    for (name, target) in change {
        match target {
            Some(id) => entries.insert(name.clone(), *id),
            None => entries.remove(name),
        };
    }
}

impl DirectoryNode {
    fn change(&mut self, change: Vec<(String, Option<NodeId>)>) {
        set_names(&mut self.entries, &change);
        self.pending.push(change);
    }
}

impl Node {
    pub fn file() -> Node {
        Node::File(FileNode::default())
    }

    pub fn directory() -> Node {
        Node::Directory(DirectoryNode::default())
    }
}

impl Default for SimState {
    fn default() -> SimState {
        SimState {
            nodes: BTreeMap::from([(ROOT, Node::directory())]),
            next_id: ROOT + 1,
            boot: 0,
            operations_count: 0,
            syncs_count: 0,
            faults: Vec::new(),
            capacity: None,
            used: 0,
            stalled: false,
            powered_off: false,
            page_cache: PageCache::default(),
        }
    }
}

impl SimState {
    pub(super) fn file(&self, id: NodeId) -> io::Result<&FileNode> {
        match self.nodes.get(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory(&self, id: NodeId) -> io::Result<&DirectoryNode> {
        match self.nodes.get(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn directory_mut(&mut self, id: NodeId) -> io::Result<&mut DirectoryNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn resolve(&self, path: &Path) -> io::Result<NodeId> {
        let mut at = ROOT;
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => {
                    let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
                    at = *self.directory(at)?.entries.get(name).ok_or(io::ErrorKind::NotFound)?;
                }
                Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(at)
    }

    /// The directory that a path lies in, and its name there.
    fn split(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.resolve(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        Ok((parent, name.to_owned()))
    }

    pub(super) fn create(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (parent, name) = self.split(path)?;
        if self.capacity.is_some_and(|capacity| self.used >= capacity) {
            return Err(super::faults::enospc());
        }
        let id = self.next_id;
        self.directory_mut(parent)?.change(vec![(name, Some(id))]);
        self.next_id += 1;
        self.nodes.insert(id, node);
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (parent, old) = self.split(from)?;
        let (target, new) = self.split(to)?;
        if parent != target {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the simulated disk renames within one directory only",
            ));
        }
        let moved = *self
            .directory(parent)?
            .entries
            .get(&old)
            .ok_or(io::ErrorKind::NotFound)?;
        if old == new {
            return Ok(());
        }
        let replaced = self.directory(parent)?.entries.get(&new).copied();
        if let Some(id) = replaced
            && self.file(id).is_err()
        {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.directory_mut(parent)?
            .change(vec![(old, None), (new, Some(moved))]);
        self.release(replaced);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, kind: EntryKind) -> io::Result<()> {
        let id = self.resolve(path)?;
        match (kind, &self.nodes[&id]) {
            (EntryKind::File, Node::File(_)) => {}
            (EntryKind::Directory, Node::Directory(directory)) if directory.entries.is_empty() => {}
            (EntryKind::Directory, Node::Directory(_)) => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            (EntryKind::File, Node::Directory(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            (EntryKind::Directory, Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
        }
        let (parent, name) = self.split(path)?;
        self.directory_mut(parent)?.change(vec![(name, None)]);
        self.release(Some(id));
        Ok(())
    }

    /// The space of a file without a name is free again, even while somebody reads it: simpler than the truth.
    fn release(&mut self, id: Option<NodeId>) {
        if let Some(Node::File(file)) = id.and_then(|id| self.nodes.get(&id)) {
            self.used = self.used.saturating_sub(file.bytes.len() as u64);
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirectoryEntry>> {
        let directory = self.directory(self.resolve(path)?)?;
        let entry = |(name, id): (&String, &NodeId)| DirectoryEntry {
            name: name.clone(),
            kind: match self.nodes[id] {
                Node::File(_) => EntryKind::File,
                Node::Directory(_) => EntryKind::Directory,
            },
        };
        Ok(directory.entries.iter().map(entry).collect())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let id = self.resolve(path)?;
        let directory = self.directory_mut(id)?;
        for change in std::mem::take(&mut directory.pending) {
            set_names(&mut directory.durable, &change);
        }
        self.syncs_count += 1;
        self.collect();
        Ok(())
    }

    /// Forgets files that have no name, neither for readers nor on the platter, and that nobody has open.
    pub(super) fn collect(&mut self) {
        let mut named = std::collections::BTreeSet::from([ROOT]);
        for node in self.nodes.values() {
            if let Node::Directory(directory) = node {
                named.extend(directory.entries.values());
                named.extend(directory.durable.values());
                let pending = directory.pending.iter().flatten();
                named.extend(pending.filter_map(|(_, target)| *target));
            }
        }
        self.nodes.retain(|id, node| match node {
            Node::File(file) => named.contains(id) || file.handles > 0,
            Node::Directory(_) => named.contains(id),
        });
    }

    pub(super) fn close_handles(&mut self) {
        self.boot += 1;
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.handles = 0;
            }
        }
        self.collect();
    }
}
