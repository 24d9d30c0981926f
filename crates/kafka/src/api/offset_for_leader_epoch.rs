//! OffsetForLeaderEpoch (23): where a leader epoch ended. Consumers ask it after a change of leader, to see whether
//! what they read still stands.

use futures_util::future::{BoxFuture, join_all};
use klamm_broker::api::{EpochEnd, EpochEndRequest, PartitionError};
use klamm_types::LeaderEpoch;
use klamm_wire::offset_for_leader_epoch_request::OffsetForLeaderEpochRequest;
use klamm_wire::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderEpochResponse, OffsetForLeaderTopicResult,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: OffsetForLeaderEpochRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let mut lookups: Vec<BoxFuture<'static, Result<EpochEnd, PartitionError>>> = Vec::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            lookups.push(
                match topics::named_partition(&image, topic.topic, partition.partition) {
                    Err(code) => Box::pin(std::future::ready(Err(code.into()))),
                    Ok(found) => client.backend().epoch_end(EpochEndRequest {
                        partition: found,
                        current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                        leader_epoch: LeaderEpoch(partition.leader_epoch),
                    }),
                },
            );
        }
    }
    let mut results = join_all(lookups).await.into_iter();
    let topics = asked.topics.iter().map(|topic| OffsetForLeaderTopicResult {
        topic: topic.topic,
        partitions: topic
            .partitions
            .iter()
            .zip(results.by_ref())
            .map(|(partition, result)| response(partition.partition, result))
            .collect(),
    });
    let topics = topics.collect();
    request.answer(&OffsetForLeaderEpochResponse {
        topics,
        ..Default::default()
    })
}

fn response(partition: i32, result: Result<EpochEnd, PartitionError>) -> EpochEndOffset {
    match result {
        Ok(end) => EpochEndOffset {
            error_code: 0,
            partition,
            leader_epoch: end.leader_epoch.0,
            end_offset: end.end_offset.0,
        },
        Err(error) => EpochEndOffset {
            error_code: error.code.code(),
            partition,
            leader_epoch: -1,
            end_offset: -1,
        },
    }
}
