//! One replica of one partition: keeps its role in step with the metadata and hands each event to whom it concerns.
//!
//! ```text
//!   role      becomes            when
//!   None      Leader             the image names this broker, in an epoch not spent, and the log is settled
//!   None      Follower           the image names another leader, and the log is settled
//!   Leader    None               the leader epoch or the leader changed, a newer epoch was heard of, damage
//!   Follower  None               the leader epoch or the leader changed, damage
//!   any       Stopped            the disk failed
//! ```
//!
//! A role never changes into another one directly: through `None` everything of the old one has ended before
//! anything of the new one begins, and appends and cuts still under way are waited for.

mod roles;
mod subscribing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{BrokerEpoch, ErrorCode, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset};

use crate::context::Context;
use crate::effect::{Effect, Lane, Role};
use crate::event::{Event, Now, Produce, PushFailure, Subscribe};
use crate::fetches::ParkedFetches;
use crate::follower::Follower;
use crate::leader::{Leader, StepDown, refusal};
use crate::log_state::{Cut, FlushNeed, LogState};
use crate::promises::Promises;
use crate::refused::RefusedBatches;
use crate::view::{Durability, Limits, OpenedLog, PartitionView};

/// How late a tick may come before the replica distrusts its own clock.
const CLOCK_LATE_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) enum RoleState {
    None,
    Leader(Box<Leader>),
    Follower(Box<Follower>),
    Stopped,
}

/// One replica of one partition.
#[derive(Debug)]
pub struct Replica {
    me: NodeId,
    limits: Limits,
    /// This process's registration; nothing is led or followed before an image shows it.
    broker_epoch: BrokerEpoch,
    view: Option<PartitionView>,
    pub(crate) log: LogState,
    pub(crate) role: RoleState,
    /// The newest leader epoch heard of from anyone.
    newest_epoch: LeaderEpoch,
    /// The last epoch that this replica led; it is never taken up again.
    led_epoch: LeaderEpoch,
    /// The disk failed: the role can only be `Stopped`.
    disk_failed: bool,
    /// The log is damaged from here on and is to be refetched.
    damaged_from: Option<Offset>,
    /// The controller knows of the damage.
    damage_reported: bool,
    report_at: Option<Moment>,
    parked_subscriptions: Vec<Subscribe>,
    fetches: ParkedFetches,
    refused: RefusedBatches,
    attempts: u64,
    subscriptions: u64,
    promises: Promises,
}

/// Borrows from a replica what its role may touch.
macro_rules! context {
    ($replica:ident, $now:expr, $effects:expr) => {
        Context {
            now: $now,
            me: $replica.me,
            broker_epoch: $replica.broker_epoch,
            limits: &$replica.limits,
            log: &mut $replica.log,
            refused: &mut $replica.refused,
            attempts: &mut $replica.attempts,
            subscriptions: &mut $replica.subscriptions,
            effects: $effects,
        }
    };
}
use context;

impl Replica {
    /// A replica with the log that recovery left. It has no role before the first image.
    pub fn open(me: NodeId, broker_epoch: BrokerEpoch, limits: Limits, opened: OpenedLog) -> Replica {
        let damaged_from = opened.damaged_from;
        let mut log = LogState::new(opened, limits.producer_ids_max);
        if broker_epoch != BrokerEpoch::NONE {
            log.mark_told();
        }
        Replica {
            me,
            limits,
            broker_epoch,
            view: None,
            damaged_from,
            log,
            role: RoleState::None,
            newest_epoch: LeaderEpoch::NONE,
            led_epoch: LeaderEpoch::NONE,
            disk_failed: false,
            damage_reported: false,
            report_at: None,
            parked_subscriptions: Vec::new(),
            fetches: ParkedFetches::default(),
            refused: RefusedBatches::default(),
            attempts: 0,
            subscriptions: 0,
            promises: Promises::default(),
        }
    }

