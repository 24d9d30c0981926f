//! What the stories share: a replica on node 1 with helpers to make events shortly.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_record::{Batch, BatchBuilder, BatchOptions, ProducerStamp};
use klamm_types::{
    BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset, PartitionEpoch,
    ProducerEpoch, ProducerId, Sequence, Timestamp,
};

use crate::{
    Acknowledge, Acks, AppendId, BrokerState, BrokerView, Effect, Event, FlushId, Limits, Now, OpenedLog, Origin,
    PartitionView, Produce, ProduceError, Produced, Replica, RequestId, Subscribe, SubscribeAnswer, SubscriptionNumber,
};

pub const ME: NodeId = NodeId(1);

pub struct Stage {
    pub replica: Replica,
    pub now: Moment,
    pub view: PartitionView,
}

/// Three replicas, all in sync, nobody leads; broker epochs are 11, 12, 13.
pub fn view() -> PartitionView {
    let nodes = [1, 2, 3].map(NodeId);
    let broker = |node: NodeId| BrokerView {
        epoch: BrokerEpoch(10 + i64::from(node.0)),
        state: BrokerState::Active,
    };
    PartitionView {
        replicas: nodes.to_vec(),
        isr: nodes.into_iter().collect(),
        brokers: nodes
            .into_iter()
            .map(|node| (node, broker(node)))
            .collect::<BTreeMap<_, _>>(),
        ..PartitionView::default()
    }
}

impl Stage {
    pub fn open(opened: OpenedLog) -> Stage {
        Stage {
            replica: Replica::open(ME, BrokerEpoch(11), Limits::default(), opened),
            now: Moment(1_000_000),
            view: view(),
        }
    }

    /// As a process finds its log before it is registered.
    pub fn unregistered(opened: OpenedLog) -> Stage {
        Stage {
            replica: Replica::open(ME, BrokerEpoch::NONE, Limits::default(), opened),
            now: Moment(1_000_000),
            view: view(),
        }
    }

    /// A log with `end` records of epoch 1, all flushed.
    pub fn with_log(end: i64, high_watermark: i64) -> Stage {
        let mut opened = OpenedLog {
            log_end: Offset(end),
            flushed: Offset(end),
            high_watermark: HighWatermark(high_watermark),
            ..OpenedLog::default()
        };
        if end > 0 {
            opened.epochs = vec![(LeaderEpoch(1), Offset(0))];
        }
        Stage::open(opened)
    }

    /// An empty log whose mark of unflushed records is on the disk.
    pub fn marked() -> Stage {
        Stage::open(OpenedLog {
            unflushed_mark: true,
            ..OpenedLog::default()
        })
    }

    /// Leads in epoch 5 over an empty log.
    pub fn leading() -> Stage {
        let mut stage = Stage::with_log(0, 0);
        stage.lead(5);
        stage
    }

    pub fn step(&mut self, event: Event) -> Vec<Effect> {
        let now = Now {
            moment: self.now,
            wall: Timestamp(0),
        };
        let mut effects = Vec::new();
        self.replica.step(now, event, &mut effects);
        self.replica.validate().unwrap();
        effects
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    pub fn tick(&mut self) -> Vec<Effect> {
        self.step(Event::Tick)
    }

    /// Lets time pass in steps that a shell would take, until `ms` are over; all effects of the ticks.
    pub fn pass_ticking(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.now + Duration::from_millis(ms);
        let mut effects = Vec::new();
        while let Some(due) = self.replica.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            effects.extend(self.tick());
            if self.replica.next_deadline() == Some(due) {
                panic!("a tick at its deadline changes nothing: {due:?}");
            }
        }
        self.now = end;
        effects
    }

    /// The next image, as `change` makes it.
    pub fn image(&mut self, change: impl FnOnce(&mut PartitionView)) -> Vec<Effect> {
        self.view.partition_epoch = PartitionEpoch(self.view.partition_epoch.0 + 1);
        change(&mut self.view);
        let view = Box::new(self.view.clone());
        self.step(Event::MetadataChanged(view))
    }

    pub fn lead(&mut self, epoch: i32) -> Vec<Effect> {
        self.image(|view| {
            view.leader = Some(ME);
            view.leader_epoch = LeaderEpoch(epoch);
        })
    }

    pub fn follow(&mut self, leader: i32, epoch: i32) -> Vec<Effect> {
        self.image(|view| {
            view.leader = Some(NodeId(leader));
            view.leader_epoch = LeaderEpoch(epoch);
        })
    }

    pub fn produce(&mut self, request: u64, batch: Batch, acks: Acks) -> Vec<Effect> {
        self.step(Event::Produce(Box::new(Produce {
            request: RequestId(request),
            batch,
            acks,
            timeout: Duration::from_millis(100),
            origin: Origin::Client,
            disk_full: false,
        })))
    }

    pub fn written(&mut self, append: u64) -> Vec<Effect> {
        self.step(Event::AppendWritten {
            append: AppendId(append),
        })
    }

    pub fn flushed(&mut self, flush: u64, offset: i64) -> Vec<Effect> {
        self.step(Event::FlushedTo {
            flush: FlushId(flush),
            offset: Offset(offset),
        })
    }

