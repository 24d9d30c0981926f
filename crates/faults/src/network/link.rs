//! What the way from one host to another does to packets, as values.

use std::time::Duration;

/// The weather on the way from one host to another. The default lets everything through at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Link {
    /// Nothing comes through, not even what was under way.
    pub cut: bool,
    /// The share of packets that is lost, 0 to 1.
    pub loss: f64,
    /// How long each packet is under way.
    pub delay: Duration,
    /// Up to so much is added to `delay`, evenly spread. It never lets one packet overtake another; `reorder` does.
    pub jitter: Duration,
    /// The share of packets that arrives twice.
    pub duplicate: f64,
    /// The share of packets that is held back for [`HELD_BACK`], so that those behind overtake it.
    pub reorder: f64,
    /// The share of packets in which one bit is turned, behind the IP header. The receiving kernel finds the checksum
    /// wrong and drops it: for programs it is a loss, and a proof that damage does not reach them.
    pub corrupt: f64,
    /// How fast packets leave; without it, at once.
    pub rate: Option<Rate>,
}

/// How much longer a reordered packet is under way.
pub const HELD_BACK: Duration = Duration::from_millis(5);

impl Link {
    /// Nothing comes through.
    pub fn cut() -> Link {
        Link {
            cut: true,
            ..Link::default()
        }
    }
}

/// A narrow link: packets leave one after another, and wait in a queue that drops what does not fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub bytes_per_second: u64,
    /// How much may wait; a packet that finds nobody waiting always passes.
    pub queue_bytes: u64,
}

impl Rate {
    /// So many bits per second, with a queue of a quarter of a second, but at least 64 KiB.
    pub fn bits(bits_per_second: u64) -> Rate {
        Rate {
            bytes_per_second: bits_per_second / 8,
            queue_bytes: (bits_per_second / 32).max(64 << 10),
        }
    }
}

/// What happened on the way from one host to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets given to the receiving kernel, second copies included.
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    /// Dropped because the link was cut, when they came or while they were under way.
    pub cut: u64,
    pub lost: u64,
    /// Dropped because the queue in front of a narrow link was full, or too much was under way everywhere.
    pub overflowed: u64,
    /// Held for any time: delay, jitter, a queue.
    pub delayed: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    /// Connections broken by a forged RST.
    pub reset: u64,
}

impl Counters {
    pub fn add(&mut self, other: &Counters) {
        self.forwarded += other.forwarded;
        self.forwarded_bytes += other.forwarded_bytes;
        self.cut += other.cut;
        self.lost += other.lost;
        self.overflowed += other.overflowed;
        self.delayed += other.delayed;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.reset += other.reset;
    }
}
