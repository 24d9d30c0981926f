//! Produce (0): appends one batch to each partition.
//!
//! Two steps, so that a connection can have several requests waiting: `start` hands the batches over in order, the
//! future it returns waits for the acknowledgements and writes the answer. What is wrong with a batch's bytes, its
//! sequence or the partition's leadership is the broker's to judge; here is only what the request itself shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use klamm_broker::api::{self, Acks, PartitionError, ProduceError, Produced};
use klamm_broker::backend::ProduceTicket;
use klamm_broker::metadata::Image;
use klamm_record::{Attributes, BatchError, BatchHeader, Compression};
use klamm_types::{ErrorCode, TopicPartition, Uuid};
use klamm_wire::produce_request::{PartitionProduceData, ProduceRequest, TopicProduceData};
use klamm_wire::produce_response::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse, ProduceResponse,
    TopicProduceResponse,
};

use crate::context::Client;
use crate::net::request::{Answer, Reply, Request, RequestError};
use crate::topics::{self, TopicKey};

use super::leader_hint::Hints;

/// Topics are named by id from this version on.
const BY_ID_FROM: i16 = 13;
const LEADER_HINTS_FROM: i16 = 10;
const ZSTD_FROM: i16 = 7;
/// The one client id that may write to internal topics.
const INTERNAL_WRITER: &str = "__admin_client";

/// One partition of the request, and what has become of it.
struct Part {
    index: i32,
    partition: Option<TopicPartition>,
    outcome: Outcome,
}

enum Outcome {
    Waiting(ProduceTicket),
    Refused(ProduceError),
}

/// One topic of the request. Owned: the answer is written long after the request was read.
struct TopicPart {
    name: String,
    id: Uuid,
    parts: Vec<Part>,
}

/// Hands the batches over in order.
pub(crate) async fn start(client: Arc<Client>, request: Request) -> Result<BoxFuture<'static, Answer>, RequestError> {
    let body = request.body();
    let produce: ProduceRequest<'_> = request.decode(&body)?;
    let image = client.image();
    let rules = Rules {
        version: request.version,
        acks: acks(produce.acks),
        timeout: Duration::from_millis(u64::try_from(produce.timeout_ms).unwrap_or(0)),
        transactional: produce.transactional_id.is_some(),
        writes_internal: request.client_id() == Some(INTERNAL_WRITER),
    };
    let last = last_entries(&produce.topic_data);
    let mut topics = Vec::with_capacity(produce.topic_data.len());
    for (topic_at, topic) in produce.topic_data.iter().enumerate() {
        let mut parts = Vec::with_capacity(topic.partition_data.len());
        for (at, data) in topic.partition_data.iter().enumerate() {
            if last.get(&(topic.name, topic.topic_id.0, data.index)) == Some(&(topic_at, at)) {
                parts.push(start_partition(&client, &image, &rules, topic, data).await);
            }
        }
        if !parts.is_empty() {
            topics.push(TopicPart {
                name: topic.name.to_owned(),
                id: topic.topic_id,
                parts,
            });
        }
    }
    let acks = rules.acks;
    Ok(Box::pin(finish(client, request, acks, topics)))
}

/// What the request says about all its partitions.
struct Rules {
    version: i16,
    acks: Option<Acks>,
    timeout: Duration,
    transactional: bool,
    writes_internal: bool,
}

/// A partition listed twice is appended once: the last entry counts.
fn last_entries<'a>(topics: &[TopicProduceData<'a>]) -> BTreeMap<(&'a str, [u8; 16], i32), (usize, usize)> {
    let mut last = BTreeMap::new();
    for (topic_at, topic) in topics.iter().enumerate() {
        for (at, data) in topic.partition_data.iter().enumerate() {
            last.insert((topic.name, topic.topic_id.0, data.index), (topic_at, at));
        }
    }
    last
}

fn acks(acks: i16) -> Option<Acks> {
    match acks {
        -1 => Some(Acks::All),
        0 => Some(Acks::None),
        1 => Some(Acks::Leader),
        _ => None,
    }
}

async fn start_partition(
    client: &Client,
    image: &Image,
    rules: &Rules,
    topic: &TopicProduceData<'_>,
    data: &PartitionProduceData,
) -> Part {
    let key = TopicKey::new(rules.version, BY_ID_FROM, topic.name, topic.topic_id);
    let mut part = Part {
        index: data.index,
        partition: None,
        outcome: Outcome::Refused(refusal(ErrorCode::None)),
    };
    let found = key
        .find(image)
        .and_then(|found| Ok((found, topics::partition(found, data.index)?)));
    let (found, partition) = match found {
        Ok(found) => found,
        Err(code) => {
            part.outcome = Outcome::Refused(refusal(code));
            return part;
        }
    };
    part.partition = Some(partition);
    let internal = topics::is_internal(&found.name) && !rules.writes_internal;
    match checked(rules, internal, data.records.as_ref()) {
        Err(error) => part.outcome = Outcome::Refused(error.into()),
        Ok((records, acks)) => {
            let batch = api::ProduceRequest {
                partition,
                records,
                acks,
                timeout: rules.timeout,
            };
            part.outcome = Outcome::Waiting(client.backend().produce(batch).await);
        }
    }
    part
}

