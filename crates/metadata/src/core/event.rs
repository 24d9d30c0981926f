//! What can happen to a controller: one closed list. Nothing here is acted upon.

use klamm_schema::metadata::MetadataBatch;
use klamm_schema::requests::controller_request::Request;
use klamm_types::{BrokerEpoch, ClusterId, Incarnation, Moment, NodeId, Timestamp};

use crate::decide::Elected;
use crate::image::Image;

/// The time and the chance that come with every event. The core asks nobody else for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Monotonic, never goes back from one step to the next. Judges all waits.
    pub moment: Moment,
    /// Wall clock, written into decisions for people.
    pub timestamp: Timestamp,
    /// Fresh random bits in each step; topic ids and placements come from them.
    pub random: u128,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);
    };
}
id! {
    /// A request in hand, numbered by the shell; never used twice in one process.
    RequestId
}
id! {
    /// One stream of heartbeats, numbered by the shell; never used twice in one process.
    SessionId
}
id! {
    /// A proposal in flight, numbered by the core.
    ProposalId
}
id! {
    /// A question to a broker's address, numbered by the core.
    ProbeId
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// This node won the election of `term`. The core decides nothing until it sees an [`Event::Applied`] of this
    /// very term (the blank entry that a new leader commits).
    BecameLeader { term: u64, elected: Elected },
    /// This node leads no longer, or cannot tell. Everything undecided is answered NOT_CONTROLLER, everything
    /// proposed is answered "unknown".
    LostLeadership,
    /// A committed entry, in log order, on every controller, leader or not. Blank and membership entries carry an
    /// empty batch. MUST be delivered before the [`Event::ProposalOutcome`] that speaks of it.
    Applied {
        index: u64,
        term: u64,
        batch: MetadataBatch,
    },
    /// A snapshot from the leader has replaced the state of this node.
    SnapshotInstalled { image: Image },
    /// The end of an [`Effect::Propose`](super::Effect::Propose).
    ProposalOutcome { proposal: ProposalId, outcome: Outcome },
    /// A request of a broker, or of this node itself (`from` is for the log only).
    Request {
        id: RequestId,
        from: NodeId,
        request: Request,
    },
    /// Whoever waited for the reply is gone. No reply will be given; what was decided stays decided.
    RequestAbandoned { id: RequestId },
    /// A broker's session stream has stated who it is.
    SessionOpened { session: SessionId, hello: Hello },
    /// A sign of life on an open session.
    SessionHeartbeat { session: SessionId, heartbeat: Heartbeat },
    /// A session's stream is over. Also sent for sessions that the core ended; those are ignored.
    SessionClosed { session: SessionId, how: Closed },
    /// The end of an [`Effect::Probe`](super::Effect::Probe).
    ProbeAnswered { probe: ProbeId, answer: ProbeAnswer },
    /// Another node thinks that this broker died: a follower whose stream from it ended, or a watcher.
    FollowerHint { broker: NodeId, broker_epoch: BrokerEpoch },
    /// Time passes. Sent every [`Settings::tick_interval`](super::Settings::tick_interval) on every controller.
    Tick,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Committed and applied here as entry `index`.
    Applied { index: u64 },
    /// Certainly not in the log and never will be: it was refused before it was appended.
    Rejected,
    /// It may be applied later, or never: leadership was lost after the append, or the wait was given up.
    Unknown,
}

/// The first message of a session, checked for form by the shell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    pub cluster: ClusterId,
    pub broker: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub incarnation: Incarnation,
    pub applied_index: u64,
}

/// What a heartbeat says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The last entry that the broker has taken up.
    pub applied_index: u64,
    /// The broker has stored its epoch, flushed, and its image contains its own registration.
    pub ready: bool,
}

/// How a session's stream ended, as seen by the controller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The broker said goodbye: its logs are closed.
    Goodbye,
    /// End of file or reset from the broker's side without a goodbye: its process is suspected to be dead.
    EndOfFile,
    /// A stream error or a keep-alive time-out: proves nothing.
    StreamError,
}

/// What came of dialling a broker's address every 20 ms for at most 150 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeAnswer {
    /// The connection was refused.
    Refused,
    /// `Identify` was answered. Another cluster or node id counts as another incarnation: the shell then passes
    /// [`Incarnation::ZERO`].
    Identified { incarnation: Incarnation },
    /// 150 ms passed without either; a connection that opens and breaks before the answer is no answer.
    NoAnswer,
}
