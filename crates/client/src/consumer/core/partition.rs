//! What the core knows of one assigned partition.
//!
//! ```text
//!   log start        position              fetch position        high watermark
//!       |                | <--- buffer --->       |                    |
//!       v                v                        v                    v
//!   ----+----------------+------------------------+--------------------+---->
//! ```
//! The position moves when records are handed out. The fetch position is the end of the buffer.

use std::collections::VecDeque;

use klamm_record::{Batch, BatchError};
use klamm_types::{HighWatermark, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset, TopicId};

use super::admit::Visibility;
use crate::consumer::config::Start;
use crate::consumer::error::{ConsumeError, Obstacle};

/// An offset, and the leader epoch of what was read right before it; -1 if nothing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub offset: Offset,
    pub epoch: LeaderEpoch,
}

/// Who leads the partition, as the core goes by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub node: NodeId,
    pub epoch: LeaderEpoch,
}

/// A batch that waits to be handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Buffered {
    pub id: u64,
    pub batch: Batch,
    pub visibility: Visibility,
    /// The fetch whose answer it is part of.
    pub fetch: u64,
}

/// What the partition needs next. `asked` names the query that is under way.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// The group's word on where to begin.
    Awaiting,
    /// An offset, by time or as an end of the log. Waits until the buffer is handed out.
    Lookup { start: Start, asked: Option<u64> },
    /// The new leader's word that its log holds what was read so far (KIP-320). The buffer is empty.
    Validate { asked: Option<u64> },
    /// Records.
    Fetch,
    /// The program. What is in the buffer is handed out first.
    Stopped(ConsumeError),
}

/// Since when, and why, nothing can be had.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub since: Moment,
    pub obstacle: Obstacle,
}

#[derive(Clone, Debug)]
pub(super) struct Partition {
    pub phase: Phase,
    pub paused: bool,
    /// None until the first lookup is answered.
    pub position: Option<Position>,
    /// Up to where the program has dealt with what it was handed: the position when it last came for more.
    pub processed: Option<Position>,
    pub buffer: VecDeque<Buffered>,
    pub buffered_bytes: usize,
    /// What follows the buffer cannot be read.
    pub fault: Option<BatchError>,
    /// The fetch that is under way.
    pub fetching: Option<u64>,
    pub topic_id: Option<TopicId>,
    /// The last one known.
    pub leader: Option<Leader>,
    /// Whether it still leads, by what is known now.
    pub has_leader: bool,
    pub high_watermark: Option<HighWatermark>,
    /// Where records stop being readable in our isolation level.
    pub readable_end: Option<Offset>,
    pub log_start: Option<LogStartOffset>,
    /// Nothing is asked of the leader before this.
    pub retry_at: Moment,
    pub failing: Option<Failing>,
    /// The last fetch that brought records; those served longest ago are asked for first.
    pub served: u64,
}

impl Partition {
    pub fn new(start: Start) -> Partition {
        let mut partition = Partition {
            phase: Phase::Fetch,
            paused: false,
            position: None,
            processed: None,
            buffer: VecDeque::new(),
            buffered_bytes: 0,
            fault: None,
            fetching: None,
            topic_id: None,
            leader: None,
            has_leader: false,
            high_watermark: None,
            readable_end: None,
            log_start: None,
            retry_at: Moment::default(),
            failing: None,
            served: 0,
        };
        partition.begin(start);
        partition
    }

    /// Goes on from `start`. The buffer must be empty, and no fetch under way.
    pub fn begin(&mut self, start: Start) {
        self.phase = match start {
            Start::Offset(offset) => {
                self.position = Some(Position {
                    offset,
                    epoch: LeaderEpoch::NONE,
                });
                Phase::Fetch
            }
            Start::Earliest | Start::Latest | Start::Timestamp(_) => {
                self.position = None;
                Phase::Lookup { start, asked: None }
            }
        };
        self.retry_at = Moment::default();
        self.failing = None;
    }

    /// From where to fetch.
    pub fn fetch_position(&self) -> Option<Position> {
        match self.buffer.back() {
            Some(last) => Some(Position {
                offset: last.batch.next_offset(),
                epoch: last.batch.leader_epoch(),
            }),
            None => self.position,
        }
    }

    /// Notes why nothing can be had; the time counts from the first.
    pub fn hinder(&mut self, now: Moment, obstacle: Obstacle) {
        if self.paused {
            return;
        }
        match &mut self.failing {
            Some(failing) => failing.obstacle = obstacle,
            None => self.failing = Some(Failing { since: now, obstacle }),
        }
    }

    /// The query that is under way.
    pub fn asked(&self) -> Option<u64> {
        match self.phase {
            Phase::Lookup { asked, .. } | Phase::Validate { asked } => asked,
            Phase::Awaiting | Phase::Fetch | Phase::Stopped(_) => None,
        }
    }

    /// Names the query that is under way, or that none is.
    pub fn set_asked(&mut self, query: Option<u64>) {
        match &mut self.phase {
            Phase::Lookup { asked, .. } | Phase::Validate { asked } => *asked = query,
            Phase::Awaiting | Phase::Fetch | Phase::Stopped(_) => {}
        }
    }

    /// Whether there is something to hand out, or to pass over.
    pub fn has_ready(&self) -> bool {
        !self.paused && !self.buffer.is_empty()
    }
}
