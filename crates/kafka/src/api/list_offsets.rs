//! ListOffsets (2): the first, the last, or the one at a time.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, join_all};
use klamm_broker::api::{FollowerReads, Isolation, ListOffsetRequest, ListedOffset, OffsetSpec, PartitionError};
use klamm_broker::metadata::Image;
use klamm_types::{ErrorCode, LeaderEpoch, Timestamp};
use klamm_wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsRequest};
use klamm_wire::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics;

/// The replica id of a client that looks at whatever replica it has reached.
const DEBUGGING_REPLICA: i32 = -2;
const LEADER_EPOCH_FROM: i16 = 4;
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;

type Lookup = BoxFuture<'static, Result<ListedOffset, PartitionError>>;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ListOffsetsRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let mut times: BTreeMap<(&str, i32), usize> = BTreeMap::new();
    for topic in &asked.topics {
        for partition in &topic.partitions {
            *times.entry((topic.name, partition.partition_index)).or_default() += 1;
        }
    }
    let (mut shape, mut lookups) = (Vec::with_capacity(asked.topics.len()), Vec::new());
    for topic in &asked.topics {
        let mut answered = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            // One named twice is refused, and answered once.
            lookups.push(match times.remove(&(topic.name, partition.partition_index)) {
                Some(1) => lookup(client, &image, request.version, (&asked, topic.name, partition)),
                Some(_) => refused(ErrorCode::InvalidRequest),
                None => continue,
            });
            answered.push(partition.partition_index);
        }
        if !answered.is_empty() {
            shape.push((topic.name, answered));
        }
    }
    let mut results = join_all(lookups).await.into_iter();
    let topics = shape.into_iter().map(|(name, indexes)| ListOffsetsTopicResponse {
        name,
        partitions: indexes
            .into_iter()
            .zip(results.by_ref())
            .map(|(index, result)| response(index, request.version, result))
            .collect(),
    });
    let topics = topics.collect();
    request.answer(&ListOffsetsResponse {
        topics,
        ..Default::default()
    })
}

fn lookup(
    client: &Client,
    image: &Image,
    version: i16,
    (asked, topic, partition): (&ListOffsetsRequest<'_>, &str, &ListOffsetsPartition),
) -> Lookup {
    let isolation = match asked.isolation_level {
        0 => Isolation::ReadUncommitted,
        1 => Isolation::ReadCommitted,
        _ => return refused(ErrorCode::UnknownServerError),
    };
    let found = topics::named_partition(image, topic, partition.partition_index);
    let found = match found {
        Ok(found) => found,
        Err(code) => return refused(code),
    };
    let Some(spec) = spec(partition.timestamp, version) else {
        return refused(ErrorCode::UnsupportedVersion);
    };
    let followers = if asked.replica_id == DEBUGGING_REPLICA {
        FollowerReads::Allowed
    } else {
        FollowerReads::Refused
    };
    client.backend().list_offset(ListOffsetRequest {
        partition: found,
        current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
        spec,
        isolation,
        followers,
    })
}

/// What a timestamp of the request means; negative ones have names, each from a version on.
fn spec(timestamp: i64, version: i16) -> Option<OffsetSpec> {
    match (timestamp, version) {
        (0.., _) => Some(OffsetSpec::AtOrAfter(Timestamp(timestamp))),
        (-1, _) => Some(OffsetSpec::Latest),
        (-2, _) => Some(OffsetSpec::Earliest),
        (-3, 7..) => Some(OffsetSpec::MaxTimestamp),
        (-4, 8..) => Some(OffsetSpec::EarliestLocal),
        (-5, 9..) => Some(OffsetSpec::LatestTiered),
        (-6, 11..) => Some(OffsetSpec::EarliestPendingUpload),
        _ => None,
    }
}

fn refused(code: ErrorCode) -> Lookup {
    Box::pin(std::future::ready(Err(code.into())))
}

fn response(index: i32, version: i16, result: Result<ListedOffset, PartitionError>) -> ListOffsetsPartitionResponse {
    match result {
        Ok(listed) => ListOffsetsPartitionResponse {
            partition_index: index,
            error_code: 0,
            timestamp: listed.timestamp.0,
            offset: listed.offset.0,
            leader_epoch: if version >= LEADER_EPOCH_FROM {
                listed.leader_epoch.0
            } else {
                -1
            },
        },
        Err(error) => ListOffsetsPartitionResponse {
            partition_index: index,
            error_code: code_for(error.code, version).code(),
            timestamp: -1,
            offset: -1,
            leader_epoch: -1,
        },
    }
}

/// Old versions get the code that their clients retry on.
fn code_for(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_FROM => ErrorCode::LeaderNotAvailable,
        ErrorCode::KafkaStorageError if version < OFFSET_NOT_AVAILABLE_FROM => ErrorCode::NotLeaderOrFollower,
        _ => code,
    }
}
