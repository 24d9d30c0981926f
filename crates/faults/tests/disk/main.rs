//! The disk that can be broken, mounted: what programs see of it, and what is left after a loss of power.
//!
//! Without root or `/dev/fuse` the tests say so and pass; with `CI=true` that is a failure.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod model;
mod node;

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use klamm_faults::disk::{Disk, NamesLast, Survivors, Trouble};
use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use tempfile::TempDir;

/// A disk in a folder of its own; none, if none can be mounted here.
struct Mounted {
    disk: Disk,
    // Goes after the mount in it.
    _folder: TempDir,
}

impl Mounted {
    fn new() -> Option<Mounted> {
        Mounted::with(NamesLast::WithTheirFolder)
    }

    fn with(last: NamesLast) -> Option<Mounted> {
        if !is_possible() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let (backing, at) = (folder.path().join("backing"), folder.path().join("at"));
        fs::create_dir(&at).unwrap();
        let disk = Disk::mount_with(&backing, &at, last).unwrap();
        Some(Mounted { disk, _folder: folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.at().join(name)
    }

    /// A file with content, of which the disk has everything.
    fn synced(&self, name: &str, content: &[u8]) -> File {
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(true);
        let mut file = file.open(self.path(name)).unwrap();
        file.write_all(content).unwrap();
        file.sync_all().unwrap();
        sync_folder(self.disk.at());
        file
    }

    fn lose_power(&mut self) {
        self.disk.power_loss(Survivors::None).unwrap();
    }
}

/// Whether a disk can be mounted here; if not, says why.
fn is_possible() -> bool {
    if rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "a disk needs root and /dev/fuse");
    println!("skipped: a disk needs root and /dev/fuse");
    false
}

fn sync_folder(path: &Path) {
    File::open(path).unwrap().sync_all().unwrap();
}

fn is_error<T>(result: std::io::Result<T>, number: rustix::io::Errno) -> bool {
    result.is_err_and(|error| error.raw_os_error() == Some(number.raw_os_error()))
}

#[test]
fn a_failed_sync_is_told_once_and_loses_what_it_should_have_written() {
    let Some(mut mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("00.log", b"old");
    let mut other = mounted.synced("00.index", b"old");
    mounted.disk.set(Trouble::fail_syncs().only("*.log").times(1));
    for file in [&mut file, &mut other] {
        file.rewind().unwrap();
        file.write_all(b"new").unwrap();
    }
    other.sync_data().unwrap();
    assert!(is_error(file.sync_data(), rustix::io::Errno::IO));
    file.sync_data().unwrap();
    assert_eq!(mounted.disk.counters().failed_syncs, 1);
    drop((file, other));
    assert_eq!(fs::read(mounted.path("00.log")).unwrap(), b"new", "the cache has it");
    mounted.lose_power();
    assert_eq!(fs::read(mounted.path("00.log")).unwrap(), b"old");
    assert_eq!(fs::read(mounted.path("00.index")).unwrap(), b"new");
}

#[test]
fn writes_fail_until_the_disk_heals() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    mounted.disk.set(Trouble::fail_writes());
    assert!(is_error(file.write_all(b"2"), rustix::io::Errno::IO));
    assert!(is_error(file.set_len(0), rustix::io::Errno::IO));
    mounted.disk.heal();
    file.write_all(b"2").unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"12");
    assert_eq!(mounted.disk.counters().failed_writes, 2);
}

#[test]
fn a_full_disk_takes_nothing_new_but_serves_the_old() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    assert!(statvfs(mounted.disk.at()).unwrap().f_bavail > 0);
    mounted.disk.set(Trouble::full());
    assert!(is_error(file.write_all(b"2"), rustix::io::Errno::NOSPC));
    assert!(is_error(fs::write(mounted.path("b"), b""), rustix::io::Errno::NOSPC));
    assert_eq!(statvfs(mounted.disk.at()).unwrap().f_bavail, 0);
    file.sync_all().unwrap();
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"1");
    file.set_len(0).unwrap();
    fs::rename(mounted.path("a"), mounted.path("b")).unwrap();
    fs::remove_file(mounted.path("b")).unwrap();
}

