//! The controllers: the shipped core on three nodes, over a modelled quorum.
//!
//! One log in one order. Whoever is elected first commits a blank entry of its term; whoever is deposed may not know it
//! for a while. A proposal under way when the term changes is in the log before the blank entry, or nowhere: its proposer
//! hears that nobody knows. Raft itself is not simulated.

use std::sync::Arc;

use klamm_invariants::core_orderings;
use klamm_metadata::core::{Effect, Event, Now, Outcome, ProposalId};
use klamm_metadata::decide::Elected;
use klamm_schema::metadata::MetadataBatch;
use klamm_types::{Moment, NodeId, Timestamp};

use super::CONTROLLERS;
use crate::plan::{MS, Time};
use crate::world::{Happening, World};

/// What happens at or between controllers.
#[derive(Debug)]
pub enum AtController {
    /// Something reaches a node.
    Event {
        node: usize,
        event: Box<Event>,
    },
    /// Entries reach a node.
    Deliver {
        node: usize,
        up_to: u64,
    },
    /// A proposal is committed, unless the term has changed.
    Committed {
        node: usize,
        term: u64,
        proposal: ProposalId,
    },
    Tick {
        node: usize,
    },
    /// The others miss the leader of this term.
    Elect {
        term: u64,
    },
    /// A node hears that another one leads in this term.
    Deposed {
        node: usize,
        term: u64,
    },
    /// A node that was stopped goes on.
    Back {
        node: usize,
    },
}

const TICK: Time = 10 * MS;

impl World {
    pub fn begin_controllers(&mut self) {
        for node in 0..CONTROLLERS {
            self.at_controllers(self.now + TICK, AtController::Tick { node });
        }
        self.elect(0, 0);
    }

    pub fn at_controllers(&mut self, time: Time, what: AtController) {
        self.at(time, Happening::Controller(what));
    }

    pub fn controller(&mut self, what: AtController) {
        match what {
            AtController::Event { node, event } => self.reach_controller(node, *event),
            AtController::Deliver { node, up_to } => self.deliver(node, up_to),
            AtController::Committed { node, term, proposal } => self.committed(node, term, proposal),
            AtController::Tick { node } => {
                self.at_controllers(self.now + TICK, AtController::Tick { node });
                if !self.controller.nodes[node].is_stopped {
                    self.step_controller(node, Event::Tick);
                }
            }
            AtController::Elect { term } => {
                if self.controller.term == term {
                    self.elect_another(0);
                }
            }
            AtController::Deposed { node, term } => {
                // Unless it has been elected again meanwhile.
                if self.controller.leader != Some(node) || self.controller.term == term {
                    self.reach_controller(node, Event::LostLeadership);
                }
            }
            AtController::Back { node } => self.controller_back(node),
        }
    }

    /// What reaches a stopped node waits there.
    fn reach_controller(&mut self, node: usize, event: Event) {
        let known = &mut self.controller.nodes[node];
        match known.is_stopped {
            true => known.backlog.push(event),
            false => self.step_controller(node, event),
        }
    }

    fn step_controller(&mut self, node: usize, event: Event) {
        let now = Now {
            moment: Moment(self.now + (node as u64 + 1) * 1_000_000_000),
            timestamp: Timestamp(1_700_000_000_000 + (self.now / MS) as i64),
            random: self.random(),
        };
        let known = &mut self.controller.nodes[node];
        let mut effects = Vec::new();
        let applied = known.core.image().applied_index();
        let stepped = known.core.step(now, event, &mut effects);
        // Most steps are beats and leave the image alone.
        let valid = match known.core.image().applied_index() == applied {
            true => known.core.validate_reign(),
            false => known.core.validate(),
        };
        self.hold(stepped.map_err(core_orderings).and(valid.map_err(core_orderings)));
        for effect in effects {
            self.carry_out_for_controller(node, effect);
        }
    }

    fn carry_out_for_controller(&mut self, node: usize, effect: Effect) {
        match effect {
            Effect::Propose { proposal, term, batch } => self.propose(node, term, proposal, batch),
            Effect::Reply { id, reply } => self.replied(id, &reply),
            Effect::Probe { probe, target } => self.probe(node, probe, &target),
            Effect::SessionReply { .. } => {}
            Effect::EndSession { session, .. } => self.session_ended(session),
        }
    }

