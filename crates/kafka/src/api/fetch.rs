//! Fetch (1): reads batches, waiting for new ones if asked to.
//!
//! The broker reads and waits; here partitions are found, limits are put into bounds, and the answer is written with
//! the records as the bytes that came from the log. Followers do not use this API: between nodes there is gRPC.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_broker::api::{self, FetchedData, FollowerReads, Isolation, PartitionError};
use klamm_broker::metadata::Image;
use klamm_types::{ErrorCode, LeaderEpoch, Offset, TopicPartition};
use klamm_wire::fetch_request::{FetchPartition, FetchRequest};
use klamm_wire::fetch_response::{
    EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint, PartitionData,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{self, TopicKey};

use super::fetch_session::{self, Session};
use super::leader_hint::Hints;

/// Topics are named by id from this version on.
const BY_ID_FROM: i16 = 13;
/// Any replica may answer from this version on, up to its own high watermark.
const FOLLOWER_READS_FROM: i16 = 11;
const LEADER_HINTS_FROM: i16 = 16;
const STORAGE_ERROR_FROM: i16 = 6;
/// Where the replica that asks is named changes with this version.
const REPLICA_STATE_FROM: i16 = 15;
/// The last version without leader epochs: clients that old fail on codes that came later.
const OLD_CODES_UNTIL: i16 = 4;

/// What the request says about all its partitions.
struct Limits {
    isolation: Isolation,
    max_wait: Duration,
    min_bytes: usize,
    max_bytes: usize,
}

/// One partition of the answer, in the order of the request.
struct Part {
    topic: usize,
    index: i32,
    partition: Option<TopicPartition>,
    result: Result<FetchedData, PartitionError>,
}

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let fetch: FetchRequest<'_> = request.decode(&body)?;
    if let Session::Refused(code) = fetch_session::judge(fetch.session_id, fetch.session_epoch) {
        return request.answer(&FetchResponse {
            error_code: code.code(),
            ..Default::default()
        });
    }
    let Some(limits) = limits(client, &fetch) else {
        return refuse(request, &fetch, ErrorCode::UnknownServerError);
    };
    let image = client.image();
    let (mut parts, wanted) = resolve(&image, request.version, &fetch);
    let any_refused = parts.iter().any(|part| part.partition.is_none());
    let fetched = client
        .backend()
        .fetch(api::FetchRequest {
            partitions: wanted,
            // An error is told at once.
            max_wait: if any_refused { Duration::ZERO } else { limits.max_wait },
            min_bytes: limits.min_bytes,
            max_bytes: limits.max_bytes,
            isolation: limits.isolation,
            followers: if request.version >= FOLLOWER_READS_FROM {
                FollowerReads::Allowed
            } else {
                FollowerReads::Refused
            },
        })
        .await;
    let mut fetched = fetched.into_iter();
    for part in parts.iter_mut().filter(|part| part.partition.is_some()) {
        // The broker answers every partition in order; one left out would be its fault, and a retry helps.
        part.result = fetched
            .next()
            .map_or(Err(ErrorCode::NotLeaderOrFollower.into()), |answered| answered.result);
    }
    write(client, request, &fetch, limits.isolation, parts)
}

