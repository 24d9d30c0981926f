//! Carrying out what the core wants done, one effect at a time, without waiting for any of it.

use klamm_metadata::core::{Effect, ProbeId, ProbeTarget, SessionId};
use klamm_proto::controller::v1::SessionMessage;
use klamm_schema::requests::SessionReply;
use klamm_types::{ErrorCode, NodeId};
use tokio::sync::mpsc;

use super::{Input, Shell};
use crate::network::probe::{Expected, probe};

impl Shell {
    pub(super) async fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Propose { proposal, term, batch } => self.propose(proposal, term, batch).await,
            Effect::Reply { id, reply } => {
                if let Some(waiting) = self.requests.remove(&id) {
                    // The caller is gone if this fails.
                    drop(waiting.send(reply));
                }
            }
            Effect::Probe { probe, target } => self.probe(probe, target),
            Effect::SessionReply { session, fenced, committed_index } => {
                self.session_reply(session, fenced, committed_index);
            }
            Effect::EndSession { session, error, text } => {
                if let Some(out) = self.sessions.remove(&session) {
                    end_session(&out, self.node.node_id(), error, text);
                }
            }
        }
    }

    fn probe(&self, id: ProbeId, target: ProbeTarget) {
        let inputs = self.node.inputs.clone();
        let expected = Expected { cluster: Some(self.running.cluster_id), node: target.broker };
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
        let reply = SessionReply { fenced, committed_index, ..SessionReply::default() };
        let message = SessionMessage { controller: self.node.node_id().0, reply: Some(reply) };
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
    drop(out.try_send(SessionMessage { controller: controller.0, reply: Some(reply) }));
}
