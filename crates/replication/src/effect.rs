//! Everything that a replica can want done, as values.
//!
//! The shell carries effects out in the order in which they are given and decides nothing. Those that touch the log
//! are answered by events: an append by written or failed, a flush by flushed or failed, a truncation by truncated.

use klamm_record::Batch;
use klamm_types::{
    BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, PartitionEpoch, Timestamp,
};

use crate::event::{AlterAttempt, AppendId, FlushId, RequestId, SubscribeAnswer, SubscriptionNumber};
use crate::producers::ProducerTable;

/// Which of the two streams between a follower and its leader a message takes, and whether its flush is urgent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// For partitions at the end of the log.
    InSync,
    /// For partitions that have much to fetch.
    CatchUp,
}

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    /// Of the first record; of the original one if the batch is a recognised duplicate.
    pub base_offset: Offset,
    /// Exclusive.
    pub next_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    /// The duplicate's maximum timestamp if the batch is a recognised duplicate, the time of the append if the batch
    /// carries LogAppendTime, else [`Timestamp::NONE`].
    pub log_append_time: Timestamp,
    pub log_start: LogStartOffset,
}

/// A batch that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProduceError {
    pub code: ErrorCode,
    /// The real base offset where the batch was appended all the same (REQUEST_TIMED_OUT); else [`Offset::NONE`].
    pub base_offset: Offset,
    /// The real log start where the error was found at the log; else -1.
    pub log_start: LogStartOffset,
}

/// A proposed ISR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterPartition {
    pub attempt: AlterAttempt,
    pub leader_epoch: LeaderEpoch,
    /// The partition epoch that the proposal rests on.
    pub partition_epoch: PartitionEpoch,
    /// The whole new ISR with the broker epoch under which the leader knows each member; ascending by node.
    pub isr: Vec<(NodeId, BrokerEpoch)>,
    /// Members that leave because their logs lack committed records: they are not eligible leaders either.
    pub lost_data: Vec<NodeId>,
}

/// Why a leader asks to be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplaceReason {
    /// Its own writes or flushes are later than `replica.lag.time.max.ms`.
    SlowDisk,
    /// It was elected in an epoch in which it may not give out offsets any more.
    EpochSpent,
}

/// Something a person must look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// An ISR member came back with less than the high watermark: it has lost acknowledged data.
    FollowerLostData {
        follower: NodeId,
        next_offset: Offset,
        high_watermark: HighWatermark,
    },
    /// This replica must cut what it knew to be committed; only an unclean election explains it.
    CutBelowHighWatermark { to: Offset, high_watermark: HighWatermark },
    /// The disk failed, the replica has stopped.
    DiskFailed,
    /// The log is damaged from this offset on.
    Damaged { from: Offset },
    /// A follower's records carry an epoch above the newest one: the metadata was lost or forged.
    FollowerAheadOfMetadata { follower: NodeId, last_epoch: LeaderEpoch },
}

/// What a replica is, for the shell's books and for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// No role: no metadata yet, no leader, work of the former role still under way, or damage not yet healed.
    None,
    Leader {
        leader_epoch: LeaderEpoch,
    },
    Follower {
        leader: NodeId,
        leader_epoch: LeaderEpoch,
    },
    /// The disk failed; only a restart of the replica helps.
    Stopped,
}