    /// Follower `node` subscribes in the leader's epoch.
    pub fn subscribe(&mut self, node: i32, number: u64, next: i64, last_epoch: i32) -> Vec<Effect> {
        let subscribe = self.subscription(node, number, next, last_epoch);
        self.step(Event::Subscribe(subscribe))
    }

    pub fn subscription(&self, node: i32, number: u64, next: i64, last_epoch: i32) -> Subscribe {
        Subscribe {
            follower: NodeId(node),
            broker_epoch: BrokerEpoch(10 + i64::from(node)),
            subscription: SubscriptionNumber(number),
            leader_epoch: self.view.leader_epoch,
            next_offset: Offset(next),
            last_epoch: LeaderEpoch(last_epoch),
            credit_bytes: 1 << 20,
        }
    }

    pub fn acknowledge(&mut self, node: i32, number: u64, written: i64, flushed: i64) -> Vec<Effect> {
        self.step(Event::Acknowledged(Acknowledge {
            follower: NodeId(node),
            broker_epoch: BrokerEpoch(10 + i64::from(node)),
            subscription: SubscriptionNumber(number),
            leader_epoch: self.view.leader_epoch,
            written: Offset(written),
            flushed: Offset(flushed),
            credit_bytes: 0,
        }))
    }

    pub fn pushed(&mut self, node: i32, number: u64, next: i64) -> Vec<Effect> {
        self.step(Event::Pushed {
            follower: NodeId(node),
            subscription: SubscriptionNumber(number),
            next: Offset(next),
            bytes: 100,
        })
    }

    /// Appends `count` records, writes and flushes them, and has both followers acknowledge them.
    pub fn commit(&mut self, request: u64, append: u64, flush: u64, count: usize) -> Vec<Effect> {
        self.produce(request, plain(count), Acks::All);
        let end = self.replica.log.accepted.0;
        self.written(append);
        self.pushed(2, 1, end);
        self.pushed(3, 1, end);
        self.flushed(flush, end);
        self.acknowledge(2, 1, end, end);
        self.acknowledge(3, 1, end, end)
    }

    /// Followers 2 and 3 subscribe with number 1 at the end of the log and acknowledge all of it.
    pub fn followers_join(&mut self) {
        let end = self.replica.log.written.0;
        let epoch = self.replica.log.epochs.last_record_epoch(Offset(end)).0;
        for node in [2, 3] {
            self.subscribe(node, 1, end, epoch);
            self.acknowledge(node, 1, end, end);
        }
    }
}

fn build(count: usize, producer: ProducerStamp) -> Batch {
    let mut builder = BatchBuilder::new(BatchOptions {
        producer,
        ..BatchOptions::default()
    });
    for _ in 0..count {
        builder.append(Timestamp(77), None, Some(b"value"), &[]).unwrap();
    }
    builder.build().unwrap()
}

/// A batch without a producer id.
pub fn plain(count: usize) -> Batch {
    build(count, ProducerStamp::NONE)
}

/// A batch of producer 9.
pub fn sequenced(sequence: i32, count: usize) -> Batch {
    let producer = ProducerStamp {
        producer_id: ProducerId(9),
        producer_epoch: ProducerEpoch(0),
        base_sequence: Sequence(sequence),
    };
    build(count, producer)
}

pub fn completed(request: u64, base: i64, next: i64, epoch: i32) -> Effect {
    Effect::CompleteProduce {
        request: RequestId(request),
        result: Ok(Produced {
            base_offset: Offset(base),
            next_offset: Offset(next),
            leader_epoch: LeaderEpoch(epoch),
            log_append_time: Timestamp::NONE,
            log_start: LogStartOffset(0),
        }),
    }
}

pub fn failed(request: u64, code: ErrorCode, base: i64, log_start: i64) -> Effect {
    Effect::CompleteProduce {
        request: RequestId(request),
        result: Err(ProduceError {
            code,
            base_offset: Offset(base),
            log_start: LogStartOffset(log_start),
        }),
    }
}

pub fn answer(node: i32, number: u64, epoch: i32, answer: SubscribeAnswer) -> Effect {
    Effect::AnswerSubscribe {
        follower: NodeId(node),
        subscription: SubscriptionNumber(number),
        leader_epoch: LeaderEpoch(epoch),
        answer,
    }
}

pub fn accepted(high_watermark: i64) -> SubscribeAnswer {
    SubscribeAnswer::Accepted {
        high_watermark: HighWatermark(high_watermark),
        log_start: LogStartOffset(0),
    }
}

/// A log that begins anew and is told of no producers.
pub fn restart(at: i64) -> Effect {
    Effect::RestartLog {
        at: Offset(at),
        producers: crate::ProducerTable::new(Offset(at)),
    }
}

pub fn refused(error: ErrorCode, epoch: i32) -> SubscribeAnswer {
    SubscribeAnswer::Refused {
        error,
        leader_epoch: LeaderEpoch(epoch),
    }
}

/// The producers' answers among effects.
pub fn completions(effects: &[Effect]) -> Vec<Effect> {
    let answers = effects
        .iter()
        .filter(|effect| matches!(effect, Effect::CompleteProduce { .. }));
    answers.cloned().collect()
}
