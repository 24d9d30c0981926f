//! Subscriptions before a leader sees them: those that are too old are refused, those that are too new are parked.

use klamm_types::ErrorCode;

use super::{Replica, RoleState, context};
use crate::context::Context;
use crate::effect::Effect;
use crate::event::{Now, Subscribe, SubscribeAnswer};
use crate::leader::{Subscribed, answer_subscribe};

impl Replica {
    pub(super) fn subscribe(&mut self, now: Now, subscribe: Subscribe, effects: &mut Vec<Effect>) {
        self.heard_of(subscribe.leader_epoch);
        self.end_stale_role(now, effects);
        if subscribe.leader_epoch < self.newest_epoch || self.disk_failed {
            let answer = SubscribeAnswer::Refused {
                error: match self.disk_failed {
                    true => ErrorCode::KafkaStorageError,
                    false => ErrorCode::FencedLeaderEpoch,
                },
                leader_epoch: self.newest_epoch,
            };
            answer_subscribe(&mut context!(self, now, effects), &subscribe, answer);
            return;
        }
        let known = self
            .view
            .as_ref()
            .filter(|view| view.leader_epoch == subscribe.leader_epoch);
        if known.is_some_and(|view| view.leader != Some(self.me)) {
            let answer = SubscribeAnswer::Refused {
                error: ErrorCode::NotLeaderOrFollower,
                leader_epoch: self.newest_epoch,
            };
            answer_subscribe(&mut context!(self, now, effects), &subscribe, answer);
            return;
        }
        if let RoleState::Leader(leader) = &mut self.role
            && leader.on_subscribe(&mut context!(self, now, effects), subscribe) == Subscribed::Answered
        {
            return;
        }
        self.park(now, subscribe, effects);
    }

    /// Keeps a subscription that is newer than what this broker knows; one per follower, and not too many.
    fn park(&mut self, now: Now, subscribe: Subscribe, effects: &mut Vec<Effect>) {
        let number = |subscribe: &Subscribe| (subscribe.broker_epoch, subscribe.subscription);
        if let Some(parked) = self
            .parked_subscriptions
            .iter_mut()
            .find(|parked| parked.follower == subscribe.follower)
        {
            if number(parked) < number(&subscribe) {
                *parked = subscribe;
            }
            return;
        }
        if self.parked_subscriptions.len() >= self.limits.parked_subscriptions_max {
            let answer = SubscribeAnswer::Refused {
                error: ErrorCode::ThrottlingQuotaExceeded,
                leader_epoch: self.newest_epoch,
            };
            answer_subscribe(&mut context!(self, now, effects), &subscribe, answer);
            return;
        }
        self.parked_subscriptions.push(subscribe);
    }

    /// Subscriptions that waited for this image or this role.
    pub(super) fn answer_parked(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.parked_subscriptions.is_empty() {
            return;
        }
        let newest_epoch = self.newest_epoch;
        let (stale, rest) = std::mem::take(&mut self.parked_subscriptions)
            .into_iter()
            .partition::<Vec<_>, _>(|parked| parked.leader_epoch < newest_epoch || self.disk_failed);
        self.parked_subscriptions = rest;
        for parked in stale {
            let answer = SubscribeAnswer::Refused {
                error: ErrorCode::FencedLeaderEpoch,
                leader_epoch: newest_epoch,
            };
            answer_subscribe(&mut context!(self, now, effects), &parked, answer);
        }
        if let RoleState::Leader(leader) = &mut self.role {
            let mut ctx = context!(self, now, effects);
            self.parked_subscriptions
                .retain(|parked| leader.on_subscribe(&mut ctx, *parked) == Subscribed::Park);
        }
    }
}
