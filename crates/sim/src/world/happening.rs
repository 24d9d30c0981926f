//! Everything that can happen, as values that wait in the queue for their time.

use klamm_coordinator::{Call, Reply};
use klamm_record::Batch;
use klamm_replication::{
    Acks, AlterAttempt, AlterOutcome, AlterPartition, Event, Lane, ProducerTable, SubscriptionNumber,
};
use klamm_types::{BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset};

use super::network::{ConnectionId, Message, Side};
use crate::broker::{Fetch, Place};
use crate::metadata::{AtController, Registration};
use crate::plan::Time;
use crate::weather::Ambush;

/// Something that happens at a time.
#[derive(Debug)]
pub enum Happening {
    /// To one run of a broker's process; dropped if another one is running by then.
    Process {
        broker: usize,
        life: u32,
        what: AtProcess,
    },
    Register {
        broker: usize,
        life: u32,
        registration: Box<Registration>,
    },
    Alter {
        place: Place,
        life: u32,
        epoch: BrokerEpoch,
        asked: Box<AlterPartition>,
    },
    Damage {
        place: Place,
        life: u32,
        epoch: BrokerEpoch,
    },
    /// A controlled shutdown is asked for.
    Relieve {
        broker: usize,
        life: u32,
        epoch: BrokerEpoch,
        down: Time,
    },
    /// At the controllers.
    Controller(AtController),
    /// Somebody looks whether everything is whole.
    Look,
    ProduceNext {
        client: usize,
    },
    Resend {
        client: usize,
        round: u64,
    },
    Produced {
        client: usize,
        attempt: u64,
        result: Result<Offset, ErrorCode>,
    },
    ProduceTimeout {
        client: usize,
        attempt: u64,
    },
    FetchNext {
        reader: usize,
        attempt: u64,
    },
    Fetched {
        reader: usize,
        attempt: u64,
        next: Option<Offset>,
    },
    MemberWakes {
        member: usize,
    },
    /// The end of a call; no answer means that none came in time.
    MemberHears {
        member: usize,
        attempt: u64,
        answer: Option<Box<MemberAnswer>>,
    },
    /// The next fault of the plan.
    Fault,
    Ambush(Ambush),
    Start {
        broker: usize,
        life: u32,
    },
    Resume {
        broker: usize,
        life: u32,
    },
    /// A write that did not end.
    WriteEnds {
        broker: usize,
        life: u32,
    },
    /// What `one` sends to `other` arrives again.
    LinkBack {
        one: usize,
        other: usize,
    },
    DiskReplaced {
        broker: usize,
    },
    DiskUsedAgain {
        broker: usize,
    },
    MachineDies {
        broker: usize,
    },
    RoomAgain {
        broker: usize,
    },
    /// A connection that has stood still is given up.
    Break {
        connection: ConnectionId,
    },
}

/// What can happen to a process.
#[derive(Debug)]
pub enum AtProcess {
    Replica(usize, AtReplica),
    Message {
        connection: ConnectionId,
        side: Side,
        lane: Lane,
        partition: usize,
        message: Box<Message>,
        /// It waited at a stopped process: a break cannot lose it any more.
        has_arrived: bool,
    },
    Ended {
        connection: ConnectionId,
        side: Side,
    },
    Entry,
    Registered {
        epoch: BrokerEpoch,
        /// The image that shows it.
        entries: u64,
    },
    /// Time to tell the controller that it lives.
    Beat,
    /// Somebody looks whether the worker is held up.
    Look,
    RegisterAgain,
    /// Told to stop, and relieved or tired of waiting for that.
    Close {
        /// So long is it down then.
        down: Time,
    },
    Checkpoint,
}

/// Who has to deal with something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The thread that writes.
    Worker,
    /// The coordinator of groups, until it has given the worker something to append.
    Shard,
    Others,
}

impl AtProcess {
    pub fn is_for(&self) -> Whose {
        match self {
            AtProcess::Entry | AtProcess::Beat | AtProcess::Look | AtProcess::RegisterAgain => Whose::Others,
            AtProcess::Replica(
                _,
                AtReplica::Called(_)
                | AtReplica::ShardServes { .. }
                | AtReplica::ShardTicks { .. }
                | AtReplica::ShardLosesPatience { .. },
            ) => Whose::Shard,
            AtProcess::Replica(..)
            | AtProcess::Message { .. }
            | AtProcess::Ended { .. }
            | AtProcess::Registered { .. }
            | AtProcess::Close { .. }
            | AtProcess::Checkpoint => Whose::Worker,
        }
    }
}

/// What can happen to one replica.
#[derive(Debug)]
pub enum AtReplica {
    Event(Box<Event>),
    AppendDone,
    FlushDone,
    CutDone {
        to: Offset,
        /// For a log that begins anew: what it is told of producers.
        restart: Option<Box<ProducerTable>>,
    },
    ReadDone(Box<PushWish>),
    AlterAnswer {
        attempt: AlterAttempt,
        outcome: AlterOutcome,
    },
    DamageHeard {
        entries: u64,
    },
    Produce(Box<ProduceAsked>),
    Fetch(Fetch),
    Latest,
    /// A member of a group calls its coordinator.
    Called(Box<CallAsked>),
    ShardLoads {
        run: u64,
    },
    ShardServes {
        run: u64,
    },
    ShardTicks {
        run: u64,
    },
    ShardLosesPatience {
        run: u64,
    },
    ShardAgain {
        epoch: LeaderEpoch,
    },
    Tick,
}

/// A producer's request.
#[derive(Debug)]
pub struct ProduceAsked {
    pub client: usize,
    pub attempt: u64,
    pub batch: Batch,
    pub acks: Acks,
}

/// A member's call.
#[derive(Debug)]
pub struct CallAsked {
    pub member: usize,
    pub attempt: u64,
    pub call: Call,
}

/// A coordinator's answer.
#[derive(Debug)]
pub struct MemberAnswer {
    pub result: Result<Reply, ErrorCode>,
    /// Whether nobody had been made coordinator after it when it answered.
    pub is_current: bool,
}

/// A push to be read from the log.
#[derive(Clone, Copy, Debug)]
pub struct PushWish {
    pub follower: NodeId,
    pub subscription: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
    pub lane: Lane,
    pub from: Offset,
    pub up_to: Offset,
    pub bytes_max: u64,
    pub high_watermark: HighWatermark,
    pub log_start: LogStartOffset,
}
