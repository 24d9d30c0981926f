//! The faults of a plan as they come and go: what is under way, and how it is done to the world.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use klamm_types::NodeId;

use super::node::{Setup, name};
use super::plan::{Ambush, Fault, Planned};
use super::world::World;
use super::{DiskCopy, Loss, below, database};
use crate::raft::types::RaftId;
use crate::store::ages::Ages;
use crate::store::model::Model;

/// How long an answer takes at most to reach who asked: the network's latency, and a tick on each side.
const ANSWER_MS: u64 = 10;

/// What is under way, and what has been.
#[derive(Default)]
pub struct Weather {
    /// When dead processes come back.
    returning: BTreeMap<NodeId, u64>,
    /// What is waited for, until when.
    ambushes: Vec<(Ambush, u64)>,
    /// Nodes whose flushes take long, until when.
    slow: BTreeMap<NodeId, u64>,
    /// When all processes die.
    power_lost_at: Option<u64>,
    /// Whom a vote was given that is forgotten, and when that node is cut off.
    elected: Option<(RaftId, u64)>,
    /// Whose disk is to be replaced by its copy, until when.
    restoring: Option<(NodeId, u64)>,
    /// Disks as they were when a process died, and which one of its node it was.
    copies: BTreeMap<NodeId, (u64, DiskCopy)>,
    network_until: Option<u64>,
    /// Nodes whose disks were lost or replaced.
    pub replaced: BTreeSet<NodeId>,
    pub crashes: u64,
    pub crashes_with_loss: u64,
    pub stores_lost: u64,
    pub copies_restored: u64,
}

impl World {
    /// A node is started for the first time when the quorum has been at work for a while.
    pub fn start_later(&mut self, id: NodeId) {
        self.sim.crash(name(id));
        self.weather.returning.insert(id, 1_000 + below(6_000));
    }

