//! From which free space on a disk counts as scarce, and what follows from it. Values only.

/// How much room the data directory's disk has, by what a broker does about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    #[default]
    Ample,
    /// Somebody should look after it.
    Low,
    /// Producers are refused, and may come again. Followers, offsets and groups go on.
    Full,
    /// Nothing is appended to any log. Reads, deletes, retention and metadata go on.
    ReadOnly,
}

impl Level {
    pub const ALL: [Level; 4] = [Level::Ample, Level::Low, Level::Full, Level::ReadOnly];

    /// As metrics and messages call it.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ample => "ample",
            Level::Low => "low",
            Level::Full => "full",
            Level::ReadOnly => "read-only",
        }
    }
}

/// The free bytes below which each level begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    pub low: u64,
    pub full: u64,
    pub read_only: u64,
}

impl Marks {
    /// The same on a disk of this size: a mark is at most a fifth, a tenth and a twentieth of it, so that small disks can
    /// be used at all.
    pub fn on(self, capacity: u64) -> Marks {
        Marks {
            low: self.low.min(capacity / 5),
            full: self.full.min(capacity / 10),
            read_only: self.read_only.min(capacity / 20),
        }
    }

    /// The level at this much free space. A level ends only an eighth above its mark, so that it does not come and go
    /// with every segment.
    pub fn level(self, before: Level, available: u64) -> Level {
        let below = |level: Level, mark: u64| {
            let end = if before >= level { mark + mark / 8 } else { mark };
            available < end
        };
        if below(Level::ReadOnly, self.read_only) {
            Level::ReadOnly
        } else if below(Level::Full, self.full) {
            Level::Full
        } else if below(Level::Low, self.low) {
            Level::Low
        } else {
            Level::Ample
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKS: Marks = Marks {
        low: 800,
        full: 400,
        read_only: 80,
    };

    #[test]
    fn each_level_begins_below_its_mark() {
        for (available, level) in [
            (800, Level::Ample),
            (799, Level::Low),
            (400, Level::Low),
            (399, Level::Full),
            (80, Level::Full),
            (79, Level::ReadOnly),
            (0, Level::ReadOnly),
        ] {
            assert_eq!(MARKS.level(Level::Ample, available), level, "{available}");
        }
    }

    #[test]
    fn a_level_ends_an_eighth_above_its_mark() {
        assert_eq!(MARKS.level(Level::ReadOnly, 89), Level::ReadOnly);
        assert_eq!(MARKS.level(Level::ReadOnly, 90), Level::Full);
        assert_eq!(MARKS.level(Level::ReadOnly, 449), Level::Full);
        assert_eq!(MARKS.level(Level::Full, 449), Level::Full);
        assert_eq!(MARKS.level(Level::Full, 450), Level::Low);
        assert_eq!(MARKS.level(Level::Low, 899), Level::Low);
        assert_eq!(MARKS.level(Level::ReadOnly, 900), Level::Ample);
    }

    #[test]
    fn small_disks_have_smaller_marks() {
        let small = MARKS.on(1000);
        assert_eq!((small.low, small.full, small.read_only), (200, 100, 50));
        assert_eq!(MARKS.on(1 << 40), MARKS);
    }
}
