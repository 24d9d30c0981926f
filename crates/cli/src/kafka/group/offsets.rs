//! `klamm group offsets`, `lag` and `delete-offsets`.

use std::collections::BTreeMap;

use anyhow::anyhow;
use klamm_client::TopicPartition;
use klamm_client::admin::{Admin, OffsetSpec};
use klamm_types::ErrorCode;
use serde_json::{Value, json};

use super::admin_failure;
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

pub async fn offsets(common: &Common, admin: &Admin, group: &str) -> Result<(), Failure> {
    let offsets = admin.list_group_offsets(group).await.map_err(admin_failure)?;
    let value = offsets.iter().map(|(partition, committed)| {
        json!({
            "topic": &*partition.topic,
            "partition": partition.partition.0,
            "offset": committed.offset.0,
            "leader_epoch": committed.leader_epoch.0,
            "metadata": committed.metadata,
        })
    });
    let value: Vec<Value> = value.collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["TOPIC", "PARTITION", "OFFSET", "EPOCH", "METADATA"]);
        for (partition, committed) in &offsets {
            table.row(vec![
                partition.topic.to_string(),
                partition.partition.to_string(),
                committed.offset.to_string(),
                committed.leader_epoch.to_string(),
                committed.metadata.clone(),
            ]);
        }
        table.to_string()
    })?;
    Ok(())
}

/// One partition that a group reads, or has read.
struct Behind {
    partition: TopicPartition,
    committed: Option<i64>,
    end: Option<i64>,
    owner: Option<String>,
}

impl Behind {
    /// `None`: nothing is committed, or the partition has gone.
    fn lag(&self) -> Option<i64> {
        Some((self.end? - self.committed?).max(0))
    }
}

pub async fn lag(common: &Common, admin: &Admin, group: &str) -> Result<(), Failure> {
    let offsets = admin.list_group_offsets(group).await.map_err(admin_failure)?;
    let mut owners: BTreeMap<TopicPartition, String> = BTreeMap::new();
    match admin.describe_group(group).await {
        Ok(described) => {
            for member in described.members {
                let owner = format!("{} {}", member.client_id, member.client_host);
                owners.extend(
                    member
                        .assignment
                        .into_iter()
                        .map(|partition| (partition, owner.clone())),
                );
            }
        }
        // Offsets without a group are offsets all the same.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) && !offsets.is_empty() => {}
        Err(error) => return Err(admin_failure(error)),
    }
    let mut rows = Vec::new();
    let known: std::collections::BTreeSet<&TopicPartition> = offsets.keys().chain(owners.keys()).collect();
    for partition in known {
        let end = match admin
            .list_offset(&partition.topic, partition.partition, OffsetSpec::Latest)
            .await
        {
            Ok(end) => end.map(|end| end.offset.0),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => None,
            Err(error) => return Err(admin_failure(error)),
        };
        rows.push(Behind {
            partition: partition.clone(),
            committed: offsets.get(partition).map(|committed| committed.offset.0),
            end,
            owner: owners.get(partition).cloned(),
        });
    }
    let value = rows.iter().map(|row| {
        json!({
            "topic": &*row.partition.topic,
            "partition": row.partition.partition.0,
            "committed": row.committed,
            "end": row.end,
            "lag": row.lag(),
            "owner": row.owner,
        })
    });
    let value: Vec<Value> = value.collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "OWNER"]);
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        for row in &rows {
            table.row(vec![
                row.partition.topic.to_string(),
                row.partition.partition.to_string(),
                number(row.committed),
                number(row.end),
                number(row.lag()),
                row.owner.clone().unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        let total: i64 = rows.iter().filter_map(Behind::lag).sum();
        format!("{table}total lag {total}")
    })?;
    Ok(())
}

pub async fn delete(admin: &Admin, group: &str, topic: &str, partitions: &[i32]) -> Result<(), Failure> {
    let chosen = if partitions.is_empty() {
        let offsets = admin.list_group_offsets(group).await.map_err(admin_failure)?;
        offsets
            .into_keys()
            .filter(|partition| &*partition.topic == topic)
            .collect()
    } else {
        partitions
            .iter()
            .map(|&number| TopicPartition::new(topic, number))
            .collect()
    };
    let refused = admin
        .delete_group_offsets(group, &chosen)
        .await
        .map_err(admin_failure)?;
    all_done("deleting offsets", &refused)
}

/// Some partitions were refused: which, and why.
pub fn all_done(doing: &str, refused: &BTreeMap<TopicPartition, ErrorCode>) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    let each = refused.iter().map(|(partition, code)| format!("{partition}: {code}"));
    let text = format!("{doing} was refused for {}", each.collect::<Vec<_>>().join("; "));
    Err(Failure::new(Failure::REFUSED, anyhow!(text)))
}
