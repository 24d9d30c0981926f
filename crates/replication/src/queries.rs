//! What a shell may ask a replica without changing it: the bounds and answers of Fetch, ListOffsets and
//! OffsetForLeaderEpoch, and figures for metrics.

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset};

use crate::effect::Role;
use crate::epochs::EpochEnd;
use crate::event::Isolation;
use crate::producers::ProducerTable;
use crate::replica::{Replica, RoleState};
use crate::view::PartitionView;

/// The answer to ListOffsets *latest*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LatestOffset {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
}

impl Replica {
    pub fn role(&self) -> Role {
        match &self.role {
            RoleState::None => Role::None,
            RoleState::Leader(leader) => leader.role(),
            RoleState::Follower(follower) => follower.role(),
            RoleState::Stopped => Role::Stopped,
        }
    }

    /// The newest image taken in.
    pub fn partition_view(&self) -> Option<&PartitionView> {
        self.view()
    }

    /// The leader that the newest image names, for hints to clients.
    pub fn leader(&self) -> Option<NodeId> {
        self.view().and_then(|view| view.leader)
    }

    /// The leader epoch of the newest image; `NONE` before the first one.
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.view().map_or(LeaderEpoch::NONE, |view| view.leader_epoch)
    }

    pub fn high_watermark(&self) -> HighWatermark {
        self.log.high_watermark
    }

    /// Below it every transaction has ended. There are none yet.
    pub fn last_stable_offset(&self) -> Offset {
        self.log.high_watermark.into()
    }

    pub fn log_start(&self) -> LogStartOffset {
        self.log.log_start
    }

    /// Exclusive: what has been written.
    pub fn log_end(&self) -> Offset {
        self.log.written
    }

    /// Something is accepted and not written yet: [`Replica::log_end`] is not the end of what this replica has taken.
    pub fn is_appending(&self) -> bool {
        self.log.oldest_pending().is_some()
    }

    /// Exclusive: what has been flushed.
    pub fn flushed(&self) -> Offset {
        self.log.flushed
    }

    /// How far each follower of this leader has written, as it acknowledged; `None` if it has not yet.
    pub fn followers(&self) -> Vec<(NodeId, Option<Offset>)> {
        match &self.role {
            RoleState::Leader(leader) => leader.followers().collect(),
            _ => Vec::new(),
        }
    }

    /// How many producers wait for an answer.
    pub fn waiting_produces(&self) -> usize {
        match &self.role {
            RoleState::Leader(leader) => leader.waiting_count(),
            _ => 0,
        }
    }

    /// Nobody reads at or above this offset.
    pub fn fetch_bound(&self, isolation: Isolation) -> Offset {
        match isolation {
            Isolation::ReadUncommitted if is_planted(Bug::ServeUncommitted) => self.log.written,
            Isolation::ReadUncommitted => self.log.high_watermark.into(),
            Isolation::ReadCommitted => self.last_stable_offset(),
        }
    }

    /// Whether a client that believes in `current` may be served here, by a leader or, where allowed, by a follower.
    ///
    /// # Errors
    /// The code to answer.
    pub fn check_read(&self, current: LeaderEpoch, from: ReadFrom) -> Result<(), ErrorCode> {
        let newest = match &self.role {
            RoleState::Stopped => return Err(ErrorCode::KafkaStorageError),
            RoleState::None => return Err(ErrorCode::NotLeaderOrFollower),
            RoleState::Leader(leader) => leader.epoch,
            RoleState::Follower(follower) => follower.epoch,
        };
        if current != LeaderEpoch::NONE && current < newest {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        if current > newest {
            return Err(ErrorCode::UnknownLeaderEpoch);
        }
        if from == ReadFrom::Leader && !matches!(self.role, RoleState::Leader(_)) {
            return Err(ErrorCode::NotLeaderOrFollower);
        }
        Ok(())
    }

    /// Whether a fetch may begin at `offset`; between the bound and the log end it just finds nothing.
    ///
    /// # Errors
    /// OFFSET_OUT_OF_RANGE.
    pub fn check_fetch_offset(&self, offset: Offset) -> Result<(), ErrorCode> {
        if offset < self.log.log_start.into() || offset > self.log.written {
            return Err(ErrorCode::OffsetOutOfRange);
        }
        Ok(())
    }

    /// ListOffsets *latest*. A new leader does not know the true high watermark until it reaches its epoch's start.
    ///
    /// # Errors
    /// OFFSET_NOT_AVAILABLE, to be told to old versions as LEADER_NOT_AVAILABLE; or the codes of a replica that does
    /// not serve.
    pub fn latest_offset_answer(&self, isolation: Isolation) -> Result<LatestOffset, ErrorCode> {
        let leader_epoch = match &self.role {
            RoleState::Leader(leader) => {
                let knows = self.log.high_watermark >= leader.epoch_start.into();
                if !knows && !is_planted(Bug::AnswerLatestEarly) {
                    return Err(ErrorCode::OffsetNotAvailable);
                }
                leader.epoch
            }
            RoleState::Follower(follower) => follower.epoch,
            RoleState::None => return Err(ErrorCode::NotLeaderOrFollower),
            RoleState::Stopped => return Err(ErrorCode::KafkaStorageError),
        };
        Ok(LatestOffset {
            offset: self.fetch_bound(isolation),
            leader_epoch,
        })
    }

    /// OffsetForLeaderEpoch: the largest epoch not above `asked` and its end. `None`: nothing is known of it.
    pub fn end_of_epoch(&self, asked: LeaderEpoch) -> Option<EpochEnd> {
        let latest = self.log.epochs.latest()?;
        if asked > latest || asked == LeaderEpoch::NONE {
            return None;
        }
        match self.log.epochs.end_of(asked, self.log.written) {
            Some(end) => Some(end),
            // Older than everything here: it ended where the first known epoch begins.
            None => self.log.epochs.first().map(|(_, start)| EpochEnd {
                epoch: asked,
                end_offset: start,
            }),
        }
    }

    /// The epoch of the record at `offset`, as clients want to know it beside an offset.
    pub fn epoch_at(&self, offset: Offset) -> LeaderEpoch {
        self.log.epochs.last_record_epoch(Offset(offset.0.saturating_add(1)))
    }

    /// Where a new leader's own records begin; `None` unless it leads. A coordinator that has loaded the log serves
    /// once the high watermark has reached it.
    pub fn epoch_start(&self) -> Option<Offset> {
        match &self.role {
            RoleState::Leader(leader) => Some(leader.epoch_start),
            _ => None,
        }
    }

    /// The producer state as of [`ProducerTable::end`], which is the accepted log end: a snapshot of it may be kept as
    /// soon as everything below that offset is written.
    pub fn producers(&self) -> &ProducerTable {
        &self.log.producers
    }

    /// The leader epochs of the log, each with its first offset.
    pub fn epochs(&self) -> &[(LeaderEpoch, Offset)] {
        self.log.epochs.entries()
    }

    /// The registration under which this replica acts.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.own_broker_epoch()
    }
}

/// Who may serve a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    Leader,
    AnyReplica,
}
