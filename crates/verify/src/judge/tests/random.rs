//! Runs that are good, in any order of what happens side by side: nothing may be found in them.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const PRODUCERS: usize = 3;
const READERS: [Reader; 2] = [READER, SECOND];

/// A cluster that keeps its word, and programs at their own pace.
struct World {
    rng: StdRng,
    judge: Judge,
    log: Vec<Value>,
    sent: [u64; PRODUCERS],
    /// Sent and not in the log yet.
    on_the_way: [Vec<Value>; PRODUCERS],
    /// In the log or not, and the producer has not been told.
    untold: Vec<(Value, Outcome)>,
    read: [usize; 2],
    owner: u32,
    group_next: usize,
    committed: usize,
    acknowledged: u64,
}

impl World {
    fn new(seed: u64, limits: Limits) -> World {
        World {
            rng: StdRng::seed_from_u64(seed),
            judge: judge(limits),
            log: Vec::new(),
            sent: [0; PRODUCERS],
            on_the_way: Default::default(),
            untold: Vec::new(),
            read: [0; 2],
            owner: 7,
            group_next: 0,
            committed: 0,
            acknowledged: 0,
        }
    }

    fn tell(&mut self, event: Event) {
        self.judge.step(0, event);
    }

    fn step(&mut self) {
        let producer = self.rng.random_range(0..PRODUCERS);
        match self.rng.random_range(0..100) {
            0..25 => self.send(producer),
            25..45 => self.append(producer),
            45..60 => self.settle(),
            60..80 => {
                let reader = self.rng.random_range(0..2);
                self.read(reader);
            }
            80..93 => self.read_by_group(),
            93..97 => self.commit(),
            97..99 => self.rebalance(),
            _ => self.refuse(producer),
        }
    }

    fn send(&mut self, producer: usize) {
        let number = self.sent[producer];
        let value = Value {
            producer: producer as u32,
            number,
        };
        self.tell(Event::Sent { value });
        if self.rng.random_ratio(1, 20) {
            return self.tell(Event::Withdrawn { value });
        }
        self.sent[producer] += 1;
        self.on_the_way[producer].push(value);
    }

    fn append(&mut self, producer: usize) {
        if self.on_the_way[producer].is_empty() {
            return;
        }
        let value = self.on_the_way[producer].remove(0);
        let offset = self.log.len() as i64;
        self.log.push(value);
        let outcome = match self.rng.random_range(0..20) {
            0 => Outcome::Unknown,
            // A recognised duplicate, whose offset is not told.
            1 => Outcome::Acknowledged {
                offset: -1,
                at: Duration::ZERO,
            },
            _ => Outcome::Acknowledged {
                offset,
                at: Duration::ZERO,
            },
        };
        self.acknowledged += u64::from(outcome != Outcome::Unknown);
        self.untold.push((value, outcome));
    }

    /// Not written, and the producer is told so, or nothing.
    fn refuse(&mut self, producer: usize) {
        if self.on_the_way[producer].is_empty() {
            return;
        }
        let value = self.on_the_way[producer].remove(0);
        let outcomes = [Outcome::Unknown, Outcome::Failed, Outcome::Aborted];
        let outcome = outcomes[self.rng.random_range(0..outcomes.len())];
        self.untold.push((value, outcome));
    }

    fn settle(&mut self) {
        if self.untold.is_empty() {
            return;
        }
        let index = self.rng.random_range(0..self.untold.len());
        let (value, outcome) = self.untold.swap_remove(index);
        self.tell(Event::Settled { value, outcome });
    }

    fn read(&mut self, reader: usize) {
        let offset = self.read[reader];
        if let Some(&value) = self.log.get(offset) {
            self.read[reader] += 1;
            self.tell(record(READERS[reader], offset, value));
        }
    }

    fn read_by_group(&mut self) {
        let offset = self.group_next;
        if let Some(&value) = self.log.get(offset) {
            self.group_next += 1;
            self.tell(record(Reader::Member(self.owner), offset, value));
        }
    }

    fn commit(&mut self) {
        self.committed = self.group_next;
        // The answer may be lost.
        if self.rng.random_ratio(4, 5) {
            let offset = self.committed as i64;
            self.tell(Event::Committed { offset });
        }
    }

    fn rebalance(&mut self) {
        self.tell(Event::Revoked { member: self.owner });
        self.owner = self.rng.random_range(7..10);
        self.tell(Event::Assigned { member: self.owner });
        self.group_next = self.committed;
    }

    /// Everybody comes to the end.
    fn finish(&mut self) {
        for producer in 0..PRODUCERS {
            while !self.on_the_way[producer].is_empty() {
                self.append(producer);
            }
        }
        while !self.untold.is_empty() {
            self.settle();
        }
        while self.group_next < self.log.len() {
            self.read_by_group();
        }
        for reader in 0..READERS.len() {
            while self.read[reader] < self.log.len() {
                self.read(reader);
            }
        }
        self.judge.finish(Ending::Read);
    }
}

fn record(reader: Reader, offset: usize, value: Value) -> Event {
    Event::Read {
        reader,
        offset: offset as i64,
        value: Some(value),
    }
}

#[test]
fn nothing_is_found_in_good_runs() {
    let small = Limits {
        window: 0,
        retained_max: usize::MAX,
    };
    let tight = Limits {
        window: 5,
        retained_max: 40,
    };
    for seed in 0..300 {
        for limits in [Limits::NONE, small, tight] {
            let mut world = World::new(seed, limits);
            for _ in 0..2000 {
                world.step();
                assert!(world.judge.retained() <= limits.retained_max, "seed {seed}, {limits:?}");
            }
            world.finish();
            let (findings, totals) = (world.judge.findings(), world.judge.totals());
            assert!(findings.is_empty(), "seed {seed}, {limits:?}: {findings:?}");
            assert_eq!(totals.acknowledged, world.acknowledged, "seed {seed}, {limits:?}");
            assert_eq!(totals.sent, world.sent.iter().sum::<u64>(), "seed {seed}, {limits:?}");
            if limits != tight {
                assert_eq!(totals.read, world.log.len() as u64, "seed {seed}, {limits:?}");
                assert_eq!(totals.unchecked, 0, "seed {seed}, {limits:?}");
            }
        }
    }
}

#[test]
fn a_record_taken_away_is_found_in_any_of_them() {
    for seed in 0..300 {
        let mut world = World::new(seed, Limits::shared_by(10_000));
        for _ in 0..2000 {
            world.step();
        }
        // Another value than the acknowledged one stands at the end, and everybody agrees.
        let offset = world.log.len() as i64;
        let value = Value {
            producer: 0,
            number: world.sent[0],
        };
        let outcome = Outcome::Acknowledged {
            offset,
            at: Duration::ZERO,
        };
        world.tell(Event::Sent { value });
        world.sent[0] += 1;
        world.tell(Event::Settled { value, outcome });
        world.send(1);
        world.append(1);
        world.finish();
        let found = world.judge.findings();
        let expected = found.count(Kind::LostWrite) + found.count(Kind::Unseen);
        assert_eq!((expected, found.total()), (1, 1), "seed {seed}: {found:?}");
    }
}
