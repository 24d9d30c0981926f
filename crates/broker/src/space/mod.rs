//! The room on the disk of the data directory: looked at several times a second, and kept in time.
//!
//! ```text
//!   free bytes:   ample ──► low ──► full ──► read-only ──► (a write finds none: the reserve is given back)
//!                 nothing   warn    no       no appends
//!                                   produce  at all
//! ```
//!
//! The levels below `Ample` end by themselves when there is room again. What is done at a level is the business of those
//! who ask for it.

mod marks;
mod reserve;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_log::Disk;

pub use marks::{Level, Marks};
use reserve::Reserve;

/// How the room is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceConfig {
    pub marks: Marks,
    /// The reserve; at most a fiftieth of the disk.
    pub reserve_bytes: u64,
}

#[cfg(test)]
impl SpaceConfig {
    /// For disks of tests, which are small.
    pub const SMALL: SpaceConfig = SpaceConfig {
        marks: Marks {
            low: 1 << 20,
            full: 1 << 20,
            read_only: 1 << 20,
        },
        reserve_bytes: 4096,
    };
}

/// What is known of the room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub level: Level,
    pub capacity: u64,
    /// Without the reserve.
    pub available: u64,
    pub marks: Marks,
}

/// The room of one data directory.
#[derive(Debug)]
pub struct Space {
    disk: Arc<dyn Disk>,
    data_dir: PathBuf,
    config: SpaceConfig,
    level: AtomicU8,
    capacity: AtomicU64,
    available: AtomicU64,
    reserve: Mutex<Reserve>,
}

impl Space {
    /// Looks for the first time, and takes the reserve if there is room for it.
    pub fn open(disk: Arc<dyn Disk>, data_dir: &Path, config: SpaceConfig) -> io::Result<Space> {
        let capacity = disk.space(data_dir)?.capacity;
        let reserve_bytes = config.reserve_bytes.min(capacity / 50);
        let space = Space {
            reserve: Mutex::new(Reserve::new(Arc::clone(&disk), data_dir, reserve_bytes)),
            disk,
            data_dir: data_dir.to_owned(),
            config,
            level: AtomicU8::new(0),
            capacity: AtomicU64::new(capacity),
            available: AtomicU64::new(0),
        };
        space.look()?;
        Ok(space)
    }

    pub fn level(&self) -> Level {
        Level::ALL[usize::from(self.level.load(Ordering::Relaxed)).min(Level::ALL.len() - 1)]
    }

    pub fn room(&self) -> Room {
        let capacity = self.capacity.load(Ordering::Relaxed);
        Room {
            level: self.level(),
            capacity,
            available: self.available.load(Ordering::Relaxed),
            marks: self.config.marks.on(capacity),
        }
    }

    /// Measures the room; gives the reserve back where hardly anything else is left, and takes it where there is enough.
    pub fn look(&self) -> io::Result<()> {
        let mut reserve = lock(&self.reserve);
        let found = self.disk.space(&self.data_dir)?;
        // A reserve that is owed is not to be used for anything else.
        let available = found.available.saturating_sub(reserve.missing());
        let level = self.config.marks.on(found.capacity).level(self.level(), available);
        self.capacity.store(found.capacity, Ordering::Relaxed);
        self.available.store(available, Ordering::Relaxed);
        self.level.store(level as u8, Ordering::Relaxed);
        if level < Level::ReadOnly {
            // Without it, the next look tries again.
            reserve.take()?;
        } else if found.available < reserve.bytes() {
            // Checkpoints and the controller's store need little, but they need it.
            reserve.release()?;
        }
        Ok(())
    }

    /// A write found no room: from now on nothing is appended, and what is under way gets the reserve.
    pub fn ran_out(&self) -> io::Result<()> {
        let mut reserve = lock(&self.reserve);
        self.level.store(Level::ReadOnly as u8, Ordering::Relaxed);
        self.available.store(0, Ordering::Relaxed);
        reserve.release()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use klamm_log::{OpenMode, SimDisk};

    use super::*;

    const CONFIG: SpaceConfig = SpaceConfig {
        marks: Marks {
            low: 1 << 30,
            full: 1 << 30,
            read_only: 1 << 30,
        },
        reserve_bytes: 1 << 30,
    };

    /// A disk of 10,000 bytes with a directory; the marks lie at 2000, 1000 and 500 bytes, the reserve has 200.
    fn disk() -> Arc<SimDisk> {
        let disk = SimDisk::new();
        disk.set_capacity(Some(10_000));
        disk.create_dir(Path::new("/data")).unwrap();
        Arc::new(disk)
    }

    fn fill(disk: &SimDisk, to: u64) {
        let file = disk.open(Path::new("/data/other"), OpenMode::Create).unwrap();
        file.set_size(0).unwrap();
        file.allocate(to).unwrap();
    }

    #[test]
    fn levels_come_and_go_with_the_room() {
        let disk = disk();
        let space = Space::open(disk.clone(), Path::new("/data"), CONFIG).unwrap();
        assert_eq!(space.room().available, 9800);
        assert_eq!(disk.file_size(Path::new("/data/reserve")), Some(200));
        for (filled, level) in [
            (7800, Level::Ample),
            (7801, Level::Low),
            (8900, Level::Full),
            (9400, Level::ReadOnly),
            (9237, Level::Full),
            (5000, Level::Ample),
        ] {
            fill(&disk, filled);
            space.look().unwrap();
            assert_eq!(space.level(), level, "{filled}");
        }
    }

    #[test]
    fn who_finds_no_room_gets_the_reserve_which_comes_back_later() {
        let disk = disk();
        let space = Space::open(disk.clone(), Path::new("/data"), CONFIG).unwrap();
        fill(&disk, 9800);
        space.ran_out().unwrap();
        assert_eq!(space.level(), Level::ReadOnly);
        assert_eq!(disk.space(Path::new("/data")).unwrap().available, 200);
        space.look().unwrap();
        assert_eq!(
            (space.level(), space.room().available),
            (Level::ReadOnly, 0),
            "it is owed"
        );
        fill(&disk, 5000);
        space.look().unwrap();
        assert_eq!(space.level(), Level::Ample);
        assert_eq!(disk.file_size(Path::new("/data/reserve")), Some(200));
    }

    #[test]
    fn the_last_room_is_for_those_who_need_little() {
        let disk = disk();
        let space = Space::open(disk.clone(), Path::new("/data"), CONFIG).unwrap();
        fill(&disk, 9790);
        space.look().unwrap();
        assert_eq!((space.level(), space.room().available), (Level::ReadOnly, 10));
        assert_eq!(disk.space(Path::new("/data")).unwrap().available, 210);
        space.look().unwrap();
        assert_eq!((space.level(), space.room().available), (Level::ReadOnly, 10));
        fill(&disk, 0);
        space.look().unwrap();
        assert_eq!(disk.file_size(Path::new("/data/reserve")), Some(200));
    }

    #[test]
    fn a_reserve_that_finds_no_room_leaves_nothing_behind() {
        let disk = disk();
        fill(&disk, 9900);
        let space = Space::open(disk.clone(), Path::new("/data"), CONFIG).unwrap();
        assert_eq!(space.level(), Level::ReadOnly);
        assert_eq!(disk.file_size(Path::new("/data/reserve")), None);
    }
}
