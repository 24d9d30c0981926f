//! `klamm group why`: reads the group's part of `__klamm_group_history` and tells it in order.

use std::time::Duration;

use anyhow::{Context, anyhow};
use klamm_broker::coordinator::HISTORY_TOPIC;
use klamm_broker::group::history::Entry;
use klamm_broker::group::history::bytes::Numbered;
use klamm_broker::group::history::render::{render, sentence};
use klamm_broker::group::record::partition_for;
use klamm_client::{Client, ConsumerConfig, OffsetReset, Start, TopicPartition};
use klamm_types::ErrorCode;
use serde_json::{Value, json};

use super::admin_failure;
use crate::Common;
use crate::failure::Failure;
use crate::output;

const POLL: Duration = Duration::from_millis(500);

pub async fn run(common: &Common, client: &Client, group: &str, max: Option<usize>) -> Result<(), Failure> {
    let topic = client.admin().describe_topic(HISTORY_TOPIC).await;
    let count = match topic {
        Ok(topic) => topic.partitions.len(),
        Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => {
            return Err(no_history(group));
        }
        Err(error) => return Err(admin_failure(error)),
    };
    let count = i32::try_from(count).unwrap_or(0);
    let partition = partition_for(group, count).ok_or_else(|| no_history(group))?;
    let mut found = read(client, partition, group).await?;
    if found.is_empty() {
        return Err(no_history(group));
    }
    found.sort_by_key(|numbered| numbered.number);
    let skipped = max.map_or(0, |max| found.len().saturating_sub(max));
    let entries: Vec<&Entry> = found[skipped..].iter().map(|numbered| &numbered.entry).collect();
    let value = entries
        .iter()
        .map(|entry| json!({"at_ms": entry.at.0, "text": sentence(&entry.happened), "happened": entry.happened}));
    let value: Vec<Value> = value.collect();
    output::print(common.output, &value, |_| render(entries.iter().copied()))?;
    Ok(())
}

fn no_history(group: &str) -> Failure {
    Failure::new(
        Failure::REFUSED,
        anyhow!("nothing is known about group {group}: it has never had a member, or that was too long ago"),
    )
}

/// The newest entry of each slot of the group.
async fn read(client: &Client, partition: i32, group: &str) -> Result<Vec<Numbered>, Failure> {
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        ..ConsumerConfig::default()
    };
    let mut consumer = client.consumer(config);
    consumer.assign([(TopicPartition::new(HISTORY_TOPIC, partition), Start::Earliest)]);
    let reading = || format!("reading {HISTORY_TOPIC}");
    let ends = consumer.end_offsets().await.with_context(reading)?;
    let mut slots = std::collections::BTreeMap::new();
    while !consumer.has_reached(&ends) {
        for record in consumer.poll(POLL).await.with_context(reading)? {
            let key = record.key.as_deref().unwrap_or_default();
            match record.value.as_deref().map(|value| Numbered::from_bytes(key, value)) {
                Some(Ok(numbered)) if numbered.entry.group == group => {
                    slots.insert(numbered.slot, numbered);
                }
                // Of another group, or of a newer program.
                Some(_) => {}
                None => slots.retain(|slot, _| klamm_broker::group::history::bytes::key(group, *slot) != key),
            }
        }
    }
    Ok(slots.into_values().collect())
}
