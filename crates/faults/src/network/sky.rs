//! Decides about every packet, purely: what time it is and which packet comes are told, chance comes from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::link::{Counters, HELD_BACK, Link};
use super::packet::{RST, SYN, Segment, header_bytes};

/// A packet that is to arrive at a host at a time. Times count from the beginning of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    pub at: Duration,
    pub from: i32,
    pub to: i32,
    pub packet: Vec<u8>,
}

/// The weather between all hosts, and what it did so far.
pub struct Sky {
    chance: StdRng,
    ways: BTreeMap<(i32, i32), Way>,
    /// By pair of hosts, the smaller id first: connections in whose way a reset no longer stands.
    resets: BTreeMap<(i32, i32), BTreeSet<Flow>>,
}

/// The ends of a connection, the smaller one first.
type Flow = ((Ipv4Addr, u16), (Ipv4Addr, u16));

/// The way from one host to another.
#[derive(Default)]
struct Way {
    link: Link,
    counters: Counters,
    /// When the last packet will have left a narrow link.
    free_at: Duration,
    /// When the last packet that keeps its place arrives.
    last_at: Duration,
}

impl Sky {
    pub fn new(seed: u64) -> Sky {
        Sky {
            chance: StdRng::seed_from_u64(seed),
            ways: BTreeMap::new(),
            resets: BTreeMap::new(),
        }
    }

    /// Sets the weather from one host to another. What is under way still arrives, unless the link is cut.
    pub fn set(&mut self, from: i32, to: i32, link: Link) {
        let way = self.ways.entry((from, to)).or_default();
        way.link = link;
        way.free_at = Duration::ZERO;
        way.last_at = Duration::ZERO;
    }

    /// Fine weather everywhere, and no reset to come. Counters stay.
    pub fn clear(&mut self) {
        for way in self.ways.values_mut() {
            *way = Way {
                counters: way.counters,
                ..Way::default()
            };
        }
        self.resets.clear();
    }

    /// Breaks every connection between two hosts with its next packet, but none that begins after this.
    pub fn reset(&mut self, one: i32, other: i32) {
        self.resets.insert((one.min(other), one.max(other)), BTreeSet::new());
    }

    pub fn counters(&self, from: i32, to: i32) -> Counters {
        self.ways.get(&(from, to)).map(|way| way.counters).unwrap_or_default()
    }

    pub fn total(&self) -> Counters {
        let mut total = Counters::default();
        for way in self.ways.values() {
            total.add(&way.counters);
        }
        total
    }

    /// A packet has come from a host for another: what arrives where, and when.
    pub fn judge(&mut self, now: Duration, from: i32, to: i32, packet: Vec<u8>) -> Vec<Delivery> {
        let way = self.ways.entry((from, to)).or_default();
        if way.link.cut {
            way.counters.cut += 1;
            return Vec::new();
        }
        if let Some(segment) = broken(&mut self.resets, (from, to), &packet) {
            way.counters.reset += 1;
            let end = |from, to, end: Segment| Delivery {
                at: now,
                from,
                to,
                packet: end.packet(),
            };
            return vec![end(from, to, segment.reset()), end(to, from, segment.reset_back())];
        }
        way.judge(&mut self.chance, now, (from, to), packet)
    }

    /// A packet was dropped because too many are under way.
    pub fn overflow(&mut self, from: i32, to: i32) {
        self.ways.entry((from, to)).or_default().counters.overflowed += 1;
    }

    /// Whether a delivery that is due still arrives; counted as forwarded or as cut.
    pub fn arrives(&mut self, delivery: &Delivery) -> bool {
        let way = self.ways.entry((delivery.from, delivery.to)).or_default();
        if way.link.cut {
            way.counters.cut += 1;
            return false;
        }
        way.counters.forwarded += 1;
        way.counters.forwarded_bytes += delivery.packet.len() as u64;
        true
    }
}

impl Way {
    fn judge(
        &mut self,
        chance: &mut StdRng,
        now: Duration,
        (from, to): (i32, i32),
        mut packet: Vec<u8>,
    ) -> Vec<Delivery> {
        let link = self.link;
        if happens(chance, link.loss) {
            self.counters.lost += 1;
            return Vec::new();
        }
        let Some(leaves_at) = self.leaves_at(now, packet.len() as u64) else {
            self.counters.overflowed += 1;
            return Vec::new();
        };
        let mut at = leaves_at + link.delay;
        if !link.jitter.is_zero() {
            at += link.jitter.mul_f64(chance.random::<f64>());
        }
        if happens(chance, link.reorder) {
            self.counters.reordered += 1;
            at += HELD_BACK;
        } else {
            at = at.max(self.last_at);
            self.last_at = at;
        }
        self.counters.delayed += u64::from(at > now);
        if happens(chance, link.corrupt) && corrupt(chance, &mut packet) {
            self.counters.corrupted += 1;
        }
        let delivery = Delivery { at, from, to, packet };
        if happens(chance, link.duplicate) {
            self.counters.duplicated += 1;
            return vec![delivery.clone(), delivery];
        }
        vec![delivery]
    }

    /// When a packet will have left a narrow link; never, if the queue before it is full.
    fn leaves_at(&mut self, now: Duration, bytes: u64) -> Option<Duration> {
        let Some(rate) = self.link.rate else {
            return Some(now);
        };
        let per_second = rate.bytes_per_second.max(1) as f64;
        let wait = self.free_at.saturating_sub(now);
        let waiting_bytes = wait.as_secs_f64() * per_second;
        if !wait.is_zero() && waiting_bytes + bytes as f64 > rate.queue_bytes as f64 {
            return None;
        }
        self.free_at = now + wait + Duration::from_secs_f64(bytes as f64 / per_second);
        Some(self.free_at)
    }
}

/// The segment in this packet, if a reset stands in the way of its connection; from then on it no longer does.
fn broken(resets: &mut BTreeMap<(i32, i32), BTreeSet<Flow>>, (from, to): (i32, i32), packet: &[u8]) -> Option<Segment> {
    let past = resets.get_mut(&(from.min(to), from.max(to)))?;
    let segment = Segment::of(packet)?;
    let (one, other) = (segment.source, segment.destination);
    let is_first = past.insert((one.min(other), one.max(other)));
    // A connection that begins now is spared; the end of one needs no second end.
    (is_first && segment.flags & (SYN | RST) == 0).then_some(segment)
}

/// Asks chance only if there is a choice, so that fine weather costs nothing.
fn happens(chance: &mut StdRng, share: f64) -> bool {
    share > 0.0 && chance.random::<f64>() < share
}

/// Turns one bit behind the IP header, if anything is there.
fn corrupt(chance: &mut StdRng, packet: &mut [u8]) -> bool {
    let start = header_bytes(packet);
    if start >= packet.len() {
        return false;
    }
    let byte = chance.random_range(start..packet.len());
    packet[byte] ^= 1 << chance.random_range(0..8);
    true
}

#[cfg(test)]
mod sky_test;
