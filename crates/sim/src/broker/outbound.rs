//! Carries out the effects that go to other brokers.

use std::collections::VecDeque;

use klamm_replication::{Effect, Event, PushFailure, ReplicaBatches, Role, SubscriptionNumber};
use klamm_types::{NodeId, Offset};

use super::disks::{ReadProblem, read_batches};
use super::hosted::Here;
use crate::plan::MS;
use crate::world::{AtReplica, Message, PushWish, Side, World};

impl World {
    pub fn tell_peer(&mut self, here: &mut Here<'_>, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::AnswerSubscribe {
                follower,
                subscription,
                leader_epoch,
                answer,
            } => {
                let message = Message::Answer {
                    subscription,
                    leader_epoch,
                    answer,
                };
                self.answer_follower(here, (follower, subscription), message);
            }
            push @ Effect::Push { .. } => self.start_push(here, push, events),
            Effect::PushHighWatermark {
                follower,
                subscription,
                leader_epoch,
                lane,
                high_watermark,
                log_start,
            } => {
                let message = Message::Batches(ReplicaBatches {
                    leader: self.brokers[here.broker].node,
                    lane,
                    subscription,
                    leader_epoch,
                    from: Offset(0),
                    batches: Vec::new(),
                    high_watermark,
                    log_start,
                });
                self.send_to_follower(here, (follower, subscription), lane, message);
            }
            to_leader @ (Effect::SubscribeTo { .. } | Effect::Acknowledge { .. }) => {
                self.tell_leader(here, to_leader);
            }
            Effect::UnsubscribeFrom {
                leader,
                subscription,
                leader_epoch,
            } => {
                self.send_to_leader(
                    here,
                    leader,
                    Message::Unsubscribe {
                        subscription,
                        leader_epoch,
                    },
                );
            }
            _ => {}
        }
    }

    fn tell_leader(&mut self, here: &mut Here<'_>, effect: Effect) {
        match effect {
            Effect::SubscribeTo {
                leader,
                subscription,
                leader_epoch,
                next_offset,
                last_epoch,
                credit_bytes,
            } => {
                here.own.subscribed = Some((leader, subscription, leader_epoch));
                let wish = klamm_replication::Subscribe {
                    follower: self.brokers[here.broker].node,
                    broker_epoch: here.host.broker_epoch,
                    subscription,
                    leader_epoch,
                    next_offset,
                    last_epoch,
                    credit_bytes,
                };
                self.subscribe(here, leader, wish);
            }
            Effect::Acknowledge {
                leader,
                subscription,
                leader_epoch,
                written,
                flushed,
                credit_bytes,
            } => {
                let message = Message::Acknowledge {
                    subscription,
                    leader_epoch,
                    written,
                    flushed,
                    credit_bytes,
                };
                self.send_to_leader(here, leader, message);
            }
            _ => {}
        }
    }

    fn start_push(&mut self, here: &mut Here<'_>, effect: Effect, events: &mut VecDeque<Event>) {
        let Effect::Push {
            follower,
            subscription,
            leader_epoch,
            lane,
            from,
            up_to,
            bytes_max,
            high_watermark,
            log_start,
        } = effect
        else {
            return;
        };
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
            let at = self.now + self.disk_delay(here.broker, 300, 20 * MS);
            self.tell_replica(here.place(), at, AtReplica::ReadDone(Box::new(wish)));
        } else {
            events.push_back(self.push(here, wish));
        }
    }

    /// Reads what is to be pushed and sends it; the answer is the event.
    pub fn push(&mut self, here: &mut Here<'_>, wish: PushWish) -> Event {
        let (follower, subscription) = (wish.follower, wish.subscription);
        let leads = Role::Leader {
            leader_epoch: wish.leader_epoch,
        };
        if here.own.replica.role() != leads {
            // The log may have been cut since: its batches may lie otherwise now.
            let failure = PushFailure::Stream;
            return Event::PushFailed {
                follower,
                subscription,
                failure,
            };
        }
        let bytes_max = usize::try_from(wish.bytes_max).unwrap_or(usize::MAX);
        let batches = match read_batches(&here.own.log, wish.from, bytes_max, wish.up_to) {
            Ok(batches) if !batches.is_empty() => batches,
            Ok(_) => {
                // The log was cut and has begun anew since the push was asked for.
                return Event::Pushed {
                    follower,
                    subscription,
                    next: wish.from,
                    bytes: 0,
                };
            }
            Err(ReadProblem::Damaged(from)) => {
                let failure = PushFailure::Damaged { from };
                return Event::PushFailed {
                    follower,
                    subscription,
                    failure,
                };
            }
            Err(ReadProblem::Failed(_)) => {
                let failure = PushFailure::OutOfRange;
                return Event::PushFailed {
                    follower,
                    subscription,
                    failure,
                };
            }
        };
        let next = batches.last().map_or(wish.from, klamm_record::Batch::next_offset);
        let bytes = batches.iter().map(|batch| batch.size() as u64).sum();
        let message = Message::Batches(ReplicaBatches {
            leader: self.brokers[here.broker].node,
            lane: wish.lane,
            subscription,
            leader_epoch: wish.leader_epoch,
            from: wish.from,
            batches,
            high_watermark: wish.high_watermark,
            log_start: wish.log_start,
        });
        self.send_to_follower(here, (follower, subscription), wish.lane, message);
        Event::Pushed {
            follower,
            subscription,
            next,
            bytes,
        }
    }

    fn answer_follower(&mut self, here: &Here<'_>, to: (NodeId, SubscriptionNumber), message: Message) {
        // On both lanes, so that it comes before the batches whichever they take.
        self.send_to_follower(here, to, klamm_replication::Lane::CatchUp, message.clone());
        self.send_to_follower(here, to, klamm_replication::Lane::InSync, message);
    }

    fn send_to_follower(
        &mut self,
        here: &Here<'_>,
        (follower, subscription): (NodeId, SubscriptionNumber),
        lane: klamm_replication::Lane,
        message: Message,
    ) {
        // The newest connection of this follower on which the subscription can have come.
        let connection = here.host.serving.iter().rev().find(|(_, served)| {
            let newest = served.subscriptions.get(&here.partition);
            served.follower == follower && newest.is_some_and(|newest| *newest >= subscription)
        });
        if let Some((&connection, _)) = connection {
            self.send((connection, here.partition), Side::Follower, lane, message);
        }
    }
}
