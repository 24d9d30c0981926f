//! The leader's side of replication: compares logs, pushes within the credit, takes acknowledgements.

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{ErrorCode, LeaderEpoch, NodeId, Offset};

use super::Leader;
use super::peer::{Acked, Subscription};
use crate::context::Context;
use crate::effect::{Alarm, Effect, Lane};
use crate::event::{Acknowledge, PushFailure, Subscribe, SubscribeAnswer, SubscriptionNumber};
use crate::log_state::LogState;
use crate::producers::PRODUCERS_TOLD_MAX;

/// What became of a subscription that names this leader's epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribed {
    Answered,
    /// The follower's registration is newer than this broker's image: try again after the next one.
    Park,
}

impl Leader {
    pub(super) fn subscribe(&mut self, ctx: &mut Context<'_>, subscribe: Subscribe) -> Subscribed {
        let refuse = |error| SubscribeAnswer::Refused {
            error,
            leader_epoch: self.epoch,
        };
        let Some(peer) = self.peers.get_mut(&subscribe.follower) else {
            let answer = refuse(ErrorCode::ReplicaNotAvailable);
            answer_subscribe(ctx, &subscribe, answer);
            return Subscribed::Answered;
        };
        match self.view.brokers.get(&subscribe.follower) {
            Some(broker) if broker.epoch > subscribe.broker_epoch => {
                let answer = refuse(ErrorCode::StaleBrokerEpoch);
                answer_subscribe(ctx, &subscribe, answer);
                return Subscribed::Answered;
            }
            Some(broker) if broker.epoch == subscribe.broker_epoch => {}
            _ => return Subscribed::Park,
        }
        let number = (subscribe.broker_epoch, subscribe.subscription);
        if number <= peer.newest {
            return Subscribed::Answered;
        }
        peer.newest = number;
        peer.end_subscription(ctx.now.moment);
        let in_isr = self.view.isr.contains(&subscribe.follower);
        if in_isr && subscribe.next_offset < ctx.log.high_watermark.into() && !peer.lost_data {
            peer.lost_data = true;
            ctx.effects.push(Effect::Raise(Alarm::FollowerLostData {
                follower: subscribe.follower,
                next_offset: subscribe.next_offset,
                high_watermark: ctx.log.high_watermark,
            }));
        }
        if peer.acked.is_some_and(|acked| subscribe.next_offset < acked.written) {
            // It holds less than it acknowledged: none of that counts any more.
            peer.acked = None;
        }
        let answer = compare(ctx.log, self.epoch, &subscribe);
        if let SubscribeAnswer::Refused { .. } = answer {
            ctx.effects.push(Effect::Raise(Alarm::FollowerAheadOfMetadata {
                follower: subscribe.follower,
                last_epoch: subscribe.last_epoch,
            }));
        }
        if let SubscribeAnswer::Accepted {
            high_watermark,
            log_start,
        } = answer
        {
            let near_end = in_isr || subscribe.next_offset >= ctx.log.written;
            peer.subscription = Some(Subscription {
                number: subscribe.subscription,
                broker_epoch: subscribe.broker_epoch,
                sent: subscribe.next_offset,
                arrived: subscribe.next_offset,
                credit: i64::try_from(subscribe.credit_bytes).unwrap_or(i64::MAX),
                pushing: false,
                lane: if near_end { Lane::InSync } else { Lane::CatchUp },
                moving_to: None,
                told: (high_watermark, log_start),
            });
        }
        answer_subscribe(ctx, &subscribe, answer);
        Subscribed::Answered
    }

