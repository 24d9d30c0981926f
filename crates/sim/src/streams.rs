//! Replica streams between processes: opening them, sending on them, and what arrives.

use klamm_replication::{Acknowledge, Event, Lane, Subscribe, SubscriptionNumber};
use klamm_types::NodeId;

use crate::broker::{Process, Served};
use crate::network::{ConnectionId, Message, Side};
use crate::plan::MS;
use crate::world::{AtProcess, Happening, World};

impl World {
    /// A follower subscribes: over the connection it has, or a new one.
    pub fn subscribe(&mut self, index: usize, process: &mut Process, leader: NodeId, subscribe: Subscribe) {
        let Some(target) = self.broker_index(leader) else {
            return;
        };
        if let Some(&connection) = process.following.get(&target) {
            self.send(connection, Side::Leader, Lane::InSync, Message::Subscribe(subscribe));
            return;
        }
        let alive = self.brokers[target].process.is_some();
        if !alive || !self.is_link_up(index, target) {
            let lost = Event::StreamLost {
                leader,
                subscription: subscribe.subscription,
            };
            let delay = if alive {
                self.chance.between(20 * MS, 80 * MS)
            } else {
                self.chance.delay(300, 5 * MS)
            };
            self.tell_process(index, self.now + delay, AtProcess::Replica(Box::new(lost)));
            return;
        }
        let ends = ((index, self.brokers[index].life), (target, self.brokers[target].life));
        let connection = self
            .network
            .open(ends, self.brokers[index].node, process.broker_epoch, &mut self.chance);
        process.following.insert(target, connection);
        self.send(connection, Side::Leader, Lane::InSync, Message::Subscribe(subscribe));
    }

    pub fn send_to_leader(&mut self, process: &Process, leader: NodeId, message: Message) {
        let target = self.broker_index(leader);
        if let Some(&connection) = target.and_then(|target| process.following.get(&target)) {
            self.send(connection, Side::Leader, Lane::InSync, message);
        }
    }

    pub fn send(&mut self, connection: ConnectionId, side: Side, lane: Lane, message: Message) {
        let Some(arrival) = self.network.send(connection, side, lane, self.now, &mut self.chance) else {
            return;
        };
        let Some((broker, life)) = self.network.get(connection).map(|it| match side {
            Side::Follower => it.follower,
            Side::Leader => it.leader,
        }) else {
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
                message: message.clone(),
                has_arrived: false,
            };
            self.at(again, Happening::Process { broker, life, what });
        }
        let what = AtProcess::Message {
            connection,
            side,
            lane,
            message,
            has_arrived: false,
        };
        self.at(arrival.at, Happening::Process { broker, life, what });
    }

    pub fn message(
        &mut self,
        index: usize,
        process: &mut Process,
        (connection, side): (ConnectionId, Side),
        message: Message,
    ) {
        let Some(known) = self.network.get(connection) else {
            return;
        };
        let event = match side {
            Side::Leader => {
                let (follower, broker_epoch) = (known.follower_node, known.broker_epoch);
                self.hear_follower(process, connection, (follower, broker_epoch), message)
            }
            Side::Follower => {
                let leader = self.brokers[known.leader.0].node;
                Self::hear_leader(leader, message)
            }
        };
        if let Some(event) = event {
            self.feed(index, process, event);
        }
    }

    fn hear_follower(
        &mut self,
        process: &mut Process,
        connection: ConnectionId,
        (follower, broker_epoch): (NodeId, klamm_types::BrokerEpoch),
        message: Message,
    ) -> Option<Event> {
        let served = process.serving.entry(connection).or_insert(Served {
            follower,
            broker_epoch,
            subscription: SubscriptionNumber(0),
        });
        match message {
            Message::Subscribe(subscribe) => {
                served.subscription = served.subscription.max(subscribe.subscription);
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
                if let Some(served) = process.serving.remove(&connection) {
                    let ended = Event::FollowerStreamEnded {
                        follower: served.follower,
                        broker_epoch: served.broker_epoch,
                        subscription: served.subscription,
                    };
                    self.feed(index, process, ended);
                }
            }
            Side::Follower => {
                let target = process
                    .following
                    .iter()
                    .find(|(_, known)| **known == connection)
                    .map(|(&it, _)| it);
                let Some(target) = target else {
                    return;
                };
                process.following.remove(&target);
                let leader = self.brokers[target].node;
                if let Some((subscribed, subscription, _)) = process.subscribed
                    && subscribed == leader
                {
                    self.feed(index, process, Event::StreamLost { leader, subscription });
                }
            }
        }
    }
}
