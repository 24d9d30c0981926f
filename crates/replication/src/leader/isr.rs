//! The in-sync replicas: who counts, who is proposed, who is late.
//!
//! A proposal counts at once, but only to make the set larger: until the metadata stream settles it, the high
//! watermark waits for the committed ISR *and* everybody ever proposed on top of it (KIP-497). Answers to requests
//! never settle what may still be applied.

use std::collections::BTreeSet;

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{BrokerEpoch, Moment, NodeId, Offset};

use super::Leader;
use crate::context::Context;
use crate::effect::{AlterPartition, Effect, ReplaceReason};
use crate::event::{AlterAttempt, AlterOutcome};
use crate::log_state::LogState;
use crate::view::{BrokerState, Durability};

/// How many retry intervals more a leader waits after a request that changed nothing.
const NO_CHANGE_BACKOFF: u32 = 20;

/// ISR changes that have been asked for on top of the committed partition epoch.
#[derive(Debug, Default)]
pub(crate) struct Proposal {
    /// All members of all attempts.
    pub counted: BTreeSet<NodeId>,
    /// The attempt that has not been answered.
    outstanding: Option<AlterAttempt>,
    /// An attempt may have been applied although nobody said so. From then on only the metadata stream settles it.
    uncertain: bool,
    /// The metadata stream will bring a newer partition epoch; nothing is asked until it does.
    decided: bool,
    retry_at: Option<Moment>,
}

