//! Replica streams between processes: opening them, sending on them, and what arrives.

use std::collections::BTreeMap;

use klamm_replication::{Acknowledge, Event, Lane, Subscribe};
use klamm_types::{BrokerEpoch, NodeId};

use super::hosted::{Here, Process, Served};
use crate::plan::MS;
use crate::world::{AtProcess, AtReplica, ConnectionId, Happening, Message, Side, World};

impl World {
    /// A follower subscribes: over the connection it has, or a new one.
    pub fn subscribe(&mut self, here: &mut Here<'_>, leader: NodeId, subscribe: Subscribe) {
        let Some(target) = self.broker_index(leader) else {
            return;
        };
        if let Some(&connection) = here.host.following.get(&target) {
            self.send(
                (connection, here.partition),
                Side::Leader,
                Lane::InSync,
                Message::Subscribe(subscribe),
            );
            return;
        }
        let alive = self.brokers[target].process.is_some();
        // Without room for what it would bring, there is no link.
        let is_full = self.brokers[here.broker].is_full;
        if !alive || is_full || !self.is_link_up(here.broker, target) {
            let lost = Event::StreamLost {
                leader,
                subscription: subscribe.subscription,
            };
            let delay = if alive {
                self.chance.between(20 * MS, 80 * MS)
            } else {
                self.chance.delay(300, 5 * MS)
            };
            self.tell_replica(here.place(), self.now + delay, AtReplica::Event(Box::new(lost)));
            return;
        }
        let ends = (
            (here.broker, self.brokers[here.broker].life),
            (target, self.brokers[target].life),
        );
        let connection = self.network.open(
            ends,
            self.brokers[here.broker].node,
            here.host.broker_epoch,
            &mut self.chance,
        );
        here.host.following.insert(target, connection);
        self.send(
            (connection, here.partition),
            Side::Leader,
            Lane::InSync,
            Message::Subscribe(subscribe),
        );
    }

    pub fn send_to_leader(&mut self, here: &Here<'_>, leader: NodeId, message: Message) {
        let target = self.broker_index(leader);
        if let Some(&connection) = target.and_then(|target| here.host.following.get(&target)) {
            self.send((connection, here.partition), Side::Leader, Lane::InSync, message);
        }
    }

    pub fn send(&mut self, (connection, partition): (ConnectionId, usize), side: Side, lane: Lane, message: Message) {
        let Some(known) = self.network.get(connection) else {
            return;
        };
        let ((from, _), (broker, life)) = match side {
            Side::Follower => (known.leader, known.follower),
            Side::Leader => (known.follower, known.leader),
        };
        if !self.reaches(from, broker) || self.breaks_in_the_storm() {
            // Nothing behind it arrives either, and sooner or later somebody notices.
            if self.network.stall(connection, side) {
                let patience = self.chance.between(20 * MS, 150 * MS);
                self.after(patience, Happening::Break { connection });
            }
            return;
        }
        let storm = self.now < self.storm_until;
        let Some(arrival) = self
            .network
            .send((connection, side, lane), self.now, storm, &mut self.chance)
        else {
            return;
        };
        if let Some(again) = arrival
            .again_at
            .filter(|_| !matches!(message, Message::Acknowledge { .. }))
        {
            let what = AtProcess::Message {
                connection,
                side,
                lane,
                partition,
                message: Box::new(message.clone()),
                has_arrived: false,
            };
            self.at(again, Happening::Process { broker, life, what });
        }
        let what = AtProcess::Message {
            connection,
            side,
            lane,
            partition,
            message: Box::new(message),
            has_arrived: false,
        };
        self.at(arrival.at, Happening::Process { broker, life, what });
    }

    pub fn message(&mut self, here: &mut Here<'_>, (connection, side): (ConnectionId, Side), message: Message) {
        let Some(known) = self.network.get(connection) else {
            return;
        };
        if self.brokers[here.broker].is_full
            && let Message::Batches(batches) = &message
            && !batches.batches.is_empty()
        {
            // What a leader sends counts as lost with its stream: it goes on without this replica.
            let (leader, subscription) = (batches.leader, batches.subscription);
            return self.feed(here, Event::StreamLost { leader, subscription });
        }
        let event = match side {
            Side::Leader => {
                let (follower, broker_epoch) = (known.follower_node, known.broker_epoch);
                self.hear_follower(here, connection, (follower, broker_epoch), message)
            }
            Side::Follower => {
                let leader = self.brokers[known.leader.0].node;
                Self::hear_leader(leader, message)
            }
        };
        if let Some(event) = event {
            self.feed(here, event);
        }
    }

    fn hear_follower(
        &mut self,
        here: &mut Here<'_>,
        connection: ConnectionId,
        (follower, broker_epoch): (NodeId, BrokerEpoch),
        message: Message,
    ) -> Option<Event> {
        let served = here.host.serving.entry(connection).or_insert(Served {
            follower,
            broker_epoch,
            subscriptions: BTreeMap::new(),
        });
        match message {
            Message::Subscribe(subscribe) => {
                let newest = served.subscriptions.entry(here.partition).or_default();
                *newest = subscribe.subscription.max(*newest);
                Some(Event::Subscribe(subscribe))
            }
            Message::Acknowledge {
                subscription,
                leader_epoch,
                written,
                flushed,
                credit_bytes,
            } => Some(Event::Acknowledged(Acknowledge {
                follower,
                broker_epoch,
                subscription,
                leader_epoch,
                written,
                flushed,
                credit_bytes,
            })),
            Message::Unsubscribe {
                subscription,
                leader_epoch,
            } => Some(Event::Unsubscribe {
                follower,
                subscription,
                leader_epoch,
            }),
            Message::Answer { .. } | Message::Batches(_) => None,
        }
    }

    fn hear_leader(leader: NodeId, message: Message) -> Option<Event> {
        match message {
            Message::Answer {
                subscription,
                leader_epoch,
                answer,
            } => Some(Event::SubscribeAnswered {
                leader,
                subscription,
                leader_epoch,
                answer,
            }),
            Message::Batches(batches) => Some(Event::ReplicaBatches(batches)),
            Message::Subscribe(_) | Message::Acknowledge { .. } | Message::Unsubscribe { .. } => None,
        }
    }

    /// One side learns that a connection has ended.
    pub fn ended(&mut self, index: usize, process: &mut Process, connection: ConnectionId, side: Side) {
        match side {
            Side::Leader => {
                let Some(served) = process.host.serving.remove(&connection) else {
                    return;
                };
                self.for_each_replica(index, process, |world, here| {
                    if let Some(&subscription) = served.subscriptions.get(&here.partition) {
                        let ended = Event::FollowerStreamEnded {
                            follower: served.follower,
                            broker_epoch: served.broker_epoch,
                            subscription,
                        };
                        world.feed(here, ended);
                    }
                });
            }
            Side::Follower => {
                let known = process.host.following.iter().find(|(_, known)| **known == connection);
                let Some(target) = known.map(|(&target, _)| target) else {
                    return;
                };
                process.host.following.remove(&target);
                let leader = self.brokers[target].node;
                self.for_each_replica(index, process, |world, here| {
                    if let Some((subscribed, subscription, _)) = here.own.subscribed
                        && subscribed == leader
                    {
                        world.feed(here, Event::StreamLost { leader, subscription });
                    }
                });
            }
        }
    }
}
