//! `klamm group list`, `describe` and `members`.

use klamm_client::admin::{Admin, GroupDescription, GroupMember};
use serde_json::{Value, json};

use super::{admin_failure, partitions};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Table};

pub async fn list(common: &Common, admin: &Admin, state: Option<&str>, kind: Option<&str>) -> Result<(), Failure> {
    let mut groups = admin.list_groups().await.map_err(admin_failure)?;
    let fits = |wanted: Option<&str>, found: String| wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(&found));
    groups.retain(|group| fits(state, group.state.to_string()) && fits(kind, group.group_type.to_string()));
    let value = groups.iter().map(|group| {
        json!({
            "group": group.group_id,
            "type": group.group_type.to_string(),
            "state": group.state.to_string(),
            "protocol_type": group.protocol_type,
        })
    });
    let value: Vec<Value> = value.collect();
    output::print(common.output, &value, |_| {
        let mut table = Table::new(&["GROUP", "TYPE", "STATE", "PROTOCOL TYPE"]);
        for group in &groups {
            table.row(vec![
                group.group_id.clone(),
                group.group_type.to_string(),
                group.state.to_string(),
                group.protocol_type.clone(),
            ]);
        }
        table.to_string()
    })?;
    Ok(())
}

pub async fn describe(common: &Common, admin: &Admin, names: &[String]) -> Result<(), Failure> {
    let mut groups = Vec::with_capacity(names.len());
    for name in names {
        groups.push(admin.describe_group(name).await.map_err(admin_failure)?);
    }
    let value: Vec<Value> = groups.iter().map(to_json).collect();
    output::print(common.output, &value, |_| {
        let texts = groups.iter().map(|group| {
            let number = |epoch: Option<i32>| epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string());
            format!(
                "group {}\n  type {}, state {}, protocol type {:?}, assignor {:?}\n  group epoch {}, assignment epoch {}\n{}",
                group.group_id,
                group.group_type,
                group.state,
                group.protocol_type,
                group.assignor,
                number(group.group_epoch),
                number(group.assignment_epoch),
                table(&group.members),
            )
        });
        texts.collect::<Vec<_>>().join("\n")
    })?;
    Ok(())
}

pub async fn members(common: &Common, admin: &Admin, name: &str) -> Result<(), Failure> {
    let group = admin.describe_group(name).await.map_err(admin_failure)?;
    let value: Vec<Value> = group.members.iter().map(member_to_json).collect();
    output::print(common.output, &value, |_| table(&group.members))?;
    Ok(())
}

fn table(members: &[GroupMember]) -> String {
    let mut table = Table::new(&["MEMBER", "INSTANCE", "CLIENT", "HOST", "EPOCH", "PARTITIONS", "HAS"]);
    for member in members {
        table.row(vec![
            member.member_id.clone(),
            member.group_instance_id.clone().unwrap_or_default(),
            member.client_id.clone(),
            member.client_host.clone(),
            member.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            member.assignment.len().to_string(),
            partitions(&member.assignment),
        ]);
    }
    table.to_string()
}

fn to_json(group: &GroupDescription) -> Value {
    json!({
        "group": group.group_id,
        "type": group.group_type.to_string(),
        "state": group.state.to_string(),
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "group_epoch": group.group_epoch,
        "assignment_epoch": group.assignment_epoch,
        "members": group.members.iter().map(member_to_json).collect::<Vec<_>>(),
    })
}

fn member_to_json(member: &GroupMember) -> Value {
    let named = |partition: &klamm_client::TopicPartition| json!({"topic": &*partition.topic, "partition": partition.partition.0});
    let topics: Vec<&str> = member.topics.iter().map(|topic| &**topic).collect();
    json!({
        "member": member.member_id,
        "instance": member.group_instance_id,
        "client": member.client_id,
        "host": member.client_host,
        "rack": member.rack,
        "epoch": member.epoch,
        "topics": topics,
        "topic_regex": member.topic_regex,
        "assignment": member.assignment.iter().map(named).collect::<Vec<_>>(),
        "target": member.target.as_ref().map(|target| target.iter().map(named).collect::<Vec<_>>()),
    })
}
