//! What can be wrong with a disk, as values, and which of it strikes an operation.

use std::time::{Duration, Instant};

/// What a program wants of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writing, reserving room, making a file longer.
    Write,
    /// Making a file shorter.
    Cut,
    /// fsync and fdatasync, of files and folders.
    Sync,
    /// A name that comes into being: create, mkdir, link, symlink.
    Create,
}

/// What happens to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// EIO; nothing was done. After a failed sync the disk never has what it should have written.
    Fail,
    /// ENOSPC; nothing was done.
    Full,
    /// It is done only when this time has passed, or when the disk heals. Who waits for it cannot even be killed.
    Stall(Option<Duration>),
}

/// Something wrong with a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub on: &'static [Operation],
    pub blow: Blow,
    /// Which files or folders, by their path below the mount; `*` stands for any text.
    pub paths: String,
    /// How often it strikes; without it, until the disk heals.
    pub times: Option<u64>,
}

impl Trouble {
    fn new(on: &'static [Operation], blow: Blow) -> Trouble {
        Trouble {
            on,
            blow,
            paths: "*".to_owned(),
            times: None,
        }
    }

    pub fn fail_writes() -> Trouble {
        Trouble::new(&[Operation::Write, Operation::Cut], Blow::Fail)
    }

    pub fn fail_syncs() -> Trouble {
        Trouble::new(&[Operation::Sync], Blow::Fail)
    }

    /// No room for anything new; deleting and renaming work, but make no room.
    pub fn full() -> Trouble {
        Trouble::new(&[Operation::Write, Operation::Create], Blow::Full)
    }

    /// Nothing is written or synced for so long, or until the disk heals.
    pub fn stall(time: Option<Duration>) -> Trouble {
        Trouble::new(&[Operation::Write, Operation::Cut, Operation::Sync], Blow::Stall(time))
    }

    /// Syncs take so long, or until the disk heals.
    pub fn stall_syncs(time: Option<Duration>) -> Trouble {
        Trouble::new(&[Operation::Sync], Blow::Stall(time))
    }

    /// Only on these paths.
    pub fn only(self, paths: &str) -> Trouble {
        Trouble {
            paths: paths.to_owned(),
            ..self
        }
    }

    pub fn times(self, times: u64) -> Trouble {
        Trouble {
            times: Some(times),
            ..self
        }
    }
}

/// What was done and what was hit so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cuts too.
    pub writes: u64,
    pub syncs: u64,
    pub creates: u64,
    pub failed_writes: u64,
    pub failed_syncs: u64,
    pub failed_creates: u64,
    /// Refused with ENOSPC.
    pub full: u64,
    pub stalled: u64,
}

/// What an operation meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    Full,
    /// Until this time, or until [`Troubles::holds`] no longer says so.
    Stall {
        trouble: u64,
        until: Option<Instant>,
    },
}

/// All that is wrong now. The first that fits strikes.
#[derive(Debug, Default)]
pub struct Troubles {
    all: Vec<(u64, Trouble)>,
    last: u64,
    pub counters: Counters,
}

impl Troubles {
    pub fn set(&mut self, trouble: Trouble) {
        self.last += 1;
        self.all.push((self.last, trouble));
    }

    pub fn heal(&mut self) {
        self.all.clear();
    }

    /// Whether a trouble still lasts.
    pub fn holds(&self, trouble: u64) -> bool {
        self.all.iter().any(|(number, _)| *number == trouble)
    }

    /// Whether nothing new has room anywhere.
    pub fn is_full(&self) -> bool {
        let is_full = |(_, trouble): &(u64, Trouble)| trouble.blow == Blow::Full && trouble.paths == "*";
        self.all.iter().any(is_full)
    }

