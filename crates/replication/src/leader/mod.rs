//! A replica that leads: appends, counts, pushes, and answers.
//!
//! One value per leader epoch: it is made when the metadata names this broker and dropped when the epoch ends, even if
//! the same broker leads again. Each step changes something and then calls [`Leader::settle`], which restores what
//! must always hold: the high watermark is where the rules put it, whoever it satisfies is answered, every follower
//! has been given what its credit allows, and the wanted ISR has been asked for.

mod isr;
mod lag;
mod peer;
mod produce;
mod subscriptions;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};

use klamm_invariants::Held;
use klamm_types::{BrokerEpoch, ErrorCode, HighWatermark, LeaderEpoch, Moment, NodeId, Offset};

use crate::context::Context;
use crate::effect::{Effect, Role};
use crate::event::{
    Acknowledge, AlterAttempt, AlterOutcome, PushFailure, Subscribe, SubscribeAnswer, SubscriptionNumber,
};
use crate::log_state::LogState;
use crate::promises;
use crate::view::{Durability, PartitionView};
use isr::Proposal;
use lag::LagMarks;
use peer::Peer;
use subscriptions::refuse_subscription;
use waiting::{Bar, Waiting};

pub(crate) use isr::StepDown;
pub(crate) use produce::refusal;
pub(crate) use subscriptions::{Subscribed, answer_subscribe};

#[derive(Debug)]
pub(crate) struct Leader {
    pub epoch: LeaderEpoch,
    /// The log end when the epoch began: what lies below, former leaders wrote.
    pub epoch_start: Offset,
    /// The committed state, as the newest image shows it.
    view: PartitionView,
    proposal: Option<Proposal>,
    /// No proposal before this moment: the last one was refused.
    propose_after: Option<Moment>,
    /// Exactly the replicas other than this one.
    peers: BTreeMap<NodeId, Peer>,
    /// ISR members found late at the last judgement.
    late: BTreeSet<NodeId>,
    marks: LagMarks,
    waiting: Waiting,
    /// When this leader last asked to be replaced.
    replace_asked: Option<Moment>,
}

impl Leader {
    /// Takes up the leadership that `view` gives. The log must be settled.
    pub fn new(ctx: &mut Context<'_>, view: PartitionView) -> Leader {
        let now = ctx.now.moment;
        let epoch_start = ctx.log.accepted;
        ctx.log.epochs.assign(view.leader_epoch, epoch_start);
        let others = view.replicas.iter().filter(|&&node| node != ctx.me);
        let peers = others
            .map(|&node| (node, Peer::new(view.broker_epoch(node), now)))
            .collect();
        Leader {
            epoch: view.leader_epoch,
            epoch_start,
            view,
            proposal: None,
            propose_after: None,
            peers,
            late: BTreeSet::new(),
            marks: LagMarks::new(now, epoch_start),
            waiting: Waiting::default(),
            replace_asked: None,
        }
    }

    pub fn role(&self) -> Role {
        Role::Leader {
            leader_epoch: self.epoch,
        }
    }

    /// A newer image with the same leader and leader epoch.
    pub fn view_changed(&mut self, ctx: &mut Context<'_>, view: PartitionView) {
        let now = ctx.now.moment;
        if view.partition_epoch > self.view.partition_epoch {
            // Whatever was asked for on the older partition epoch is either in this image or can never be applied.
            self.proposal = None;
            self.propose_after = None;
        }
        self.peers.retain(|node, _| view.replicas.contains(node));
        let me = ctx.me;
        for &node in view.replicas.iter().filter(|&&node| node != me) {
            let registered = view.broker_epoch(node);
            let peer = self.peers.entry(node).or_insert_with(|| Peer::new(registered, now));
            if peer.broker_epoch != registered {
                // Another run of that broker: what the former one acknowledged may be lost with it.
                peer.broker_epoch = registered;
                peer.acked = None;
                if let Some(ended) = peer.end_subscription(now) {
                    refuse_subscription(ctx, (node, ended.number), self.epoch, ErrorCode::StaleBrokerEpoch);
                }
            }
            if !view.isr.contains(&node) {
                peer.lost_data = false;
            } else if !self.view.isr.contains(&node) && peer.subscription.is_none() {
                peer.silent_since = now;
            }
        }
        self.late.retain(|node| view.isr.contains(node));
        let before = std::mem::replace(&mut self.view, view).settings.durability;
        if before == Durability::Replicated && self.view.settings.durability == Durability::Fsync {
            // Everything that was never flushed is asked for only now: nobody is late with it yet.
            self.restart_waits(ctx);
        }
    }

    /// Ends the epoch: everybody who waits is answered before anything else can happen to the log.
    pub fn step_down(mut self, ctx: &mut Context<'_>, code: ErrorCode, newest_epoch: LeaderEpoch) {
        self.waiting.fail_all(code, ctx.effects);
        for (&node, peer) in &mut self.peers {
            if let Some(ended) = peer.end_subscription(ctx.now.moment) {
                ctx.effects.push(Effect::AnswerSubscribe {
                    follower: node,
                    subscription: ended.number,
                    leader_epoch: self.epoch,
                    answer: SubscribeAnswer::Refused {
                        error: ErrorCode::NotLeaderOrFollower,
                        leader_epoch: newest_epoch,
                    },
                });
            }
        }
    }

    pub fn append_written(&mut self, ctx: &Context<'_>) {
        self.marks
            .note(ctx.now.moment, ctx.log.written, self.view.settings.lag_time_max);
    }

