//! The leader's side of replica streams: who follows, and through which pair of streams.
//!
//! A pair is served until either stream ends; then every subscription that came through it ends. Which
//! subscriptions are right, and what is pushed, is decided by the replication core.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use klamm_proto::replica::v1::Opened;
use klamm_replication::{Lane, SubscriptionNumber};
use klamm_types::{BrokerEpoch, NodeId, TopicPartition};

use super::outbox::{Outbox, ToFollower};

/// The two streams of one follower.
pub struct FollowerPair {
    pub follower: NodeId,
    /// As stated when the streams were opened.
    pub broker_epoch: BrokerEpoch,
    number: u64,
    in_sync: Arc<Outbox<ToFollower>>,
    catch_up: Arc<Outbox<ToFollower>>,
    subscriptions: Mutex<HashMap<TopicPartition, SubscriptionNumber>>,
    ended: AtomicBool,
}

impl FollowerPair {
    fn new(leader: NodeId, follower: NodeId, broker_epoch: BrokerEpoch, number: u64) -> Self {
        let outbox = || Arc::new(Outbox::new(ToFollower::new(Opened { node_id: leader.0 })));
        Self {
            follower,
            broker_epoch,
            number,
            in_sync: outbox(),
            catch_up: outbox(),
            subscriptions: Mutex::default(),
            ended: AtomicBool::new(false),
        }
    }

    pub fn outbox(&self, lane: Lane) -> &Arc<Outbox<ToFollower>> {
        match lane {
            Lane::InSync => &self.in_sync,
            Lane::CatchUp => &self.catch_up,
        }
    }

    /// Notes a subscription, so that it ends with the pair.
    pub fn subscribed(&self, partition: TopicPartition, number: SubscriptionNumber) {
        lock(&self.subscriptions).insert(partition, number);
    }

    pub fn unsubscribed(&self, partition: TopicPartition, number: SubscriptionNumber) {
        let mut subscriptions = lock(&self.subscriptions);
        if subscriptions.get(&partition) == Some(&number) {
            subscriptions.remove(&partition);
        }
    }

    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Closes both streams. The first caller gets the subscriptions that end with them.
    fn end(&self) -> HashMap<TopicPartition, SubscriptionNumber> {
        self.ended.store(true, Ordering::Release);
        self.in_sync.close();
        self.catch_up.close();
        std::mem::take(&mut *lock(&self.subscriptions))
    }
}

/// Subscriptions that have ended with their pair.
pub struct EndedPair {
    pub pair: Arc<FollowerPair>,
    pub subscriptions: HashMap<TopicPartition, SubscriptionNumber>,
}

/// All pairs, at most one per follower: the newest.
#[derive(Default)]
pub struct Followers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pairs: HashMap<NodeId, Arc<FollowerPair>>,
    /// This broker is stopping: nobody joins any more.
    closed: bool,
}

/// What a follower said when it opened a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    pub follower: NodeId,
    pub broker_epoch: BrokerEpoch,
    pub number: u64,
}

impl Followers {
    /// The pair to which a new stream belongs, and the pair that it replaces. `None`: the stream belongs to a
    /// registration older than the one that has streams here, or this broker is stopping.
    pub fn join(&self, leader: NodeId, opening: Opening) -> Option<(Arc<FollowerPair>, Option<EndedPair>)> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        if let Some(current) = state.pairs.get(&opening.follower) {
            let same = current.number == opening.number && current.broker_epoch == opening.broker_epoch;
            if same && !current.has_ended() {
                return Some((Arc::clone(current), None));
            }
            if current.broker_epoch > opening.broker_epoch || same {
                return None;
            }
        }
        let pair = FollowerPair::new(leader, opening.follower, opening.broker_epoch, opening.number);
        let pair = Arc::new(pair);
        let replaced = state.pairs.insert(opening.follower, Arc::clone(&pair));
        drop(state);
        let replaced = replaced.map(|old| EndedPair {
            subscriptions: old.end(),
            pair: old,
        });
        Some((pair, replaced))
    }

    /// A stream of the pair has ended.
    pub fn leave(&self, pair: &Arc<FollowerPair>) -> EndedPair {
        let mut state = lock(&self.state);
        if state
            .pairs
            .get(&pair.follower)
            .is_some_and(|current| Arc::ptr_eq(current, pair))
        {
            state.pairs.remove(&pair.follower);
        }
        drop(state);
        EndedPair {
            subscriptions: pair.end(),
            pair: Arc::clone(pair),
        }
    }

    /// Ends everything, for a stop.
    pub fn end_all(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        for (_, pair) in state.pairs.drain() {
            pair.end();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
