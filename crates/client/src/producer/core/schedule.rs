//! What to do next: expire, mend, abandon, send, ask. And when to look again.

use std::collections::BTreeMap;

use klamm_types::{Moment, NodeId};

use super::queue::{Place, Queue, Sealed};
use super::{Core, Effect, IdentityState, InFlight, Link, Order, Part, RequestId};
use crate::producer::config::Acks;
use crate::producer::error::{self, ProduceError};

/// What a request takes besides its batches, roughly, per partition.
const PART_OVERHEAD: usize = 64;

impl<T: Clone> Core<T> {
    /// Says what to do now, and when to be called again if nothing happens before.
    pub fn poll(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) -> Option<Moment> {
        self.expire(now, effects);
        self.mend();
        let queues = &self.queues;
        self.active.retain(|&slot| !queues[slot].is_empty());
        self.abandon(now, effects);
        self.dispatch(now, effects);
        self.doubt(now, effects);
        self.next_wake(now)
    }

    /// Fails what is older than the delivery timeout.
    fn expire(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        let waited = self.config.delivery_timeout;
        let expired = |created: Moment| now.since(created) >= waited;
        for &slot in &self.active {
            let queue = &mut self.queues[slot];
            if !queue.oldest().is_some_and(expired) {
                continue;
            }
            while let Some(index) = queue.flights.iter().position(|flight| expired(flight.meta.created)) {
                let Some(flight) = queue.give_up(index) else { break };
                let failure = ProduceError::TimedOut {
                    waited,
                    effect: flight.effect(),
                    last: flight.last,
                };
                effects.push(flight.meta.complete(Err(failure)));
            }
            if queue.open.as_ref().is_some_and(|open| expired(open.meta.created)) {
                queue.seal();
            }
            while queue.sealed.front().is_some_and(|sealed| expired(sealed.created())) {
                let Some(sealed) = queue.sealed.pop_front() else { break };
                let failure = ProduceError::TimedOut {
                    waited,
                    effect: error::Effect::None,
                    last: None,
                };
                effects.push(sealed.meta.complete(Err(failure)));
            }
        }
    }

    fn mend(&mut self) {
        for &slot in &self.active {
            let Some(used_up) = self.queues[slot].mend() else {
                continue;
            };
            if matches!(self.identity, IdentityState::Known(known) if known.producer_id == used_up) {
                self.identity = IdentityState::Missing { retry_at: Moment(0) };
            }
        }
    }

    /// Gives up waiting for leaders that are leaders no more. Only where sending again can do no harm.
    fn abandon(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        if !self.is_idempotent() {
            return;
        }
        for request in self.requests.values() {
            let left_behind = |&slot: &usize| {
                let queue = &self.queues[slot];
                queue.leader.is_some_and(|leader| leader != request.node)
                    && now.since(queue.moved_at) >= self.config.abandon_after
            };
            let effect = Effect::Disconnect(request.node);
            if request.slots.iter().any(left_behind) && !effects.iter().any(|done| is_disconnect(done, request.node)) {
                effects.push(effect);
            }
        }
    }

    fn dispatch(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        let mut ready: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        let mut leaderless = false;
        let mut identity_missing = false;
        let (before, after): (Vec<usize>, Vec<usize>) = self.active.iter().partition(|&&slot| slot < self.cursor);
        for slot in after.into_iter().chain(before) {
            let queue = &self.queues[slot];
            if !self.is_ready(queue, now) {
                continue;
            }
            if self.needs_identity(queue) {
                identity_missing = true;
                continue;
            }
            match queue.leader {
                Some(leader) => ready.entry(leader).or_default().push(slot),
                None => leaderless = true,
            }
        }
        if identity_missing {
            self.ask_identity(now, effects);
        }
        if leaderless {
            self.refresh(now, effects);
        }
        for (id, slots) in ready {
            let node = *self.node(id);
            match node.link {
                Link::Down { retry_at } if retry_at <= now => {
                    self.node(id).link = Link::Dialing;
                    effects.push(Effect::Dial(id));
                }
                Link::Up if node.resume_at <= now => self.send_to(id, &slots, now, effects),
                Link::Down { .. } | Link::Dialing | Link::Up => {}
            }
        }
    }

    fn needs_identity(&self, queue: &Queue<T>) -> bool {
        self.is_idempotent() && queue.identity.is_none() && !matches!(self.identity, IdentityState::Known(_))
    }

    fn ask_identity(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        if matches!(self.identity, IdentityState::Missing { retry_at } if retry_at <= now) {
            self.identity = IdentityState::Asked;
            effects.push(Effect::AskIdentity);
        }
    }

    /// Whether the queue has something that may be sent now.
    fn is_ready(&self, queue: &Queue<T>, now: Moment) -> bool {
        if queue.retry_at > now {
            return false;
        }
        if queue.flights.iter().any(|flight| flight.place == Place::Due) {
            return true;
        }
        !queue.broken && queue.flights.len() < self.flights_max(queue, now) && self.has_waiting(queue, now)
    }

