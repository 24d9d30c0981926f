//! Carrying out what the core wants done, one effect at a time, without waiting for any of it.

use std::time::Duration;

use klamm_metadata::core::{Effect, ProbeId, ProbeTarget, SessionId};
use klamm_proto::controller::v1::SessionMessage;
use klamm_schema::requests::{ControllerReply, SessionReply};
use klamm_types::{ErrorCode, NodeId};
use openraft::ReadPolicy;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::{Input, Shell};
use crate::network::probe::{Expected, probe};

/// How long the quorum may take to confirm a read.
const READ_TIMEOUT: Duration = Duration::from_secs(1);

impl Shell {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Propose { proposal, term, batch } => self.propose(proposal, term, batch).await,
            Effect::Reply { id, reply } => {
                self.untrace(id);
                if let Some(waiting) = self.requests.remove(&id) {
                    self.reply(waiting, reply);
                }
            }
            Effect::Probe { probe, target } => self.probe(probe, target),
            Effect::SessionReply {
                session,
                fenced,
                committed_index,
            } => {
                self.session_reply(session, fenced, committed_index);
            }
            Effect::EndSession { session, error, text } => {
                if let Some(out) = self.sessions.remove(&session) {
                    end_session(&out, self.node.node_id(), error, text);
                }
            }
        }
    }

    /// A reply that was decided on the image alone is a read: whether this node still leads is asked of the quorum
    /// first. A lease would not do, because survivors elect within the lease of a dead leader.
    fn reply(&self, waiting: oneshot::Sender<ControllerReply>, reply: ControllerReply) {
        if self.committing || reply.reply.is_none() {
            // The caller is gone if this fails.
            drop(waiting.send(reply));
            return;
        }
        let raft = self.running.raft.clone();
        tokio::spawn(async move {
            #[cfg(test)]
            if crate::simulated::is_planted(crate::simulated::Planted::ReadWithoutQuorum) {
                return drop(waiting.send(reply));
            }
            let read = timeout(READ_TIMEOUT, raft.ensure_linearizable(ReadPolicy::ReadIndex)).await;
            let reply = match read {
                Ok(Ok(_)) => reply,
                // What was decided may have been an entry of its own.
                Ok(Err(_)) | Err(_) => ControllerReply {
                    error_code: i32::from(ErrorCode::RequestTimedOut.code()),
                    error_message: "the quorum did not confirm that this node is the controller; ask again".into(),
                    ..ControllerReply::default()
                },
            };
            // The caller is gone if this fails.
            drop(waiting.send(reply));
        });
    }

    fn probe(&self, id: ProbeId, target: ProbeTarget) {
        let inputs = self.node.inputs.clone();
        let expected = Expected {
            cluster: Some(self.running.cluster_id),
            node: target.broker,
        };
        tokio::spawn(async move {
            let answer = probe(&target.address, expected).await;
            tracing::info!(broker = %target.broker, ?answer, "probed a suspected broker");
            // Nobody listens when the node stops.
            drop(inputs.send(Input::ProbeAnswered { probe: id, answer }).await);
        });
    }

    /// A broker that does not read its replies misses some; the next one says all again.
    fn session_reply(&self, session: SessionId, fenced: bool, committed_index: u64) {
        let Some(out) = self.sessions.get(&session) else { return };
        let reply = SessionReply {
            fenced,
            committed_index,
            ..SessionReply::default()
        };
        let message = SessionMessage {
            controller: self.node.node_id().0,
            controller_address: String::new(),
            reply: Some(reply),
        };
        drop(out.try_send(message));
    }
}

/// The last message of a session; the stream ends when its sender is dropped.
pub fn end_session(out: &mpsc::Sender<SessionMessage>, controller: NodeId, error: ErrorCode, text: &str) {
    let reply = SessionReply {
        error_code: i32::from(error.code()),
        error_message: text.to_owned(),
        ..SessionReply::default()
    };
    // A stream that is clogged or gone ends without a word.
    drop(out.try_send(SessionMessage {
        controller: controller.0,
        controller_address: String::new(),
        reply: Some(reply),
    }));
}