    pub fn begin(&mut self, planned: &Planned) {
        self.timeline
            .say(format!("{:?} for {} ms", planned.fault, planned.for_ms));
        let until = self.at_ms + planned.for_ms;
        match &planned.fault {
            Fault::Crash(id) => self.crash(*id, planned.for_ms, Loss::Some),
            Fault::Ambush(ambush) => self.weather.ambushes.push((*ambush, until)),
            Fault::SlowDisk(id) => self.slow_down(*id, until),
            Fault::PowerLoss => {
                for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                    self.slow_down(id, until);
                }
                self.weather.power_lost_at = Some(self.at_ms + 50 + below(400));
            }
            Fault::LoseStore(id) => {
                self.crash(*id, planned.for_ms, Loss::All);
                super::wipe(&self.nodes[id].folder);
                self.weather.replaced.insert(*id);
                self.weather.stores_lost += 1;
            }
            Fault::RestoreCopy(id) => self.weather.restoring = Some((*id, until + 3_000)),
            Fault::Depose => {
                if let Some(leader) = self.leader() {
                    self.links.depose(&mut self.sim, leader);
                }
                self.weather.network_until = Some(until);
            }
            fault => {
                self.links.trouble(&mut self.sim, fault);
                self.weather.network_until = Some(until);
            }
        }
    }

    /// What is due after a tick.
    pub fn change_weather(&mut self) {
        let now = self.at_ms;
        self.weather.ambushes.retain(|(_, until)| *until > now);
        self.spring();
        if self.weather.power_lost_at.take_if(|at| *at <= now).is_some() {
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.crash(id, 5 + below(200), Loss::All);
            }
        }
        if let Some((elected, _)) = self.weather.elected.take_if(|(_, at)| *at <= now) {
            self.cut_off(elected);
        }
        self.restore();
        let due = self.weather.returning.extract_if(.., |_, at| *at <= now);
        for (id, _) in due {
            self.timeline.say(format!("{id} starts again"));
            self.sim.bounce(name(id));
        }
        for (id, _) in self.weather.slow.extract_if(.., |_, until| *until <= now) {
            model(&self.nodes[&id]).set_slowness(Duration::ZERO);
        }
        if self.weather.network_until.is_some_and(|until| until <= now) {
            self.heal_network();
        }
    }

    /// The faults are over.
    pub fn heal(&mut self) {
        let weather = &mut self.weather;
        weather.ambushes.clear();
        (weather.power_lost_at, weather.elected, weather.restoring) = (None, None, None);
        for until in weather.slow.values_mut().chain(weather.returning.values_mut()) {
            *until = self.at_ms;
        }
        self.heal_network();
    }

    fn heal_network(&mut self) {
        self.weather.network_until = None;
        self.links.heal(&mut self.sim);
        self.timeline.say("the network is whole");
    }

    fn slow_down(&mut self, id: NodeId, until: u64) {
        model(&self.nodes[&id]).set_slowness(Duration::from_millis(20 + below(400)));
        self.weather.slow.insert(id, until);
    }

    fn leader(&self) -> Option<NodeId> {
        let mut nodes = self.nodes.iter();
        let found = nodes.find(|(_, setup)| {
            let shown = setup.shown.borrow();
            shown.controller.as_ref().is_some_and(crate::Controller::is_active)
        });
        found.map(|(id, _)| *id)
    }

    /// Carries out the first ambush whose moment has come.
    fn spring(&mut self) {
        let sprung = self.weather.ambushes.iter().enumerate().find_map(|(at, (ambush, _))| {
            let victim = self.victim(*ambush)?;
            Some((at, *ambush, victim))
        });
        let Some((at, ambush, victim)) = sprung else { return };
        self.weather.ambushes.remove(at);
        if ambush == Ambush::Vote {
            let vote = model(&self.nodes[&victim]).vote();
            self.weather.elected = vote.map(|vote| (vote.leader_id.node_id, self.at_ms + ANSWER_MS));
            self.crash(victim, 5 + below(80), Loss::All);
        } else {
            self.crash(victim, 5 + below(80), Loss::Some);
        }
    }

    fn victim(&self, ambush: Ambush) -> Option<NodeId> {
        let alive = |id: &NodeId| !self.weather.returning.contains_key(id);
        let has_unflushed = |id: &NodeId| alive(id) && model(&self.nodes[id]).unflushed() > 0;
        match ambush {
            Ambush::Unflushed(id) => Some(id).filter(has_unflushed),
            Ambush::Leader => self.leader().filter(has_unflushed),
            Ambush::Vote => {
                let mut nodes = self.nodes.iter().filter(|(id, _)| alive(id));
                let found = nodes.find(|(_, setup)| {
                    let vote = model(setup).unflushed_vote();
                    vote.is_some_and(|vote| !vote.committed && setup.raft_id() != Some(vote.leader_id.node_id))
                });
                found.map(|(id, _)| *id)
            }
            Ambush::Removal => {
                let mut ids = self.nodes.keys().filter(|id| alive(id));
                ids.find(|id| model(&self.nodes[*id]).is_removing()).copied()
            }
        }
    }

    /// Isolates the node that has just been elected, and nothing else.
    fn cut_off(&mut self, elected: RaftId) {
        let mut nodes = self.nodes.iter();
        let Some((id, _)) = nodes.find(|(_, setup)| setup.raft_id() == Some(elected)) else {
            return;
        };
        let id = *id;
        self.heal_network();
        self.links.isolate(&mut self.sim, id);
        self.timeline.say(format!("{id} is cut off"));
        self.weather.network_until = Some(self.at_ms + 500 + below(2_000));
    }

    fn crash(&mut self, id: NodeId, for_ms: u64, loss: Loss) {
        if self.weather.returning.contains_key(&id) {
            return;
        }
        self.sim.crash(name(id));
        let setup = &self.nodes[&id];
        let life = setup.shown.borrow().life;
        setup.shown.borrow_mut().controller = None;
        let (unflushed, lost) = super::crash(&setup.folder, loss);
        if life > 0 {
            let copies = &mut self.weather.copies;
            copies.entry(id).or_insert_with(|| (life, super::copy(&setup.folder)));
        }
        self.weather.crashes += 1;
        self.weather.crashes_with_loss += u64::from(lost > 0);
        self.timeline
            .say(format!("{id} dies; of {unflushed} unflushed batches {lost} are lost"));
        self.weather.returning.insert(id, self.at_ms + for_ms.max(1));
    }

    /// Puts a copy in the place of the disk that it was made of, once every other node has on its disk that there was a
    /// later process: two faults at once could hide it.
    fn restore(&mut self) {
        self.weather.restoring.take_if(|(_, until)| *until <= self.at_ms);
        let Some((id, _)) = self.weather.restoring else { return };
        let Some((life, _)) = self.weather.copies.get(&id) else {
            return;
        };
        let setup = &self.nodes[&id];
        let later = setup.shown.borrow().life > *life;
        let Some(age) = setup.age().filter(|_| later) else {
            return;
        };
        let told = |(other, setup): (&NodeId, &Setup)| {
            *other == id || Ages::read(&setup.folder).get(id).is_some_and(|known| known.age >= age)
        };
        if !self.nodes.iter().all(told) {
            return;
        }
        self.weather.restoring = None;
        self.crash(id, 5 + below(300), Loss::All);
        if let Some((_, copy)) = self.weather.copies.remove(&id) {
            super::restore(&self.nodes[&id].folder, copy);
            self.weather.replaced.insert(id);
            self.weather.copies_restored += 1;
            self.timeline.say(format!("the disk of {id} is an old copy of itself"));
        }
    }
}

fn model(setup: &Setup) -> Model {
    database(&setup.folder.join("raft")).expect("a simulation is running")
}
