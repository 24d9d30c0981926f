//! Everything that can happen to one replica, as values.
//!
//! Rules for whoever makes events:
//! * Answers to effects come in the order in which the effects were given, per kind (appends, flushes, pushes).
//! * [`Event::Pushed`] is given to the leader before the pushed message can reach the follower's queue.
//! * Batches have been checked (bounds, checksum) before they get here; only their place in the log is judged here.

use std::time::Duration;

use klamm_record::Batch;
use klamm_types::{
    BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionEpoch, Timestamp,
};

use crate::effect::Lane;
use crate::producers::ProducerTable;
use crate::view::PartitionView;

/// When an event happens, on both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For time-outs.
    pub moment: klamm_types::Moment,
    /// For the expiry of producer ids only.
    pub wall: Timestamp,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// A client's or coordinator's waiting request; given by the shell, unique per replica.
    RequestId
}
id! {
    /// One append, in the order in which they were given.
    AppendId
}
id! {
    /// One flush.
    FlushId
}
id! {
    /// A follower's subscription; drawn by the follower, grows with each of its subscriptions to a partition.
    SubscriptionNumber
}
id! {
    /// One AlterPartition request.
    AlterAttempt
}

/// How many replicas must hold a batch before its producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// acks=0. The request is completed all the same, as soon as the batch is written, for the shell's own books.
    None,
    /// acks=1: the leader alone, at the topic's level.
    Leader,
    /// acks=all.
    All,
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A producer: its sequences are checked.
    Client,
    /// A coordinator of this broker: sequences are not checked, and [`crate::Effect::ProduceAccepted`] tells the
    /// offset at once, because coordinators apply at append and reply at commit.
    Coordinator {
        /// The epoch in which the coordinator decided; any other refuses the append.
        leader_epoch: LeaderEpoch,
    },
}

/// One batch to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Produce {
    pub request: RequestId,
    pub batch: Batch,
    pub acks: Acks,
    pub timeout: Duration,
    pub origin: Origin,
    /// The disk has no room for it; it may have some later.
    pub disk_full: bool,
}

/// A follower asks for everything from `next_offset` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub follower: NodeId,
    /// As stated when the stream was opened.
    pub broker_epoch: BrokerEpoch,
    pub subscription: SubscriptionNumber,
    /// The leader epoch in which the follower believes.
    pub leader_epoch: LeaderEpoch,
    /// The follower's log end.
    pub next_offset: Offset,
    /// The epoch of the follower's last record; [`LeaderEpoch::NONE`] if its log is empty.
    pub last_epoch: LeaderEpoch,
    /// The first grant of credit.
    pub credit_bytes: u64,
}

/// What a leader answers to a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscribeAnswer {
    /// The logs agree up to the follower's end; batches follow.
    Accepted {
        high_watermark: HighWatermark,
        log_start: LogStartOffset,
    },
    /// They do not: the leader's log holds `epoch`, the largest not above the follower's last one, up to `end_offset`.
    Diverged { epoch: LeaderEpoch, end_offset: Offset },
    /// The leader no longer has what the follower needs next: begin anew at `log_start`. What it knows of the producers
    /// of deleted records goes with it, for no batch tells of them any more.
    OutOfRange {
        log_start: LogStartOffset,
        producers: ProducerTable,
    },
    /// Not a leader (any more), or not for this follower. `leader_epoch` is the newest that the refuser knows.
    Refused {
        error: ErrorCode,
        leader_epoch: LeaderEpoch,
    },
}

/// A follower tells how far it is and grants credit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledge {
    pub follower: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub subscription: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
    /// Exclusive.
    pub written: Offset,
    /// Exclusive; never above `written`.
    pub flushed: Offset,
    /// Bytes granted in addition to what was granted before.
    pub credit_bytes: u64,
}

/// What a leader pushes. Without batches it only carries the high watermark and the log start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaBatches {
    pub leader: NodeId,
    /// The stream on which it came.
    pub lane: Lane,
    pub subscription: SubscriptionNumber,
    pub leader_epoch: LeaderEpoch,
    /// Where the leader began to read: the batches are all that its log holds from there on, up to the last of them.
    pub from: Offset,
    pub batches: Vec<Batch>,
    pub high_watermark: HighWatermark,
    pub log_start: LogStartOffset,
}

/// Why a push could not be read from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushFailure {
    /// The log start has passed the offset.
    OutOfRange,
    /// A batch is damaged.
    Damaged { from: Offset },
    /// The disk answered with an error.
    Disk,
    /// The stream to the follower is gone or full.
    Stream,
}

/// What became of an AlterPartition request. Every request gets exactly one answer, if need be `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOutcome {
    /// Committed; the metadata stream will show it.
    Committed { partition_epoch: PartitionEpoch },
    /// INELIGIBLE_REPLICA: a proposed member may not join just now. Nothing was changed.
    Ineligible,
    /// INVALID_UPDATE_VERSION: the metadata stream has news that decide.
    StalePartitionEpoch,
    /// FENCED_LEADER_EPOCH or NEW_LEADER_ELECTED: somebody else leads, or this broker in a newer epoch.
    Fenced,
    /// It never reached a controller that decides: ask again.
    NotDecided,
    /// It may or may not have been applied: ask again, and go on counting both sets.
    Unknown,
    /// Any other refusal; nothing was changed.
    Refused { error: ErrorCode },
}