    /// What an operation meets. The path is asked for only if something is wrong.
    pub fn judge(&mut self, now: Instant, operation: Operation, path: impl FnOnce() -> String) -> Verdict {
        let counters = &mut self.counters;
        let (count, failed) = match operation {
            Operation::Write | Operation::Cut => (&mut counters.writes, &mut counters.failed_writes),
            Operation::Sync => (&mut counters.syncs, &mut counters.failed_syncs),
            Operation::Create => (&mut counters.creates, &mut counters.failed_creates),
        };
        *count += 1;
        if !self.all.iter().any(|(_, trouble)| trouble.on.contains(&operation)) {
            return Verdict::Pass;
        }
        let path = path();
        let strikes = |(_, trouble): &&mut (u64, Trouble)| {
            trouble.on.contains(&operation) && trouble.times != Some(0) && matches(&trouble.paths, &path)
        };
        let Some((number, trouble)) = self.all.iter_mut().find(strikes) else {
            return Verdict::Pass;
        };
        if let Some(times) = &mut trouble.times {
            *times -= 1;
        }
        match trouble.blow {
            Blow::Fail => {
                *failed += 1;
                Verdict::Fail
            }
            Blow::Full => {
                counters.full += 1;
                Verdict::Full
            }
            Blow::Stall(time) => {
                counters.stalled += 1;
                Verdict::Stall {
                    trouble: *number,
                    until: time.map(|time| now + time),
                }
            }
        }
    }
}

/// Whether a text fits a pattern in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(text) = text.strip_prefix(start) else {
        return false;
    };
    let mut ends = text.char_indices().map(|(end, _)| end).chain([text.len()]);
    ends.any(|end| matches(rest, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> impl FnOnce() -> String {
        move || path.to_owned()
    }

    #[test]
    fn patterns() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("*", "a/b", true),
            ("*.log", "t-0/00.log", true),
            ("*.log", "t-0/00.log.old", false),
            ("t-*/*.log", "t-0/00.log", true),
            ("t-*/*.log", "u-0/00.log", false),
            ("*a*b*", "xaxbx", true),
            ("*a*b*", "xbxax", false),
            ("meta", "meta", true),
            ("meta", "meta/db", false),
            ("*ö*", "xöx", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn a_trouble_strikes_its_operations_on_its_paths_so_often() {
        let now = Instant::now();
        let mut troubles = Troubles::default();
        troubles.set(Trouble::fail_syncs().only("*.log").times(2));
        let mut judge = |operation, name: &str| troubles.judge(now, operation, path(name));
        assert_eq!(judge(Operation::Write, "a.log"), Verdict::Pass);
        assert_eq!(judge(Operation::Sync, "a.index"), Verdict::Pass);
        assert_eq!(judge(Operation::Sync, "a.log"), Verdict::Fail);
        assert_eq!(judge(Operation::Sync, "b.log"), Verdict::Fail);
        assert_eq!(judge(Operation::Sync, "a.log"), Verdict::Pass);
        let counters = Counters {
            writes: 1,
            syncs: 4,
            failed_syncs: 2,
            ..Counters::default()
        };
        assert_eq!(troubles.counters, counters);
    }

    #[test]
    fn a_stall_holds_until_its_time_or_until_the_disk_heals() {
        let now = Instant::now();
        let mut troubles = Troubles::default();
        troubles.set(Trouble::stall(Some(Duration::from_secs(10))));
        let verdict = troubles.judge(now, Operation::Write, path("a"));
        let until = Some(now + Duration::from_secs(10));
        assert_eq!(verdict, Verdict::Stall { trouble: 1, until });
        assert!(troubles.holds(1));
        troubles.heal();
        assert!(!troubles.holds(1));
        assert_eq!(troubles.judge(now, Operation::Write, path("a")), Verdict::Pass);
    }

    #[test]
    fn a_full_disk_still_syncs() {
        let mut troubles = Troubles::default();
        troubles.set(Trouble::full());
        assert!(troubles.is_full());
        let mut judge = |operation| troubles.judge(Instant::now(), operation, path("a"));
        assert_eq!(judge(Operation::Create), Verdict::Full);
        assert_eq!(judge(Operation::Write), Verdict::Full);
        assert_eq!(judge(Operation::Cut), Verdict::Pass);
        assert_eq!(judge(Operation::Sync), Verdict::Pass);
        assert_eq!(troubles.counters.full, 2);
    }
}