    pub fn on_subscribe(&mut self, ctx: &mut Context<'_>, subscribe: Subscribe) -> Subscribed {
        self.subscribe(ctx, subscribe)
    }

    pub fn on_acknowledged(&mut self, ctx: &mut Context<'_>, acknowledge: Acknowledge) {
        self.acknowledged(ctx, acknowledge);
    }

    pub fn on_pushed(&mut self, ctx: &mut Context<'_>, named: (NodeId, SubscriptionNumber), next: Offset, bytes: u64) {
        self.pushed(ctx, named, next, bytes);
    }

    pub fn on_push_failed(
        &mut self,
        ctx: &mut Context<'_>,
        follower: NodeId,
        subscription: SubscriptionNumber,
        failure: PushFailure,
    ) {
        self.push_failed(ctx, follower, subscription, failure);
    }

    /// The follower's stream has ended, or the follower has turned away.
    pub fn on_subscription_ended(
        &mut self,
        ctx: &Context<'_>,
        follower: NodeId,
        broker_epoch: Option<BrokerEpoch>,
        subscription: SubscriptionNumber,
    ) {
        let Some(peer) = self.peers.get_mut(&follower) else {
            return;
        };
        let ended = peer.subscription.as_ref().is_some_and(|newest| {
            newest.number == subscription && broker_epoch.is_none_or(|epoch| epoch == newest.broker_epoch)
        });
        if ended {
            peer.end_subscription(ctx.now.moment);
        }
    }

    pub fn on_alter_partition(&mut self, ctx: &Context<'_>, attempt: AlterAttempt, outcome: AlterOutcome) -> StepDown {
        self.alter_partition_answered(ctx, attempt, outcome)
    }

    /// Time has passed, and the clock can be trusted.
    pub fn tick(&mut self, ctx: &mut Context<'_>) {
        self.waiting.expire(ctx.now.moment, ctx.effects);
        self.judge_lateness(ctx);
    }

    /// This broker's own clock was late (the process was stopped, the machine asleep): nobody may be judged by it.
    pub fn restart_waits(&mut self, ctx: &Context<'_>) {
        let now = ctx.now.moment;
        self.marks = LagMarks::new(now, ctx.log.written);
        self.late.clear();
        for peer in self.peers.values_mut() {
            peer.silent_since = now;
        }
    }

    /// Restores what must hold after every step.
    pub fn settle(&mut self, ctx: &mut Context<'_>) {
        if let Some(offset) = self.committed_offset(ctx) {
            let high_watermark = HighWatermark::from(offset);
            if ctx.log.raise_high_watermark(high_watermark) {
                let minimum = self.view.min_insync_effective();
                promises::raised(high_watermark, self.held(ctx), minimum);
            }
        }
        self.waiting.complete(Bar::Written, ctx.log.written, ctx.effects);
        let own = ctx.log.counted(self.view.settings.durability);
        self.waiting.complete(Bar::OwnLevel, own, ctx.effects);
        // NOT_ENOUGH_REPLICAS_AFTER_APPEND cannot come up here: the high watermark passes nobody's batch while the ISR is
        // below the minimum, so whoever waits then goes on waiting until their time is over.
        self.waiting
            .complete(Bar::HighWatermark, ctx.log.high_watermark.into(), ctx.effects);
        self.propose(ctx);
        self.feed_followers(ctx);
    }

    /// How far each replica is known to hold the log, by the topic's level.
    fn held(&self, ctx: &Context<'_>) -> impl Iterator<Item = Held> {
        let durability = self.view.settings.durability;
        let up_to = move |node: NodeId| match node == ctx.me {
            true => Some(ctx.log.counted(durability)),
            false => self.peers.get(&node)?.level(durability),
        };
        self.view.replicas.iter().map(move |&node| Held {
            node,
            is_in_sync: self.view.isr.contains(&node),
            up_to: up_to(node),
        })
    }

    pub fn next_deadline(&self, log: &LogState) -> Option<Moment> {
        self.waiting
            .next_deadline()
            .into_iter()
            .chain(self.isr_deadline(log))
            .min()
    }

    pub fn followers(&self) -> impl Iterator<Item = (NodeId, Option<Offset>)> {
        let peers = self.peers.iter();
        peers.map(|(node, peer)| (*node, peer.acked.map(|acked| acked.written)))
    }

    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    pub fn validate(&self, me: NodeId, log: &LogState) -> Result<(), String> {
        let mut orders = vec![
            ("epoch start <= written", self.epoch_start <= log.written),
            ("the leader is a replica", self.view.replicas.contains(&me)),
            (
                "the newest epoch of the log is the leader's",
                log.epochs.latest() == Some(self.epoch),
            ),
            (
                "the high watermark rests on written records",
                log.high_watermark.0 <= log.written.0,
            ),
            ("late replicas are in the ISR", self.late.is_subset(&self.view.isr)),
        ];
        for peer in self.peers.values() {
            if let Some(acked) = peer.acked {
                orders.push(("a follower's flushed <= written", acked.flushed <= acked.written));
                orders.push(("a follower's written <= the leader's", acked.written <= log.written));
            }
            if let Some(subscription) = &peer.subscription {
                orders.push(("arrived <= sent", subscription.arrived <= subscription.sent));
                orders.push(("sent <= written", subscription.sent <= log.written));
                orders.push((
                    "a subscription is of the known registration",
                    peer.broker_epoch == Some(subscription.broker_epoch),
                ));
            }
        }
        match orders.iter().find(|(_, holds)| !holds) {
            Some((order, _)) => Err(format!("leader: {order}: {self:?} {:?}", log)),
            None => Ok(()),
        }
    }
}
