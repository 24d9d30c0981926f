//! Whether this node acts as the controller: it leads in Raft, and a majority has answered it lately.
//!
//! openraft lets a leader that is cut off keep its state. Brokers on its side would hold it for the controller, so the
//! shell stops acting after a second without the quorum, and begins anew when the quorum is back.

use std::time::Duration;

use klamm_metadata::core::Event;
use klamm_metadata::decide::Elected;
use klamm_types::ErrorCode;
use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::timeout;

use super::{Input, Shell, ShellError, effects};
use crate::raft::machine::leader_term;
use crate::raft::types::LeaderId;

/// Without an answer of the quorum for so long, a leader stops acting as the controller.
const QUORUM_SILENCE_MAX: Duration = Duration::from_secs(1);
/// How long the entry that proves a leadership may take, before another is tried.
const PROOF_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub struct Leadership {
    /// As the core was told.
    acting: Option<LeaderId>,
    /// As which it has acted last. Raft begins a leadership with an entry, but does not when it goes on with one.
    last: Option<LeaderId>,
    /// Led, but cut off: waits for the quorum to answer.
    suspended: Option<Suspended>,
}

#[derive(Debug)]
struct Suspended {
    leader: LeaderId,
    /// A blank entry is on its way to prove the leadership.
    proving: bool,
}

impl Leadership {
    pub fn acting(&self) -> Option<LeaderId> {
        self.acting
    }
}

impl Shell {
    /// Compares what Raft says with what the core was told.
    pub(super) async fn look_at_leadership(&mut self) -> Result<(), ShellError> {
        let leads = self.running.leadership();
        if self
            .leadership
            .suspended
            .as_ref()
            .is_some_and(|suspended| Some(suspended.leader) == leads)
        {
            return Ok(());
        }
        self.leadership.suspended = None;
        if leads == self.leadership.acting {
            return Ok(());
        }
        if self.leadership.acting.is_some() {
            self.lose().await?;
        }
        match leads {
            Some(leader) => self.begin(leader).await,
            None => Ok(()),
        }
    }

    async fn begin(&mut self, leader: LeaderId) -> Result<(), ShellError> {
        tracing::info!(term = leader.term, "this node is the active controller");
        self.leadership.acting = Some(leader);
        // Services send requests and sessions here from now on; they wait in the queue behind this step.
        self.node.acting.send_replace(Some(leader));
        let elected = Elected {
            node: self.node.node_id(),
            term: leader.term,
            ended: self.node.seen_end().take(),
        };
        let term = leader_term(&leader);
        let mut span = self.node.config.tracer.rare("become the active controller");
        if let Some(span) = &mut span {
            span.set("klamm.term", i64::try_from(leader.term).unwrap_or(i64::MAX));
            if let Some(ended) = &elected.ended {
                span.set("klamm.former_controller", i64::from(ended.node.0));
                span.set("klamm.evidence", ended.evidence.clone());
            }
        }
        self.step(Event::BecameLeader { term, elected }).await?;
        if self.leadership.last.replace(leader) == Some(leader) {
            // The core waits for an entry of this term.
            let raft = self.running.raft.clone();
            tokio::spawn(async move { drop(raft.write_blank().await) });
        }
        Ok(())
    }

    async fn lose(&mut self) -> Result<(), ShellError> {
        tracing::info!("this node is the active controller no longer");
        self.leadership.acting = None;
        self.node.acting.send_replace(None);
        self.step(Event::LostLeadership).await?;
        for (_, out) in self.sessions.drain() {
            effects::end_session(
                &out,
                self.node.node_id(),
                ErrorCode::NotController,
                "not the controller any more",
            );
        }
        for (_, reply) in self.requests.drain() {
            // The caller is gone if this fails.
            drop(reply.send(super::not_controller()));
        }
        Ok(())
    }

    /// Stops acting when the quorum is silent; tries to act again when it answers.
    pub(super) async fn look_at_quorum(&mut self) -> Result<(), ShellError> {
        if self.leadership.acting.is_none() && self.leadership.suspended.is_none() {
            return Ok(());
        }
        let silent = self.quorum_is_silent();
        if let Some(leader) = self.leadership.acting
            && silent
        {
            tracing::info!("no majority of the quorum answers; this node stops acting as the controller");
            self.lose().await?;
            self.leadership.suspended = Some(Suspended { leader, proving: false });
            return Ok(());
        }
        if let Some(suspended) = &mut self.leadership.suspended
            && !suspended.proving
            && !silent
        {
            suspended.proving = true;
            let (raft, inputs, leader) = (self.running.raft.clone(), self.node.inputs.clone(), suspended.leader);
            tokio::spawn(async move {
                // Whatever was proposed before is settled when this is applied.
                let proof = timeout(PROOF_TIMEOUT, raft.write_blank()).await;
                let proven = matches!(proof, Ok(Ok(_)));
                drop(inputs.send(Input::Proof { leader, proven }).await);
            });
        }
        Ok(())
    }

    fn quorum_is_silent(&self) -> bool {
        let metrics = self.running.raft.metrics().borrow_watched().clone();
        // A quorum of one asks nobody, and openraft notes no answer then.
        if metrics.membership_config.voter_ids().eq([self.running.raft_id]) {
            return false;
        }
        // None: just elected, no heartbeat was due yet.
        metrics
            .last_quorum_acked
            .is_some_and(|at| at.elapsed() > QUORUM_SILENCE_MAX)
    }

    /// What became of the entry that was to prove a leadership.
    pub(super) async fn proof(&mut self, leader: LeaderId, proven: bool) -> Result<(), ShellError> {
        self.feed().await?;
        let suspended = self.leadership.suspended.as_mut();
        let Some(suspended) = suspended.filter(|suspended| suspended.leader == leader) else {
            return Ok(());
        };
        if !proven {
            // The next look tries again, if the leadership has not ended.
            suspended.proving = false;
            return Ok(());
        }
        self.leadership.suspended = None;
        self.look_at_leadership().await
    }
}