/// What the request alone shows, in Kafka's order: kind of topic, shape of the batch, acks.
fn checked(rules: &Rules, internal: bool, records: Option<&Bytes>) -> Result<(Bytes, Acks), PartitionError> {
    if internal {
        return Err(refused(
            ErrorCode::InvalidTopicException,
            "internal topics are written by the cluster only",
        ));
    }
    let Some(records) = records.filter(|records| !records.is_empty()) else {
        return Err(refused(
            ErrorCode::InvalidRecord,
            "a produce request needs one batch per partition",
        ));
    };
    let attributes = match BatchHeader::parse(records) {
        Ok(header) => header.attributes,
        // A batch it is; what is wrong in it is the leader's to say.
        Err(BatchError::BadOffsets { .. }) => Attributes::default(),
        Err(error) => return Err(refused(error.error_code(), &error.to_string())),
    };
    if attributes.is_transactional() && !rules.transactional {
        let text = "a transactional batch in a request without transactional id";
        return Err(refused(ErrorCode::TransactionalIdAuthorizationFailed, text));
    }
    if rules.transactional {
        return Err(refused(
            ErrorCode::UnsupportedVersion,
            "this cluster does not serve transactions",
        ));
    }
    if rules.version < ZSTD_FROM && attributes.compression() == Ok(Compression::Zstd) {
        return Err(refused(
            ErrorCode::UnsupportedCompressionType,
            "zstd needs version 7 of Produce",
        ));
    }
    let Some(acks) = rules.acks else {
        return Err(ErrorCode::InvalidRequiredAcks.into());
    };
    Ok((records.clone(), acks))
}

fn refused(code: ErrorCode, text: &str) -> PartitionError {
    PartitionError {
        message: Some(text.to_owned()),
        ..PartitionError::from(code)
    }
}

/// Refused here, before the log was looked at.
fn refusal(code: ErrorCode) -> ProduceError {
    PartitionError::from(code).into()
}

type Results = Vec<Vec<Result<Produced, ProduceError>>>;

/// Waits for the acknowledgements and writes the answer.
async fn finish(client: Arc<Client>, request: Request, acks: Option<Acks>, mut topics: Vec<TopicPart>) -> Answer {
    let mut results: Results = Vec::with_capacity(topics.len());
    let mut tickets = Vec::new();
    for topic in &mut topics {
        for part in &mut topic.parts {
            let refused = Outcome::Refused(refusal(ErrorCode::None));
            tickets.push(match std::mem::replace(&mut part.outcome, refused) {
                Outcome::Waiting(ticket) => ticket,
                Outcome::Refused(error) => Box::pin(std::future::ready(Err(error))),
            });
        }
    }
    let mut outcomes = join_all(tickets).await.into_iter();
    for topic in &topics {
        results.push(outcomes.by_ref().take(topic.parts.len()).collect());
    }
    if acks == Some(Acks::None) {
        // Nobody is told; closing the connection is the only way to say that something failed.
        let failed = results.iter().flatten().any(Result::is_err);
        return if failed {
            Err(RequestError::UnacknowledgedProduce)
        } else {
            Ok(Reply::Nothing)
        };
    }
    answer(&client, &request, &topics, &results)
}

fn answer(client: &Client, request: &Request, topics: &[TopicPart], results: &Results) -> Answer {
    let image = client.image();
    let mut hints = Hints::new(client, &image);
    let mut responses = Vec::with_capacity(topics.len());
    for (topic, results) in topics.iter().zip(results) {
        let with_hints = request.version >= LEADER_HINTS_FROM;
        let partition_responses = topic.parts.iter().zip(results).map(|(part, result)| match result {
            Ok(produced) => acknowledged(part.index, produced),
            Err(error) => failed(part, error, with_hints.then_some(&mut hints)),
        });
        responses.push(TopicProduceResponse {
            name: &topic.name,
            topic_id: topic.id,
            partition_responses: partition_responses.collect(),
        });
    }
    let node_endpoints = hints.nodes().map(|node| NodeEndpoint {
        node_id: node.node.0,
        host: &node.host,
        port: node.port,
        rack: node.rack,
    });
    let response = ProduceResponse {
        responses,
        node_endpoints: node_endpoints.collect(),
        ..Default::default()
    };
    request.answer(&response)
}

fn acknowledged(index: i32, produced: &Produced) -> PartitionProduceResponse<'static> {
    PartitionProduceResponse {
        index,
        base_offset: produced.base_offset.0,
        log_append_time_ms: produced.log_append_time.0,
        log_start_offset: produced.log_start_offset.0,
        ..Default::default()
    }
}

fn failed<'e>(part: &Part, failure: &'e ProduceError, hints: Option<&mut Hints<'_>>) -> PartitionProduceResponse<'e> {
    let error = &failure.error;
    let leader = match (part.partition, hints, error.code) {
        (Some(partition), Some(hints), ErrorCode::NotLeaderOrFollower) => hints.leader(partition, error),
        _ => None,
    };
    let record_errors = error
        .record_errors
        .iter()
        .map(|(index, text)| BatchIndexAndErrorMessage {
            batch_index: *index,
            batch_index_error_message: Some(text),
        });
    PartitionProduceResponse {
        index: part.index,
        error_code: error.code.code(),
        base_offset: failure.base_offset.0,
        log_start_offset: failure.log_start_offset.0,
        record_errors: record_errors.collect(),
        error_message: error.message.as_deref(),
        current_leader: leader.map_or_else(LeaderIdAndEpoch::default, |leader| LeaderIdAndEpoch {
            leader_id: leader.id,
            leader_epoch: leader.epoch,
        }),
        ..Default::default()
    }
}
