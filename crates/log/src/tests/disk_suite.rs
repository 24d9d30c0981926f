//! One suite for every implementation of the disk port, and what only the simulated one can show.

use std::io::{ErrorKind, IoSlice};
use std::path::Path;

use crate::disk::sim::{Effect, Fault, Operation, PageCache};
use crate::disk::{read_small, remove_dir_all, write_atomically};
use crate::{DirectoryEntry, Disk, DiskFile, EntryKind, OpenMode, RealDisk, SimDisk};

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("an error was expected"),
        Err(error) => error.kind(),
    }
}

fn write(file: &dyn DiskFile, bytes: &[u8], position: u64) -> std::io::Result<()> {
    file.write_at(&[IoSlice::new(bytes)], position)
}

fn content(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; 100];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

fn files_behave(disk: &dyn Disk, root: &Path) {
    let path = root.join("file");
    assert_eq!(kind(disk.open(&path, OpenMode::Read)), ErrorKind::NotFound);
    assert_eq!(kind(disk.open(&path, OpenMode::Write)), ErrorKind::NotFound);
    let file = disk.open(&path, OpenMode::New).unwrap();
    assert_eq!(kind(disk.open(&path, OpenMode::New)), ErrorKind::AlreadyExists);

    file.write_at(&[IoSlice::new(b"hel"), IoSlice::new(b""), IoSlice::new(b"lo")], 0)
        .unwrap();
    assert_eq!(file.size().unwrap(), 5);
    write(&*file, b"L", 2).unwrap();
    write(&*file, b"!", 7).unwrap();
    assert_eq!(content(&*file), b"heLlo\0\0!");
    let mut two = [0; 2];
    assert_eq!(file.read_at(&mut two, 1).unwrap(), 2);
    assert_eq!(&two, b"eL");
    assert_eq!(file.read_at(&mut two, 7).unwrap(), 1);
    assert_eq!(file.read_at(&mut two, 8).unwrap(), 0);
    assert_eq!(file.read_at(&mut two, 1000).unwrap(), 0);
    if let Some(count) = file.read_at_nowait(&mut two, 0).unwrap() {
        assert!(count > 0 && two.starts_with(b"h"));
    }

    file.set_size(3).unwrap();
    file.set_size(5).unwrap();
    assert_eq!(content(&*file), b"heL\0\0");
    file.sync_data().unwrap();
    let again = disk.open(&path, OpenMode::Create).unwrap();
    assert_eq!(content(&*again), b"heL\0\0");
    let reader = disk.open(&path, OpenMode::Read).unwrap();
    assert!(write(&*reader, b"x", 0).is_err());

    let many: Vec<IoSlice<'_>> = std::iter::repeat_n(IoSlice::new(b"ab"), 3000).collect();
    file.write_at(&many, 1).unwrap();
    assert_eq!(file.size().unwrap(), 6001);
    assert_eq!(&content(&*file)[..5], b"habab");
}

fn directories_behave(disk: &dyn Disk, root: &Path) {
    let inner = root.join("inner");
    disk.create_dir(&inner).unwrap();
    assert_eq!(kind(disk.create_dir(&inner)), ErrorKind::AlreadyExists);
    assert_eq!(kind(disk.create_dir(&root.join("no/where"))), ErrorKind::NotFound);
    assert_eq!(kind(disk.list(&root.join("nowhere"))), ErrorKind::NotFound);
    for name in ["b", "a"] {
        write(
            &*disk.open(&inner.join(name), OpenMode::New).unwrap(),
            name.as_bytes(),
            0,
        )
        .unwrap();
    }
    disk.create_dir(&inner.join("c")).unwrap();
    let entry = |name: &str, kind| DirectoryEntry {
        name: name.to_owned(),
        kind,
    };
    assert_eq!(
        disk.list(&inner).unwrap(),
        [
            entry("a", EntryKind::File),
            entry("b", EntryKind::File),
            entry("c", EntryKind::Directory)
        ]
    );

    let held = disk.open(&inner.join("b"), OpenMode::Write).unwrap();
    disk.rename(&inner.join("a"), &inner.join("b")).unwrap();
    assert_eq!(content(&*held), b"b");
    assert_eq!(read_small(disk, &inner.join("b")).unwrap().unwrap(), b"a");
    assert_eq!(
        kind(disk.rename(&inner.join("a"), &inner.join("z"))),
        ErrorKind::NotFound
    );
    disk.sync_dir(&inner).unwrap();
    assert_eq!(kind(disk.remove_dir(&inner)), ErrorKind::DirectoryNotEmpty);
    assert_eq!(kind(disk.remove_file(&inner.join("a"))), ErrorKind::NotFound);

    let moved = root.join("moved");
    disk.rename(&inner, &moved).unwrap();
    write_atomically(disk, &moved.join("small"), b"one").unwrap();
    write_atomically(disk, &moved.join("small"), b"two, longer").unwrap();
    assert_eq!(read_small(disk, &moved.join("small")).unwrap().unwrap(), b"two, longer");
    assert_eq!(read_small(disk, &moved.join("none")).unwrap(), None);
    remove_dir_all(disk, &moved, &mut || ()).unwrap();
    disk.sync_dir(root).unwrap();
    assert_eq!(kind(disk.list(&moved)), ErrorKind::NotFound);
}

