//! DescribeTopicPartitions (75): topics and partitions in pages, with the replicas that may be elected.

use std::collections::BTreeSet;
use std::ops::Bound;

use klamm_broker::metadata::Image;
use klamm_broker::metadata::image::{PartitionState, Topic};
use klamm_types::{ErrorCode, validate_topic_name};
use klamm_wire::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use klamm_wire::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{self, TOPIC_OPERATIONS};

use super::partitions::{self, ids};

pub(crate) fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeTopicPartitionsRequest<'_> = request.decode(&body)?;
    if let Some(code) = refusal(&asked) {
        // Nothing was looked up, so nothing is said about what the client may do.
        let topics = asked.topics.iter().map(|topic| DescribeTopicPartitionsResponseTopic {
            topic_authorized_operations: i32::MIN,
            ..missing(topic.name, code)
        });
        return request.answer(&DescribeTopicPartitionsResponse {
            topics: topics.collect(),
            ..Default::default()
        });
    }
    let image = client.image();
    let limit = usize::try_from(asked.response_partition_limit).unwrap_or(0);
    let mut pager = Pager {
        client,
        image: &image,
        left: limit.min(client.shared.settings.describe_partitions_max).max(1),
        topics: Vec::new(),
        next: None,
    };
    let (from, first) = match &asked.cursor {
        Some(cursor) => (cursor.topic_name, usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    if asked.topics.is_empty() {
        let names = image
            .topic_ids()
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .map(|(name, _)| name.as_ref());
        pager.walk(names, from, first);
    } else {
        let names: BTreeSet<&str> = asked
            .topics
            .iter()
            .map(|topic| topic.name)
            .filter(|&name| name >= from)
            .collect();
        pager.walk(names.into_iter(), from, first);
    }
    let next_cursor = pager.next.map(|(topic_name, partition_index)| Cursor {
        topic_name,
        partition_index,
    });
    request.answer(&DescribeTopicPartitionsResponse {
        topics: pager.topics,
        next_cursor,
        ..Default::default()
    })
}

fn refusal(asked: &DescribeTopicPartitionsRequest<'_>) -> Option<ErrorCode> {
    if asked.topics.iter().any(|topic| topic.name.is_empty()) {
        return Some(ErrorCode::UnknownServerError);
    }
    let cursor = asked.cursor.as_ref()?;
    let named = asked.topics.is_empty() || asked.topics.iter().any(|topic| topic.name == cursor.topic_name);
    (cursor.partition_index < 0 || !named).then_some(ErrorCode::InvalidRequest)
}

fn missing(name: &str, code: ErrorCode) -> DescribeTopicPartitionsResponseTopic<'_> {
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name),
        is_internal: topics::is_internal(name),
        topic_authorized_operations: TOPIC_OPERATIONS,
        ..Default::default()
    }
}

/// Fills one page.
struct Pager<'a> {
    client: &'a Client,
    image: &'a Image,
    /// Partitions that the page still takes.
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic<'a>>,
    /// Where the next page begins.
    next: Option<(&'a str, i32)>,
}

impl<'a> Pager<'a> {
    /// Names in order; the one that is `from` begins with its partition `first`.
    fn walk(&mut self, names: impl Iterator<Item = &'a str>, from: &str, first: usize) {
        for name in names {
            if self.left == 0 {
                self.next = Some((name, 0));
                return;
            }
            let first = if name == from { first } else { 0 };
            match self.image.topic_by_name(name) {
                Some(topic) => self.topic(topic, first),
                None if validate_topic_name(name).is_err() => {
                    self.topics.push(missing(name, ErrorCode::InvalidTopicException));
                }
                None => self.topics.push(missing(name, ErrorCode::UnknownTopicOrPartition)),
            }
            if self.next.is_some() {
                return;
            }
        }
    }

    fn topic(&mut self, topic: &'a Topic, first: usize) {
        let states = topic.partitions.iter().enumerate().skip(first).take(self.left);
        let described: Vec<_> = states.map(|(index, state)| self.partition(index, state)).collect();
        let end = first + described.len();
        self.left -= described.len();
        if end < topic.partitions.len() {
            self.next = Some((&topic.name, i32::try_from(end).unwrap_or(i32::MAX)));
        }
        self.topics.push(DescribeTopicPartitionsResponseTopic {
            error_code: 0,
            name: Some(&topic.name),
            topic_id: topic.id.0,
            is_internal: topics::is_internal(&topic.name),
            partitions: described,
            topic_authorized_operations: TOPIC_OPERATIONS,
        });
    }

    /// No error even without a leader: this API describes, it does not send anyone anywhere.
    fn partition(&self, index: usize, state: &PartitionState) -> DescribeTopicPartitionsResponsePartition {
        DescribeTopicPartitionsResponsePartition {
            error_code: 0,
            partition_index: i32::try_from(index).unwrap_or(i32::MAX),
            leader_id: partitions::leader(self.client, self.image, state).id(),
            leader_epoch: state.leader_epoch.0,
            replica_nodes: ids(&state.replicas),
            isr_nodes: ids(&state.isr),
            eligible_leader_replicas: Some(ids(&state.elr)),
            last_known_elr: Some(state.last_known_elr.iter().map(|last| last.broker.0).collect()),
            offline_replicas: partitions::offline(self.client, self.image, state),
        }
    }
}
