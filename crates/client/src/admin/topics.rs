//! Creating, growing and deleting topics.

use std::collections::BTreeMap;

use klamm_types::{TopicId, Uuid};
use klamm_wire::create_partitions_request::CreatePartitionsTopic;
use klamm_wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use klamm_wire::delete_topics_request::DeleteTopicState;
use klamm_wire::{ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest};

use super::{Admin, AdminError, Kind, accept, decode};

/// A topic to be created. What is not set follows the cluster's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    name: String,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    assignments: Vec<Vec<i32>>,
    configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic of this name.
    pub fn new(name: impl Into<String>) -> NewTopic {
        NewTopic {
            name: name.into(),
            ..NewTopic::default()
        }
    }

    /// How many partitions; the default is `num.partitions`.
    pub fn partitions(mut self, count: i32) -> NewTopic {
        self.partitions = Some(count);
        self
    }

    /// How many replicas of each partition; the default is `default.replication.factor`.
    pub fn replication_factor(mut self, count: i16) -> NewTopic {
        self.replication_factor = Some(count);
        self
    }

    /// The brokers of each partition, the preferred leader first. Excludes the two counts.
    pub fn assignments(mut self, brokers: Vec<Vec<i32>>) -> NewTopic {
        self.assignments = brokers;
        self
    }

    /// One setting by Kafka's name, such as `retention.ms`.
    pub fn config(mut self, name: impl Into<String>, value: impl Into<String>) -> NewTopic {
        self.configs.insert(name.into(), value.into());
        self
    }

    fn to_wire(&self) -> CreatableTopic<'_> {
        let by_hand = !self.assignments.is_empty();
        let default = |given: Option<i32>| given.unwrap_or(-1);
        let assignments =
            self.assignments
                .iter()
                .zip(0..)
                .map(|(brokers, partition_index)| CreatableReplicaAssignment {
                    partition_index,
                    broker_ids: brokers.clone(),
                });
        let configs = self.configs.iter();
        CreatableTopic {
            name: &self.name,
            num_partitions: if by_hand { -1 } else { default(self.partitions) },
            replication_factor: if by_hand {
                -1
            } else {
                self.replication_factor.unwrap_or(-1)
            },
            assignments: assignments.collect(),
            configs: configs
                .map(|(name, value)| CreatableTopicConfig {
                    name,
                    value: Some(value),
                })
                .collect(),
        }
    }
}

/// Whether to create or only to check.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateMode {
    #[default]
    Create,
    /// All checks, no topic.
    ValidateOnly,
}

/// A topic as it was created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub name: String,
    /// Zero if the cluster is too old to tell.
    pub id: TopicId,
    /// -1 if the cluster is too old to tell.
    pub partitions: i32,
    pub replication_factor: i16,
}

impl Admin {
    /// Creates a topic; returns when the cluster has it.
    ///
    /// # Errors
    /// The cluster refuses (`TOPIC_ALREADY_EXISTS`, `INVALID_CONFIG`, …) or cannot be reached.
    pub async fn create_topic(&self, topic: NewTopic) -> Result<CreatedTopic, AdminError> {
        let mut results = self
            .create_topics(std::slice::from_ref(&topic), CreateMode::Create)
            .await?;
        let missing = AdminError::Missing {
            api: ApiKey::CreateTopics,
            what: topic.name,
        };
        results.pop().unwrap_or(Err(missing))
    }

    /// Creates several topics, or checks whether they could be; one result for each, in their order.
    ///
    /// # Errors
    /// The request as a whole got no answer. What became of a single topic stands in its result.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        mode: CreateMode,
    ) -> Result<Vec<Result<CreatedTopic, AdminError>>, AdminError> {
        let request = CreateTopicsRequest {
            topics: topics.iter().map(NewTopic::to_wire).collect(),
            timeout_ms: self.timeout_ms(),
            validate_only: mode == CreateMode::ValidateOnly,
        };
        let reply = self.call_any(Kind::Change, &request).await?;
        let response = decode::<CreateTopicsRequest<'_>>(&reply)?;
        let result = |topic: &NewTopic| {
            let found = response.topics.iter().find(|result| result.name == topic.name);
            let missing = || AdminError::Missing {
                api: ApiKey::CreateTopics,
                what: topic.name.clone(),
            };
            let found = found.ok_or_else(missing)?;
            accept(
                &format!("creating topic {}", topic.name),
                found.error_code,
                found.error_message,
            )?;
            Ok(CreatedTopic {
                name: topic.name.clone(),
                id: TopicId(found.topic_id),
                partitions: found.num_partitions,
                replication_factor: found.replication_factor,
            })
        };
        Ok(topics.iter().map(result).collect())
    }

    /// Deletes a topic with everything in it.
    ///
    /// # Errors
    /// The topic is not known, deletion is disabled, or the cluster cannot be reached.
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        let topic = DeleteTopicState {
            name: Some(name),
            topic_id: Uuid::ZERO,
        };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: self.timeout_ms(),
            ..Default::default()
        };
        let reply = self.call_any(Kind::Change, &request).await?;
        let response = decode::<DeleteTopicsRequest<'_>>(&reply)?;
        let missing = || AdminError::Missing {
            api: ApiKey::DeleteTopics,
            what: name.to_owned(),
        };
        let found = response
            .responses
            .iter()
            .find(|result| result.name == Some(name))
            .ok_or_else(missing)?;
        accept(&format!("deleting topic {name}"), found.error_code, found.error_message)
    }

    /// Raises the number of partitions to `count`.
    ///
    /// # Errors
    /// The topic is not known, has as many or more (`INVALID_PARTITIONS`), or the cluster cannot be reached.
    pub async fn create_partitions(&self, topic: &str, count: i32) -> Result<(), AdminError> {
        let request = CreatePartitionsRequest {
            topics: vec![CreatePartitionsTopic {
                name: topic,
                count,
                assignments: None,
            }],
            timeout_ms: self.timeout_ms(),
            validate_only: false,
        };
        let reply = self.call_any(Kind::Change, &request).await?;
        let response = decode::<CreatePartitionsRequest<'_>>(&reply)?;
        let missing = || AdminError::Missing {
            api: ApiKey::CreatePartitions,
            what: topic.to_owned(),
        };
        let found = response
            .results
            .iter()
            .find(|result| result.name == topic)
            .ok_or_else(missing)?;
        accept(
            &format!("adding partitions to topic {topic}"),
            found.error_code,
            found.error_message,
        )
    }
}
