//! The follower's side of replica streams: one link, a pair of streams, to each broker that it follows.
//!
//! A link is dialled once. When it fails, or either stream ends, every subscription that was made over it is lost,
//! which the replication core is told; the core's next subscription makes a new link. A link to a broker that was
//! not reached waits a little before it dials, longer each time. What is subscribed is decided by the core.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use klamm_proto::replica::v1::{Acknowledgement, Open, Subscription, Unsubscription};
use klamm_replication::{Event, Lane, SubscriptionNumber};
use klamm_types::{BrokerEpoch, ClusterId, NodeId, TopicPartition};
use tokio::runtime::Handle;

use super::dial::{self, LinkError};
use super::outbox::{Outbox, ToLeader};
use crate::partitions::Shared;

/// The pauses before dialling a broker again grow from this …
const DIAL_PAUSE_MIN: Duration = Duration::from_millis(10);
/// … to this.
const DIAL_PAUSE_MAX: Duration = Duration::from_millis(200);

/// Whom a link reaches, and as whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub leader: NodeId,
    pub leader_broker_epoch: BrokerEpoch,
    /// host:port of its gRPC server; resolved at each dial.
    pub address: String,
    pub cluster: ClusterId,
    pub node: NodeId,
    pub broker_epoch: BrokerEpoch,
}

impl Target {
    fn open(&self, pair: u64) -> Open {
        Open {
            cluster_id: bytes::Bytes::copy_from_slice(self.cluster.as_bytes()),
            node_id: self.node.0,
            broker_epoch: self.broker_epoch.0,
            leader_id: self.leader.0,
            lane: 0,
            pair,
        }
    }
}

#[derive(Default)]
struct LinkState {
    ended: bool,
    subscriptions: HashMap<TopicPartition, SubscriptionNumber>,
}

/// One pair of streams to one leader.
pub struct LeaderLink {
    pub target: Target,
    in_sync: Outbox<ToLeader>,
    catch_up: Outbox<ToLeader>,
    state: Mutex<LinkState>,
}

impl LeaderLink {
    fn new(target: Target, pair: u64) -> Self {
        use klamm_proto::replica::v1::Lane as LaneMessage;
        let outbox = |lane: LaneMessage| {
            Outbox::new(ToLeader::new(Open {
                lane: lane.into(),
                ..target.open(pair)
            }))
        };
        Self {
            in_sync: outbox(LaneMessage::InSync),
            catch_up: outbox(LaneMessage::CatchUp),
            state: Mutex::default(),
            target,
        }
    }

    pub(super) fn outbox(&self, lane: Lane) -> &Outbox<ToLeader> {
        match lane {
            Lane::InSync => &self.in_sync,
            Lane::CatchUp => &self.catch_up,
        }
    }

    /// Sends a subscription. False if the link has ended.
    #[must_use]
    pub fn subscribe(&self, partition: TopicPartition, number: SubscriptionNumber, message: Subscription) -> bool {
        let mut state = lock(&self.state);
        if state.ended {
            return false;
        }
        state.subscriptions.insert(partition, number);
        self.in_sync.put(|queue| queue.push_subscription(partition, message));
        true
    }

    pub fn unsubscribe(&self, partition: TopicPartition, message: Unsubscription) {
        let mut state = lock(&self.state);
        let number = SubscriptionNumber(message.number);
        if state.subscriptions.get(&partition) == Some(&number) {
            state.subscriptions.remove(&partition);
        }
        self.in_sync.put(|queue| queue.push_unsubscription(partition, message));
    }

    pub fn acknowledge(&self, partition: TopicPartition, message: Acknowledgement) {
        self.in_sync.put(|queue| queue.push_acknowledgement(partition, message));
    }

    /// Closes both streams; the first caller gets the subscriptions that are lost.
    pub fn end(&self) -> HashMap<TopicPartition, SubscriptionNumber> {
        let mut state = lock(&self.state);
        state.ended = true;
        self.in_sync.close();
        self.catch_up.close();
        std::mem::take(&mut state.subscriptions)
    }

    fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }
}

