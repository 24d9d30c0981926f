//! Connections between brokers: two ordered streams per pair and direction, that break.
//!
//! Within a stream order is kept, as TCP keeps it, except for an occasional repetition. Between the two lanes, and
//! between an old connection and its successor, there is no order: some connections are slow, so that what was said
//! in an old epoch arrives in a new one. A break loses a tail of what was under way, and each side hears of it in its
//! own time, perhaps long before the other. Nothing is lost without a break.

use std::collections::BTreeMap;

use klamm_replication::{Lane, ReplicaBatches, Subscribe, SubscribeAnswer, SubscriptionNumber};
use klamm_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset};

use crate::chance::Chance;
use crate::plan::{MS, Time};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Follower,
    Leader,
}

/// What travels between brokers.
#[derive(Clone, Debug)]
pub enum Message {
    Subscribe(Subscribe),
    Acknowledge {
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        written: Offset,
        flushed: Offset,
        credit_bytes: u64,
    },
    Unsubscribe {
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
    },
    Answer {
        subscription: SubscriptionNumber,
        leader_epoch: LeaderEpoch,
        answer: SubscribeAnswer,
    },
    Batches(ReplicaBatches),
}

/// The pair of streams over which one process follows another.
#[derive(Debug)]
pub struct Connection {
    /// Index of the broker and count of its process starts.
    pub follower: (usize, u32),
    pub leader: (usize, u32),
    pub follower_node: NodeId,
    pub broker_epoch: BrokerEpoch,
    /// Messages usually take so long.
    usual_delay: Time,
    /// When the last message so far arrives, per side that receives and lane.
    last: [[Time; 2]; 2],
    /// Nothing sent to this side arrives any more, though nobody knows it yet.
    stalled: [bool; 2],
    /// Set once it is broken: later arrivals are lost.
    lost_after: Option<[[Time; 2]; 2]>,
}

/// When something reaches a process.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    pub at: Time,
    /// The network delivers it once more, later.
    pub again_at: Option<Time>,
}

#[derive(Debug)]
pub struct Network {
    connections: BTreeMap<ConnectionId, Connection>,
    opened: u64,
    /// How many new connections in a thousand are slow.
    slow_connections: u64,
}

const USUAL_DELAY: Time = 300;

fn lane_index(lane: Lane) -> usize {
    match lane {
        Lane::InSync => 0,
        Lane::CatchUp => 1,
    }
}

fn side_index(side: Side) -> usize {
    match side {
        Side::Follower => 0,
        Side::Leader => 1,
    }
}

impl Network {
    pub fn new(slow_connections: u64) -> Network {
        Network {
            connections: BTreeMap::new(),
            opened: 0,
            slow_connections,
        }
    }

    pub fn open(
        &mut self,
        (follower, leader): ((usize, u32), (usize, u32)),
        follower_node: NodeId,
        broker_epoch: BrokerEpoch,
        chance: &mut Chance,
    ) -> ConnectionId {
        self.opened += 1;
        let id = ConnectionId(self.opened);
        self.connections.insert(
            id,
            Connection {
                follower,
                leader,
                follower_node,
                broker_epoch,
                usual_delay: match chance.per_mille(self.slow_connections) {
                    true => chance.between(5 * MS, 60 * MS),
                    false => USUAL_DELAY,
                },
                last: [[0; 2]; 2],
                stalled: [false; 2],
                lost_after: None,
            },
        );
        id
    }

    pub fn get(&self, id: ConnectionId) -> Option<&Connection> {
        self.connections.get(&id)
    }

    /// From now on every connection is fast.
    pub fn hurry(&mut self) {
        for connection in self.connections.values_mut() {
            connection.usual_delay = USUAL_DELAY;
        }
        self.slow_connections = 0;
    }

    /// When a message sent now to `side` arrives; `None`: it is lost.
    pub fn send(
        &mut self,
        (id, side, lane): (ConnectionId, Side, Lane),
        now: Time,
        storm: bool,
        chance: &mut Chance,
    ) -> Option<Arrival> {
        let connection = self.connections.get_mut(&id)?;
        let mut delay = chance.delay(connection.usual_delay, 15 * MS + connection.usual_delay);
        if storm {
            delay += chance.between(0, 60 * MS);
        }
        if connection.lost_after.is_some() || connection.stalled[side_index(side)] {
            return None;
        }
        let last = &mut connection.last[side_index(side)][lane_index(lane)];
        let at = (now + delay).max(*last + 1);
        *last = at;
        let again_at = chance
            .per_mille(if storm { 60 } else { 5 })
            .then(|| at + chance.between(1, 20 * MS));
        Some(Arrival { at, again_at })
    }

    /// From now on nothing sent to this side arrives. Says whether the connection is whole otherwise, so that somebody
    /// must break it.
    pub fn stall(&mut self, id: ConnectionId, side: Side) -> bool {
        let Some(connection) = self.connections.get_mut(&id).filter(|it| it.lost_after.is_none()) else {
            return false;
        };
        let is_first = !connection.stalled.contains(&true);
        connection.stalled[side_index(side)] = true;
        is_first
    }

    /// Whether a message that arrives now on this connection was lost with it.
    pub fn is_lost(&self, id: ConnectionId, side: Side, lane: Lane, now: Time) -> bool {
        let lost_after = self.connections.get(&id).and_then(|connection| connection.lost_after);
        lost_after.is_some_and(|after| now > after[side_index(side)][lane_index(lane)])
    }

    /// Breaks a connection. Says when the last of its messages arrives at each side, the follower's first; `None` if it
    /// was broken already.
    pub fn break_now(&mut self, id: ConnectionId, now: Time, chance: &mut Chance) -> Option<[Time; 2]> {
        let connection = self.connections.get_mut(&id)?;
        if connection.lost_after.is_some() {
            return None;
        }
        let mut after = [[now; 2]; 2];
        for time in after.iter_mut().flatten() {
            if chance.per_mille(500) {
                *time += chance.delay(500 + connection.usual_delay, 200 * MS);
            }
        }
        connection.lost_after = Some(after);
        Some(after.map(|[one, other]| one.max(other)))
    }

    /// All connections of a broker, or between two.
    pub fn between(&self, one: usize, other: Option<usize>) -> Vec<ConnectionId> {
        let joins = |connection: &Connection| {
            let (follower, leader) = (connection.follower.0, connection.leader.0);
            match other {
                None => follower == one || leader == one,
                Some(other) => (follower, leader) == (one, other) || (follower, leader) == (other, one),
            }
        };
        let unbroken = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.lost_after.is_none());
        unbroken
            .filter(|(_, connection)| joins(connection))
            .map(|(&id, _)| id)
            .collect()
    }

    pub fn unbroken(&self) -> Vec<ConnectionId> {
        let unbroken = self
            .connections
            .iter()
            .filter(|(_, connection)| connection.lost_after.is_none());
        unbroken.map(|(&id, _)| id).collect()
    }
}
