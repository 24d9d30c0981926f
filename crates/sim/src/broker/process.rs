//! What reaches a broker's process that runs: messages, metadata, answers of the controller, the ends of its own work.

use klamm_invariants::core_orderings;
use klamm_replication::{AlterAttempt, AlterOutcome, Event};
use klamm_types::BrokerEpoch;

use super::hosted::{Here, Place, Process};
use super::life::CHECKPOINT_INTERVAL;
use super::view_of;
use crate::world::{AtProcess, AtReplica, CONTROLLER, World};

impl World {
    /// Something reaches a process that runs.
    pub fn at_process(&mut self, index: usize, what: AtProcess) {
        let Some(mut process) = self.brokers[index].process.take() else {
            return;
        };
        match what {
            AtProcess::Replica(partition, what) => {
                let place = Place {
                    broker: index,
                    partition,
                };
                if let Some(mut here) = process.here(place) {
                    self.at_replica(&mut here, what);
                }
            }
            AtProcess::Message {
                connection,
                side,
                lane,
                partition,
                message,
                has_arrived,
            } => {
                let arrives = has_arrived || !self.network.is_lost(connection, side, lane, self.now);
                let place = Place {
                    broker: index,
                    partition,
                };
                if let Some(mut here) = process.here(place).filter(|_| arrives) {
                    self.message(&mut here, (connection, side), *message);
                }
            }
            AtProcess::Ended { connection, side } => self.ended(index, &mut process, connection, side),
            AtProcess::Entry => self.entry(index, &mut process),
            AtProcess::Registered { epoch, entries } => self.registered(index, &mut process, epoch, entries),
            AtProcess::Beat => self.beat(index, &process),
            AtProcess::Look => self.look_at_worker(index, &mut process),
            AtProcess::RegisterAgain => {
                if !process.host.is_registered {
                    self.brokers[index].process = Some(process);
                    self.register(index);
                    return;
                }
            }
            AtProcess::Checkpoint => {
                let at = self.now + CHECKPOINT_INTERVAL;
                self.tell_process(index, at, AtProcess::Checkpoint);
                self.for_each_replica(index, &mut process, World::checkpoint);
            }
            AtProcess::Close { down } => {
                self.brokers[index].process = Some(process);
                self.close(index, down);
                return;
            }
        }
        self.brokers[index].process = Some(process);
    }

    fn at_replica(&mut self, here: &mut Here<'_>, what: AtReplica) {
        match what {
            AtReplica::Event(event) => self.feed(here, *event),
            AtReplica::AppendDone => self.append_done(here),
            AtReplica::FlushDone => self.flush_done(here),
            AtReplica::CutDone { to, restart } => self.cut_done(here, to, restart),
            AtReplica::ReadDone(wish) => {
                let event = self.push(here, *wish);
                self.feed(here, event);
            }
            AtReplica::AlterAnswer { attempt, outcome } => self.alter_answered(here, (attempt, outcome)),
            AtReplica::DamageHeard { entries } => {
                here.own.damage_heard_at = Some(entries);
                self.show_image(here);
            }
            AtReplica::Produce(asked) => self.produce(here, *asked),
            AtReplica::Fetch(fetch) => self.fetch(here, fetch),
            AtReplica::Called(asked) => self.called(here, *asked),
            AtReplica::ShardLoads { run } => self.shard_loads(here, run),
            AtReplica::ShardServes { run } => self.shard_serves(here, run),
            AtReplica::ShardTicks { run } => self.shard_ticks(here, run),
            AtReplica::ShardLosesPatience { run } => self.shard_loses_patience(here, run),
            AtReplica::ShardAgain { epoch } => self.shard_again(here, epoch),
            AtReplica::Latest => self.latest(here),
            AtReplica::Tick => self.tick(here),
        }
    }

    pub fn for_each_replica(
        &mut self,
        index: usize,
        process: &mut Process,
        mut act: impl FnMut(&mut World, &mut Here<'_>),
    ) {
        let Process { host, hosted } = process;
        for (&partition, own) in hosted {
            let mut here = Here {
                broker: index,
                partition,
                host,
                own,
            };
            act(self, &mut here);
        }
    }

    fn tick(&mut self, here: &mut Here<'_>) {
        if here.own.tick_at.is_some_and(|at| at <= self.now) {
            here.own.tick_at = None;
            self.feed(here, Event::Tick);
        }
    }

    fn alter_answered(&mut self, here: &mut Here<'_>, (attempt, outcome): (AlterAttempt, AlterOutcome)) {
        if here.own.alter == Some(attempt) {
            here.own.alter = None;
            self.feed(here, Event::AlterPartitionAnswered { attempt, outcome });
        }
    }

    fn registered(&mut self, index: usize, process: &mut Process, epoch: BrokerEpoch, entries: u64) {
        if process.host.is_registered {
            return;
        }
        process.host.is_registered = true;
        process.host.broker_epoch = epoch;
        self.brokers[index].stored_epoch = epoch;
        self.say(
            format_args!("broker {}", index + 1),
            format_args!("is registered with epoch {epoch}"),
        );
        self.for_each_replica(index, process, |world, here| {
            if here.own.damaged_from.is_some() {
                // The registration has told it; the entry that granted the epoch is the one to wait for.
                here.own.damage_heard_at = Some(entries);
            }
            world.feed(here, Event::Registered { broker_epoch: epoch });
            world.show_image(here);
        });
    }

    /// Applies the next entries of the metadata.
    fn entry(&mut self, index: usize, process: &mut Process) {
        self.brokers[index].entry_coming = false;
        if !self.reaches(CONTROLLER, index) {
            return;
        }
        for _ in 0..self.chance.between(1, 4) {
            let image = &mut self.brokers[index].image;
            let next = image.applied_index() + 1;
            let Some((term, batch)) = self.controller.entry(next) else {
                break;
            };
            let applied = image.apply_batch(next, term, &batch).map_err(core_orderings);
            self.hold(applied);
        }
        if self.brokers[index].hangs.is_none() {
            self.for_each_replica(index, process, World::show_image);
        }
    }

    /// Tells the replica what the image shows, if that is new.
    pub fn show_image(&mut self, here: &mut Here<'_>) {
        let image = &self.brokers[here.broker].image;
        let applied = image.applied_index();
        let partition = self.controller.partition(here.partition);
        let view = view_of(image, partition, &self.plan.setup);
        if view != here.own.view {
            here.own.view.clone_from(&view);
            if let Some(view) = view {
                self.feed(here, Event::MetadataChanged(Box::new(view)));
            }
        }
        if here.own.damage_heard_at.is_some_and(|at| at <= applied) {
            here.own.damage_heard_at = None;
            self.feed(here, Event::DamageReported);
        }
    }
}
