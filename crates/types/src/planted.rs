//! Known bugs that can be put back into the shipped cores, each at one named point, to see whether they are caught.
//!
//! Only the simulation's tests turn the feature `planted-bugs` on. Without it [`is_planted`] is a constant `false`:
//! the compiler drops every branch behind it, and no bug can be put back into what ships. This module lives here
//! because all cores know this crate; it decides nothing and holds no bug itself.

/// A bug that was made and mended before, here or in Kafka, or one that a rule of the design is there to prevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Replication: a follower cuts its log at its own high watermark (what KIP-101 cured).
    CutAtHighWatermark,
    /// Replication: a leader accepts every subscription without comparing the logs.
    SkipDivergenceCheck,
    /// Replication: a leader acts on its ISR proposal before the controller has committed it (what KIP-497 cured).
    CountProposedAway,
    /// Replication: what a replica has written counts as flushed, with the leader and in what a follower tells it.
    CountWrittenAsFlushed,
    /// Replication: the high watermark moves although the ISR has fewer members than the minimum.
    CommitBelowMinimum,
    /// Replication: a recognised duplicate is answered before its original is committed.
    AnswerDuplicateEarly,
    /// Replication: a producer snapshot is read as an empty one.
    ForgetProducerSnapshot,
    /// Replication: a new leader tells the latest offset before it knows what is committed.
    AnswerLatestEarly,
    /// Replication: readers are served up to the end of the log.
    ServeUncommitted,
    /// Replication: a broker leads before its own registration is seen (what a start has to wait for).
    LeadUnregistered,
    /// Replication: after a write that failed the leader gives the offsets again, in the same epoch.
    LeadOnAfterFailedAppend,
    /// Metadata: ISR changes that rest on old leader and partition epochs are taken (what KIP-497 cured).
    AcceptStaleEpoch,
    /// Metadata: a replica on an empty disk stays eligible.
    TrustEmptyDirectory,
    /// Metadata: eligible replicas stay eligible although the ISR has the minimum again.
    KeepEligibleAboveMinimum,
    /// Metadata: where no eligible replica may lead, any other one is elected as if it held everything.
    ElectAnybody,
    /// Metadata: an election may lose records although the topic does not allow it.
    ElectUncleanUnasked,
    /// Metadata: a broker that registers again keeps its epoch (what KIP-903 needs).
    ReuseBrokerEpoch,
    /// Metadata: a replica whose machine died stays eligible where acknowledged means written.
    TrustLostPageCache,
    /// Log: a flush does not sync the segments closed since the last one.
    FlushOpenSegmentOnly,
    /// Log: a flush does not sync the directory.
    FlushWithoutDirectory,
    /// Log: a flush syncs nothing.
    FlushNothing,
    /// Log: where the file of leader epochs is missing, no epochs are known.
    LoseEpochFile,
    /// Log: what a start finds above the recovery point is not written again before it is flushed.
    TrustPageCache,
    /// Log: the segment that the log start lies in is deleted with those below it.
    DeleteOneSegmentMore,
    /// Coordinator: a commit is answered, and nothing is written.
    AnswerUnwrittenCommit,
    /// Coordinator: answers do not wait for the commit of what was appended before them.
    AnswerBeforeCommit,
    /// Coordinator: a classic group rebalances without a new generation.
    KeepGeneration,
}

/// Whether this bug is to be committed by the thread that asks.
#[cfg(not(feature = "planted-bugs"))]
#[inline(always)]
pub const fn is_planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "planted-bugs")]
pub use self::planting::{is_planted, plant};

#[cfg(feature = "planted-bugs")]
mod planting {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this bug is to be committed by the thread that asks.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// From now on the cores that run on this thread commit this bug and no other; with `None`, none.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    impl Bug {
        pub const ALL: [Bug; 27] = [
            Bug::CutAtHighWatermark,
            Bug::SkipDivergenceCheck,
            Bug::CountProposedAway,
            Bug::CountWrittenAsFlushed,
            Bug::CommitBelowMinimum,
            Bug::AnswerDuplicateEarly,
            Bug::ForgetProducerSnapshot,
            Bug::AnswerLatestEarly,
            Bug::ServeUncommitted,
            Bug::LeadUnregistered,
            Bug::LeadOnAfterFailedAppend,
            Bug::AcceptStaleEpoch,
            Bug::TrustEmptyDirectory,
            Bug::KeepEligibleAboveMinimum,
            Bug::ElectAnybody,
            Bug::ElectUncleanUnasked,
            Bug::ReuseBrokerEpoch,
            Bug::TrustLostPageCache,
            Bug::FlushOpenSegmentOnly,
            Bug::FlushWithoutDirectory,
            Bug::FlushNothing,
            Bug::LoseEpochFile,
            Bug::TrustPageCache,
            Bug::DeleteOneSegmentMore,
            Bug::AnswerUnwrittenCommit,
            Bug::AnswerBeforeCommit,
            Bug::KeepGeneration,
        ];

        pub fn name(self) -> &'static str {
            match self {
                Bug::CutAtHighWatermark => "cut-at-high-watermark",
                Bug::SkipDivergenceCheck => "skip-divergence-check",
                Bug::CountProposedAway => "count-proposed-away",
                Bug::CountWrittenAsFlushed => "count-written-as-flushed",
                Bug::CommitBelowMinimum => "commit-below-minimum",
                Bug::AnswerDuplicateEarly => "answer-duplicate-early",
                Bug::ForgetProducerSnapshot => "forget-producer-snapshot",
                Bug::AnswerLatestEarly => "answer-latest-early",
                Bug::ServeUncommitted => "serve-uncommitted",
                Bug::LeadUnregistered => "lead-unregistered",
                Bug::LeadOnAfterFailedAppend => "lead-on-after-failed-append",
                Bug::AcceptStaleEpoch => "accept-stale-epoch",
                Bug::TrustEmptyDirectory => "trust-empty-directory",
                Bug::KeepEligibleAboveMinimum => "keep-eligible-above-minimum",
                Bug::ElectAnybody => "elect-anybody",
                Bug::ElectUncleanUnasked => "elect-unclean-unasked",
                Bug::ReuseBrokerEpoch => "reuse-broker-epoch",
                Bug::TrustLostPageCache => "trust-lost-page-cache",
                Bug::FlushOpenSegmentOnly => "flush-open-segment-only",
                Bug::FlushWithoutDirectory => "flush-without-directory",
                Bug::FlushNothing => "flush-nothing",
                Bug::LoseEpochFile => "lose-epoch-file",
                Bug::TrustPageCache => "trust-page-cache",
                Bug::DeleteOneSegmentMore => "delete-one-segment-more",
                Bug::AnswerUnwrittenCommit => "answer-unwritten-commit",
                Bug::AnswerBeforeCommit => "answer-before-commit",
                Bug::KeepGeneration => "keep-generation",
            }
        }

        pub fn from_name(name: &str) -> Option<Bug> {
            Bug::ALL.into_iter().find(|bug| bug.name() == name)
        }
    }
}
