//! A worker thread and the partitions it owns. No other thread touches them.
//!
//! The loop takes all commands that wait, hands each to its partition, carries out the effects at once, and starts the
//! flushes of a round together, so that one flush covers all that the round wrote. It sleeps until a command comes or a
//! core's deadline passes; a partition in which nothing waits costs nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use klamm_replication::{Event, Origin, RequestId};
use klamm_types::{BrokerEpoch, TopicPartition};

use super::command::{Applying, Command, Events, ProduceCommand, PushReadOutcome, ViewChange};
use super::context::Context;
use super::hosted::{PendingProduce, Slot};
use super::offsets;
use super::push;
use super::reads;
use super::shared::Shared;
use super::steps;
use crate::space::Level;

/// Commands of one round: after so many, flushes are started even if more wait.
const ROUND_MAX: usize = 64;

pub(crate) struct Worker {
    pub(super) slots: HashMap<TopicPartition, Slot>,
    pub(super) ctx: Context,
    /// `Stop` has come: logs are being closed, or are still away.
    pub(super) stopping: bool,
    /// Dropped when every log is closed.
    pub(super) stopped: Option<Applying>,
    /// Touched before the last checkpoint.
    cooling: Vec<TopicPartition>,
    /// Could not be opened.
    pub(super) broken: Vec<TopicPartition>,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, index: usize) -> Worker {
        let ctx = Context::new(shared, index);
        Worker {
            slots: HashMap::new(),
            ctx,
            stopping: false,
            stopped: None,
            cooling: Vec::new(),
            broken: Vec::new(),
        }
    }

    /// Runs until the inbox is closed or everything is stopped.
    pub fn run(mut self) {
        let inbox = self.ctx.inbox();
        let mut commands = VecDeque::new();
        while !(self.stopping && self.slots.is_empty()) {
            let deadline = self.ctx.next_deadline();
            self.ctx.rest();
            if inbox.take(&mut commands, deadline).is_err() {
                break;
            }
            while !commands.is_empty() {
                for command in commands.drain(..commands.len().min(ROUND_MAX)) {
                    self.ctx.begin();
                    self.handle(command);
                }
                self.start_flushes();
            }
            self.tick();
            self.start_flushes();
        }
        self.ctx.rest();
        inbox.close();
    }

    /// Wakes the cores whose deadline has passed, each once: commands come between two rounds, whatever a core asks for.
    fn tick(&mut self) {
        self.ctx.begin();
        let due: Vec<TopicPartition> = std::iter::from_fn(|| self.ctx.take_due()).collect();
        for partition in due {
            match self.slots.get_mut(&partition) {
                Some(Slot::Ready(hosted, log)) => {
                    hosted.deadline = None;
                    self.ctx.feed(hosted, log, Event::Tick);
                    self.settle(partition);
                }
                // What is due is done when the log is back.
                Some(Slot::Cutting(hosted, _)) => hosted.deadline = None,
                Some(Slot::Opening(_)) | None => {}
            }
        }
    }

    pub(super) fn handle(&mut self, command: Command) {
        match command {
            Command::Host(host) => self.host(*host),
            Command::Hosted(hosted) => self.hosted(*hosted),
            Command::View(view) => self.view(view),
            Command::Registered { broker_epoch } => self.registered(broker_epoch),
            Command::Release(release) => self.release(release),
            Command::LogReturned(returned) => self.log_returned(*returned),
            Command::Events(events) => self.events(*events),
            Command::Produce(produce) => self.produce(produce),
            Command::Fetch(fetch) => reads::fetch(&mut self.slots, &mut self.ctx, *fetch),
            Command::CancelFetch { request, partitions } => self.cancel_fetch(request, &partitions),
            Command::ListOffset(command) => offsets::list_offset(&mut self.slots, &mut self.ctx, *command),
            Command::EpochEnd(command) => offsets::epoch_end(&self.slots, &self.ctx, *command),
            Command::Flushed(outcome) => self.flushed(*outcome),
            Command::PushRead(outcome) => self.push_read(*outcome),
            Command::Statuses { reply } => {
                let _ = reply.send(offsets::statuses(&self.slots));
            }
            Command::Checkpoint { applying } => {
                self.checkpoint();
                drop(applying);
            }
            Command::Retain => self.retain(),
            Command::Compact => self.compact(),
            Command::Compacted(compacted) => self.compacted(*compacted),
            Command::Stop { stopped } => self.stop(stopped),
        }
    }

    /// Gives an event to a partition. While its log is away the event waits.
    pub(super) fn feed(&mut self, partition: TopicPartition, event: Event) {
        match self.slots.get_mut(&partition) {
            Some(Slot::Ready(hosted, log)) => {
                let event = without_room(event, self.ctx.shared.space.level());
                if let Event::FlushedTo { offset, .. } = &event
                    && !hosted.traced.is_empty()
                {
                    steps::flushed(&mut hosted.traced, *offset);
                }
                self.ctx.feed(hosted, log, event);
                self.settle(partition);
            }
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                let events = Events {
                    events: VecDeque::from([(partition, event)]),
                    pair: None,
                    place: None,
                };
                waiting.commands.push_back(Command::Events(Box::new(events)));
            }
            None => {}
        }
    }

    fn events(&mut self, mut events: Events) {
        let pair = events.pair.take();
        for (partition, event) in events.events.drain(..) {
            let Some(pair) = &pair else {
                self.feed(partition, event);
                continue;
            };
            match self.slots.get_mut(&partition) {
                Some(Slot::Ready(hosted, _)) => {
                    if let Event::Subscribe(subscribe) = &event {
                        let newer = hosted.followers.get(&subscribe.follower).is_none_or(|(number, known)| {
                            (known.broker_epoch, *number) < (pair.broker_epoch, subscribe.subscription)
                        });
                        if newer {
                            let entry = (subscribe.subscription, Arc::clone(pair));
                            hosted.followers.insert(subscribe.follower, entry);
                        }
                    }
                    self.feed(partition, event);
                }
                Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                    let events = VecDeque::from([(partition, event)]);
                    let events = Events {
                        events,
                        pair: Some(Arc::clone(pair)),
                        place: None,
                    };
                    waiting.commands.push_back(Command::Events(Box::new(events)));
                }
                None => refuse_unknown(pair, partition, &event),
            }
        }
    }

    fn view(&mut self, change: Box<ViewChange>) {
        match self.slots.get_mut(&change.partition) {
            Some(Slot::Ready(hosted, log)) => {
                let ViewChange {
                    partition,
                    view,
                    log_config,
                    applying,
                } = *change;
                if hosted.log_config != log_config {
                    hosted.log_config = log_config.clone();
                    log.set_config(log_config);
                }
                self.ctx.feed(hosted, log, Event::MetadataChanged(view));
                self.settle(partition);
                drop(applying);
            }
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                waiting.commands.push_back(Command::View(change));
            }
            None => {}
        }
    }

    fn registered(&mut self, broker_epoch: BrokerEpoch) {
        self.ctx.broker_epoch = self.ctx.broker_epoch.max(broker_epoch);
        let partitions: Vec<TopicPartition> = self.slots.keys().copied().collect();
        for partition in partitions {
            self.feed(partition, Event::Registered { broker_epoch });
        }
    }

    fn produce(&mut self, produce: Box<ProduceCommand>) {
        let partition = produce.partition;
        match self.slots.get_mut(&partition) {
            Some(Slot::Ready(hosted, log)) => {
                let ProduceCommand {
                    batch,
                    acks,
                    timeout,
                    origin,
                    log_append_time,
                    reply,
                    steps,
                    place,
                    ..
                } = *produce;
                let metrics = &self.ctx.shared.metrics;
                metrics.produced_batches.add(1);
                metrics.produced_bytes.add(batch.size() as u64);
                let level = self.ctx.shared.space.level();
                let disk_full = match origin {
                    Origin::Client => level >= Level::Full,
                    Origin::Coordinator { .. } => level >= Level::ReadOnly,
                };
                let request = self.ctx.next_request();
                hosted
                    .produces
                    .insert(request, PendingProduce { reply, log_append_time });
                let produce = klamm_replication::Produce {
                    request,
                    batch,
                    acks,
                    timeout,
                    origin,
                    disk_full,
                };
                if let Some(mut steps) = steps {
                    steps.taken(request, &hosted.name);
                    hosted.traced.push(*steps);
                }
                self.ctx.feed(hosted, log, Event::Produce(Box::new(produce)));
                if !hosted.traced.is_empty() {
                    steps::appended(&mut hosted.traced, request, log.log_end_offset());
                }
                self.settle(partition);
                drop(place);
            }
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                waiting.commands.push_back(Command::Produce(produce));
            }
            None => {
                self.ctx.shared.metrics.produce_errors.add(1);
                let error = self.ctx.shared.not_hosted(partition);
                let _ = produce.reply.done.send(Err(error.into()));
            }
        }
    }

    fn cancel_fetch(&mut self, request: RequestId, partitions: &[TopicPartition]) {
        for partition in partitions {
            let Some(Slot::Ready(hosted, _) | Slot::Cutting(hosted, _)) = self.slots.get_mut(partition) else {
                continue;
            };
            if hosted.fetches.remove(&request).is_some() {
                self.feed(*partition, Event::CancelFetch { request });
            }
        }
    }

    fn push_read(&mut self, outcome: PushReadOutcome) {
        match self.slots.get_mut(&outcome.partition) {
            Some(Slot::Ready(hosted, _)) => {
                let event = push::finish(&mut self.ctx, hosted, outcome.order, outcome.result);
                self.feed(outcome.partition, event);
            }
            Some(Slot::Opening(waiting) | Slot::Cutting(_, waiting)) => {
                waiting.commands.push_back(Command::PushRead(Box::new(outcome)));
            }
            None => {}
        }
    }

    /// Brings the recovery points of what was written forward, and hands the marks over. Partitions that were not
    /// touched since the last time keep no file open.
    fn checkpoint(&mut self) {
        self.report_broken();
        let touched = self.ctx.take_touched();
        for partition in std::mem::replace(&mut self.cooling, touched.clone()) {
            if let Some(Slot::Ready(hosted, log)) = self.slots.get_mut(&partition)
                && !hosted.touched
            {
                log.release_files();
            }
        }
        for partition in touched {
            let Some(Slot::Ready(hosted, log)) = self.slots.get_mut(&partition) else {
                continue;
            };
            hosted.touched = false;
            self.ctx.shared.checkpoints.update(hosted.id, hosted.marks(log));
            if hosted.replica.flushed() < hosted.replica.log_end() {
                self.feed(partition, Event::FlushDue);
            }
        }
    }
}