#[test]
fn the_real_disk_behaves() {
    let root = tempfile::tempdir().unwrap();
    files_behave(&RealDisk, root.path());
    directories_behave(&RealDisk, root.path());
}

#[test]
fn the_simulated_disk_behaves() {
    files_behave(&SimDisk::new(), Path::new("/"));
    directories_behave(&SimDisk::new(), Path::new("/"));
}

/// A file `f` of which `flushed` is durable and `written` follows.
fn half_flushed(flushed: &[u8], written: &[u8]) -> SimDisk {
    let disk = SimDisk::new();
    let file = disk.open(Path::new("/f"), OpenMode::New).unwrap();
    write(&*file, flushed, 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    write(&*file, written, flushed.len() as u64).unwrap();
    disk
}

fn whole(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
    read_small(disk, Path::new(path)).unwrap()
}

#[test]
fn a_power_cut_keeps_what_was_synced_and_any_part_of_the_rest() {
    let (flushed, written) = ([1; 700], [2; 9000]);
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..400_u64 {
        let disk = half_flushed(&flushed, &written);
        let mut state = seed;
        disk.crash(&mut |count| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) % count
        });
        let bytes = whole(&disk, "/f").unwrap();
        assert_eq!(bytes[..700], flushed);
        assert!(bytes[700..].iter().all(|byte| [0, 2].contains(byte)), "seed {seed}");
        let holes = bytes[700..].contains(&0);
        let all = bytes.len() == 9700 && !holes;
        seen.insert((bytes.len() == 700, all, holes));
    }
    // Nothing kept, everything kept, a part kept, and a part kept with holes.
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[test]
fn a_power_cut_forgets_names_that_were_not_synced() {
    let disk = half_flushed(b"x", b"");
    let file = disk.open(Path::new("/new"), OpenMode::New).unwrap();
    write(&*file, b"y", 0).unwrap();
    file.sync_data().unwrap();
    disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
    let before = disk.state();
    disk.crash(&mut |_| 0);
    assert_eq!((whole(&disk, "/new"), whole(&disk, "/f")), (None, Some(b"x".to_vec())));
    assert_eq!(whole(&disk, "/g"), None);
    assert!(file.size().is_err(), "handles die with the machine");

    let disk = SimDisk::from_state(before);
    disk.sync_dir(Path::new("/")).unwrap();
    disk.crash(&mut |_| 0);
    assert_eq!((whole(&disk, "/new"), whole(&disk, "/f")), (Some(b"y".to_vec()), None));
    assert_eq!(whole(&disk, "/g"), Some(b"x".to_vec()));
}

#[test]
fn a_failed_sync_forgets_what_it_should_have_kept() {
    let disk = half_flushed(b"a", b"b");
    let file = disk.open(Path::new("/f"), OpenMode::Write).unwrap();
    disk.inject(Fault::next(Operation::SyncData, "f", Effect::Io));
    assert!(file.sync_data().is_err());
    assert_eq!(content(&*file), b"ab");
    // The second sync has nothing to do, and says so; a power cut shows the truth.
    file.sync_data().unwrap();
    disk.crash(&mut |count| count - 1);
    assert_eq!(whole(&disk, "/f").unwrap(), b"a");
}

#[test]
fn faults_strike_when_told() {
    let disk = half_flushed(b"", b"");
    let file = disk.open(Path::new("/f"), OpenMode::Write).unwrap();
    disk.inject(Fault {
        skip: 1,
        ..Fault::next(Operation::Write, "f", Effect::Torn { keep: 2 })
    });
    disk.inject(Fault::next(Operation::Read, "other", Effect::Io));
    write(&*file, b"one", 0).unwrap();
    assert!(write(&*file, b"two", 3).is_err());
    assert_eq!(content(&*file), b"onetw");
    write(&*file, b"three", 3).unwrap();

    disk.set_capacity(Some(10));
    assert_eq!(kind(write(&*file, b"four", 8)), ErrorKind::StorageFull);
    assert_eq!(content(&*file), b"onethreefo");
    assert_eq!(kind(disk.open(Path::new("/g"), OpenMode::New)), ErrorKind::StorageFull);
    write(&*file, b"ONE", 0).unwrap();
    disk.remove_file(Path::new("/f")).unwrap();
    disk.open(Path::new("/g"), OpenMode::New).unwrap();

    disk.inject(Fault::next(Operation::SyncDir, "", Effect::Stall));
    disk.sync_dir(Path::new("/")).unwrap();
    assert!(disk.is_stalled());
    disk.resume();
    disk.set_page_cache(PageCache::Cold);
    let file = disk.open(Path::new("/g"), OpenMode::Write).unwrap();
    assert_eq!(file.read_at_nowait(&mut [0], 0).unwrap(), None);

    disk.inject(Fault::power_cut_after(1));
    file.size().unwrap();
    write(&*file, b"1", 0).unwrap();
    assert!(write(&*file, b"2", 1).is_err());
    assert!(disk.is_powered_off() && disk.list(Path::new("/")).is_err());
    disk.crash(&mut |_| 1);
    assert_eq!(whole(&disk, "/g").unwrap(), b"12");
}
