//! Carries out a replica's effects, as a broker's shell does: it decides nothing, unless a bug is planted here.

use std::collections::VecDeque;

use klamm_replication::{Alarm, Effect, Event, ReplicaBatches, Role, SubscriptionNumber};
use klamm_types::{BrokerEpoch, NodeId, Offset};

use crate::broker::{Asked, Process, counts_flushed};
use crate::network::{Message, Side};
use crate::plan::{MS, Plant};
use crate::process::read_batches;
use crate::world::{AtProcess, Happening, PushWish, World};

impl World {
    /// Gives an event to the replica, and everything that follows from it at once.
    pub fn feed(&mut self, index: usize, process: &mut Process, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = process.now(self.now);
            let replica = &mut process.replica;
            if self.trace.is_on() {
                let line = crate::describe::event(&event);
                self.trace.line(self.now, format_args!("broker {}", index + 1), format_args!("<- {line}"));
            }
            let mut effects = Vec::new();
            replica.step(now, event, &mut effects);
            let valid = replica.validate();
            self.hold(valid);
            for effect in effects {
                if self.trace.is_on() {
                    let line = crate::describe::effect(&effect);
                    self.trace.line(self.now, format_args!("broker {}", index + 1), format_args!("   -> {line}"));
                }
                self.carry_out(index, process, effect, &mut events);
            }
            self.check_replica(index, process);
            if self.violation.is_some() {
                return;
            }
        }
        self.set_tick(index, process);
    }

    fn carry_out(&mut self, index: usize, process: &mut Process, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Append { append, batches } => {
                for batch in &batches {
                    let given = self.checker.given(batch);
                    self.hold(given);
                }
                process.appends.push_back((append, batches));
                self.start_append(index, process);
            }
            Effect::Flush { flush, .. } => match process.log.start_flush() {
                _ if self.options.plant == Some(Plant::AckBeforeFlush) => {
                    let offset = process.log.log_end_offset();
                    events.push_back(Event::FlushedTo { flush, offset });
                }
                Some(job) => {
                    process.flush = Some((flush, job));
                    let at = self.now + self.disk_delay(index, 900, 30 * MS);
                    self.to_process(index, at, AtProcess::FlushDone);
                }
                None => {
                    let offset = process.log.flushed_offset();
                    events.push_back(Event::FlushedTo { flush, offset });
                }
            },
            Effect::Truncate { to } => self.start_cut(index, process, to, false),
            Effect::RestartLog { at } => self.start_cut(index, process, at, true),
            Effect::AdvanceLogStart { to } => {
                let advanced = process.log.advance_log_start(to.into());
                if advanced.is_ok() {
                    self.brokers[index].log_start = to.into();
                    events.push_back(Event::LogStartAdvanced { log_start: to });
                }
            }
            Effect::ProduceAccepted { .. } => {}
            Effect::CompleteProduce { request, result } => {
                if let Some(Asked::Produce { client, attempt }) = process.requests.remove(&request) {
                    let result = result.map(|produced| produced.base_offset).map_err(|error| error.code);
                    let delay = self.chance.delay(200, 10 * MS);
                    self.after(delay, Happening::Produced { client, attempt, result });
                }
            }
            Effect::WakeFetch { request } => {
                if let Some(Asked::Fetch { reader, attempt, offset, isolation }) = process.requests.remove(&request) {
                    let what = AtProcess::Fetch { reader, attempt, offset, isolation };
                    self.to_process(index, self.now, what);
                }
            }
            Effect::RoleChanged { role } => self.role_changed(process, role),
            Effect::Raise(alarm) => self.raised(index, alarm),
            to_peer @ (Effect::AnswerSubscribe { .. }
            | Effect::Push { .. }
            | Effect::PushHighWatermark { .. }
            | Effect::SubscribeTo { .. }
            | Effect::Acknowledge { .. }
            | Effect::UnsubscribeFrom { .. }) => self.to_peer(index, process, to_peer, events),
            to_controller => self.to_controller(index, process, to_controller, events),
        }
    }

    fn start_cut(&mut self, index: usize, process: &mut Process, to: Offset, restart: bool) {
        self.counts.truncations += u64::from(to < process.log.log_end_offset());
        let at = self.now + self.disk_delay(index, MS, 10 * MS);
        self.to_process(index, at, AtProcess::CutDone { to, restart });
    }

    fn to_peer(&mut self, index: usize, process: &mut Process, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::AnswerSubscribe { follower, subscription, leader_epoch, answer } => {
                let message = Message::Answer { subscription, leader_epoch, answer };
                self.answer_follower(process, (follower, subscription), message);
            }
            Effect::Push {
                follower,
                subscription,
                leader_epoch,
                lane,
                from,
                up_to,
                bytes_max,
                high_watermark,
                log_start,
            } => {
                let wish = PushWish {
                    follower,
                    subscription,
                    leader_epoch,
                    lane,
                    from,
                    up_to,
                    bytes_max,
                    high_watermark,
                    log_start,
                };
                // Mostly from memory, now and then from a disk that takes its time.
                if self.chance.per_mille(100) {
                    let at = self.now + self.disk_delay(index, 300, 20 * MS);
                    self.to_process(index, at, AtProcess::ReadDone(wish));
                } else {
                    events.push_back(self.push(index, process, wish));
                }
            }
            Effect::PushHighWatermark { follower, subscription, leader_epoch, lane, high_watermark, log_start } => {
                let message = Message::Batches(ReplicaBatches {
                    leader: self.brokers[index].node,
                    subscription,
                    leader_epoch,
                    from: Offset(0),
                    batches: Vec::new(),
                    high_watermark,
                    log_start,
                });
                self.to_follower(process, (follower, subscription), lane, message);
            }
            Effect::SubscribeTo { leader, subscription, leader_epoch, next_offset, last_epoch, credit_bytes } => {
                process.subscribed = Some((leader, subscription, leader_epoch));
                let wish = klamm_replication::Subscribe {
                    follower: self.brokers[index].node,
                    broker_epoch: process.broker_epoch,
                    subscription,
                    leader_epoch,
                    next_offset,
                    last_epoch,
                    credit_bytes,
                };
                self.subscribe(index, process, leader, wish);
            }
            Effect::Acknowledge { leader, subscription, leader_epoch, written, flushed, credit_bytes } => {
                let message = Message::Acknowledge { subscription, leader_epoch, written, flushed, credit_bytes };
                self.to_leader(process, leader, message);
            }
            Effect::UnsubscribeFrom { leader, subscription, leader_epoch } => {
                self.to_leader(process, leader, Message::Unsubscribe { subscription, leader_epoch });
            }
            _ => {}
        }
    }

    fn to_controller(&mut self, index: usize, process: &mut Process, effect: Effect, events: &mut VecDeque<Event>) {
        let life = self.brokers[index].life;
        let epoch = process.broker_epoch;
        let delay = self.chance.delay(600, 60 * MS);
        match effect {
            Effect::AlterPartition(asked) => {
                if self.options.plant == Some(Plant::CountProposedAway)
                    && let Some(mut view) = process.view.clone()
                {
                    view.isr = asked.isr.iter().map(|&(node, _)| node).collect();
                    events.push_back(Event::MetadataChanged(Box::new(view)));
                }
                process.alter = Some(asked.attempt);
                let unknown = AtProcess::AlterAnswer {
                    attempt: asked.attempt,
                    outcome: klamm_replication::AlterOutcome::Unknown,
                };
                let at = self.now + self.chance.between(20 * MS, 60 * MS);
                self.to_process(index, at, unknown);
                self.after(delay, Happening::Alter { broker: index, life, epoch, asked });
            }
            Effect::AskToBeReplaced { leader_epoch, .. } => {
                let Some(view) = &process.view else {
                    return;
                };
                let me = self.brokers[index].node;
                let others = view.isr.iter().filter(|&&node| node != me);
                let asked = klamm_replication::AlterPartition {
                    attempt: klamm_replication::AlterAttempt(u64::MAX),
                    leader_epoch,
                    partition_epoch: view.partition_epoch,
                    isr: others.map(|&node| (node, view.broker_epoch(node).unwrap_or(BrokerEpoch::NONE))).collect(),
                    lost_data: Vec::new(),
                };
                if !asked.isr.is_empty() {
                    self.after(delay, Happening::Alter { broker: index, life, epoch, asked });
                }
            }
            Effect::ReportDamage { .. } | Effect::ReportDiskFailure => {
                self.after(delay, Happening::Damage { broker: index, life, epoch });
            }
            _ => {}
        }
    }

    /// Reads what is to be pushed and sends it; the answer is the event.
    pub fn push(&mut self, index: usize, process: &mut Process, wish: PushWish) -> Event {
        let (follower, subscription) = (wish.follower, wish.subscription);
        let bytes_max = usize::try_from(wish.bytes_max).unwrap_or(usize::MAX);
        let batches = match read_batches(process, wish.from, bytes_max, wish.up_to) {
            Ok(batches) if !batches.is_empty() => batches,
            Ok(_) => {
                // The log was cut and has begun anew since the push was asked for.
                return Event::Pushed { follower, subscription, next: wish.from, bytes: 0 };
            }
            Err(_) => {
                let failure = klamm_replication::PushFailure::OutOfRange;
                return Event::PushFailed { follower, subscription, failure };
            }
        };
        let next = batches.last().map_or(wish.from, klamm_record::Batch::next_offset);
        let bytes = batches.iter().map(|batch| batch.size() as u64).sum();
        let message = Message::Batches(ReplicaBatches {
            leader: self.brokers[index].node,
            subscription,
            leader_epoch: wish.leader_epoch,
            from: wish.from,
            batches,
            high_watermark: wish.high_watermark,
            log_start: wish.log_start,
        });
        self.to_follower(process, (follower, subscription), wish.lane, message);
        Event::Pushed { follower, subscription, next, bytes }
    }

    fn role_changed(&mut self, process: &Process, role: Role) {
        if let Role::Leader { leader_epoch } = role {
            self.counts.leader_changes += 1;
            let leads = self.checker.leads(leader_epoch, process.log.log_end_offset());
            self.hold(leads);
        }
    }

    /// Nothing that happens here excuses these two: no election is unclean, and no disk is lost unnoticed.
    fn raised(&mut self, index: usize, alarm: Alarm) {
        match alarm {
            Alarm::FollowerLostData { .. } | Alarm::CutBelowHighWatermark { .. } | Alarm::FollowerAheadOfMetadata { .. } => {
                self.hold(Err(format!("broker {} raises {alarm:?}", index + 1)));
            }
            Alarm::DiskFailed => self.brokers[index].disk_failed = true,
            Alarm::Damaged { .. } => {}
        }
    }

    /// Compares what the high watermark has newly covered with what is committed.
    fn check_replica(&mut self, index: usize, process: &mut Process) {
        let replica = &process.replica;
        let high_watermark = replica.high_watermark();
        let bound = Offset::from(high_watermark);
        let role = replica.role();
        let leader_epoch = replica.leader_epoch();
        if process.checked > bound {
            process.checked = bound;
        }
        process.checked = process.checked.max(process.log.log_start_offset());
        let before = self.checker.committed_end();
        while process.checked < bound && self.violation.is_none() {
            match read_batches(process, process.checked, 4_000, bound) {
                Ok(batches) if !batches.is_empty() => {
                    for batch in &batches {
                        let covered = self.checker.covered(batch, leader_epoch);
                        self.hold(covered.map_err(|problem| format!("broker {}: {problem}", index + 1)));
                        process.checked = batch.next_offset();
                    }
                }
                Ok(_) => self.hold(Err(format!("nothing to read at {} below {bound}", process.checked))),
                Err(error) => self.hold(Err(format!("reading at {} below {bound}: {error}", process.checked))),
            }
        }
        let grew = self.checker.committed_end() > before;
        if grew && matches!(role, Role::Leader { .. }) && counts_flushed(self.plan.durability) && self.disk_losses == 0 {
            let flushed: Vec<Offset> = self.brokers.iter().map(|broker| broker.flushed).collect();
            let copies = self.plan.min_insync_replicas;
            let durable = self.checker.is_durable(high_watermark, &flushed, copies);
            self.hold(durable);
        }
    }

    fn set_tick(&mut self, index: usize, process: &mut Process) {
        let Some(due) = process.replica.next_deadline() else {
            return;
        };
        let at = due.0.saturating_sub(process.clock_offset).max(self.now + 50);
        if process.tick_at.is_none_or(|set| at < set) {
            process.tick_at = Some(at);
            self.to_process(index, at, AtProcess::Tick);
        }
    }

    fn answer_follower(&mut self, process: &Process, to: (NodeId, SubscriptionNumber), message: Message) {
        // On both lanes, so that it comes before the batches whichever they take.
        self.to_follower(process, to, klamm_replication::Lane::CatchUp, message.clone());
        self.to_follower(process, to, klamm_replication::Lane::InSync, message);
    }

    fn to_follower(
        &mut self,
        process: &Process,
        (follower, subscription): (NodeId, SubscriptionNumber),
        lane: klamm_replication::Lane,
        message: Message,
    ) {
        // The newest connection of this follower on which the subscription can have come.
        let connection = process.serving.iter().rev().find(|(_, served)| {
            served.follower == follower && served.subscription >= subscription
        });
        if let Some((&connection, _)) = connection {
            self.send(connection, Side::Follower, lane, message);
        }
    }
}
