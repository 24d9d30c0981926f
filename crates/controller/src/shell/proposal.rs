//! Carrying out a proposal: into Raft, only for the term it was decided in, and its end back to the core.

use std::time::Duration;

use klamm_metadata::core::{Outcome, ProposalId};
use klamm_schema::metadata::MetadataBatch;
use klamm_trace::{Kind, Span};
use openraft::errors::ClientWriteError;
use openraft::impls::ProgressResponder;
use prost::Message;

use super::{Input, Shell};
use crate::raft::machine::leader_term;
use crate::raft::types::{Command, Types};
use crate::spans;
use crate::store::codec::ENTRY_BYTES_MAX;

/// After so long the outcome is called unknown.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Room for what surrounds the records in an entry.
const ENTRY_OVERHEAD_BYTES: usize = 256;

impl Shell {
    pub(super) async fn propose(&mut self, proposal: ProposalId, term: u64, batch: MetadataBatch) {
        let records = batch.encode_to_vec();
        let fits = records.len() + ENTRY_OVERHEAD_BYTES <= ENTRY_BYTES_MAX;
        if !fits {
            tracing::error!(
                bytes = records.len(),
                "a proposal is larger than an entry may be; it is refused"
            );
        }
        let leader = self
            .leadership
            .acting()
            .filter(|leader| fits && leader_term(leader) == term);
        let Some(leader) = leader else {
            return self.proposal_ended(proposal, Outcome::Rejected);
        };
        let mut span = self.span(term, &batch);
        let (responder, committed, ended) = ProgressResponder::new();
        drop(committed);
        let write = self
            .running
            .raft
            .write(Command::Records(records.into()))
            .with_leader(leader);
        // Awaited here, so that proposals reach the log in their order.
        if write.responder(responder).await.is_err() {
            return self.proposal_ended(proposal, Outcome::Unknown);
        }
        let (inputs, mut acting) = (self.node.inputs.clone(), self.node.acting.subscribe());
        tokio::spawn(async move {
            let outcome = tokio::select! {
                ended = tokio::time::timeout(PROPOSAL_TIMEOUT, ended) => match ended {
                    Ok(Ok(Ok(written))) => Outcome::Applied { index: written.log_id.index },
                    // Raft refuses before it appends.
                    Ok(Ok(Err(ClientWriteError::<Types>::ForwardToLeader(_)))) => Outcome::Rejected,
                    _ => Outcome::Unknown,
                },
                // An entry of a lost leadership may be answered much later.
                _ = acting.wait_for(|acting| *acting != Some(leader)) => Outcome::Unknown,
            };
            if let Some(span) = &mut span {
                match outcome {
                    Outcome::Applied { index } => {
                        span.set("klamm.index", i64::try_from(index).unwrap_or(i64::MAX));
                    }
                    Outcome::Rejected => span.fail("rejected"),
                    Outcome::Unknown => span.fail("the outcome is not known"),
                }
            }
            drop(span);
            // Nobody listens when the node stops.
            drop(inputs.send(Input::ProposalOutcome { proposal, outcome }).await);
        });
    }

    /// From here to the end of a proposal. One that no sampled request waits for is a trace of its own: what a
    /// controller decides by itself is rare, and worth knowing.
    fn span(&mut self, term: u64, batch: &MetadataBatch) -> Option<Span> {
        let tracer = &self.node.config.tracer;
        let mut span = match self.traced.take() {
            Some((_, context)) => tracer.continued(context, "propose", Kind::Internal),
            None => tracer.rare("propose"),
        }?;
        span.set("klamm.term", i64::try_from(term).unwrap_or(i64::MAX));
        spans::describe(&mut span, batch);
        Some(span)
    }

    /// Through the queue, because a step is under way.
    fn proposal_ended(&self, proposal: ProposalId, outcome: Outcome) {
        let inputs = self.node.inputs.clone();
        tokio::spawn(async move {
            // Nobody listens when the node stops.
            drop(inputs.send(Input::ProposalOutcome { proposal, outcome }).await);
        });
    }
}
