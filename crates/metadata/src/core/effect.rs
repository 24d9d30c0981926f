//! What a controller wants done: one closed list, carried out by the shell in the order given.

use klamm_schema::metadata::MetadataBatch;
use klamm_schema::requests::ControllerReply;
use klamm_types::{BrokerEpoch, ErrorCode, Incarnation, NodeId};

use super::event::{ProbeId, ProposalId, RequestId, SessionId};

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Append this entry, only while the node leads in `term`. Ends in
    /// [`Event::ProposalOutcome`](super::Event::ProposalOutcome), always, also when leadership is lost.
    /// There is never more than one under way in a term. Proposals MUST reach the quorum's log in the order given.
    Propose {
        proposal: ProposalId,
        term: u64,
        batch: MetadataBatch,
    },
    /// Answer a request. Each [`Event::Request`](super::Event::Request) gets one reply, unless it was abandoned.
    Reply { id: RequestId, reply: ControllerReply },
    /// Dial the address and ask `Identify`, every 20 ms until refused or identified, for 150 ms at most. Ends in
    /// [`Event::ProbeAnswered`](super::Event::ProbeAnswered). Names are resolved at each dial.
    Probe { probe: ProbeId, target: ProbeTarget },
    /// Answer a heartbeat (or the opening) of a session.
    SessionReply {
        session: SessionId,
        fenced: bool,
        committed_index: u64,
    },
    /// Tell the broker why and close the stream. The session is forgotten; later events of it are ignored.
    EndSession {
        session: SessionId,
        error: ErrorCode,
        text: &'static str,
    },
}

/// Whom a probe asks, and whom it should meet there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    pub broker: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub incarnation: Incarnation,
    /// host:port of the broker's gRPC server.
    pub address: String,
}
