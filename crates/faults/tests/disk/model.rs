//! Random lives of files, on the disk and beside it: on a plain folder, and in a model that knows what was synced.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use klamm_faults::disk::Survivors;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::{Mounted, sync_folder};

const STEPS: usize = 300;
const LIVES: u64 = 12;

/// One thing that a program does. Paths are below the mount.
#[derive(Clone, Debug)]
enum Act {
    Write {
        path: String,
        offset: u64,
        content: Vec<u8>,
    },
    Resize {
        path: String,
        size: u64,
    },
    Sync {
        path: String,
    },
    SyncFolder {
        path: String,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeFolder {
        path: String,
    },
    RemoveFolder {
        path: String,
    },
    Read {
        path: String,
    },
    List {
        path: String,
    },
}

/// A few names, so that acts meet; some are folders now and then.
fn some_path(chance: &mut StdRng, folders: &[&str]) -> String {
    let folder = folders[chance.random_range(0..folders.len())];
    let name = ["a", "b", "c", "d", "e"][chance.random_range(0..5)];
    format!("{folder}{name}")
}

fn some_act(chance: &mut StdRng, folders: &[&str]) -> Act {
    let path = some_path(chance, folders);
    let other = some_path(chance, folders);
    match chance.random_range(0..100) {
        0..35 => Act::Write {
            path,
            offset: chance.random_range(0..10_000),
            content: vec![chance.random(); chance.random_range(1..6000)],
        },
        35..42 => Act::Resize {
            path,
            size: chance.random_range(0..10_000),
        },
        42..55 => Act::Sync { path },
        55..63 => Act::SyncFolder {
            path: folders[chance.random_range(0..folders.len())].to_owned(),
        },
        63..75 => Act::Rename { from: path, to: other },
        75..80 => Act::Link { from: path, to: other },
        80..87 => Act::Unlink { path },
        87..90 => Act::MakeFolder { path },
        90..93 => Act::RemoveFolder { path },
        93..97 => Act::Read { path },
        _ => Act::List {
            path: folders[chance.random_range(0..folders.len())].to_owned(),
        },
    }
}

/// Does it below a folder; returns what a program sees of it.
fn act(root: &Path, act: &Act) -> Result<Vec<u8>, ErrorKind> {
    let at = |path: &str| root.join(path);
    let file = |path: &str| {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(at(path))
    };
    let nothing = |()| Vec::new();
    let seen = match act {
        Act::Write { path, offset, content } => file(path).and_then(|file| file.write_all_at(content, *offset)),
        Act::Resize { path, size } => OpenOptions::new()
            .write(true)
            .open(at(path))
            .and_then(|file| file.set_len(*size)),
        Act::Sync { path } => OpenOptions::new()
            .write(true)
            .open(at(path))
            .and_then(|file| file.sync_all()),
        Act::SyncFolder { path } => File::open(at(path)).and_then(|folder| folder.sync_all()),
        Act::Rename { from, to } => fs::rename(at(from), at(to)),
        Act::Link { from, to } => fs::hard_link(at(from), at(to)),
        Act::Unlink { path } => fs::remove_file(at(path)),
        Act::MakeFolder { path } => fs::create_dir(at(path)),
        Act::RemoveFolder { path } => fs::remove_dir(at(path)),
        Act::Read { path } => return fs::read(at(path)).map_err(|error| error.kind()),
        Act::List { path } => return names(&at(path)).map_err(|error| error.kind()),
    };
    seen.map(nothing).map_err(|error| error.kind())
}

fn names(folder: &Path) -> std::io::Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().into_encoded_bytes());
    }
    names.sort();
    Ok(names.concat())
}

/// Everything below a folder, by path; folders have no content.
fn everything(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let below = path.strip_prefix(root).unwrap().to_owned();
            if path.is_dir() {
                all.insert(below, None);
                folders.push(path);
            } else {
                all.insert(below, Some(fs::read(&path).unwrap()));
            }
        }
    }
    all
}

