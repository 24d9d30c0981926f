//! CreatePartitions: more partitions for topics that exist. Existing partitions stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use klamm_schema::node_ids;
use klamm_schema::requests::{
    CreatePartitionsReply, CreatePartitionsRequest, CreatePartitionsTopic, CreatePartitionsTopicResult,
};
use klamm_types::{ErrorCode, NodeId};

use super::create_topics::write_partition;
use super::overlay::{Overlay, Refusal, error_fields};
use super::placement::{PARTITIONS_PER_REQUEST_MAX, Wanted, check_assignment, new_partition, place};

pub(super) fn create_partitions(overlay: &mut Overlay, request: &CreatePartitionsRequest) -> CreatePartitionsReply {
    let mut trial = request.validate_only.then(|| overlay.clone());
    let overlay = trial.as_mut().unwrap_or(overlay);
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *count.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut answered = BTreeSet::new();
    let mut left = PARTITIONS_PER_REQUEST_MAX;
    let mut results = Vec::new();
    for topic in &request.topics {
        if !answered.insert(topic.name.as_str()) {
            continue;
        }
        let outcome = if count.get(topic.name.as_str()) == Some(&1) {
            add(overlay, topic, &mut left, request.again)
        } else {
            Err(Refusal::new(
                ErrorCode::InvalidRequest,
                "the topic is named twice in the request",
            ))
        };
        let (error_code, error_message) = error_fields(&outcome);
        results.push(CreatePartitionsTopicResult {
            name: topic.name.clone(),
            error_code,
            error_message,
        });
    }
    CreatePartitionsReply { results }
}

fn add(overlay: &mut Overlay, asked: &CreatePartitionsTopic, left: &mut i32, again: bool) -> Result<(), Refusal> {
    let topic = overlay.image().topic_by_name(&asked.name);
    let topic = topic.ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, ""))?;
    let existing: Vec<Vec<NodeId>> = topic.partitions.iter().map(|state| state.replicas.clone()).collect();
    let id = topic.id;
    let first = i32::try_from(existing.len()).unwrap_or(i32::MAX);
    if again && asked.count == first {
        return Ok(());
    }
    let added = asked
        .count
        .checked_sub(first)
        .filter(|&added| added > 0 && added <= *left);
    let added = added.ok_or_else(|| {
        let text = format!(
            "topic {} has {first} partitions; the new count must be larger, by at most {left} in this request",
            asked.name
        );
        Refusal::new(ErrorCode::InvalidPartitions, text)
    })?;
    let replication_factor = existing.first().map_or(1, Vec::len);
    let assignments = if asked.assignments.is_empty() {
        let wanted = Wanted {
            partitions: usize::try_from(added).unwrap_or(0),
            replication_factor,
        };
        let text = "fewer brokers are registered than the topic has replicas, or none is alive";
        place(overlay, &existing, wanted).ok_or_else(|| Refusal::new(ErrorCode::InvalidReplicationFactor, text))?
    } else {
        if i32::try_from(asked.assignments.len()) != Ok(added) {
            let text = format!("{} replica lists for {added} new partitions", asked.assignments.len());
            return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, text));
        }
        let lists = asked
            .assignments
            .iter()
            .map(|assignment| node_ids(&assignment.replicas));
        let lists: Vec<Vec<NodeId>> = lists.collect();
        for replicas in &lists {
            check_assignment(overlay.image(), replicas, Some(replication_factor))?;
        }
        lists
    };
    for (replicas, number) in assignments.into_iter().zip(first..) {
        let state = new_partition(overlay, replicas);
        write_partition(overlay, id, number, &state);
    }
    *left -= added;
    Ok(())
}