/// Where nothing may be appended, what a leader sends counts as lost with its stream: the leader goes on without this
/// replica, which subscribes again when there is room.
fn without_room(event: Event, level: Level) -> Event {
    match event {
        Event::ReplicaBatches(message) if level >= Level::ReadOnly && !message.batches.is_empty() => {
            Event::StreamLost {
                leader: message.leader,
                subscription: message.subscription,
            }
        }
        event => event,
    }
}

/// A follower subscribes to what this broker does not host: its core tries again after the next image.
fn refuse_unknown(pair: &crate::replica::followers::FollowerPair, partition: TopicPartition, event: &Event) {
    use crate::replica::convert::{SubscriptionKey, to_answer};
    use klamm_replication::{Lane, SubscribeAnswer};
    let Event::Subscribe(subscribe) = event else {
        return;
    };
    let key = SubscriptionKey {
        partition,
        number: subscribe.subscription,
        leader_epoch: subscribe.leader_epoch,
    };
    let error = klamm_types::ErrorCode::UnknownTopicId;
    let answer = SubscribeAnswer::Refused {
        error,
        leader_epoch: klamm_types::LeaderEpoch::NONE,
    };
    pair.unsubscribed(partition, subscribe.subscription);
    pair.outbox(Lane::InSync)
        .put(|queue| queue.push_answer(partition, to_answer(key, &answer)));
}
