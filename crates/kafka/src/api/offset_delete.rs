//! OffsetDelete (47): deletes offsets that a group has stored.

use klamm_broker::group::call::DeleteOffsets;
use klamm_broker::group::reply::DeletedOffsets;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::offset_delete_request::OffsetDeleteRequest;
use klamm_wire::offset_delete_response::{
    OffsetDeleteResponse, OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};

use super::coordinator;
use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: OffsetDeleteRequest<'_> = request.decode(&body)?;
    let topics = asked.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| partition.partition_index);
        (topic.name.to_owned(), partitions.collect())
    });
    let call = Call::DeleteOffsets(DeleteOffsets {
        group: asked.group_id.to_owned(),
        topics: topics.collect(),
    });
    let deleted = match coordinator::call(client, call).await {
        Ok(Reply::DeleteOffsets(deleted)) => deleted,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    };
    let topics = deleted
        .topics
        .iter()
        .filter(|(_, partitions)| !partitions.is_empty())
        .map(|(name, partitions)| OffsetDeleteResponseTopic {
            name,
            partitions: partitions
                .iter()
                .map(|&(partition_index, error)| OffsetDeleteResponsePartition {
                    partition_index,
                    error_code: error.code(),
                })
                .collect(),
        });
    request.answer(&OffsetDeleteResponse {
        error_code: deleted.error.code(),
        topics: topics.collect(),
        ..Default::default()
    })
}

fn failed(error: ErrorCode) -> DeletedOffsets {
    DeletedOffsets {
        error,
        topics: Vec::new(),
    }
}
