//! CreateTopics: names, counts, assignments and settings are checked in Kafka's order; then topic, partitions and
//! settings are written. Waiting until the leaders have taken up their partitions is the core's business.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use klamm_schema::metadata::metadata_record::Record;
use klamm_schema::metadata::{self as schema, Cause};
use klamm_schema::requests::{
    CreatableTopic, CreatableTopicResult, CreateTopicsReply, CreateTopicsRequest, ReplicaAssignment,
    TopicSettingInEffect,
};
use klamm_schema::{id_bytes, node_ids};
use klamm_types::{ErrorCode, NodeId, TopicId, Uuid, names_collide, validate_topic_name};

use super::overlay::{Overlay, Refusal, Why};
use super::placement::{PARTITIONS_PER_REQUEST_MAX, Wanted, check_assignment, new_partition, place};
use crate::config::{SettingError, check_topic_setting, check_topic_settings};
use crate::image::{Image, PartitionState, Resource, Topic, config_message, partition_message};

/// Kafka keeps this name for its own metadata log.
const RESERVED: &str = "__cluster_metadata";

pub(super) fn create_topics(overlay: &mut Overlay, request: &CreateTopicsRequest) -> CreateTopicsReply {
    // A trial is decided on a copy, which is dropped.
    let mut trial = request.validate_only.then(|| overlay.clone());
    let overlay = trial.as_mut().unwrap_or(overlay);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *count.entry(topic.name.as_str()).or_default() += 1;
    }
    let too_many = too_many_partitions(overlay.image(), request);
    let mut answered = BTreeSet::new();
    let mut topics = Vec::new();
    for topic in &request.topics {
        if !answered.insert(topic.name.as_str()) {
            continue;
        }
        let outcome = if count.get(topic.name.as_str()) != Some(&1) {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the topic is named twice in the request",
            ))
        } else if too_many {
            let text = format!("more than {PARTITIONS_PER_REQUEST_MAX} partitions in one request");
            Err(Refusal::new(ErrorCode::PolicyViolation, text))
        } else {
            create(overlay, topic)
        };
        topics.push(match outcome {
            Ok(id) => describe(overlay.image(), id, &topic.name),
            Err(refusal) => refused(&topic.name, &refusal),
        });
    }
    CreateTopicsReply { topics }
}

fn too_many_partitions(image: &Image, request: &CreateTopicsRequest) -> bool {
    let default = image.cluster_config().num_partitions;
    let counts = request.topics.iter().map(|topic| match topic.num_partitions {
        -1 if topic.assignments.is_empty() => i64::from(default),
        -1 => topic.assignments.len() as i64,
        given => i64::from(given),
    });
    counts.sum::<i64>() > i64::from(PARTITIONS_PER_REQUEST_MAX)
}

fn create(overlay: &mut Overlay, asked: &CreatableTopic) -> Result<TopicId, Refusal> {
    let wanted = TopicId::from_slice(&asked.topic_id).filter(|id| *id != TopicId::ZERO);
    let holder = wanted.and_then(|id| overlay.image().topic(id));
    if let (Some(id), Some(topic)) = (wanted, holder)
        && *topic.name == asked.name
    {
        // The same request was carried out before, and its answer was lost.
        return Ok(id);
    }
    let free = wanted.filter(|_| holder.is_none());
    check_name(overlay.image(), &asked.name)?;
    let settings = read_settings(asked)?;
    let assignments = if asked.assignments.is_empty() {
        place_replicas(overlay, asked)?
    } else {
        read_assignments(overlay.image(), asked)?
    };
    let id = free.unwrap_or_else(|| draw_topic_id(overlay));
    overlay.write(Record::Topic(schema::Topic {
        topic_id: id_bytes(id.as_bytes()),
        name: asked.name.clone(),
    }));
    let resource = Resource::Topic(Arc::from(asked.name.as_str()));
    for (name, value) in settings {
        overlay.write(Record::Config(config_message(&resource, &name, Some(value))));
    }
    for (replicas, number) in assignments.into_iter().zip(0..) {
        let state = new_partition(overlay, replicas);
        write_partition(overlay, id, number, &state);
    }
    Ok(id)
}

pub(super) fn write_partition(overlay: &mut Overlay, topic: TopicId, number: i32, state: &PartitionState) {
    let topic = Topic {
        id: topic,
        name: Arc::from(""),
        partitions: Vec::new(),
    };
    let decision = overlay.decision(Why::new(Cause::Created, ""));
    let message = partition_message(&topic, number, state, Some(decision));
    overlay.write(Record::Partition(message));
}

