//! Creates the cluster's own topics when they are first needed.
//!
//! Clients are told COORDINATOR_NOT_AVAILABLE meanwhile and ask again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use klamm_metadata::Image;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{CreatableTopic, CreateTopicsRequest, ReplicaAssignment, TopicSetting};
use klamm_types::ErrorCode;
use tokio::runtime::Handle;

use super::{HISTORY_TOPIC, OFFSETS_TOPIC, Parts};
use crate::controllers::Controllers;

const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// For so long after its start a broker waits for the others of its cluster, so that a topic created in the first
/// second does not live with one replica for ever.
const OTHERS_AWAITED: Duration = Duration::from_secs(10);
/// A segment of a compacted topic is small: only closed ones are compacted, and a new coordinator reads them all.
const SEGMENT_BYTES: &str = "104857600";

pub(super) struct InternalTopics {
    controllers: Arc<dyn Controllers>,
    runtime: Handle,
    partitions: i32,
    replication_factor: i32,
    brokers_expected: usize,
    started: Instant,
    under_way: Arc<AtomicBool>,
}

impl InternalTopics {
    pub fn new(parts: &Parts) -> InternalTopics {
        InternalTopics {
            controllers: parts.controllers.clone(),
            runtime: parts.data_runtime.clone(),
            partitions: parts.config.offsets_partitions,
            replication_factor: parts.config.offsets_replication_factor,
            brokers_expected: parts.config.brokers_expected,
            started: Instant::now(),
            under_way: Arc::default(),
        }
    }

    /// Begins to create `__consumer_offsets`, unless that is under way or too early.
    pub fn create_offsets_topic(&self, image: &Image) {
        let wanted = usize::try_from(self.replication_factor).unwrap_or(1);
        let registered = image.brokers().len();
        let awaited = wanted.min(self.brokers_expected);
        if registered < awaited && self.started.elapsed() < OTHERS_AWAITED {
            return;
        }
        let factor = wanted.min(registered).max(1);
        if factor < wanted {
            tracing::info!(
                "{OFFSETS_TOPIC} is created with replication factor {factor} instead of {wanted}: there are {registered} brokers"
            );
        }
        self.create(CreatableTopic {
            name: OFFSETS_TOPIC.to_owned(),
            num_partitions: self.partitions,
            replication_factor: i32::try_from(factor).unwrap_or(1),
            assignments: Vec::new(),
            configs: configs(),
            ..CreatableTopic::default()
        });
    }

    /// Begins to create `__klamm_group_history` on the replicas of `__consumer_offsets`, in the same order: a group's
    /// coordinator then leads its history too.
    pub fn create_history_topic(&self, image: &Image) {
        let Some(offsets) = image.topic_by_name(OFFSETS_TOPIC) else {
            return;
        };
        let assignments = (0..)
            .zip(&offsets.partitions)
            .map(|(partition, state)| ReplicaAssignment {
                partition,
                replicas: state.replicas.iter().map(|node| node.0).collect(),
            });
        self.create(CreatableTopic {
            name: HISTORY_TOPIC.to_owned(),
            num_partitions: -1,
            replication_factor: -1,
            assignments: assignments.collect(),
            configs: configs(),
            ..CreatableTopic::default()
        });
    }

    fn create(&self, topic: CreatableTopic) {
        if self.under_way.swap(true, Ordering::AcqRel) {
            return;
        }
        let name = topic.name.clone();
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics: vec![topic],
            validate_only: false,
        });
        let creation = self.controllers.submit(request, CREATE_TIMEOUT);
        let under_way = self.under_way.clone();
        self.runtime.spawn(async move {
            let outcome = creation.await.map(|decided| decided.reply);
            match outcome {
                Ok(Reply::CreateTopics(reply)) => {
                    let codes = reply
                        .topics
                        .iter()
                        .map(|topic| (topic.error_code, &topic.error_message));
                    let exists = i32::from(ErrorCode::TopicAlreadyExists.code());
                    for (code, message) in codes.filter(|(code, _)| *code != 0 && *code != exists) {
                        tracing::warn!(code, message, "creating {name} was refused");
                    }
                }
                Ok(_) => tracing::warn!("creating {name} was answered with something else"),
                Err(error) => tracing::info!(%error, "creating {name} failed; the next client begins it again"),
            }
            under_way.store(false, Ordering::Release);
        });
    }
}

fn configs() -> Vec<TopicSetting> {
    let setting = |name: &str, value: &str| TopicSetting {
        name: name.to_owned(),
        value: Some(value.to_owned()),
    };
    vec![
        setting("cleanup.policy", "compact"),
        setting("compression.type", "producer"),
        setting("segment.bytes", SEGMENT_BYTES),
    ]
}
