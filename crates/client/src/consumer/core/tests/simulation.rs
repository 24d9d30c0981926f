//! The core against brokers that lose connections, change leaders, refuse, cut answers off and are slow to tell.
//!
//! A run is decided by its seed alone. Whatever happens, each partition is handed out in order, without a record
//! missing or coming twice, and to its end once the brokers behave. A failure prints the seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

const PARTITIONS: usize = 3;
const STEPS: usize = 400;
const SEEDS: u64 = 300;

/// A partition as its leader has it.
struct Log {
    leader: (i32, i32),
    batches: Vec<(i64, i64, Bytes)>,
    end: i64,
    /// The offsets to be handed out.
    records: Vec<i64>,
    /// How many of them were.
    taken: usize,
}

struct World {
    random: StdRng,
    bench: Bench,
    logs: Vec<Log>,
    asked: Vec<Effect>,
}

impl World {
    fn new(seed: u64) -> World {
        let small = CoreConfig {
            buffer_memory: 3000,
            partition_fetch_bytes_max: 800,
            ..config()
        };
        let log = |_| Log {
            leader: (1, 0),
            batches: Vec::new(),
            end: 0,
            records: Vec::new(),
            taken: 0,
        };
        let logs: Vec<Log> = (0..PARTITIONS).map(log).collect();
        let bench = Bench::new(small, picture(&[Some((1, 0)); PARTITIONS]));
        let mut world = World {
            random: StdRng::seed_from_u64(seed),
            bench,
            logs,
            asked: Vec::new(),
        };
        let partitions = (0..PARTITIONS as i32)
            .map(|partition| (tp(partition), Start::Earliest))
            .collect();
        world.bench.core.assign(partitions);
        world
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.random_range(0..100) < percent
    }

    /// Appends a batch; sometimes offsets are missing before it, as compaction leaves them, or it is a control batch.
    fn append(&mut self) {
        let index = self.random.random_range(0..PARTITIONS);
        let (gap, count) = (self.chance(10), self.random.random_range(1..6));
        let control = self.chance(10);
        let log = &mut self.logs[index];
        let base = log.end + if gap { 3 } else { 0 };
        let options = BatchOptions {
            base_offset: Offset(base),
            leader_epoch: LeaderEpoch(log.leader.1),
            control,
            ..BatchOptions::default()
        };
        log.batches.push((base, base + count, build(options, base, count)));
        log.end = base + count;
        if !control {
            log.records.extend(base..base + count);
        }
    }

    fn change_leader(&mut self) {
        let index = self.random.random_range(0..PARTITIONS);
        let node = self.random.random_range(1..=3);
        let log = &mut self.logs[index];
        log.leader = (node, log.leader.1 + 1);
        if self.chance(30) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let leaders: Vec<_> = self.logs.iter().map(|log| Some(log.leader)).collect();
        self.bench.handle(Event::Cluster(picture(&leaders)));
    }

    /// What a node says to a request under this epoch.
    fn code(&mut self, partition: &TopicPartition, node: NodeId, epoch: LeaderEpoch) -> ErrorCode {
        let (leader, current) = self.logs[partition.partition.0 as usize].leader;
        match () {
            () if self.chance(2) => ErrorCode::KafkaStorageError,
            () if leader != node.0 => ErrorCode::NotLeaderOrFollower,
            () if epoch.0 < current => ErrorCode::FencedLeaderEpoch,
            () if epoch.0 > current => ErrorCode::UnknownLeaderEpoch,
            () => ErrorCode::None,
        }
    }

    fn serve(&mut self, part: &FetchPart, node: NodeId, room: &mut usize) -> FetchedPart {
        let id = part.partition.partition.0;
        let code = self.code(&part.partition, node, part.leader_epoch);
        if code.is_error() {
            return refusal(id, code);
        }
        let log = &self.logs[id as usize];
        assert!(part.offset.0 <= log.end, "an offset that never was");
        let ahead = log.batches.iter().filter(|(_, next, _)| *next > part.offset.0);
        let bytes: Vec<u8> = ahead.flat_map(|(_, _, bytes)| bytes.to_vec()).collect();
        let first = klamm_record::BatchHeader::parse(&bytes).map_or(0, |header| header.size());
        // The first batch of an answer is whole, the rest is cut off where it falls.
        let limit = if *room > 0 { first.max(800.min(*room)) } else { 0 };
        let end = limit.min(bytes.len());
        let bytes = Bytes::from(bytes).slice(..end);
        *room = room.saturating_sub(bytes.len());
        self::part(id, log.end, bytes)
    }

    fn epoch_end(&mut self, part: &ValidatePart, node: NodeId) -> EpochPart {
        let code = self.code(&part.partition, node, part.leader_epoch);
        let end = Offset(self.logs[part.partition.partition.0 as usize].end);
        EpochPart {
            partition: part.partition.clone(),
            code,
            epoch: part.epoch,
            end,
        }
    }

