//! What a worker's helpers share: its books of deadlines and marks, and the one way to give an event to a core.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use klamm_log::Log;
use klamm_replication::{Effect, Event, Now, RequestId, Role};
use klamm_types::{BrokerEpoch, Moment, TopicPartition};

use super::carry;
use super::command::Command;
use super::flushes::FlushOrder;
use super::hosted::Hosted;
use super::inbox::Inbox;
use super::shared::Shared;

/// Deadlines are rounded up to this, so that many of them make one tick.
const TICK_GRAIN: Duration = Duration::from_millis(5);

/// What a worker's helpers may use beside the partition they are called for.
pub(crate) struct Context {
    pub shared: Arc<Shared>,
    pub index: usize,
    /// When the command in hand was taken up.
    pub now: Now,
    /// Flushes asked for in this round.
    pub flushes: Vec<FlushOrder>,
    pub broker_epoch: BrokerEpoch,
    touched: Vec<TopicPartition>,
    deadlines: BTreeSet<(Moment, TopicPartition)>,
    next_request: u64,
    /// Kept between steps to save allocations.
    effects: Vec<Effect>,
}

impl Context {
    pub fn new(shared: Arc<Shared>, index: usize) -> Context {
        Context {
            now: shared.clock.now(),
            shared,
            index,
            flushes: Vec::new(),
            broker_epoch: BrokerEpoch::NONE,
            touched: Vec::new(),
            deadlines: BTreeSet::new(),
            next_request: 0,
            effects: Vec::new(),
        }
    }

    /// Takes something up; the watch over workers counts from here.
    pub fn begin(&mut self) {
        self.now = self.shared.clock.now();
        self.shared.pulses[self.index].busy(self.now.moment);
    }

    /// Waits for something to do.
    pub fn rest(&self) {
        self.shared.pulses[self.index].idle();
    }

    /// A number that no other request of this worker has.
    pub fn next_request(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    /// When the next deadline of a core is.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|&(at, _)| self.shared.clock.instant(at))
    }

    /// Takes out a partition whose deadline has come.
    pub fn take_due(&mut self) -> Option<TopicPartition> {
        let &(at, _) = self.deadlines.first()?;
        if at > self.now.moment {
            return None;
        }
        self.deadlines.pop_first().map(|(_, partition)| partition)
    }

    /// What was touched since the last call.
    pub fn take_touched(&mut self) -> Vec<TopicPartition> {
        std::mem::take(&mut self.touched)
    }

    pub fn inbox(&self) -> Arc<Inbox<Command>> {
        Arc::clone(&self.shared.workers[self.index])
    }

    /// The partition's marks have changed; the next checkpoint takes them along.
    pub fn touch(&mut self, hosted: &mut Hosted) {
        if !hosted.touched {
            hosted.touched = true;
            self.touched.push(hosted.id);
        }
    }

    /// Gives an event to the core and carries out everything that follows from it.
    pub fn feed(&mut self, hosted: &mut Hosted, log: &mut Log, event: Event) {
        let mut pending = VecDeque::new();
        let mut effects = std::mem::take(&mut self.effects);
        hosted.replica.step(self.now, event, &mut effects);
        pending.extend(effects.drain(..));
        while let Some(effect) = pending.pop_front() {
            if let Some(answer) = carry::carry_out(self, hosted, log, effect) {
                hosted.replica.step(self.now, answer, &mut effects);
                pending.extend(effects.drain(..));
            }
        }
        self.effects = effects;
        debug_assert_eq!(hosted.replica.validate(), Ok(()));
        // A write that failed stops the replica. Whoever asks for the log end between two events relies on this.
        let is_stopped = hosted.replica.role() == Role::Stopped;
        debug_assert!(
            is_stopped || !hosted.replica.is_appending(),
            "what is accepted is written"
        );
        carry::keep_producers(hosted, log);
        self.note_deadline(hosted);
    }

    fn note_deadline(&mut self, hosted: &mut Hosted) {
        let grain = TICK_GRAIN.as_micros() as u64;
        let next = hosted
            .replica
            .next_deadline()
            .map(|at| Moment(at.0.div_ceil(grain).saturating_mul(grain)));
        if next == hosted.deadline {
            return;
        }
        self.forget_deadline(hosted);
        hosted.deadline = next;
        if let Some(at) = next {
            self.deadlines.insert((at, hosted.id));
        }
    }

    pub fn forget_deadline(&mut self, hosted: &mut Hosted) {
        if let Some(at) = hosted.deadline.take() {
            self.deadlines.remove(&(at, hosted.id));
        }
    }
}