    fn has_waiting(&self, queue: &Queue<T>, now: Moment) -> bool {
        let lingered = |created: Moment| self.hurry || now.since(created) >= self.config.linger;
        !queue.sealed.is_empty() || queue.open.as_ref().is_some_and(|open| lingered(open.meta.created))
    }

    /// Sends requests to a broker while it has room and there is something to send.
    fn send_to(&mut self, node: NodeId, slots: &[usize], now: Moment, effects: &mut Vec<Effect<T>>) {
        while self.node(node).in_flight < self.config.in_flight_max {
            let id = self.next_request;
            let (mut size, mut parts, mut taken) = (0, Vec::new(), Vec::new());
            for &slot in slots {
                if !self.is_ready(&self.queues[slot], now) {
                    continue;
                }
                let room = if parts.is_empty() {
                    usize::MAX
                } else {
                    self.config.request_size_max.saturating_sub(size)
                };
                if let Some(part) = self.take(slot, id, room, effects) {
                    size += part.batch.len() + PART_OVERHEAD;
                    parts.push(part);
                    taken.push(slot);
                }
            }
            let Some(&last) = taken.last() else { return };
            self.cursor = last + 1;
            self.next_request += 1;
            self.node(node).in_flight += 1;
            let doubt_at = now + self.config.slow_after;
            self.requests.insert(
                id,
                InFlight {
                    node,
                    slots: taken,
                    doubt_at,
                },
            );
            effects.push(Effect::Send(Order { id, node, parts }));
        }
    }

    /// Takes the next batch of a queue for request `id`, if it is no larger than `room`.
    fn take(&mut self, slot: usize, id: RequestId, room: usize, effects: &mut Vec<Effect<T>>) -> Option<Part> {
        let queue = &mut self.queues[slot];
        let due = |queue: &Queue<T>| queue.flights.iter().position(|flight| flight.place == Place::Due);
        if due(queue).is_none() {
            if queue.identity.is_none()
                && let IdentityState::Known(identity) = self.identity
            {
                queue.identity = Some(identity);
            }
            if queue.sealed.is_empty() {
                queue.seal();
            }
            let sealed: Sealed<T> = queue.sealed.pop_front()?;
            if let Err((meta, error)) = queue.launch(sealed) {
                effects.push(meta.complete(Err(ProduceError::Build(error))));
                return None;
            }
        }
        let index = due(queue)?;
        // What finds no room stays due and goes with the next request.
        if queue.flights[index].batch.size() > room {
            return None;
        }
        queue.flights[index].place = Place::Sent { id, first: index == 0 };
        Some(Part {
            topic: queue.topic.clone(),
            topic_id: queue.topic_id,
            partition: queue.partition,
            batch: queue.flights[index].batch.bytes().clone(),
        })
    }

    /// Looks for new leaders when a broker is silent for long.
    fn doubt(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        let (mut doubtful, again) = (false, now + self.config.slow_after);
        for request in self.requests.values_mut() {
            if request.doubt_at <= now {
                request.doubt_at = again;
                doubtful = true;
            }
        }
        if doubtful && self.config.acks != Acks::NoneUnsafe {
            self.refresh(now, effects);
        }
    }

    /// Asks for a fresh picture, not more often than the retry interval.
    pub(super) fn refresh(&mut self, now: Moment, effects: &mut Vec<Effect<T>>) {
        if self.next_refresh <= now {
            self.next_refresh = now + self.config.retry_backoff;
            effects.push(Effect::Refresh);
        }
    }

    /// The next moment at which time alone makes a difference.
    fn next_wake(&self, now: Moment) -> Option<Moment> {
        let mut wake = Wake { now, at: None };
        for &slot in &self.active {
            let queue = &self.queues[slot];
            wake.consider(queue.oldest().map(|created| created + self.config.delivery_timeout));
            wake.consider(Some(queue.retry_at));
            wake.consider(queue.open.as_ref().map(|open| open.meta.created + self.config.linger));
            if queue.leader.is_none() {
                wake.consider(Some(self.next_refresh));
            }
            if !queue.flights.is_empty() {
                wake.consider(Some(queue.moved_at + self.config.abandon_after));
            }
        }
        for node in self.nodes.values() {
            if let Link::Down { retry_at } = node.link {
                wake.consider(Some(retry_at));
            }
            wake.consider(Some(node.resume_at));
        }
        if let IdentityState::Missing { retry_at } = self.identity {
            wake.consider(Some(retry_at));
        }
        for request in self.requests.values() {
            wake.consider(Some(request.doubt_at));
        }
        wake.at
    }
}

fn is_disconnect<T>(effect: &Effect<T>, node: NodeId) -> bool {
    matches!(effect, Effect::Disconnect(other) if *other == node)
}

/// The earliest of several moments that lie ahead.
struct Wake {
    now: Moment,
    at: Option<Moment>,
}

impl Wake {
    fn consider(&mut self, at: Option<Moment>) {
        if let Some(at) = at
            && at > self.now
        {
            self.at = Some(self.at.map_or(at, |known| known.min(at)));
        }
    }
}
