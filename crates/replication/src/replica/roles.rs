//! How a replica comes to a role and how it loses one: by metadata, by damage, by a failed disk.

use std::time::Duration;

use klamm_types::planted::{Bug, is_planted};
use klamm_types::{ErrorCode, LeaderEpoch, Offset};

use super::{Replica, RoleState, context};
use crate::context::Context;
use crate::effect::{Alarm, Effect, ReplaceReason, Role};
use crate::event::Now;
use crate::follower::Follower;
use crate::leader::Leader;
use crate::log_state::Cut;
use crate::producers::PRODUCERS_TOLD_MAX;

/// Damage and failed disks are reported so often until an image shows that it was heard.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

impl Replica {
    /// Whether the image and everything heard allow a role, and which.
    pub(super) fn role_allowed(&self) -> Option<Role> {
        let view = self.view.as_ref()?;
        let registered = view.broker_epoch(self.me) == Some(self.broker_epoch) || is_planted(Bug::LeadUnregistered);
        let current = view.leader_epoch >= self.newest_epoch;
        if self.disk_failed || self.damaged_from.is_some() || !registered || !current {
            return None;
        }
        let leader = view.leader?;
        let leader_epoch = view.leader_epoch;
        if leader == self.me {
            return Some(Role::Leader { leader_epoch });
        }
        view.replicas
            .contains(&self.me)
            .then_some(Role::Follower { leader, leader_epoch })
    }

    /// Ends the role if it is not the one allowed. Nothing is put in its place yet.
    pub(super) fn end_stale_role(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let allowed = self.role_allowed();
        let same = match &self.role {
            RoleState::None | RoleState::Stopped => return,
            RoleState::Leader(leader) => allowed == Some(leader.role()),
            RoleState::Follower(follower) => allowed == Some(follower.role()),
        };
        if same {
            return;
        }
        let newest_epoch = self.newest_epoch;
        let code = match self.disk_failed {
            true => ErrorCode::KafkaStorageError,
            false => ErrorCode::NotLeaderOrFollower,
        };
        let role = std::mem::replace(&mut self.role, RoleState::None);
        let mut ctx = context!(self, now, effects);
        match role {
            RoleState::Leader(leader) => leader.step_down(&mut ctx, code, newest_epoch),
            RoleState::Follower(follower) => follower.step_down(&mut ctx, newest_epoch),
            RoleState::None | RoleState::Stopped => {}
        }
        self.fetches.wake_all(effects);
    }

    /// Takes up the role that is allowed, once the log end is certain.
    pub(super) fn begin_role(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if !matches!(self.role, RoleState::None) || !self.log.is_settled() {
            return;
        }
        let Some(allowed) = self.role_allowed() else {
            return;
        };
        match allowed {
            Role::Leader { leader_epoch } => {
                let spent = self.led_epoch >= leader_epoch || self.log.last_epoch() >= leader_epoch;
                if spent {
                    self.ask_to_be_replaced(now, leader_epoch, effects);
                    return;
                }
                self.led_epoch = leader_epoch;
                let Some(view) = self.view.clone() else {
                    return;
                };
                let leader = Leader::new(&mut context!(self, now, effects), view);
                self.role = RoleState::Leader(Box::new(leader));
            }
            Role::Follower { leader, leader_epoch } => {
                // An epoch that this replica led without writing anything did not happen: the offsets at which it
                // would have begun may still be written by an older one.
                self.log.epochs.truncate(self.log.accepted);
                let follower = Follower::new(&mut context!(self, now, effects), leader, leader_epoch);
                self.role = RoleState::Follower(Box::new(follower));
            }
            Role::None | Role::Stopped => {}
        }
    }

    pub(super) fn ask_to_be_replaced(&mut self, now: Now, leader_epoch: LeaderEpoch, effects: &mut Vec<Effect>) {
        if self.report_at.is_none_or(|at| at <= now.moment) {
            self.report_at = Some(now.moment + REPORT_INTERVAL);
            effects.push(Effect::AskToBeReplaced {
                leader_epoch,
                reason: ReplaceReason::EpochSpent,
            });
        }
    }

    pub(super) fn damaged(&mut self, now: Now, from: Offset, effects: &mut Vec<Effect>) {
        if self.damaged_from.is_none_or(|known| from < known) {
            self.damaged_from = Some(from);
            self.damage_reported = false;
            self.report_at = None;
            effects.push(Effect::Raise(Alarm::Damaged { from }));
        }
        self.end_stale_role(now, effects);
    }

    pub(super) fn stop(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.disk_failed {
            return;
        }
        self.disk_failed = true;
        effects.push(Effect::Raise(Alarm::DiskFailed));
        self.end_stale_role(now, effects);
        self.log.stop();
        self.role = RoleState::Stopped;
    }

    /// A damaged replica reports itself, and refetches once it counts for nothing any more.
    pub(super) fn settle_without_role(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(view) = self
            .view
            .as_ref()
            .filter(|_| self.disk_failed || self.damaged_from.is_some())
        else {
            return;
        };
        let registered = view.broker_epoch(self.me) == Some(self.broker_epoch);
        let counts = view.isr.contains(&self.me) || view.elr.contains(&self.me) || view.leader == Some(self.me);
        let heard = if self.disk_failed {
            !counts
        } else {
            !counts && self.damage_reported
        };
        if !registered || !heard {
            if self.report_at.is_none_or(|at| at <= now.moment) {
                self.report_at = Some(now.moment + REPORT_INTERVAL);
                effects.push(match self.damaged_from {
                    Some(from) if !self.disk_failed => Effect::ReportDamage { from },
                    _ => Effect::ReportDiskFailure,
                });
            }
            return;
        }
        self.report_at = None;
        if let Some(from) = self.damaged_from.filter(|_| !self.disk_failed && self.log.is_settled()) {
            let start = Offset::from(self.log.log_start);
            // Below the log start nothing can be cut away, and nothing is needed.
            if from > start {
                self.log.want_cut(Cut::To(from));
            } else {
                let producers = self.log.producers.below(start, PRODUCERS_TOLD_MAX);
                self.log.want_restart(start, producers);
            }
        }
    }
}