    pub(super) fn acknowledged(&mut self, ctx: &mut Context<'_>, acknowledge: Acknowledge) {
        let Some(peer) = self.peers.get_mut(&acknowledge.follower) else {
            return;
        };
        let Some(subscription) = &mut peer.subscription else {
            return;
        };
        let named = (acknowledge.broker_epoch, acknowledge.subscription);
        if acknowledge.leader_epoch != self.epoch || named != (subscription.broker_epoch, subscription.number) {
            return;
        }
        if acknowledge.written > subscription.sent || acknowledge.flushed > acknowledge.written {
            // It claims what it was never sent: nothing it says can be counted.
            let number = subscription.number;
            peer.acked = None;
            peer.end_subscription(ctx.now.moment);
            refuse_subscription(
                ctx,
                (acknowledge.follower, number),
                self.epoch,
                ErrorCode::InvalidRequest,
            );
            return;
        }
        subscription.arrived = subscription.arrived.max(acknowledge.written);
        let granted = i64::try_from(acknowledge.credit_bytes).unwrap_or(i64::MAX);
        subscription.credit = subscription.credit.saturating_add(granted);
        let before = peer.acked.unwrap_or(Acked {
            written: Offset(0),
            flushed: Offset(0),
        });
        peer.acked = Some(Acked {
            written: before.written.max(acknowledge.written),
            flushed: before.flushed.max(acknowledge.flushed),
        });
        if self.late.contains(&acknowledge.follower) && self.marks.reaches(peer.level(self.view.settings.durability)) {
            self.late.remove(&acknowledge.follower);
        }
    }

    pub(super) fn pushed(
        &mut self,
        ctx: &mut Context<'_>,
        (follower, number): (NodeId, SubscriptionNumber),
        next: Offset,
        bytes: u64,
    ) {
        let Some(subscription) = self.subscription(follower, number) else {
            return;
        };
        subscription.pushing = false;
        if next <= subscription.sent || next > ctx.log.written {
            // Nothing could be read where something was written. Asking again at once would ask for ever.
            self.push_failed(ctx, follower, number, PushFailure::OutOfRange);
            return;
        }
        subscription.sent = next;
        subscription.credit = subscription.credit.saturating_sub_unsigned(bytes);
    }

    pub(super) fn push_failed(
        &mut self,
        ctx: &mut Context<'_>,
        follower: NodeId,
        number: SubscriptionNumber,
        failure: PushFailure,
    ) {
        if self.subscription(follower, number).is_none() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&follower) {
            peer.end_subscription(ctx.now.moment);
        }
        let error = match failure {
            PushFailure::OutOfRange => ErrorCode::OffsetOutOfRange,
            PushFailure::Damaged { .. } | PushFailure::Disk => ErrorCode::KafkaStorageError,
            PushFailure::Stream => return,
        };
        refuse_subscription(ctx, (follower, number), self.epoch, error);
    }

    /// Gives every follower what it may have: the next batches, or at least the high watermark.
    pub(super) fn feed_followers(&mut self, ctx: &mut Context<'_>) {
        let news = (ctx.log.high_watermark, ctx.log.log_start);
        let mut out_of_range = Vec::new();
        for (&follower, peer) in &mut self.peers {
            let in_isr = self.view.isr.contains(&follower);
            let Some(subscription) = &mut peer.subscription else {
                continue;
            };
            if subscription.sent < ctx.log.log_start.into() {
                out_of_range.push((follower, subscription.number));
                peer.end_subscription(ctx.now.moment);
                continue;
            }
            change_lane(subscription, in_isr, ctx.log.written);
            let has_more = subscription.sent < ctx.log.written;
            let may_push = !subscription.pushing && subscription.moving_to.is_none() && subscription.credit > 0;
            if has_more && may_push {
                subscription.pushing = true;
                subscription.told = news;
                ctx.effects.push(Effect::Push {
                    follower,
                    subscription: subscription.number,
                    leader_epoch: self.epoch,
                    lane: subscription.lane,
                    from: subscription.sent,
                    up_to: ctx.log.written,
                    bytes_max: ctx.limits.push_bytes_max.min(subscription.credit.unsigned_abs()),
                    high_watermark: news.0,
                    log_start: news.1,
                });
            } else if subscription.told != news {
                subscription.told = news;
                ctx.effects.push(Effect::PushHighWatermark {
                    follower,
                    subscription: subscription.number,
                    leader_epoch: self.epoch,
                    lane: subscription.lane,
                    high_watermark: news.0,
                    log_start: news.1,
                });
            }
        }
        for named in out_of_range {
            refuse_subscription(ctx, named, self.epoch, ErrorCode::OffsetOutOfRange);
        }
    }

    fn subscription(&mut self, follower: NodeId, number: SubscriptionNumber) -> Option<&mut Subscription> {
        let subscription = self.peers.get_mut(&follower)?.subscription.as_mut()?;
        (subscription.number == number).then_some(subscription)
    }
}