#[test]
fn a_stalled_sync_holds_up_nobody_else_and_ends_when_the_disk_heals() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    mounted.disk.set(Trouble::stall_syncs(None));
    file.write_all(b"2").unwrap();
    let (done, is_done) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let result = file.sync_all();
        done.send(()).unwrap();
        result
    });
    let start = Instant::now();
    while mounted.disk.counters().stalled == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "the sync never came");
        std::thread::yield_now();
    }
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"12");
    assert!(is_done.try_recv().is_err());
    mounted.disk.heal();
    thread.join().unwrap().unwrap();
}

#[test]
fn a_stall_of_some_time_ends_by_itself() {
    let Some(mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    mounted
        .disk
        .set(Trouble::stall(Some(Duration::from_millis(100))).times(1));
    let start = Instant::now();
    file.write_all(b"2").unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn whoever_still_has_files_open_gets_errors_after_a_loss_of_power() {
    let Some(mut mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    file.write_all(b"2").unwrap();
    let lost = mounted.disk.power_loss(Survivors::None).unwrap();
    assert!(lost.were_open);
    assert_eq!((lost.files, lost.names), (vec!["a".to_owned()], Vec::new()));
    assert!(file.write_all(b"3").is_err());
    assert_eq!(fs::read(mounted.path("a")).unwrap(), b"1");
}

#[test]
fn a_torn_loss_leaves_pages_of_both() {
    let Some(mut mounted) = Mounted::new() else { return };
    let file = mounted.synced("a", &[1; 256 << 10]);
    file.write_all_at(&[2; 256 << 10], 0).unwrap();
    drop(file);
    mounted.disk.power_loss(Survivors::SomePages { seed: 7 }).unwrap();
    let content = fs::read(mounted.path("a")).unwrap();
    let pages = content.chunks(4096);
    let old = pages.filter(|page| page.iter().all(|byte| *byte == 1)).count();
    assert!((16..48).contains(&old), "{old} of 64 pages are old");
}

#[test]
fn a_milder_disk_has_names_with_any_sync() {
    let Some(mut mounted) = Mounted::with(NamesLast::WithAnySync) else {
        return;
    };
    fs::write(mounted.path("a"), b"1").unwrap();
    let file = File::create(mounted.path("b")).unwrap();
    file.sync_all().unwrap();
    drop(file);
    fs::write(mounted.path("c"), b"1").unwrap();
    mounted.lose_power();
    assert_eq!(
        fs::read(mounted.path("a")).unwrap(),
        b"",
        "its name was there, its content was not"
    );
    assert!(mounted.path("b").exists() && !mounted.path("c").exists());
}

#[test]
fn a_folder_moved_with_its_content_comes_back_with_it() {
    let Some(mut mounted) = Mounted::new() else { return };
    fs::create_dir(mounted.path("old")).unwrap();
    let file = mounted.synced("old/file", b"1");
    drop(file);
    sync_folder(&mounted.path("old"));
    fs::create_dir(mounted.path("other")).unwrap();
    fs::rename(mounted.path("old"), mounted.path("other/new")).unwrap();
    fs::remove_file(mounted.path("other/new/file")).unwrap();
    fs::remove_dir(mounted.path("other/new")).unwrap();
    mounted.lose_power();
    assert_eq!(fs::read(mounted.path("old/file")).unwrap(), b"1");
    assert!(!mounted.path("other").exists());
}

#[test]
fn an_unlinked_file_is_usable_while_it_is_open() {
    let Some(mut mounted) = Mounted::new() else { return };
    let mut file = mounted.synced("a", b"1");
    fs::remove_file(mounted.path("a")).unwrap();
    assert!(!mounted.path("a").exists());
    file.write_all(b"2").unwrap();
    file.rewind().unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"12");
    drop(file);
    let kept = mounted.disk.content().parent().unwrap().join("kept");
    let kept = || fs::read_dir(&kept).unwrap().count();
    assert_eq!(kept(), 1, "it may come back");
    sync_folder(mounted.disk.at());
    assert_eq!(kept(), 0, "it takes no room any more");
    mounted.lose_power();
    assert!(!mounted.path("a").exists());
}

#[test]
fn locks_appends_and_reserved_room_work() {
    let Some(mounted) = Mounted::new() else { return };
    let lock = || File::create(mounted.path("lock")).unwrap();
    let held = lock();
    flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
    let second = flock(lock(), FlockOperation::NonBlockingLockExclusive);
    assert_eq!(second, Err(rustix::io::Errno::WOULDBLOCK));
    drop(held);
    flock(lock(), FlockOperation::NonBlockingLockExclusive).unwrap();

    let append = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(mounted.path("log"))
            .unwrap()
    };
    let (mut one, mut other) = (append(), append());
    for _ in 0..10 {
        one.write_all(b"1").unwrap();
        other.write_all(b"2").unwrap();
    }
    assert_eq!(fs::read(mounted.path("log")).unwrap(), b"12".repeat(10));

    fallocate(&one, FallocateFlags::empty(), 0, 100).unwrap();
    assert_eq!(fs::metadata(mounted.path("log")).unwrap().len(), 100);
    fallocate(&one, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 100).unwrap();
    assert_eq!(fs::read(mounted.path("log")).unwrap(), [0; 100]);
    assert_eq!(
        fs::remove_dir(mounted.disk.at().join("log")).unwrap_err().kind(),
        ErrorKind::NotADirectory
    );
}

#[test]
fn reserved_and_freed_room_goes_back() {
    let Some(mut mounted) = Mounted::new() else { return };
    let grown = mounted.synced("grown", b"1");
    fallocate(&grown, FallocateFlags::empty(), 0, 10_000).unwrap();
    let freed = mounted.synced("freed", &[1; 10_000]);
    fallocate(
        &freed,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        5_000,
        100,
    )
    .unwrap();
    let extended = mounted.synced("extended", b"1");
    extended.set_len(10_000).unwrap();
    drop((grown, freed, extended));
    mounted.lose_power();
    assert_eq!(fs::read(mounted.path("grown")).unwrap(), b"1");
    assert_eq!(fs::read(mounted.path("freed")).unwrap(), [1; 10_000]);
    assert_eq!(fs::read(mounted.path("extended")).unwrap(), b"1");
}

#[test]
fn what_is_written_through_a_shared_mapping_is_lost_unless_it_is_synced() {
    let Some(mut mounted) = Mounted::new() else { return };
    let file = mounted.synced("a.index", &[1; 8192]);
    let write = |page: usize, byte: u8, is_synced: bool| {
        use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the mapping is of 8192 bytes, used only here, and the file is as long.
        #[allow(unsafe_code)]
        unsafe {
            let map = mmap(std::ptr::null_mut(), 8192, protection, MapFlags::SHARED, &file, 0).unwrap();
            map.cast::<u8>().add(page * 4096).write_bytes(byte, 4096);
            if is_synced {
                msync(map, 8192, MsyncFlags::SYNC).unwrap();
            }
            munmap(map, 8192).unwrap();
        }
    };
    write(0, 2, true);
    write(1, 3, false);
    let shown = fs::read(mounted.path("a.index")).unwrap();
    assert!(shown[..4096] == [2; 4096] && shown[4096..] == [3; 4096]);
    drop(file);
    mounted.lose_power();
    let left = fs::read(mounted.path("a.index")).unwrap();
    assert!(left[..4096] == [2; 4096] && left[4096..] == [1; 4096]);
}
