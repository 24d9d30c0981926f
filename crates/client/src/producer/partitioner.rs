//! Which partition a record goes to. Pure; agrees with Java, so that keys land where other clients put them.

/// The partition of a key: murmur2, sign cut off, modulo the number of partitions.
///
/// `partitions` must not be 0.
pub fn partition_for_key(key: &[u8], partitions: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % partitions
}

const SEED: u32 = 0x9747_b28c;
const MULTIPLIER: u32 = 0x5bd1_e995;

/// The 32-bit murmur2 hash with Kafka's seed.
pub fn murmur2(data: &[u8]) -> u32 {
    let mut hash = SEED ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(MULTIPLIER);
        k ^= k >> 24;
        hash = hash.wrapping_mul(MULTIPLIER) ^ k.wrapping_mul(MULTIPLIER);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (position, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * position);
        }
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}

/// Keeps records without a key on one partition until a batch is full, then moves on.
///
/// Spreading them one by one would make many small batches out of one large one (KIP-480, KIP-794).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sticky {
    random: u64,
    current: Option<usize>,
    bytes: usize,
}

impl Sticky {
    pub fn new(seed: u64) -> Sticky {
        Sticky {
            random: seed,
            current: None,
            bytes: 0,
        }
    }

    /// The partition for the next record. `usable` says which partitions have a leader; without any, all count.
    pub fn choose(&mut self, partitions: usize, batch_size: usize, usable: impl Fn(usize) -> bool) -> usize {
        match self.current {
            Some(current) if current < partitions && self.bytes < batch_size && usable(current) => current,
            _ => {
                let next = self.draw(partitions, usable);
                self.current = Some(next);
                self.bytes = 0;
                next
            }
        }
    }

    /// Counts a record towards the batch.
    pub fn count(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn draw(&mut self, partitions: usize, usable: impl Fn(usize) -> bool) -> usize {
        let start = self.next_random() as usize % partitions;
        let turned = (0..partitions).map(|step| (start + step) % partitions);
        // A new partition if there is a choice, else whatever there is.
        let mut usable = turned.filter(|&candidate| usable(candidate)).peekable();
        let fallback = usable.peek().copied().unwrap_or(start);
        usable
            .find(|&candidate| Some(candidate) != self.current)
            .unwrap_or(fallback)
    }

    /// SplitMix64: good enough to spread load, and it needs nothing but its seed.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_land_where_java_puts_them() {
        let vectors: [(&str, i32, usize); 5] = [
            ("", 275_646_681, 3),
            ("k", -1_567_496_736, 2),
            ("21", -973_932_308, 0),
            ("foobar", -790_332_482, 0),
            ("key-1", 193_331_640, 0),
        ];
        for (key, hash, partition) in vectors {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
            assert_eq!(partition_for_key(key.as_bytes(), 6), partition, "{key}");
        }
    }

    #[test]
    fn sticks_until_the_batch_is_full() {
        let mut sticky = Sticky::new(1);
        let first = sticky.choose(4, 100, |_| true);
        sticky.count(99);
        assert_eq!(sticky.choose(4, 100, |_| true), first);
        sticky.count(1);
        let second = sticky.choose(4, 100, |_| true);
        assert_ne!(second, first);
        assert_ne!(
            sticky.choose(4, 100, |candidate| candidate != second),
            second,
            "its leader is gone"
        );
        assert_eq!(Sticky::new(7).choose(1, 100, |_| false), 0);
    }

    #[test]
    fn all_partitions_get_their_share() {
        let mut sticky = Sticky::new(42);
        let mut counts = [0; 6];
        for _ in 0..6000 {
            counts[sticky.choose(6, 1, |_| true)] += 1;
            sticky.count(1);
        }
        assert!(counts.iter().all(|&count| (800..1200).contains(&count)), "{counts:?}");
    }
}
