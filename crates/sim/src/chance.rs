//! Random numbers of one seed. A small generator of our own, so that a seed means the same run for ever.

/// xorshift128+ seeded by splitmix64.
#[derive(Clone, Debug)]
pub struct Chance {
    state: [u64; 2],
}

impl Chance {
    pub fn new(seed: u64) -> Chance {
        let mut mixed = seed;
        let mut next = || {
            mixed = mixed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut value = mixed;
            value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            value ^ (value >> 31)
        };
        Chance {
            state: [next() | 1, next()],
        }
    }

    pub fn number(&mut self) -> u64 {
        let [mut first, second] = self.state;
        let sum = first.wrapping_add(second);
        first ^= first << 23;
        self.state = [second, first ^ second ^ (first >> 18) ^ (second >> 5)];
        sum
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { (self.number() >> 11) % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True `count` times in a thousand.
    pub fn per_mille(&mut self, count: u64) -> bool {
        self.below(1000) < count
    }

    /// Mostly near `usual`, now and then up to `worst`: how long things take.
    pub fn delay(&mut self, usual: u64, worst: u64) -> u64 {
        if self.per_mille(30) {
            self.between(usual, worst)
        } else {
            self.between(usual / 4, usual * 2)
        }
    }
}