/// `None` for an isolation level that does not exist.
fn limits(client: &Client, fetch: &FetchRequest<'_>) -> Option<Limits> {
    let isolation = match fetch.isolation_level {
        0 => Isolation::ReadUncommitted,
        1 => Isolation::ReadCommitted,
        _ => return None,
    };
    let settings = &client.shared.settings;
    let max_wait = Duration::from_millis(u64::try_from(fetch.max_wait_ms).unwrap_or(0));
    Some(Limits {
        isolation,
        // A connection that waits longer than it may be idle would look dead.
        max_wait: max_wait.min(settings.idle_max / 2),
        min_bytes: usize::try_from(fetch.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(fetch.max_bytes)
            .unwrap_or(0)
            .min(settings.fetch_bytes_max),
    })
}

/// Finds the partitions. A partition listed twice is answered once: the last entry counts.
fn resolve(image: &Image, version: i16, fetch: &FetchRequest<'_>) -> (Vec<Part>, Vec<api::FetchPartition>) {
    let mut last = BTreeMap::new();
    for (topic_at, topic) in fetch.topics.iter().enumerate() {
        for (at, partition) in topic.partitions.iter().enumerate() {
            last.insert((topic.topic, topic.topic_id.0, partition.partition), (topic_at, at));
        }
    }
    let (mut parts, mut wanted) = (Vec::new(), Vec::new());
    for (topic_at, topic) in fetch.topics.iter().enumerate() {
        let key = TopicKey::new(version, BY_ID_FROM, topic.topic, topic.topic_id);
        let found = key.find(image);
        for (at, asked) in topic.partitions.iter().enumerate() {
            if last.get(&(topic.topic, topic.topic_id.0, asked.partition)) != Some(&(topic_at, at)) {
                continue;
            }
            let mut part = Part {
                topic: topic_at,
                index: asked.partition,
                partition: None,
                result: Ok(FetchedData::default()),
            };
            let found = found.and_then(|found| topics::partition(found, asked.partition));
            match found.and_then(|found| refusal(version, fetch, asked).map_or(Ok(found), Err)) {
                Ok(partition) => {
                    part.partition = Some(partition);
                    wanted.push(wanted_of(partition, asked));
                }
                Err(code) => part.result = Err(code.into()),
            }
            parts.push(part);
        }
    }
    (parts, wanted)
}

/// What the request alone shows to be wrong with one partition of it.
fn refusal(version: i16, fetch: &FetchRequest<'_>, asked: &FetchPartition) -> Option<ErrorCode> {
    let replica = if version >= REPLICA_STATE_FROM {
        fetch.replica_state.replica_id
    } else {
        fetch.replica_id
    };
    if replica >= 0 {
        // No replica of a partition here fetches in this way.
        return Some(ErrorCode::NotLeaderOrFollower);
    }
    (fetch.max_bytes < 0 || asked.partition_max_bytes < 0).then_some(ErrorCode::UnknownServerError)
}

fn wanted_of(partition: TopicPartition, asked: &FetchPartition) -> api::FetchPartition {
    api::FetchPartition {
        partition,
        fetch_offset: Offset(asked.fetch_offset),
        // Every negative epoch means that the client names none.
        current_leader_epoch: LeaderEpoch(asked.current_leader_epoch).max(LeaderEpoch::NONE),
        last_fetched_epoch: LeaderEpoch(asked.last_fetched_epoch).max(LeaderEpoch::NONE),
        max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
    }
}

fn write(
    client: &Client,
    request: &Request,
    fetch: &FetchRequest<'_>,
    isolation: Isolation,
    parts: Vec<Part>,
) -> Answer {
    let image = client.image();
    let mut hints = Hints::new(client, &image);
    let mut responses: Vec<FetchableTopicResponse<'_>> = fetch
        .topics
        .iter()
        .map(|topic| FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: Vec::new(),
        })
        .collect();
    for part in parts {
        let data = match part.result {
            Ok(fetched) => fetched_data(part.index, fetched, isolation),
            Err(error) => {
                let hints = (request.version >= LEADER_HINTS_FROM).then_some(&mut hints);
                failed(part.index, part.partition, &error, request.version, hints)
            }
        };
        if let Some(response) = responses.get_mut(part.topic) {
            response.partitions.push(data);
        }
    }
    responses.retain(|response| !response.partitions.is_empty());
    let node_endpoints = hints.nodes().map(|node| NodeEndpoint {
        node_id: node.node.0,
        host: &node.host,
        port: node.port,
        rack: node.rack,
    });
    let response = FetchResponse {
        responses,
        node_endpoints: node_endpoints.collect(),
        ..Default::default()
    };
    request.answer(&response)
}