fn check_name(image: &Image, name: &str) -> Result<(), Refusal> {
    if image.topic_by_name(name).is_some() {
        let text = format!("topic {name} exists");
        return Err(Refusal::new(ErrorCode::TopicAlreadyExists, text));
    }
    validate_topic_name(name).map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))?;
    if name == RESERVED {
        let text = format!("the name {RESERVED} is reserved");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    if name.contains(['.', '_'])
        && let Some(other) = image.topic_ids().keys().find(|other| names_collide(other, name))
    {
        let text = format!("topic {name} collides with topic {other}: metrics take '.' and '_' for one character");
        return Err(Refusal::new(ErrorCode::InvalidTopicException, text));
    }
    Ok(())
}

/// The settings in their stored form; the last of two with one name wins.
fn read_settings(asked: &CreatableTopic) -> Result<BTreeMap<String, String>, Refusal> {
    let invalid = |error: SettingError| Refusal::new(ErrorCode::InvalidConfig, error.to_string());
    let mut settings = BTreeMap::new();
    for setting in &asked.configs {
        let name = &setting.name;
        let value = setting.value.as_ref();
        let value = value.ok_or_else(|| invalid(SettingError::Null { name: name.clone() }))?;
        let stored = check_topic_setting(&asked.name, name, value).map_err(invalid)?;
        settings.insert(name.clone(), stored);
    }
    check_topic_settings(&settings).map_err(invalid)?;
    Ok(settings)
}

fn place_replicas(overlay: &mut Overlay, asked: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
    let config = overlay.image().cluster_config();
    let registered = overlay.image().brokers().len();
    let factor = asked.replication_factor;
    if factor == 0 || factor < -1 {
        let text = "the replication factor must be at least 1, or -1 for the cluster's default";
        return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, text));
    }
    let partitions = asked.num_partitions;
    if partitions == 0 || partitions < -1 {
        let text = "there must be at least 1 partition, or -1 for the cluster's default";
        return Err(Refusal::new(ErrorCode::InvalidPartitions, text));
    }
    let or_default = |given: i32, default: i32| if given == -1 { default } else { given };
    let mut replication_factor = usize::try_from(or_default(factor, config.default_replication_factor)).unwrap_or(1);
    if factor == -1 {
        replication_factor = replication_factor.min(registered.max(1));
    }
    let wanted = Wanted {
        partitions: usize::try_from(or_default(partitions, config.num_partitions)).unwrap_or(1),
        replication_factor,
    };
    place(overlay, &[], wanted).ok_or_else(|| {
        let text = if registered < replication_factor {
            format!("replication factor {replication_factor} is more than the {registered} registered brokers")
        } else {
            "no broker is alive".to_string()
        };
        Refusal::new(ErrorCode::InvalidReplicationFactor, text)
    })
}

fn read_assignments(image: &Image, asked: &CreatableTopic) -> Result<Vec<Vec<NodeId>>, Refusal> {
    if asked.num_partitions != -1 || asked.replication_factor != -1 {
        let text = "with replica lists given, the counts of partitions and replicas must be -1";
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    let mut by_number: BTreeMap<i32, &ReplicaAssignment> = BTreeMap::new();
    for assignment in &asked.assignments {
        by_number.insert(assignment.partition, assignment);
    }
    let numbered = by_number
        .keys()
        .copied()
        .zip(0..)
        .all(|(number, expected)| number == expected);
    if !numbered || by_number.len() != asked.assignments.len() {
        let text = "partitions must be numbered from 0 without gaps";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
    }
    let mut assignments: Vec<Vec<NodeId>> = Vec::with_capacity(by_number.len());
    for assignment in by_number.values() {
        let replicas = node_ids(&assignment.replicas);
        check_assignment(image, &replicas, assignments.first().map(Vec::len))?;
        assignments.push(replicas);
    }
    Ok(assignments)
}

fn draw_topic_id(overlay: &mut Overlay) -> TopicId {
    loop {
        let id = TopicId::from_u128(overlay.random_u128());
        if id != TopicId::ZERO && overlay.image().topic(id).is_none() {
            return id;
        }
    }
}

fn describe(image: &Image, id: TopicId, name: &str) -> CreatableTopicResult {
    let partitions = image.topic(id).map_or(&[][..], |topic| &topic.partitions);
    let count = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let entries = image.describe_topic(name).into_iter();
    CreatableTopicResult {
        name: name.to_string(),
        error_code: 0,
        error_message: String::new(),
        topic_id: id_bytes(id.as_bytes()),
        num_partitions: count(partitions.len()),
        replication_factor: partitions.first().map_or(-1, |state| count(state.replicas.len())),
        configs: entries
            .map(|entry| TopicSettingInEffect {
                name: entry.name.to_string(),
                value: entry.value,
                source: i32::from(entry.source.number()),
            })
            .collect(),
    }
}

fn refused(name: &str, refusal: &Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.to_string(),
        error_code: refusal.number(),
        error_message: refusal.text.clone(),
        topic_id: id_bytes(&Uuid::ZERO.0),
        num_partitions: -1,
        replication_factor: -1,
        configs: Vec::new(),
    }
}