    fn propose(&mut self, node: usize, term: u64, proposal: ProposalId, batch: MetadataBatch) {
        if term == self.controller.term {
            self.controller.in_flight = Some(Arc::new(batch));
        }
        let at = self.now + self.chance.delay(400, 20 * MS);
        self.at_controllers(at, AtController::Committed { node, term, proposal });
    }

    fn committed(&mut self, node: usize, term: u64, proposal: ProposalId) {
        let batch = match term == self.controller.term {
            true => self.controller.in_flight.take(),
            false => None,
        };
        let Some(batch) = batch else {
            return self.tell_outcome(node, proposal, Outcome::Unknown);
        };
        let is_unknown = std::mem::take(&mut self.controller.loses_next);
        if is_unknown && self.chance.per_mille(500) {
            // Nobody has it, and nobody can say so.
            return self.tell_outcome(node, proposal, Outcome::Unknown);
        }
        self.append_entry(term, batch);
        let index = self.controller.entries_count();
        if is_unknown {
            return self.tell_outcome(node, proposal, Outcome::Unknown);
        }
        self.deliver(node, index);
        self.tell_outcome(node, proposal, Outcome::Applied { index });
    }

    fn tell_outcome(&mut self, node: usize, proposal: ProposalId, outcome: Outcome) {
        if outcome == Outcome::Unknown {
            self.counts.unknown_proposals += 1;
        }
        self.reach_controller(node, Event::ProposalOutcome { proposal, outcome });
    }

    /// One more entry in the one log. It reaches every node in its time.
    fn append_entry(&mut self, term: u64, batch: Arc<MetadataBatch>) {
        let appended = self.controller.append(term, batch);
        self.hold(appended);
        let up_to = self.controller.entries_count();
        for node in 0..CONTROLLERS {
            let at = self.now + self.chance.delay(300, 30 * MS);
            self.at_controllers(at, AtController::Deliver { node, up_to });
        }
        self.spread_entries();
    }

    fn deliver(&mut self, node: usize, up_to: u64) {
        while self.controller.nodes[node].delivered < up_to {
            let index = self.controller.nodes[node].delivered + 1;
            let Some((term, batch)) = self.controller.entry(index) else {
                return;
            };
            self.controller.nodes[node].delivered = index;
            let batch = (*batch).clone();
            self.reach_controller(node, Event::Applied { index, term, batch });
        }
    }

    /// The leader of the quorum stops, and the others elect another one.
    pub fn silence_controller(&mut self, lasts: Time) {
        let Some(leader) = self
            .controller
            .leader
            .filter(|&node| !self.controller.nodes[node].is_stopped)
        else {
            return;
        };
        self.controller.nodes[leader].is_stopped = true;
        self.at_controllers(self.now + lasts, AtController::Back { node: leader });
        let patience = self.chance.between(20 * MS, 120 * MS);
        let term = self.controller.term;
        self.at_controllers(self.now + patience, AtController::Elect { term });
    }

    fn controller_back(&mut self, node: usize) {
        let known = &mut self.controller.nodes[node];
        known.is_stopped = false;
        for event in std::mem::take(&mut known.backlog) {
            self.step_controller(node, event);
        }
    }

    /// Another node leads, and the one before hears of it so much later.
    pub fn elect_another(&mut self, unaware: Time) {
        let others = (0..CONTROLLERS).filter(|&node| Some(node) != self.controller.leader);
        let others: Vec<usize> = others.filter(|&node| !self.controller.nodes[node].is_stopped).collect();
        if !others.is_empty() {
            let node = others[self.chance.below(others.len() as u64) as usize];
            self.elect(node, unaware);
        }
    }

    fn elect(&mut self, node: usize, unaware: Time) {
        self.counts.controller_changes += 1;
        if let Some(batch) = self.controller.in_flight.take()
            && self.chance.per_mille(500)
        {
            // A majority has it: the next leader's log has it, too.
            self.append_entry(self.controller.term, batch);
        }
        self.controller.term += 1;
        let term = self.controller.term;
        self.say(
            format_args!("quorum"),
            format_args!("elects controller {} in term {term}", node + 1),
        );
        if let Some(former) = self.controller.leader.replace(node).filter(|&former| former != node) {
            self.at_controllers(self.now + unaware, AtController::Deposed { node: former, term });
        }
        let elected = Elected {
            node: NodeId(100 + node as i32),
            term,
            ended: None,
        };
        self.reach_controller(node, Event::BecameLeader { term, elected });
        self.append_entry(term, Arc::new(MetadataBatch::default()));
    }
}