fn fetched_data(index: i32, fetched: FetchedData, isolation: Isolation) -> PartitionData {
    let diverging = fetched.diverging.map(|(epoch, end)| EpochEndOffset {
        epoch: epoch.0,
        end_offset: end.0,
    });
    PartitionData {
        partition_index: index,
        high_watermark: fetched.high_watermark.0,
        last_stable_offset: fetched.last_stable_offset.0,
        log_start_offset: fetched.log_start_offset.0,
        diverging_epoch: diverging.unwrap_or_default(),
        // Null and empty differ here: a reader of committed records is always told, even if nothing was aborted.
        aborted_transactions: match isolation {
            Isolation::ReadUncommitted => None,
            Isolation::ReadCommitted => Some(Vec::new()),
        },
        records: Some(joined(fetched.records)),
        ..Default::default()
    }
}

/// The pieces of one partition as one field. Copies if there are several.
fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    if pieces.len() <= 1 {
        return pieces.pop().unwrap_or_default();
    }
    let mut whole = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    for piece in &pieces {
        whole.extend_from_slice(piece);
    }
    whole.freeze()
}

fn failed(
    index: i32,
    partition: Option<TopicPartition>,
    error: &PartitionError,
    version: i16,
    hints: Option<&mut Hints<'_>>,
) -> PartitionData {
    let hinted = matches!(
        error.code,
        ErrorCode::NotLeaderOrFollower | ErrorCode::FencedLeaderEpoch
    );
    let leader = match (partition, hints) {
        (Some(partition), Some(hints)) if hinted => hints.leader(partition, error),
        _ => None,
    };
    PartitionData {
        partition_index: index,
        error_code: code_for(error.code, version).code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |leader| LeaderIdAndEpoch {
            leader_id: leader.id,
            leader_epoch: leader.epoch,
        }),
        aborted_transactions: Some(Vec::new()),
        // Empty, not null: kafka-python 2.0.2 takes no null.
        records: Some(Bytes::new()),
        ..Default::default()
    }
}

/// Old versions get the codes that their clients know.
fn code_for(code: ErrorCode, version: i16) -> ErrorCode {
    match code {
        ErrorCode::KafkaStorageError if version < STORAGE_ERROR_FROM => ErrorCode::NotLeaderOrFollower,
        ErrorCode::OffsetOutOfRange
        | ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotLeaderOrFollower
        | ErrorCode::TopicAuthorizationFailed
        | ErrorCode::UnknownServerError => code,
        // kafka-python 2.0.2 raises on anything else; this one makes it look for the leader and ask again.
        _ if version <= OLD_CODES_UNTIL => ErrorCode::NotLeaderOrFollower,
        _ => code,
    }
}

/// Refuses the whole request. Versions without a code at the top get it in each partition.
fn refuse(request: &Request, fetch: &FetchRequest<'_>, code: ErrorCode) -> Answer {
    let responses = if request.version >= BY_ID_FROM {
        Vec::new()
    } else {
        let failed = |asked: &FetchPartition| failed(asked.partition, None, &code.into(), request.version, None);
        let topics = fetch.topics.iter().map(|topic| FetchableTopicResponse {
            topic: topic.topic,
            topic_id: topic.topic_id,
            partitions: topic.partitions.iter().map(failed).collect(),
        });
        topics.collect()
    };
    request.answer(&FetchResponse {
        error_code: code.code(),
        responses,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use klamm_wire::fetch_request::ReplicaState;

    use super::*;

    #[test]
    fn replicas_and_negative_limits_are_refused() {
        let asked = FetchPartition {
            partition_max_bytes: 10,
            ..Default::default()
        };
        let consumer = FetchRequest::default();
        assert_eq!(refusal(14, &consumer, &asked), None);
        let old = FetchRequest {
            replica_id: 2,
            ..Default::default()
        };
        assert_eq!(refusal(14, &old, &asked), Some(ErrorCode::NotLeaderOrFollower));
        let new = FetchRequest {
            replica_state: ReplicaState {
                replica_id: 2,
                ..Default::default()
            },
            ..Default::default()
        };
        assert_eq!(refusal(15, &new, &asked), Some(ErrorCode::NotLeaderOrFollower));
        let negative = FetchPartition {
            partition_max_bytes: -1,
            ..asked
        };
        assert_eq!(refusal(18, &consumer, &negative), Some(ErrorCode::UnknownServerError));
    }
}