    /// Takes in one event. What is to be done is appended to `effects`.
    pub fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let before = self.role();
        self.take(now, event, effects);
        self.settle(now, effects);
        let role = self.role();
        if let Role::Leader { leader_epoch } = role {
            self.promises.leads(leader_epoch, self.log.high_watermark);
        }
        if role != before {
            effects.push(Effect::RoleChanged { role });
        }
    }

    fn take(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::MetadataChanged(view) => self.metadata_changed(now, *view, effects),
            Event::Registered { broker_epoch } => {
                self.broker_epoch = self.broker_epoch.max(broker_epoch);
                self.log.mark_told();
            }
            Event::Tick => self.tick(now, effects),
            Event::Produce(produce) => self.produce(now, *produce, effects),
            Event::ParkFetch {
                request,
                beyond,
                isolation,
            } => {
                let bound = self.fetch_bound(isolation);
                if beyond < bound || self.fetches.len() >= self.limits.parked_fetches_max || !self.serves_reads() {
                    effects.push(Effect::WakeFetch { request });
                } else {
                    self.fetches.park(request, beyond);
                }
            }
            Event::CancelFetch { request } => self.fetches.cancel(request),
            Event::AppendWritten { .. }
            | Event::AppendFailed { .. }
            | Event::FlushedTo { .. }
            | Event::FlushFailed { .. }
            | Event::FlushDue
            | Event::UnflushedMarkSet
            | Event::UnflushedMarkRemoved
            | Event::Truncated { .. }
            | Event::LogStartAdvanced { .. }
            | Event::DiskFailed
            | Event::DamageFound { .. } => self.log_event(now, event, effects),
            Event::DamageReported => self.damage_reported = true,
            Event::NewerLeaderEpoch { leader_epoch } => self.heard_of(leader_epoch),
            Event::Subscribe(subscribe) => self.subscribe(now, subscribe, effects),
            Event::SubscribeAnswered { .. }
            | Event::ReplicaBatches(_)
            | Event::CreditPaced { .. }
            | Event::StreamLost { .. } => {
                self.follower_event(now, event, effects);
            }
            Event::Unsubscribe { .. }
            | Event::FollowerStreamEnded { .. }
            | Event::Acknowledged(_)
            | Event::Pushed { .. }
            | Event::PushFailed { .. }
            | Event::AlterPartitionAnswered { .. } => self.leader_event(now, event, effects),
        }
    }

    fn metadata_changed(&mut self, now: Now, view: PartitionView, effects: &mut Vec<Effect>) {
        if let Some(known) = &self.view
            && (view.leader_epoch < known.leader_epoch || view.partition_epoch < known.partition_epoch)
        {
            return;
        }
        self.promises.elected(view.leader_epoch, view.leader);
        self.heard_of(view.leader_epoch);
        if let RoleState::Leader(leader) = &mut self.role
            && view.leader == Some(self.me)
            && view.leader_epoch == leader.epoch
        {
            leader.view_changed(&mut context!(self, now, effects), view.clone());
        }
        self.view = Some(view);
        self.end_stale_role(now, effects);
    }

    fn log_event(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::AppendWritten { append } => {
                let Some(done) = self.log.append_written(append) else {
                    return;
                };
                match &mut self.role {
                    RoleState::Leader(leader) => leader.append_written(&context!(self, now, effects)),
                    RoleState::Follower(follower) => follower.append_written(&done),
                    RoleState::None | RoleState::Stopped => {}
                }
            }
            Event::FlushedTo { flush, offset } => self.log.flushed_to(flush, offset),
            Event::FlushDue => self.log.want_flush(),
            Event::UnflushedMarkSet => self.log.mark_set(),
            Event::UnflushedMarkRemoved => self.log.mark_removed(),
            Event::Truncated {
                log_start,
                log_end,
                producers,
            } => {
                if let Some(cut) = self.log.truncated(log_start, log_end, *producers) {
                    // Only a cut at or below the damage removes it.
                    let remains = |&from: &Offset| matches!(cut, Cut::To(_)) && log_end > from;
                    self.damaged_from = self.damaged_from.filter(remains);
                    if let RoleState::Follower(follower) = &mut self.role {
                        follower.truncated(&mut context!(self, now, effects));
                    }
                }
            }
            Event::LogStartAdvanced { log_start } => self.log.log_start_advanced(log_start),
            Event::DamageFound { from } => self.damaged(now, from, effects),
            Event::FlushFailed { flush } if !self.log.is_flushing(flush) => {}
            Event::AppendFailed { .. } if is_planted(Bug::LeadOnAfterFailedAppend) => self.log.give_offsets_again(),
            _ => self.stop(now, effects),
        }
    }

    fn follower_event(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let RoleState::Follower(follower) = &mut self.role else {
            return;
        };
        let mut ctx = context!(self, now, effects);
        match event {
            Event::SubscribeAnswered {
                leader,
                subscription,
                leader_epoch,
                answer,
            } => follower.on_answer(&mut ctx, (leader, subscription, leader_epoch), answer),
            Event::ReplicaBatches(message) => follower.on_batches(&mut ctx, message),
            Event::CreditPaced { subscription, bytes } => follower.credit_paced(subscription, bytes),
            Event::StreamLost { leader, subscription } => follower.on_stream_lost(&ctx, leader, subscription),
            _ => {}
        }
    }

    fn leader_event(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        if let Event::Unsubscribe { leader_epoch, .. } = event {
            self.heard_of(leader_epoch);
        }
        if let Event::Unsubscribe {
            follower, subscription, ..
        }
        | Event::FollowerStreamEnded {
            follower, subscription, ..
        } = event
        {
            self.parked_subscriptions
                .retain(|parked| (parked.follower, parked.subscription) != (follower, subscription));
        }
        let RoleState::Leader(leader) = &mut self.role else {
            return;
        };
        let mut ctx = context!(self, now, effects);
        let mut damage = None;
        match event {
            Event::Unsubscribe {
                follower, subscription, ..
            } => {
                leader.on_subscription_ended(&ctx, follower, None, subscription);
            }
            Event::FollowerStreamEnded {
                follower,
                broker_epoch,
                subscription,
            } => leader.on_subscription_ended(&ctx, follower, Some(broker_epoch), subscription),
            Event::Acknowledged(acknowledge) => leader.on_acknowledged(&mut ctx, acknowledge),
            Event::Pushed {
                follower,
                subscription,
                next,
                bytes,
            } => leader.on_pushed(&mut ctx, (follower, subscription), next, bytes),
            Event::PushFailed {
                follower,
                subscription,
                failure,
            } => {
                damage = Some(failure);
                leader.on_push_failed(&mut ctx, follower, subscription, failure);
            }
            Event::AlterPartitionAnswered { attempt, outcome } => {
                let newer = match leader.on_alter_partition(&ctx, attempt, outcome) {
                    StepDown::Yes => leader.epoch.next(),
                    StepDown::No => leader.epoch,
                };
                self.heard_of(newer);
            }
            _ => {}
        }
        match damage {
            Some(PushFailure::Damaged { from }) => self.damaged(now, from, effects),
            Some(PushFailure::Disk) => self.stop(now, effects),
            _ => {}
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self.next_deadline();
        let clock_late = due.is_some_and(|due| now.moment.since(due) > CLOCK_LATE_MAX);
        if let RoleState::Leader(leader) = &mut self.role {
            let mut ctx = context!(self, now, effects);
            if clock_late {
                leader.restart_waits(&ctx);
            }
            leader.tick(&mut ctx);
        }
    }

    fn produce(&mut self, now: Now, produce: Produce, effects: &mut Vec<Effect>) {
        let RoleState::Leader(leader) = &mut self.role else {
            self.refused.note(produce.batch.header(), now.moment);
            let code = match self.role {
                RoleState::Stopped => ErrorCode::KafkaStorageError,
                _ => ErrorCode::NotLeaderOrFollower,
            };
            effects.push(Effect::CompleteProduce {
                request: produce.request,
                result: Err(refusal(code, LogStartOffset(-1))),
            });
            return;
        };
        leader.on_produce(&mut context!(self, now, effects), produce);
    }

    fn heard_of(&mut self, leader_epoch: LeaderEpoch) {
        self.newest_epoch = self.newest_epoch.max(leader_epoch);
    }

    /// Restores what must hold after every step.
    fn settle(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.end_stale_role(now, effects);
        self.begin_role(now, effects);
        self.answer_parked(now, effects);
        match &mut self.role {
            RoleState::Leader(leader) => {
                let mut ctx = context!(self, now, effects);
                leader.settle(&mut ctx);
                leader.expire_waiting(&mut ctx);
            }
            RoleState::Follower(follower) => follower.settle(&mut context!(self, now, effects)),
            RoleState::None | RoleState::Stopped => self.settle_without_role(now, effects),
        }
        self.fetches.wake_below(self.log.high_watermark.into(), effects);
        if !self.disk_failed {
            let (need, lane) = (self.flush_need(), self.flush_lane());
            self.log.give_work(need, lane, effects);
            if let Some(view) = &self.view {
                self.log.give_mark_work(view.settings.durability, effects);
            }
        }
    }

    fn flush_need(&self) -> FlushNeed {
        if let RoleState::Follower(follower) = &self.role
            && follower.needs_flush(&self.limits)
        {
            return FlushNeed::Always;
        }
        let configured = self.view.as_ref().map(|view| view.settings.durability);
        match configured.map(|durability| self.log.effective(durability)) {
            Some(Durability::Fsync) => FlushNeed::Always,
            Some(Durability::Replicated) | None => FlushNeed::WhenDue,
        }
    }

    fn flush_lane(&self) -> Lane {
        match &self.role {
            RoleState::Follower(follower) => follower.flush_lane(&self.log, &self.limits),
            RoleState::Leader(_) | RoleState::None | RoleState::Stopped => Lane::InSync,
        }
    }

    pub(crate) fn serves_reads(&self) -> bool {
        matches!(self.role, RoleState::Leader(_) | RoleState::Follower(_))
    }

    pub(crate) fn own_broker_epoch(&self) -> BrokerEpoch {
        self.broker_epoch
    }

    pub(crate) fn view(&self) -> Option<&PartitionView> {
        self.view.as_ref()
    }

    /// When [`Event::Tick`] is due. `None`: not before something else happens. Asked after every step.
    pub fn next_deadline(&self) -> Option<Moment> {
        match &self.role {
            RoleState::Leader(leader) => leader.next_deadline(&self.log),
            RoleState::Follower(follower) => follower.next_deadline(),
            RoleState::None | RoleState::Stopped => self.report_at,
        }
    }

    /// Every ordering that must hold between steps.
    ///
    /// # Errors
    /// The first one that does not, with the state it was found in.
    pub fn validate(&self) -> Result<(), String> {
        self.log.validate()?;
        match &self.role {
            RoleState::Leader(leader) => leader.validate(self.me, &self.log),
            RoleState::Follower(follower) => follower.validate(&self.log),
            RoleState::None | RoleState::Stopped => Ok(()),
        }
    }
}