/// A partition is on one lane at a time: it changes when the end is reached or lost, and only once everything sent on
/// the old lane has arrived.
fn change_lane(subscription: &mut Subscription, in_isr: bool, written: Offset) {
    let at_end = subscription.sent >= written;
    match subscription.lane {
        Lane::CatchUp if at_end || in_isr => subscription.moving_to = Some(Lane::InSync),
        Lane::InSync if !in_isr && !at_end && subscription.credit <= 0 => {
            subscription.moving_to = Some(Lane::CatchUp);
        }
        _ => {}
    }
    if let Some(lane) = subscription.moving_to
        && !subscription.pushing
        && subscription.arrived >= subscription.sent
    {
        subscription.lane = lane;
        subscription.moving_to = None;
    }
}

/// Whether the follower's log is a beginning of the leader's (KIP-101, KIP-279, KIP-320).
fn compare(log: &LogState, leader_epoch: LeaderEpoch, subscribe: &Subscribe) -> SubscribeAnswer {
    let next = subscribe.next_offset;
    let out_of_range = || SubscribeAnswer::OutOfRange {
        log_start: log.log_start,
        producers: log.producers.below(log.log_start.into(), PRODUCERS_TOLD_MAX),
    };
    if subscribe.last_epoch > leader_epoch {
        return SubscribeAnswer::Refused {
            error: ErrorCode::UnknownLeaderEpoch,
            leader_epoch,
        };
    }
    if next < log.log_start.into() {
        return out_of_range();
    }
    let accepted = SubscribeAnswer::Accepted {
        high_watermark: log.high_watermark,
        log_start: log.log_start,
    };
    if subscribe.last_epoch == LeaderEpoch::NONE {
        // An empty log cannot differ; it can only begin where the leader has nothing.
        return if next <= log.written { accepted } else { out_of_range() };
    }
    match log.epochs.end_of(subscribe.last_epoch, log.written) {
        // All that the leader has is newer: nothing of the follower's log can be compared, so nothing is kept.
        None => out_of_range(),
        Some(end) if end.epoch == subscribe.last_epoch && next <= end.end_offset => accepted,
        Some(_) if is_planted(Bug::SkipDivergenceCheck) && next <= log.written => accepted,
        Some(end) => SubscribeAnswer::Diverged {
            epoch: end.epoch,
            end_offset: end.end_offset,
        },
    }
}

pub(crate) fn answer_subscribe(ctx: &mut Context<'_>, subscribe: &Subscribe, answer: SubscribeAnswer) {
    ctx.effects.push(Effect::AnswerSubscribe {
        follower: subscribe.follower,
        subscription: subscribe.subscription,
        leader_epoch: subscribe.leader_epoch,
        answer,
    });
}

pub(super) fn refuse_subscription(
    ctx: &mut Context<'_>,
    (follower, subscription): (NodeId, SubscriptionNumber),
    leader_epoch: LeaderEpoch,
    error: ErrorCode,
) {
    ctx.effects.push(Effect::AnswerSubscribe {
        follower,
        subscription,
        leader_epoch,
        answer: SubscribeAnswer::Refused { error, leader_epoch },
    });
}