#[derive(Default)]
struct Slot {
    link: Option<Arc<LeaderLink>>,
    /// Dials in a row that reached nobody.
    failures: u32,
}

#[derive(Default)]
struct Slots {
    by_leader: HashMap<NodeId, Slot>,
    /// This broker is stopping: nobody is dialled any more.
    closed: bool,
}

/// The links of this broker.
pub struct Links {
    slots: Mutex<Slots>,
    next_pair: AtomicU64,
    runtime: Handle,
}

impl Links {
    /// Streams run on `runtime`. `first_pair` is random, so that pairs of two processes are not confused.
    pub fn new(runtime: Handle, first_pair: u64) -> Self {
        Self {
            slots: Mutex::default(),
            next_pair: AtomicU64::new(first_pair),
            runtime,
        }
    }

    /// The link to `target`, made if there is none that fits. `None` when this broker is stopping.
    pub fn link(&self, target: &Target, shared: &Arc<Shared>) -> Option<Arc<LeaderLink>> {
        let mut slots = lock(&self.slots);
        if slots.closed {
            return None;
        }
        let slot = slots.by_leader.entry(target.leader).or_default();
        if let Some(link) = &slot.link
            && link.target == *target
            && !link.has_ended()
        {
            return Some(Arc::clone(link));
        }
        let pair = self.next_pair.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(LeaderLink::new(target.clone(), pair));
        let replaced = slot.link.replace(Arc::clone(&link));
        let pause = pause_after(slot.failures);
        drop(slots);
        if let Some(replaced) = replaced {
            lose(shared, &replaced);
        }
        self.runtime.spawn(run(Arc::clone(shared), Arc::clone(&link), pause));
        Some(link)
    }

    /// Ends all links, for a stop.
    pub fn end_all(&self, shared: &Shared) {
        lock(&self.slots).closed = true;
        self.drop_all(shared);
    }

    /// Ends the links that there are; whoever subscribes again makes new ones.
    pub fn drop_all(&self, shared: &Shared) {
        let mut slots = lock(&self.slots);
        let links: Vec<_> = slots.by_leader.drain().filter_map(|(_, slot)| slot.link).collect();
        drop(slots);
        for link in links {
            lose(shared, &link);
        }
    }

    /// The broker is known to have started anew: it is dialled without a pause.
    pub fn forget_failures(&self, leader: NodeId) {
        if let Some(slot) = lock(&self.slots).by_leader.get_mut(&leader) {
            slot.failures = 0;
        }
    }

    fn dialled(&self, link: &Arc<LeaderLink>, outcome: &Result<(), LinkError>) {
        let mut slots = lock(&self.slots);
        let Some(slot) = slots.by_leader.get_mut(&link.target.leader) else {
            return;
        };
        slot.failures = match outcome {
            Err(LinkError::Connect { .. }) => slot.failures.saturating_add(1),
            _ => 0,
        };
        if slot.link.as_ref().is_some_and(|current| Arc::ptr_eq(current, link)) {
            slot.link = None;
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        count => (DIAL_PAUSE_MIN * 2_u32.saturating_pow(count.min(10))).min(DIAL_PAUSE_MAX),
    }
}

async fn run(shared: Arc<Shared>, link: Arc<LeaderLink>, pause: Duration) {
    tokio::time::sleep(pause).await;
    let outcome = dial::run(&shared, &link).await;
    if let Err(error) = &outcome {
        let cause = error.chain();
        tracing::info!(
            leader = link.target.leader.0,
            address = link.target.address,
            "replica stream ended: {cause}"
        );
    }
    shared.links.dialled(&link, &outcome);
    if outcome.is_err_and(|error| error.came_from_the_leader()) && !link.has_ended() {
        shared.suspect(link.target.leader, link.target.leader_broker_epoch);
    }
    lose(&shared, &link);
}

/// Tells the core of every subscription that the link takes with it.
fn lose(shared: &Shared, link: &LeaderLink) {
    let leader = link.target.leader;
    let lost = link.end().into_iter();
    let events = lost.map(|(partition, subscription)| (partition, Event::StreamLost { leader, subscription }));
    shared.send_events(events, None, None);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
