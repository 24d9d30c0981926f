//! Carrying one link: dial the leader twice, open a stream on each connection, and hand over what comes.
//!
//! Reading never waits for a worker: what a leader sends is bounded by the credit that the follower gave.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use klamm_proto::replica::v1::replica_client::ReplicaClient;
use klamm_proto::replica::v1::{LeaderMessage, leader_message};
use klamm_replication::{Event, Lane};
use klamm_types::{NodeId, TopicPartition};

use super::convert::{self, MessageError};
use super::links::LeaderLink;
use super::outbox::SILENCE_MAX;
use crate::grpc;
use crate::partitions::Shared;

/// Above the largest batch that a topic can allow, with room for what goes around it.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// Why a link has ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("dialling {address}")]
    Connect {
        address: String,
        #[source]
        cause: tonic::transport::Error,
    },
    #[error("opening a replica stream")]
    Open(#[source] Box<tonic::Status>),
    #[error("reading a replica stream")]
    Stream(#[source] Box<tonic::Status>),
    #[error("reading a replica stream that brought nothing for {} ms", SILENCE_MAX.as_millis())]
    Silent,
    #[error("reading a replica stream that the leader has ended")]
    Ended,
    #[error("reading a message of a leader")]
    Message(#[from] MessageError),
    #[error("reaching node {found} instead of {meant}")]
    WrongNode { meant: i32, found: i32 },
}

impl LinkError {
    /// Whether an open stream was ended by the leader, or by the death of its process. Where nobody was reached there
    /// was no stream, and silence is for time-outs to judge.
    pub fn came_from_the_leader(&self) -> bool {
        matches!(self, LinkError::Stream(_) | LinkError::Ended)
    }

    /// The error with all its causes.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}

/// Carries both streams until either ends.
pub async fn run(shared: &Arc<Shared>, link: &Arc<LeaderLink>) -> Result<(), LinkError> {
    let in_sync = carry(shared, link, Lane::InSync);
    let catch_up = carry(shared, link, Lane::CatchUp);
    tokio::try_join!(in_sync, catch_up).map(|_| ())
}

async fn carry(shared: &Arc<Shared>, link: &Arc<LeaderLink>, lane: Lane) -> Result<(), LinkError> {
    let address = &link.target.address;
    let channel = grpc::dial_data(address, CONNECT_TIMEOUT).await;
    let channel = channel.map_err(|cause| LinkError::Connect {
        address: address.clone(),
        cause,
    })?;
    let mut client = ReplicaClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX);
    let sending = stream::unfold(Arc::clone(link), move |link| async move {
        let message = link.outbox(lane).next().await?;
        Some((message, link))
    });
    let opening = tokio::time::timeout(SILENCE_MAX, client.follow(sending)).await;
    let response = opening.map_err(|_| LinkError::Silent)?;
    let mut incoming = response
        .map_err(|status| LinkError::Open(Box::new(status)))?
        .into_inner();
    loop {
        let message = tokio::time::timeout(SILENCE_MAX, incoming.message()).await;
        let message = message.map_err(|_| LinkError::Silent)?;
        let message = message.map_err(|status| LinkError::Stream(Box::new(status)))?;
        let events = read(link.target.leader, lane, message.ok_or(LinkError::Ended)?)?;
        shared.send_events(events, None, None);
    }
}

/// The events that a message stands for.
fn read(leader: NodeId, lane: Lane, message: LeaderMessage) -> Result<Vec<(TopicPartition, Event)>, LinkError> {
    use leader_message::Message;
    let mut events = Vec::new();
    match message.message.ok_or(MessageError::Empty)? {
        Message::Opened(opened) if opened.node_id == leader.0 => {}
        Message::Opened(opened) => {
            return Err(LinkError::WrongNode {
                meant: leader.0,
                found: opened.node_id,
            });
        }
        Message::Answers(answers) => {
            for answer in &answers.answers {
                let partition = convert::partition_of(&answer.topic_id, answer.partition)?;
                events.push((partition, convert::from_answer(answer, leader)?));
            }
        }
        Message::Batches(batches) => {
            for one in batches.partitions {
                events.push(convert::from_batches(one, (leader, lane))?);
            }
        }
        Message::HighWatermarks(watermarks) => {
            for update in &watermarks.updates {
                let partition = convert::partition_of(&update.topic_id, update.partition)?;
                events.push((partition, convert::from_high_watermark(update, (leader, lane))));
            }
        }
        Message::Heartbeat(_) => {}
    }
    Ok(events)
}
