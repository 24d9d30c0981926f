//! The gRPC service that followers call. It carries messages between their streams and the workers, nothing else.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{Stream, stream};
use klamm_proto::replica::v1::replica_server::{Replica, ReplicaServer};
use klamm_proto::replica::v1::{FollowerMessage, Lane as LaneMessage, LeaderMessage, Open, follower_message};
use klamm_replication::{Event, Lane};
use klamm_types::{BrokerEpoch, ClusterId, NodeId, TopicPartition};
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, MessageError};
use super::dial::MESSAGE_BYTES_MAX;
use super::followers::{EndedPair, FollowerPair, Opening};
use super::outbox::SILENCE_MAX;
use crate::partitions::Shared;

/// What one small message costs in a worker's queue.
const MESSAGE_BYTES: usize = 128;

/// Serves the followers of one broker.
pub struct ReplicaService {
    shared: Arc<Shared>,
}

impl ReplicaService {
    /// The service, ready to be added to a tonic server that allows frames of 256 KiB.
    pub(crate) fn server(shared: Arc<Shared>) -> ReplicaServer<ReplicaService> {
        ReplicaServer::new(ReplicaService { shared })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn admit(&self, open: &Open) -> Result<(Opening, Lane), Status> {
        let identity = self
            .shared
            .identity()
            .ok_or_else(|| Status::unavailable("this broker has not registered yet"))?;
        if ClusterId::from_slice(&open.cluster_id) != Some(identity.cluster) {
            return Err(Status::failed_precondition("this broker belongs to another cluster"));
        }
        if open.leader_id != identity.node.0 {
            return Err(Status::failed_precondition(format!("this is node {}", identity.node)));
        }
        let lane = match open.lane() {
            LaneMessage::InSync => Lane::InSync,
            LaneMessage::CatchUp => Lane::CatchUp,
            LaneMessage::Unspecified => return Err(Status::invalid_argument("the stream names no lane")),
        };
        let opening = Opening {
            follower: NodeId(open.node_id),
            broker_epoch: BrokerEpoch(open.broker_epoch),
            number: open.pair,
        };
        Ok((opening, lane))
    }
}

type Outgoing = Pin<Box<dyn Stream<Item = Result<LeaderMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Replica for ReplicaService {
    type FollowStream = Outgoing;

    async fn follow(&self, request: Request<Streaming<FollowerMessage>>) -> Result<Response<Outgoing>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(SILENCE_MAX, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("the stream was not opened in time"))??;
        let Some(follower_message::Message::Open(open)) = first.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("the first message of a stream opens it"));
        };
        let (opening, lane) = self.admit(&open)?;
        let joined = self.shared.followers.join(NodeId(open.leader_id), opening);
        let (pair, replaced) = joined.ok_or_else(|| Status::aborted("a newer stream has taken the place"))?;
        if let Some(replaced) = replaced {
            end(&self.shared, &replaced);
        }
        tokio::spawn(listen(Arc::clone(&self.shared), Arc::clone(&pair), incoming));
        let outbox = Arc::clone(pair.outbox(lane));
        let sending = stream::unfold(outbox, |outbox| async move {
            let message = outbox.next().await?;
            Some((Ok(message), outbox))
        });
        Ok(Response::new(Box::pin(sending)))
    }
}

async fn listen(shared: Arc<Shared>, pair: Arc<FollowerPair>, mut incoming: Streaming<FollowerMessage>) {
    let mut broken = false;
    let reason = loop {
        let message = match tokio::time::timeout(SILENCE_MAX, incoming.message()).await {
            Ok(Ok(Some(message))) => message,
            Ok(Ok(None)) => break "the follower has ended it".to_owned(),
            Ok(Err(status)) => {
                // A follower that ends its stream in order lives.
                broken = !pair.has_ended();
                break status.to_string();
            }
            Err(_) => break "the follower is silent".to_owned(),
        };
        match read(&pair, message) {
            Ok(events) if events.is_empty() => {}
            Ok(events) => {
                let bytes = events.len() * MESSAGE_BYTES;
                shared.send_events_admitted(events, &pair, bytes).await;
            }
            Err(error) => break error.to_string(),
        }
        if pair.has_ended() {
            break "another stream has taken its place".to_owned();
        }
    };
    if broken {
        shared.suspect(pair.follower, pair.broker_epoch);
    }
    let ended = shared.followers.leave(&pair);
    if !ended.subscriptions.is_empty() {
        tracing::info!(follower = pair.follower.0, "a follower's stream ended: {reason}");
    }
    end(&shared, &ended);
}

/// The events that a message stands for.
fn read(pair: &FollowerPair, message: FollowerMessage) -> Result<Vec<(TopicPartition, Event)>, MessageError> {
    use follower_message::Message;
    let mut events = Vec::new();
    match message.message.ok_or(MessageError::Empty)? {
        Message::Subscribe(subscribe) => {
            for one in &subscribe.subscriptions {
                let partition = convert::partition_of(&one.topic_id, one.partition)?;
                let subscribe = convert::from_subscription(one, pair.follower, pair.broker_epoch);
                pair.subscribed(partition, subscribe.subscription);
                events.push((partition, Event::Subscribe(subscribe)));
            }
        }
        Message::Acknowledge(acknowledge) => {
            for one in &acknowledge.acknowledgements {
                let partition = convert::partition_of(&one.topic_id, one.partition)?;
                let acknowledge = convert::from_acknowledgement(one, pair.follower, pair.broker_epoch);
                events.push((partition, Event::Acknowledged(acknowledge)));
            }
        }
        Message::Unsubscribe(unsubscribe) => {
            for one in &unsubscribe.unsubscriptions {
                let partition = convert::partition_of(&one.topic_id, one.partition)?;
                pair.unsubscribed(partition, klamm_replication::SubscriptionNumber(one.number));
                events.push((partition, convert::from_unsubscription(one, pair.follower)));
            }
        }
        Message::Open(_) | Message::Heartbeat(_) => {}
    }
    Ok(events)
}

/// Tells the core of every subscription that has ended with its pair.
fn end(shared: &Shared, ended: &EndedPair) {
    let (follower, broker_epoch) = (ended.pair.follower, ended.pair.broker_epoch);
    let events = ended.subscriptions.iter().map(|(&partition, &subscription)| {
        (
            partition,
            Event::FollowerStreamEnded {
                follower,
                broker_epoch,
                subscription,
            },
        )
    });
    shared.send_events(events, None, None);
}
