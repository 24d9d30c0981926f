//! The core as values: what it asks for, and what it makes of the answers. The harness; the stories are below.

mod collecting;
mod fetching;
mod leaders;
mod memory;
mod simulation;

mod transactions;

use klamm_record::{BatchBuilder, BatchOptions, Records};
use klamm_types::PartitionId;

use super::*;
use crate::consumer::error::ConsumeError;
use crate::metadata::{Broker, Topic};

const MIB: usize = 1024 * 1024;
const TOPIC: TopicId = TopicId(klamm_types::Uuid([7; 16]));

fn config() -> CoreConfig {
    CoreConfig {
        isolation: IsolationLevel::ReadUncommitted,
        offset_reset: OffsetReset::Error,
        buffer_memory: 32 * MIB,
        fetch_bytes_max: 8 * MIB,
        partition_fetch_bytes_max: MIB,
        retry_backoff: Duration::from_millis(20),
        unavailable_after: Duration::from_secs(60),
        slow_after: Duration::from_millis(700),
    }
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

/// A picture in which partition N is led as the Nth pair says: node and epoch, or nobody.
fn picture(leaders: &[Option<(i32, i32)>]) -> Arc<Cluster> {
    picture_of(TOPIC, leaders)
}

fn picture_of(id: TopicId, leaders: &[Option<(i32, i32)>]) -> Arc<Cluster> {
    let partition = |(index, leader): (usize, &Option<(i32, i32)>)| crate::metadata::Partition {
        id: PartitionId(index as i32),
        leader: leader.map(|(node, _)| NodeId(node)),
        leader_epoch: LeaderEpoch(leader.map_or(-1, |(_, epoch)| epoch)),
        replicas: Vec::new(),
        isr: Vec::new(),
        offline_replicas: Vec::new(),
        error: None,
    };
    let partitions = leaders.iter().enumerate().map(partition).collect();
    let topic = Topic {
        name: Arc::from("t"),
        id,
        internal: false,
        error: None,
        partitions,
    };
    let broker = |id| {
        (
            NodeId(id),
            Broker {
                id: NodeId(id),
                host: "h".to_owned(),
                port: 9092,
                rack: None,
            },
        )
    };
    Arc::new(Cluster {
        brokers: (1..=3).map(broker).collect(),
        topics: BTreeMap::from([(Arc::from("t"), Arc::new(topic))]),
        ..Cluster::default()
    })
}

/// A batch of `count` records whose values are their offsets.
fn batch(base: i64, count: i64, epoch: i32) -> Bytes {
    let options = BatchOptions {
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(epoch),
        ..BatchOptions::default()
    };
    build(options, base, count)
}

fn build(options: BatchOptions, base: i64, count: i64) -> Bytes {
    let mut builder = BatchBuilder::new(options);
    for offset in base..base + count {
        builder
            .append(Timestamp(1), None, Some(offset.to_string().as_bytes()), &[])
            .unwrap();
    }
    builder.build().unwrap().into_bytes()
}

/// A good answer for one partition.
fn part(partition: i32, high_watermark: i64, records: Bytes) -> FetchedPart {
    FetchedPart {
        partition: tp(partition),
        code: ErrorCode::None,
        high_watermark: Offset(high_watermark),
        last_stable: Offset(high_watermark),
        log_start: Offset(0),
        aborted: Vec::new(),
        records,
    }
}

fn refusal(partition: i32, code: ErrorCode) -> FetchedPart {
    FetchedPart {
        code,
        high_watermark: Offset(-1),
        last_stable: Offset(-1),
        log_start: Offset(-1),
        ..part(partition, 0, Bytes::new())
    }
}

/// A core and a clock.
struct Bench {
    core: Core,
    now: Moment,
}

impl Bench {
    fn new(config: CoreConfig, cluster: Arc<Cluster>) -> Bench {
        Bench {
            core: Core::new(config, cluster),
            now: Moment(1_000_000),
        }
    }

    /// One partition led by node 1 under epoch 5, read from `offset` on; the first fetch is under way.
    fn reading(config: CoreConfig, offset: i64) -> (Bench, FetchOrder) {
        let mut bench = Bench::new(config, picture(&[Some((1, 5))]));
        bench.core.assign(vec![(tp(0), Start::Offset(Offset(offset)))]);
        let order = bench.fetch();
        (bench, order)
    }

    fn after(&mut self, milliseconds: u64) -> &mut Bench {
        self.now = self.now + Duration::from_millis(milliseconds);
        self
    }

    fn poll(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        let wake = self.core.poll(self.now, &mut effects);
        assert!(wake.is_none_or(|wake| wake > self.now), "woken at once, for ever");
        let mut again = Vec::new();
        self.core.poll(self.now, &mut again);
        assert_eq!(again, [], "asked twice");
        self.core.validate();
        effects
    }

    /// The one effect, which is a fetch.
    fn fetch(&mut self) -> FetchOrder {
        match <[Effect; 1]>::try_from(self.poll()) {
            Ok([Effect::Fetch(order)]) => order,
            other => panic!("no fetch alone: {other:?}"),
        }
    }

    fn handle(&mut self, event: Event) -> &mut Bench {
        self.core.handle(self.now, event);
        self.core.validate();
        self
    }

    fn answer(&mut self, id: u64, parts: Vec<FetchedPart>) -> &mut Bench {
        let bytes = parts.iter().map(|part| part.records.len()).sum();
        let answer = FetchAnswer {
            code: ErrorCode::None,
            throttle: Duration::ZERO,
            bytes,
            parts,
        };
        self.handle(Event::Fetched {
            id,
            outcome: Ok(answer),
        })
    }

    fn lose(&mut self, id: u64) -> &mut Bench {
        self.handle(Event::Fetched {
            id,
            outcome: Err(Arc::new(RequestError::UnknownBroker { node: 1 })),
        })
    }

    /// Hands out up to `max` records of the next batch: partition and offset of each.
    fn take(&mut self, max: usize) -> Vec<(i32, i64)> {
        self.core
            .lease()
            .map_or_else(Vec::new, |lease| self.take_leased(&lease, max))
    }

    /// The same of a batch that was leased, if it was not taken back.
    fn take_leased(&mut self, lease: &Lease, max: usize) -> Vec<(i32, i64)> {
        let records: Records = lease.batch.records(MIB).unwrap();
        let offsets: Vec<i64> = records.map(|record| record.unwrap().offset.0).collect();
        let asked = |offset: &&i64| **offset >= lease.position.0;
        let taken: Vec<i64> = offsets.iter().filter(asked).take(max).copied().collect();
        let whole = taken.last() == offsets.last();
        let to = if whole {
            lease.batch.next_offset()
        } else {
            Offset(taken.last().unwrap() + 1)
        };
        let handed_out = self.core.hand_out(lease, to);
        self.core.validate();
        let kept = taken.into_iter().filter(|_| handed_out);
        kept.map(|offset| (lease.partition.partition.0, offset)).collect()
    }

    /// Hands out everything.
    fn take_all(&mut self) -> Vec<(i32, i64)> {
        let mut taken = Vec::new();
        loop {
            match self.take(usize::MAX) {
                more if more.is_empty() => return taken,
                more => taken.extend(more),
            }
        }
    }

    fn position(&self) -> Option<i64> {
        self.core.position(&tp(0)).map(|offset| offset.0)
    }

    fn failure(&mut self) -> String {
        self.core
            .failure(self.now)
            .map_or_else(String::new, |failure| failure.to_string())
    }
}

fn offsets(partition: i32, range: std::ops::Range<i64>) -> Vec<(i32, i64)> {
    range.map(|offset| (partition, offset)).collect()
}

impl Core {
    /// What holds after every step.
    fn validate(&self) {
        let charged: usize = self.charges.values().map(|charge| charge.bytes).sum();
        assert_eq!(self.buffered, charged);
        let reserved: usize = self.fetches.values().map(|fetch| fetch.reserved).sum();
        assert_eq!(self.reserved, reserved);
        let batches: usize = self.charges.values().map(|charge| charge.batches).sum();
        let held: usize = self.partitions.values().map(|partition| partition.buffer.len()).sum();
        assert_eq!(batches, held);
        for (key, partition) in &self.partitions {
            let size: usize = partition.buffer.iter().map(|buffered| buffered.batch.size()).sum();
            assert_eq!(partition.buffered_bytes, size);
            let mut at = partition.position.map_or(Offset(0), |position| position.offset);
            for buffered in &partition.buffer {
                assert!(
                    buffered.batch.next_offset() > at,
                    "{key}: a batch below the one before it"
                );
                at = buffered.batch.next_offset();
            }
            let holders = self.fetches.iter().filter(|(_, fetch)| fetch.parts.contains(key));
            assert_eq!(
                holders.map(|(id, _)| *id).collect::<Vec<_>>(),
                Vec::from_iter(partition.fetching)
            );
            assert!(!partition.paused || (partition.buffer.is_empty() && partition.fetching.is_none()));
        }
    }
}
