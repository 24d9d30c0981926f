//! Bad weather with a plan: faults that follow each other so that what was said in an old epoch meets a new one.
//!
//! Chance alone seldom brings about that a deposed leader's request lies about until another leads, is then taken, and
//! that the new leader dies before the damage is undone. Nothing here is more than what can happen to a real cluster,
//! and whoever is right survives it.

use klamm_metadata::config::Durability;
use klamm_replication::AlterPartition;

use crate::broker::{DiskState, End};
use crate::chance::Chance;
use crate::metadata::TOPIC;
use crate::plan::{Fault, MS, Time};
use crate::world::{CONTROLLER, Happening, World};

/// Whom an ambush is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plot {
    partition: usize,
    leader: usize,
    epoch: i32,
    follower: usize,
    /// Until then they do not hear each other.
    until: Time,
}

/// What happens next to those in an ambush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ambush {
    /// The leader whose requests are held up is taken for dead.
    Depose(Plot),
    /// A follower that its leader is about to take into the ISR dies before the request has arrived.
    Vanish(Plot),
    /// Whoever leads the partition by now dies.
    Strike(usize),
}

impl World {
    pub fn leader_index(&self, partition: usize) -> Option<usize> {
        let leader = self.controller.state(partition)?.leader;
        leader.and_then(|leader| self.broker_index(leader))
    }

    fn leader_epoch_now(&self, partition: usize) -> i32 {
        self.controller
            .state(partition)
            .map_or(-1, |state| state.leader_epoch.0)
    }

    /// A follower dies and comes back, so that the leader asks for it; the request is held up until somebody else
    /// leads, or until the follower is another one. No other fault comes in between.
    pub(super) fn lay_ambush(&mut self, fault: &Fault, chance: &mut Chance) {
        let partition = self.partition_of(fault);
        let leader = self
            .leader_index(partition)
            .filter(|&leader| self.may_be_ambushed(leader));
        let (Some(leader), Some(state)) = (leader, self.controller.state(partition)) else {
            return;
        };
        let replicas = state.replicas.iter().filter_map(|&node| self.broker_index(node));
        let followers: Vec<usize> = replicas.filter(|&replica| replica != leader).collect();
        let follower = followers[chance.below(followers.len() as u64) as usize];
        self.end_process(follower, End::Killed);
        self.suspect(follower);
        self.start_after(follower, chance.between(MS, 10 * MS));
        let turn = self.now + chance.between(50 * MS, 130 * MS);
        let strike = turn + chance.between(30 * MS, 130 * MS);
        let until = strike + chance.between(0, 40 * MS);
        self.held_up[leader] = (self.now, strike - 10 * MS);
        self.quiet_until = until;
        let plot = Plot {
            partition,
            leader,
            epoch: self.leader_epoch_now(partition),
            follower,
            until,
        };
        // Where acknowledged means flushed, a follower that comes back holds whatever it was taken into the ISR for.
        let may_lack = self.controller.image().durability(TOPIC) == Durability::Replicated;
        let turned = match may_lack && chance.per_mille(700) {
            true => Ambush::Vanish(plot),
            false => Ambush::Depose(plot),
        };
        self.at(turn, Happening::Ambush(turned));
        self.at(strike, Happening::Ambush(Ambush::Strike(partition)));
    }

    fn may_be_ambushed(&self, leader: usize) -> bool {
        let lives = |broker: &crate::broker::Broker| {
            broker.process.is_some() && broker.acts() && broker.disk_state == DiskState::Whole
        };
        self.brokers.iter().all(lives) && !self.controller_silent() && self.is_link_up(leader, CONTROLLER)
    }

    pub fn ambush(&mut self, ambush: Ambush) {
        if self.healed_at.is_some() {
            return;
        }
        match ambush {
            Ambush::Depose(plot) => {
                if self.leader_index(plot.partition) == Some(plot.leader)
                    && self.leader_epoch_now(plot.partition) == plot.epoch
                {
                    self.depose(plot);
                }
            }
            Ambush::Vanish(plot) => {
                if self.brokers[plot.follower].process.is_some() {
                    self.hold_link(plot.leader, plot.follower, plot.until - self.now);
                    let soon = self.chance.between(MS, 5 * MS);
                    self.power_cut(plot.follower, soon);
                }
            }
            Ambush::Strike(partition) => {
                // As any other fault, it waits for the controller to miss a machine that leaned on others.
                let strikes = self.chance.per_mille(800) && self.all_are_missed();
                if let Some(leader) = self.leader_index(partition).filter(|_| strikes) {
                    let down = self.chance.delay(30 * MS, 500 * MS);
                    self.crash_for_a_while(leader, End::Killed, down);
                }
            }
        }
    }

    /// The leader is alive and heard again at once by the controller, but by nobody whom it could follow.
    fn depose(&mut self, plot: Plot) {
        for other in (0..self.brokers.len()).filter(|&other| other != plot.leader) {
            self.hold_link(plot.leader, other, plot.until - self.now);
        }
        if self.chance.per_mille(200) {
            let duration = self.chance.between(5 * MS, 200 * MS);
            self.pause(plot.leader, duration);
        }
        self.held_until[plot.leader] = self.now + self.chance.between(15 * MS, 35 * MS);
        self.suspect(plot.leader);
    }

    /// When a request to the controller that would arrive at `at` arrives, if the sender's requests are held up.
    pub fn held_up_until(&mut self, broker: usize, at: Time) -> Time {
        let (from, until) = self.held_up[broker];
        match (from..until).contains(&self.now) {
            true => at.max(until + self.chance.between(0, 5 * MS)),
            false => at,
        }
    }

    /// An ISR change reaches the controller late: perhaps it rests on epochs that are over.
    pub fn note_stale_request(&mut self, partition: usize, asked: &AlterPartition) {
        self.counts.stale_requests += u64::from(asked.leader_epoch.0 < self.leader_epoch_now(partition));
    }
}