/// Everything that a replica can want done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Write these batches at the log's end, in this order, whole; offsets and leader epochs are set. Appends are
    /// carried out in the order given; successive ones may be written by one call.
    Append { append: AppendId, batches: Vec<Batch> },
    /// Flush everything written so far, at least up to `up_to`. At most one flush is asked for at a time. Nobody waits
    /// for one on the lane [`Lane::CatchUp`]: it may be put off, so that the disk has time for others.
    Flush { flush: FlushId, up_to: Offset, lane: Lane },
    /// Credit of what this replica catches up: answered by [`crate::Event::CreditPaced`] when its turn has come among all
    /// that this process catches up.
    PaceCredit {
        subscription: SubscriptionNumber,
        bytes: u64,
    },
    /// Note beside the log, durably, that it holds records which count before they are flushed. Nothing waits for it;
    /// until it is answered the replica counts by what is flushed. At most one of the two marks' changes is under way.
    SetUnflushedMark,
    /// Remove that note, durably: the whole log has been flushed, and flushed offsets are counted from now on. Never
    /// wanted before this process is registered: until then it tells of a former run.
    RemoveUnflushedMark,
    /// Cut the log, durably, so that nothing at or above `to` remains. Given only when no append and no flush is under
    /// way. Until it is answered nothing else is asked of the log.
    Truncate { to: Offset },
    /// Drop the whole log, durably, and begin an empty one at `at`, of which this is known of producers.
    RestartLog { at: Offset, producers: ProducerTable },
    /// The leader's log begins later than this one: the log start is to be this one, whole segments below it may go.
    AdvanceLogStart { to: LogStartOffset },

    /// For coordinators: the batch was given this place and will be written, unless leadership is lost.
    ProduceAccepted {
        request: RequestId,
        base_offset: Offset,
        next_offset: Offset,
    },
    /// Answer the producer.
    CompleteProduce {
        request: RequestId,
        result: Result<Produced, ProduceError>,
    },
    /// Look again at this parked fetch: there is something to read, or the role has changed. It is parked no more.
    WakeFetch { request: RequestId },

    /// To a follower.
    AnswerSubscribe {
        follower: NodeId,
        subscription: SubscriptionNumber,
        /// The epoch that the subscription named.
        leader_epoch: LeaderEpoch,
        answer: SubscribeAnswer,
    },
    /// Read batches from `from` on, below `up_to`, at most `bytes_max` (the first batch always whole), check each, and
    /// send them to the follower as [`crate::ReplicaBatches`]. Answered by `Pushed` or `PushFailed`; one per follower
    /// is under way at a time.
    Push {
        follower: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        lane: Lane,
        from: Offset,
        up_to: Offset,
        bytes_max: u64,
        high_watermark: HighWatermark,
        log_start: LogStartOffset,
    },
    /// Send the high watermark and log start without batches. The shell gathers these for up to 5 ms, over many
    /// partitions; a newer one replaces an older one; a later `Push` carries it too.
    PushHighWatermark {
        follower: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        lane: Lane,
        high_watermark: HighWatermark,
        log_start: LogStartOffset,
    },

    /// To the leader: [`crate::Subscribe`]. The shell adds node id and broker epoch, opens the streams if need be,
    /// and answers `StreamLost` if it cannot.
    SubscribeTo {
        leader: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        next_offset: Offset,
        last_epoch: LeaderEpoch,
        credit_bytes: u64,
    },
    /// To the leader: [`crate::Acknowledge`]. May be gathered: newer offsets replace older ones, credit adds up.
    Acknowledge {
        leader: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        written: Offset,
        flushed: Offset,
        credit_bytes: u64,
    },
    /// To a leader that is one no more: [`crate::Event::Unsubscribe`] with the newest epoch known. Best effort.
    UnsubscribeFrom {
        leader: NodeId,
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
    },

    /// To the controller. Every attempt is answered, if need be by `Unknown`.
    AlterPartition(AlterPartition),
    /// To the controller: elect somebody else. Repeated while the reason lasts.
    AskToBeReplaced {
        leader_epoch: LeaderEpoch,
        reason: ReplaceReason,
    },
    /// To the controller: take this replica out of ISR and ELR. Repeated until an image shows it.
    ReportDamage { from: Offset },
    /// To the controller: the disk failed, take this replica out of ISR and ELR. Repeated until an image shows it.
    ReportDiskFailure,

    /// The role is now this one.
    RoleChanged { role: Role },
    /// Log at ERROR and count.
    Raise(Alarm),
}