    /// Answers one request, or loses it.
    fn answer(&mut self) {
        if self.asked.is_empty() {
            return;
        }
        let index = self.random.random_range(0..self.asked.len());
        let effect = self.asked.swap_remove(index);
        let lost = self.chance(5);
        let gone = || Arc::new(RequestError::UnknownBroker { node: 1 });
        let event = match effect {
            Effect::Fetch(order) if lost => Event::Fetched {
                id: order.id,
                outcome: Err(gone()),
            },
            Effect::Fetch(order) => {
                let mut room = order.bytes_max;
                let parts: Vec<_> = order
                    .parts
                    .iter()
                    .map(|part| self.serve(part, order.node, &mut room))
                    .collect();
                let bytes = parts.iter().map(|part| part.records.len()).sum();
                let answer = FetchAnswer {
                    code: ErrorCode::None,
                    throttle: Duration::ZERO,
                    bytes,
                    parts,
                };
                Event::Fetched {
                    id: order.id,
                    outcome: Ok(answer),
                }
            }
            Effect::List(order) if lost => Event::Listed {
                id: order.id,
                outcome: Err(gone()),
            },
            Effect::List(order) => {
                let found = |part: &ListPart| {
                    let code = self.code(&part.partition, order.node, part.leader_epoch);
                    ListedPart {
                        partition: part.partition.clone(),
                        code,
                        offset: Offset(0),
                    }
                };
                Event::Listed {
                    id: order.id,
                    outcome: Ok(order.parts.iter().map(found).collect()),
                }
            }
            Effect::Validate(order) if lost => Event::Validated {
                id: order.id,
                outcome: Err(gone()),
            },
            Effect::Validate(order) => {
                let ends = order
                    .parts
                    .iter()
                    .map(|part| self.epoch_end(part, order.node))
                    .collect();
                Event::Validated {
                    id: order.id,
                    outcome: Ok(ends),
                }
            }
            Effect::Refresh | Effect::Abandon(_) => return,
        };
        self.bench.handle(event);
    }

    fn act(&mut self) {
        for effect in self.bench.poll() {
            match effect {
                Effect::Refresh if self.chance(70) => self.tell(),
                Effect::Refresh => {}
                Effect::Abandon(id) => {
                    // Some answers have come already when a fetch is given up.
                    if self.chance(80) {
                        self.asked
                            .retain(|asked| !matches!(asked, Effect::Fetch(order) if order.id == id));
                    }
                }
                other => self.asked.push(other),
            }
        }
    }

    /// The program takes records; while it opens a batch, anything may happen to the core.
    fn take(&mut self) {
        let max = self.random.random_range(1..10);
        let lease = self.bench.core.lease();
        if self.chance(20) {
            self.interrupt();
        }
        let taken = lease.map_or_else(Vec::new, |lease| self.bench.take_leased(&lease, max));
        for (partition, offset) in taken {
            let log = &mut self.logs[partition as usize];
            assert_eq!(log.records.get(log.taken), Some(&offset), "partition {partition}");
            log.taken += 1;
        }
        assert_eq!(self.bench.failure(), "");
    }

    fn interrupt(&mut self) {
        match self.random.random_range(0..3) {
            0 => self.answer(),
            1 => self.tell(),
            _ => self.change_leader(),
        }
        self.act();
    }

    fn disturb(&mut self) {
        let key = tp(*[0, 1, 2].choose(&mut self.random).unwrap());
        match self.random.random_range(0..4) {
            0 => assert!(self.bench.core.pause(&key)),
            1 | 2 => assert!(self.bench.core.resume(&key)),
            _ => {
                if let Some(position) = self.bench.core.position(&key) {
                    self.bench.core.seek(&key, Start::Offset(position));
                }
            }
        }
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..15 => self.append(),
            15..18 => self.change_leader(),
            18..22 => self.disturb(),
            22..55 => self.answer(),
            55..80 => self.take(),
            _ => {
                let pause = self.random.random_range(0..30);
                self.bench.after(pause);
            }
        }
        self.act();
        assert!(
            self.bench.core.buffered + self.bench.core.reserved <= 3000 + 800,
            "over the bound"
        );
    }

    fn read_to_the_end(&mut self) {
        for partition in 0..PARTITIONS as i32 {
            self.bench.core.resume(&tp(partition));
        }
        for _ in 0..20_000 {
            if self.logs.iter().all(|log| log.taken == log.records.len()) {
                return;
            }
            self.answer();
            self.take();
            self.bench.after(5);
            self.act();
        }
        panic!("the end is never reached");
    }
}

#[test]
fn each_record_once_and_in_order() {
    let only = std::env::var("KLAMM_SEED")
        .ok()
        .map(|seed| seed.parse::<u64>().unwrap());
    for seed in only.map_or(0..SEEDS, |seed| seed..seed + 1) {
        let run = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            for _ in 0..STEPS {
                world.step();
            }
            world.read_to_the_end();
        });
        if let Err(cause) = run {
            println!("KLAMM_SEED={seed}");
            std::panic::resume_unwind(cause);
        }
    }
}