impl Leader {
    /// The committed ISR and everybody proposed.
    fn counted(&self) -> impl Iterator<Item = NodeId> + '_ {
        let away = is_planted(Bug::CountProposedAway) && self.proposal.is_some();
        let committed = self.view.isr.iter().filter(move |_| !away);
        let proposed = self.proposal.iter().flat_map(|proposal| proposal.counted.iter());
        committed.chain(proposed).copied()
    }

    /// What the high watermark may rise to. `None`: it stands still.
    pub(super) fn committed_offset(&self, ctx: &Context<'_>) -> Option<Offset> {
        let too_few = self.view.isr.len() < self.view.min_insync_effective();
        if too_few && !is_planted(Bug::CommitBelowMinimum) {
            return None;
        }
        let durability = self.view.settings.durability;
        let mut least = ctx.log.counted(durability);
        for node in self.counted() {
            if node != ctx.me {
                least = least.min(self.peers.get(&node)?.level(durability)?);
            }
        }
        Some(least)
    }

    /// Asks for the ISR that the leader wants, if it differs from the committed one and nothing is under way.
    pub(super) fn propose(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.moment;
        if let Some(proposal) = &self.proposal {
            let waits = proposal.retry_at.is_some_and(|at| at > now);
            if proposal.outstanding.is_some() || proposal.decided || waits {
                return;
            }
        } else if self.propose_after.is_some_and(|at| at > now) {
            return;
        }
        self.propose_after = None;
        let wanted = self.wanted_isr(ctx);
        let uncertain = self.proposal.as_ref().is_some_and(|proposal| proposal.uncertain);
        // After an uncertain attempt even the committed ISR is asked for again: whichever attempt the controller
        // applies, the others then rest on a stale partition epoch.
        if wanted == self.view.isr && !uncertain {
            self.proposal = None;
            return;
        }
        *ctx.attempts += 1;
        let attempt = AlterAttempt(*ctx.attempts);
        let proposal = self.proposal.get_or_insert_default();
        proposal.counted.extend(wanted.iter().copied());
        proposal.outstanding = Some(attempt);
        proposal.retry_at = None;
        let lost_data = self.peers.iter().filter(|(_, peer)| peer.lost_data);
        let lost_data = lost_data.map(|(&node, _)| node).collect();
        let isr = wanted.into_iter().map(|node| (node, self.broker_epoch(ctx, node)));
        ctx.effects.push(Effect::AlterPartition(AlterPartition {
            attempt,
            leader_epoch: self.epoch,
            partition_epoch: self.view.partition_epoch,
            isr: isr.collect(),
            lost_data,
        }));
    }

    pub(super) fn alter_partition_answered(
        &mut self,
        ctx: &Context<'_>,
        attempt: AlterAttempt,
        outcome: AlterOutcome,
    ) -> StepDown {
        let Some(proposal) = &mut self.proposal else {
            return StepDown::No;
        };
        if proposal.outstanding != Some(attempt) {
            return StepDown::No;
        }
        proposal.outstanding = None;
        let retry_at = ctx.now.moment + ctx.limits.alter_partition_retry;
        match outcome {
            AlterOutcome::Committed { partition_epoch } => {
                proposal.decided = partition_epoch > self.view.partition_epoch;
                if proposal.uncertain && !proposal.decided {
                    // An answer without a newer epoch settles nothing that is uncertain.
                    proposal.retry_at = Some(retry_at + ctx.limits.alter_partition_retry * NO_CHANGE_BACKOFF);
                } else if !proposal.decided {
                    self.proposal = None;
                    self.propose_after = Some(retry_at);
                }
            }
            AlterOutcome::StalePartitionEpoch => proposal.decided = true,
            AlterOutcome::Fenced => return StepDown::Yes,
            AlterOutcome::Unknown => {
                proposal.uncertain = true;
                proposal.retry_at = Some(retry_at);
            }
            AlterOutcome::Ineligible | AlterOutcome::Refused { .. } | AlterOutcome::NotDecided => {
                if proposal.uncertain {
                    proposal.retry_at = Some(retry_at);
                } else {
                    self.proposal = None;
                    self.propose_after = Some(retry_at);
                }
            }
        }
        StepDown::No
    }

    /// Finds out who is late, the leader included. Only called when the leader's own clock is trusted.
    pub(super) fn judge_lateness(&mut self, ctx: &mut Context<'_>) {
        let now = ctx.now.moment;
        let settings = self.view.settings;
        self.marks.prune(now, settings.lag_time_max);
        for &node in &self.view.isr {
            let Some(peer) = self.peers.get(&node) else {
                continue;
            };
            let silent = peer.subscription.is_none() && peer.silent_since + settings.lag_time_max <= now;
            if silent || !self.marks.reaches(peer.level(settings.durability)) {
                self.late.insert(node);
            } else {
                self.late.remove(&node);
            }
        }
        if self.own_late_at(ctx.log).is_some_and(|at| at <= now) {
            self.replace_asked = Some(now);
            ctx.effects.push(Effect::AskToBeReplaced {
                leader_epoch: self.epoch,
                reason: ReplaceReason::SlowDisk,
            });
        }
    }

    /// When the leader is to (again) ask to be replaced because of its own disk.
    fn own_late_at(&self, log: &LogState) -> Option<Moment> {
        let settings = self.view.settings;
        let unwritten = log
            .oldest_pending()
            .map(|pending| pending.since + settings.lag_time_max);
        let unflushed = match log.effective(settings.durability) {
            Durability::Fsync => self.marks.late_at(Some(log.flushed), settings.lag_time_max),
            Durability::Replicated => None,
        };
        let late_at = unwritten.into_iter().chain(unflushed).min()?;
        let again = self
            .replace_asked
            .map_or(Moment(0), |asked| asked + settings.lag_time_max);
        Some(late_at.max(again))
    }

    /// When something about the ISR must be looked at again.
    pub(super) fn isr_deadline(&self, log: &LogState) -> Option<Moment> {
        let settings = self.view.settings;
        let mut deadline = self.own_late_at(log);
        let mut consider = |moment: Option<Moment>| {
            deadline = [deadline, moment].into_iter().flatten().min();
        };
        match &self.proposal {
            Some(proposal) => consider(proposal.retry_at),
            None => consider(self.propose_after),
        }
        for (node, peer) in &self.peers {
            // Who is known to be late is dealt with by the proposal.
            if self.view.isr.contains(node) && !self.late.contains(node) {
                consider(
                    self.marks
                        .late_at(peer.level(settings.durability), settings.lag_time_max),
                );
                if peer.subscription.is_none() {
                    consider(Some(peer.silent_since + settings.lag_time_max));
                }
            }
        }
        deadline
    }

    fn wanted_isr(&self, ctx: &Context<'_>) -> BTreeSet<NodeId> {
        let stays = |node: &NodeId| {
            let lost_data = self.peers.get(node).is_some_and(|peer| peer.lost_data);
            *node == ctx.me || !(self.late.contains(node) || lost_data)
        };
        let staying = self.view.isr.iter().copied().filter(stays);
        let joining = self
            .view
            .replicas
            .iter()
            .copied()
            .filter(|&node| self.may_join(ctx, node));
        staying.chain(joining).collect()
    }

    /// A replica may join when it holds everything committed and has reached this leader's term.
    fn may_join(&self, ctx: &Context<'_>, node: NodeId) -> bool {
        if node == ctx.me || self.view.isr.contains(&node) {
            return false;
        }
        let Some(peer) = self.peers.get(&node) else {
            return false;
        };
        let (Some(subscription), Some(level)) = (&peer.subscription, peer.level(self.view.settings.durability)) else {
            return false;
        };
        let active = self
            .view
            .brokers
            .get(&node)
            .is_some_and(|broker| broker.state == BrokerState::Active && broker.epoch == subscription.broker_epoch);
        active && level >= ctx.log.high_watermark.into() && level >= self.epoch_start && self.marks.reaches(Some(level))
    }

    /// The registration under which the leader knows a member: for a subscriber the one its stream stated.
    fn broker_epoch(&self, ctx: &Context<'_>, node: NodeId) -> BrokerEpoch {
        if node == ctx.me {
            return ctx.broker_epoch;
        }
        let subscription = self.peers.get(&node).and_then(|peer| peer.subscription.as_ref());
        let stated = subscription.map(|subscription| subscription.broker_epoch);
        stated.or(self.view.broker_epoch(node)).unwrap_or(BrokerEpoch::NONE)
    }
}

/// Whether the leader has learnt that it leads no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StepDown {
    Yes,
    No,
}
