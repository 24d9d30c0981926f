//! What of the names in folders the disk does not have yet.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// For each folder, what the names changed since its last sync stood for then. Files and folders are inode numbers.
#[derive(Debug, Default)]
pub struct Names {
    folders: BTreeMap<u64, BTreeMap<OsString, Option<u64>>>,
    /// How many of these names stood for a file or folder; it must not cease to be.
    needed: BTreeMap<u64, usize>,
}

/// What a name stands for on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub folder: u64,
    pub name: OsString,
    pub on_disk: Option<u64>,
}

impl Names {
    /// A name that stands for `now` is about to stand for something else, or nothing.
    pub fn change(&mut self, folder: u64, name: &OsStr, now: Option<u64>) {
        let changed = self.folders.entry(folder).or_default();
        if changed.contains_key(name) {
            return;
        }
        changed.insert(name.to_owned(), now);
        if let Some(inode) = now {
            *self.needed.entry(inode).or_default() += 1;
        }
    }

    /// Whether a loss of power would bring a name of this file or folder back.
    pub fn needs(&self, inode: u64) -> bool {
        self.needed.contains_key(&inode)
    }

    /// A folder was synced. Returns what is not needed any more.
    pub fn synced(&mut self, folder: u64) -> Vec<u64> {
        let changed = self.folders.remove(&folder).unwrap_or_default();
        let mut free = Vec::new();
        for inode in changed.into_values().flatten() {
            let count = self.needed.get_mut(&inode).expect("each changed name was counted");
            *count -= 1;
            if *count == 0 {
                self.needed.remove(&inode);
                free.push(inode);
            }
        }
        free
    }

    /// Folders with changed names.
    pub fn folders(&self) -> Vec<u64> {
        self.folders.keys().copied().collect()
    }

    /// All changed names.
    pub fn entries(&self) -> Vec<Entry> {
        let of = |(folder, changed): (&u64, &BTreeMap<OsString, Option<u64>>)| {
            let folder = *folder;
            let entry = |(name, on_disk): (&OsString, &Option<u64>)| Entry {
                folder,
                name: name.clone(),
                on_disk: *on_disk,
            };
            changed.iter().map(entry).collect::<Vec<_>>()
        };
        self.folders.iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(folder: u64, name: &str, on_disk: Option<u64>) -> Entry {
        Entry {
            folder,
            name: name.into(),
            on_disk,
        }
    }

    #[test]
    fn the_first_change_since_a_sync_says_what_the_disk_has() {
        let mut names = Names::default();
        names.change(1, "a".as_ref(), Some(10));
        names.change(1, "a".as_ref(), None);
        names.change(1, "a".as_ref(), Some(11));
        names.change(1, "b".as_ref(), None);
        names.change(2, "c".as_ref(), Some(12));
        assert_eq!(
            names.entries(),
            [entry(1, "a", Some(10)), entry(1, "b", None), entry(2, "c", Some(12))]
        );
        assert!(names.needs(10) && !names.needs(11) && names.needs(12));
        assert_eq!(names.synced(1), [10]);
        assert_eq!(names.entries(), [entry(2, "c", Some(12))]);
        names.change(1, "a".as_ref(), Some(11));
        assert!(names.needs(11));
    }

    #[test]
    fn what_two_folders_need_goes_with_the_second() {
        let mut names = Names::default();
        names.change(1, "a".as_ref(), Some(10));
        names.change(2, "a".as_ref(), Some(10));
        assert_eq!(names.synced(1), Vec::<u64>::new());
        assert!(names.needs(10));
        assert_eq!(names.synced(2), [10]);
        assert!(!names.needs(10));
        assert_eq!(names.folders(), Vec::<u64>::new());
    }
}