/// What a parked fetch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
}

/// Everything that can happen to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A newer image. Also given once after opening. Images never go back.
    MetadataChanged(Box<PartitionView>),
    /// This broker was (re-)registered: until an image shows this epoch for it, it takes up no role. The registration
    /// told of the mark that was found when the log was opened, and that it did so is durably noted.
    Registered { broker_epoch: BrokerEpoch },
    /// Time has passed; given when [`crate::Replica::next_deadline`] has come. Harmless at any other time.
    Tick,

    /// A batch to append.
    Produce(Box<Produce>),
    /// A fetch that found nothing: wake it when the offset up to which its reader may read exceeds `beyond`.
    ParkFetch {
        request: RequestId,
        beyond: Offset,
        isolation: Isolation,
    },
    /// The fetch was answered otherwise (time-out, another partition, connection closed).
    CancelFetch { request: RequestId },

    /// The write call of the append succeeded, whole.
    AppendWritten { append: AppendId },
    /// It failed, perhaps in part. The replica stops; appends given out after this one MUST NOT be carried out.
    AppendFailed { append: AppendId },
    /// Everything below `offset` is on the disk. `offset` is at least what was asked for.
    FlushedTo { flush: FlushId, offset: Offset },
    /// The replica stops; a flush is never repeated.
    FlushFailed { flush: FlushId },
    /// The mark is on the disk. If it cannot be set or removed, the answer is [`Event::DiskFailed`].
    UnflushedMarkSet,
    /// The mark is gone from the disk.
    UnflushedMarkRemoved,
    /// The shell wants the log flushed, whatever the topic's level: recovery point, clean stop.
    FlushDue,
    /// The log is cut, durably. Answers [`crate::Effect::Truncate`] and [`crate::Effect::RestartLog`].
    Truncated {
        log_start: LogStartOffset,
        /// The new log end, exactly what was asked for unless that lay inside a batch (then below it).
        log_end: Offset,
        /// Rebuilt for the new log end from a snapshot at or below it and the batches behind that.
        producers: Box<ProducerTable>,
    },
    /// Retention has moved the log start, or [`crate::Effect::AdvanceLogStart`] was carried out. The log start MUST be
    /// the first offset of a batch: a follower that begins there could not take a part of one.
    LogStartAdvanced { log_start: LogStartOffset },
    /// The disk under the replica failed elsewhere (truncation, read, directory).
    DiskFailed,
    /// Damage was found at or behind `from` (read, scrub).
    DamageFound { from: Offset },

    /// The controller has taken the damage in (answer to [`crate::Effect::ReportDamage`], or part of the registration),
    /// and an image at least as new as that has been given. Only then may a damaged log be cut and refetched.
    DamageReported,

    /// To a leader, from a follower.
    Subscribe(Subscribe),
    /// To a leader, from a follower that has turned away. `leader_epoch` is the newest that it knows.
    Unsubscribe {
        follower: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
    },
    /// To a leader: the stream on which this subscription came has ended. The newest subscription of the follower
    /// ends only if it is this one.
    FollowerStreamEnded {
        follower: NodeId,
        broker_epoch: BrokerEpoch,
        subscription: SubscriptionNumber,
    },
    /// To a leader, from a follower.
    Acknowledged(Acknowledge),
    /// [`crate::Effect::Push`] was carried out: batches up to `next` (exclusive) were handed to the stream. There is
    /// always something to push; a shell that reads nothing answers `PushFailed`.
    Pushed {
        follower: NodeId,
        subscription: SubscriptionNumber,
        next: Offset,
        bytes: u64,
    },
    PushFailed {
        follower: NodeId,
        subscription: SubscriptionNumber,
        failure: PushFailure,
    },
    /// Answers [`crate::Effect::AlterPartition`].
    AlterPartitionAnswered {
        attempt: AlterAttempt,
        outcome: AlterOutcome,
    },
    /// A controller or another broker named a newer leader epoch: a leader steps down at once. Never on the word of a
    /// client.
    NewerLeaderEpoch { leader_epoch: LeaderEpoch },

    /// To a follower, from its leader.
    SubscribeAnswered {
        leader: NodeId,
        subscription: SubscriptionNumber,
        /// The leader epoch that the subscription named.
        leader_epoch: LeaderEpoch,
        answer: SubscribeAnswer,
    },
    /// To a follower, from its leader: batches, or just news of the high watermark.
    ReplicaBatches(ReplicaBatches),
    /// To a follower: answer to [`crate::Effect::PaceCredit`].
    CreditPaced {
        subscription: SubscriptionNumber,
        bytes: u64,
    },
    /// To a follower: the stream to its leader has ended, or could not be opened.
    StreamLost {
        leader: NodeId,
        subscription: SubscriptionNumber,
    },
}
