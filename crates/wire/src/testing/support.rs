//! Where arbitrary values come from: a seeded sequence with a taste for the edges of each type.

use std::sync::LazyLock;

pub use bytes::Bytes;
pub use klamm_types::Uuid;

/// Longer than one byte of a compact length can say.
static LONG: LazyLock<String> = LazyLock::new(|| "long-".repeat(40));

/// A reproducible sequence of values.
#[derive(Clone, Debug)]
pub struct Source(u64);

impl Source {
    pub fn new(seed: u64) -> Source {
        Source(seed)
    }

    /// The next 64 bits (splitmix64).
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut value = self.0;
        value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.bits() % limit as u64) as usize
    }

    pub fn chance(&mut self) -> bool {
        self.bits() & 1 == 1
    }

    /// The length of an array.
    pub fn count(&mut self) -> usize {
        self.below(4)
    }

    pub fn number(&mut self) -> i64 {
        match self.below(6) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(1000) as i64,
            _ => self.bits() as i64,
        }
    }

    pub fn uuid(&mut self) -> Uuid {
        match self.below(3) {
            0 => Uuid::ZERO,
            _ => Uuid::from_u128((u128::from(self.bits()) << 64) | u128::from(self.bits())),
        }
    }

    pub fn string(&mut self) -> &'static str {
        match self.below(5) {
            0 => "",
            1 => "t",
            2 => "Überlauf-日本",
            3 => "orders.created",
            _ => &LONG,
        }
    }

    pub fn bytes(&mut self) -> Bytes {
        let length = match self.below(8) {
            0 => 0,
            // Long enough to be referred to instead of copied.
            1 => 5000,
            _ => self.below(40),
        };
        (0..length).map(|_| self.bits() as u8).collect()
    }
}