#[test]
fn a_random_life_is_the_same_as_on_a_plain_folder() {
    let first: u64 = rand::random();
    for seed in first..first + LIVES {
        let Some(mounted) = Mounted::new() else { return };
        let plain = tempfile::tempdir().unwrap();
        let mut chance = StdRng::seed_from_u64(seed);
        for step in 0..STEPS {
            // "a/", "b/" are folders at times.
            let next = some_act(&mut chance, &["", "a/", "b/", "a/b/"]);
            let seen = act(mounted.disk.at(), &next);
            assert_eq!(seen, act(plain.path(), &next), "seed {seed}, step {step}: {next:?}");
        }
        let on_disk = everything(mounted.disk.at());
        assert!(on_disk == everything(plain.path()), "seed {seed}");
        assert!(
            on_disk == everything(&mounted.disk.content()),
            "seed {seed}, behind the mount"
        );
    }
}

/// What the disk has, by the rules: content by file, files by name. Folders are two, both there from the beginning.
#[derive(Default)]
struct Model {
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    content: Vec<Vec<u8>>,
    synced_content: Vec<Vec<u8>>,
}

impl Model {
    fn file(&mut self, path: &str) -> usize {
        let new = self.content.len();
        let file = *self.names.entry(path.to_owned()).or_insert(new);
        if file == new {
            self.content.push(Vec::new());
            self.synced_content.push(Vec::new());
        }
        file
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Write { path, offset, content } => {
                let file = self.file(path);
                let file = &mut self.content[file];
                let end = *offset as usize + content.len();
                file.resize(file.len().max(end), 0);
                file[*offset as usize..end].copy_from_slice(content);
            }
            Act::Resize { path, size } => {
                let file = self.names[path];
                self.content[file].resize(*size as usize, 0);
            }
            Act::Sync { path } => {
                let file = self.names[path];
                self.synced_content[file] = self.content[file].clone();
            }
            Act::SyncFolder { path } => {
                let is_in = |name: &str| (path.is_empty() && !name.contains('/')) || path == "f/" && name.contains('/');
                self.synced_names.retain(|name, _| !is_in(name));
                let now = self.names.iter().filter(|(name, _)| is_in(name));
                self.synced_names.extend(now.map(|(name, file)| (name.clone(), *file)));
            }
            Act::Rename { from, to } => {
                let file = self.names[from];
                if self.names.get(to) != Some(&file) {
                    self.names.remove(from);
                    self.names.insert(to.clone(), file);
                }
            }
            Act::Link { from, to } => {
                self.names.insert(to.clone(), self.names[from]);
            }
            Act::Unlink { path } => {
                self.names.remove(path);
            }
            Act::MakeFolder { .. } | Act::RemoveFolder { .. } | Act::Read { .. } | Act::List { .. } => {}
        }
    }

    fn lose_power(&mut self) {
        self.names = self.synced_names.clone();
        self.content = self.synced_content.clone();
    }

    fn everything(&self) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let file = |(name, file): (&String, &usize)| (PathBuf::from(name), Some(self.content[*file].clone()));
        let mut all: BTreeMap<_, _> = self.names.iter().map(file).collect();
        all.insert("f".into(), None);
        all
    }
}

#[test]
fn a_loss_of_power_leaves_exactly_what_was_synced() {
    let first: u64 = rand::random();
    for seed in first..first + LIVES {
        let Some(mut mounted) = Mounted::new() else { return };
        fs::create_dir(mounted.path("f")).unwrap();
        sync_folder(mounted.disk.at());
        let mut model = Model::default();
        let mut chance = StdRng::seed_from_u64(seed);
        for step in 0..STEPS {
            let next = some_act(&mut chance, &["", "f/"]);
            if matches!(next, Act::MakeFolder { .. }) {
                continue;
            }
            if act(mounted.disk.at(), &next).is_ok() {
                model.act(&next);
            }
            assert!(
                everything(mounted.disk.at()) == model.everything(),
                "seed {seed}, step {step}: {next:?}"
            );
            if chance.random_range(0..40) == 0 {
                let lost = mounted.disk.power_loss(Survivors::None).unwrap();
                model.lose_power();
                let (is, must) = (everything(mounted.disk.at()), model.everything());
                assert!(
                    is == must,
                    "seed {seed}, step {step}, after a loss of {lost:?}:\n{:?}\n{:?}",
                    is.keys(),
                    must.keys()
                );
            }
        }
    }
}
