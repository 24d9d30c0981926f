//! Groups: which there are, who is in them and has what, and deleting them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use klamm_types::{ErrorCode, NodeId};
use klamm_wire::consumer_group_describe_response::{
    Assignment, DescribedGroup as ConsumerGroup, Member as ConsumerMember,
};
use klamm_wire::describe_groups_response::{DescribedGroup as ClassicGroup, DescribedGroupMember as ClassicMember};
use klamm_wire::list_groups_response::ListedGroup;
use klamm_wire::{ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest};

use super::coordinator::{first, is_unknown_api};
use super::{Admin, AdminError, Kind, accept, decode, refused};
use crate::consumer::TopicPartition;
use crate::consumer::group::{read_assignment, read_subscription};

/// By which protocol a group works.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupType {
    /// JoinGroup and SyncGroup; also groups that only store offsets.
    Classic,
    /// KIP-848.
    Consumer,
    /// One that this client does not know, by its name; empty if the broker is too old to tell.
    Unknown(String),
}

impl GroupType {
    fn from_wire(name: &str) -> GroupType {
        match name.to_ascii_lowercase().as_str() {
            "classic" => GroupType::Classic,
            "consumer" => GroupType::Consumer,
            _ => GroupType::Unknown(name.to_owned()),
        }
    }
}

impl fmt::Display for GroupType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupType::Classic => "classic",
            GroupType::Consumer => "consumer",
            GroupType::Unknown(name) => name,
        })
    }
}

/// How a group is. Kafka's words; `Display` gives them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupState {
    /// No members, only offsets.
    Empty,
    /// Classic: members are coming together.
    PreparingRebalance,
    /// Classic: the leader is sharing out.
    CompletingRebalance,
    /// KIP-848: the coordinator has yet to share out.
    Assigning,
    /// KIP-848: members are taking over what they were assigned.
    Reconciling,
    Stable,
    Dead,
    /// One that this client does not know, by its name; empty if the broker is too old to tell.
    Unknown(String),
}

impl GroupState {
    fn from_wire(name: &str) -> GroupState {
        match name {
            "Empty" => GroupState::Empty,
            "PreparingRebalance" => GroupState::PreparingRebalance,
            "CompletingRebalance" => GroupState::CompletingRebalance,
            "Assigning" => GroupState::Assigning,
            "Reconciling" => GroupState::Reconciling,
            "Stable" => GroupState::Stable,
            "Dead" => GroupState::Dead,
            _ => GroupState::Unknown(name.to_owned()),
        }
    }
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            GroupState::Empty => "Empty",
            GroupState::PreparingRebalance => "PreparingRebalance",
            GroupState::CompletingRebalance => "CompletingRebalance",
            GroupState::Assigning => "Assigning",
            GroupState::Reconciling => "Reconciling",
            GroupState::Stable => "Stable",
            GroupState::Dead => "Dead",
            GroupState::Unknown(name) => name,
        })
    }
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    pub group_id: String,
    pub group_type: GroupType,
    pub state: GroupState,
    /// `consumer` for consumers; empty for groups that only store offsets.
    pub protocol_type: String,
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    pub group_id: String,
    pub group_type: GroupType,
    pub state: GroupState,
    pub protocol_type: String,
    /// By which the partitions are shared out; empty while the group has none.
    pub assignor: String,
    /// Only KIP-848: counts the changes of members, subscriptions and topics.
    pub group_epoch: Option<i32>,
    /// Only KIP-848: the group epoch for which the partitions were shared out last.
    pub assignment_epoch: Option<i32>,
    /// In order of their ids.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    pub member_id: String,
    pub group_instance_id: Option<String>,
    pub client_id: String,
    /// The address it is connected from.
    pub client_host: String,
    pub rack: Option<String>,
    /// Only KIP-848.
    pub epoch: Option<i32>,
    /// What it subscribes to. Of classic groups known only while they are stable.
    pub topics: BTreeSet<Arc<str>>,
    /// Only KIP-848: the regular expression that it subscribes to.
    pub topic_regex: Option<String>,
    pub assignment: BTreeSet<TopicPartition>,
    /// Only KIP-848: what it shall have, once others have given it up.
    pub target: Option<BTreeSet<TopicPartition>>,
}

impl Admin {
    /// Every group, in order of names; all brokers are asked.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let config = klamm_client::ConsumerConfig {
    /// #     group: Some(klamm_client::GroupConfig::new("billing")),
    /// #     offset_reset: klamm_client::OffsetReset::Earliest,
    /// #     ..klamm_client::ConsumerConfig::default()
    /// # };
    /// # let mut consumer = client.consumer(config);
    /// # consumer.subscribe(["orders"])?;
    /// # while consumer.poll(std::time::Duration::from_secs(1)).await?.is_empty() {}
    /// # consumer.commit().await?;
    /// let groups = client.admin().list_groups().await?;
    /// for group in &groups {
    ///     println!("{} is {}", group.group_id, group.state);
    /// }
    /// # assert!(groups.iter().any(|group| group.group_id == "billing"));
    /// # consumer.close().await?;
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// A broker cannot be reached, or does not know its groups yet, for longer than `api_timeout`.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        let deadline = self.deadline();
        loop {
            match self.list_all_groups().await {
                Ok(groups) => return Ok(groups.into_values().collect()),
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
            }
        }
    }

    async fn list_all_groups(&self) -> Result<BTreeMap<String, GroupListing>, AdminError> {
        let cluster = self.client.cluster();
        let asked = cluster.brokers.keys().map(|&node| self.list_groups_at(node));
        let mut groups = BTreeMap::new();
        for listed in join_all(asked).await {
            groups.extend(listed?.into_iter().map(|group| (group.group_id.clone(), group)));
        }
        Ok(groups)
    }

    /// The groups that one broker coordinates; one try.
    ///
    /// # Errors
    /// The broker cannot be reached, or does not know its groups yet.
    pub async fn list_groups_at(&self, broker: NodeId) -> Result<Vec<GroupListing>, AdminError> {
        let reply = self.call_node(broker, &ListGroupsRequest::default()).await?;
        let answer = decode::<ListGroupsRequest<'_>>(&reply)?;
        accept("listing groups", answer.error_code, None)?;
        let listing = |group: &ListedGroup<'_>| GroupListing {
            group_id: group.group_id.to_owned(),
            group_type: GroupType::from_wire(group.group_type),
            state: GroupState::from_wire(group.group_state),
            protocol_type: group.protocol_type.to_owned(),
        };
        Ok(answer.groups.iter().map(listing).collect())
    }

    /// Several groups with their members, each for itself.
    pub async fn describe_groups(&self, group_ids: &[&str]) -> BTreeMap<String, Result<GroupDescription, AdminError>> {
        let described = group_ids
            .iter()
            .map(|&group_id| async move { (group_id.to_owned(), self.describe_group(group_id).await) });
        join_all(described).await.into_iter().collect()
    }

    /// One group with its members, whichever protocol it works by.
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let config = klamm_client::ConsumerConfig {
    /// #     group: Some(klamm_client::GroupConfig::new("billing")),
    /// #     offset_reset: klamm_client::OffsetReset::Earliest,
    /// #     ..klamm_client::ConsumerConfig::default()
    /// # };
    /// # let mut consumer = client.consumer(config);
    /// # consumer.subscribe(["orders"])?;
    /// # while consumer.poll(std::time::Duration::from_secs(1)).await?.is_empty() {}
    /// # consumer.commit().await?;
    /// let billing = client.admin().describe_group("billing").await?;
    /// for member in &billing.members {
    ///     println!("{} at {} has {} partitions", member.member_id, member.client_host, member.assignment.len());
    /// }
    /// # assert_eq!(billing.members.len(), 1);
    /// # consumer.close().await?;
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, or the coordinator cannot be reached for longer than `api_timeout`.
    pub async fn describe_group(&self, group_id: &str) -> Result<GroupDescription, AdminError> {
        let deadline = self.deadline();
        loop {
            match self.describe_once(group_id).await {
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
                described => return described,
            }
        }
    }

    async fn describe_once(&self, group_id: &str) -> Result<GroupDescription, AdminError> {
        match self.describe_consumer(group_id).await {
            // It may be of the other kind, or the broker knows only that.
            Err(failure) if failure.code() == Some(ErrorCode::GroupIdNotFound) || is_unknown_api(&failure) => {
                self.describe_classic(group_id).await
            }
            described => described,
        }
    }

    async fn describe_consumer(&self, group_id: &str) -> Result<GroupDescription, AdminError> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![group_id],
            include_authorized_operations: false,
        };
        let reply = self.ask_coordinator(group_id, &request).await?;
        let group =
            first::<ConsumerGroupDescribeRequest<'_>, _>(&reply, group_id, |answer| answer.groups.into_iter().next())?;
        accept(&describing(group_id), group.error_code, group.error_message)?;
        Ok(consumer_group(&group))
    }

    async fn describe_classic(&self, group_id: &str) -> Result<GroupDescription, AdminError> {
        let request = DescribeGroupsRequest {
            groups: vec![group_id],
            include_authorized_operations: false,
        };
        let reply = self.ask_coordinator(group_id, &request).await?;
        let group = first::<DescribeGroupsRequest<'_>, _>(&reply, group_id, |answer| answer.groups.into_iter().next())?;
        accept(&describing(group_id), group.error_code, group.error_message)?;
        let group = classic_group(&group);
        if group.state == GroupState::Dead {
            // What old versions say of a group that is not there.
            return Err(refused(&describing(group_id), ErrorCode::GroupIdNotFound, None));
        }
        Ok(group)
    }

    /// Deletes a group with its offsets. It must not have members.
    ///
    /// # Errors
    /// `NON_EMPTY_GROUP`, `GROUP_ID_NOT_FOUND`, or the coordinator cannot be reached.
    pub async fn delete_group(&self, group_id: &str) -> Result<(), AdminError> {
        let deadline = self.deadline();
        loop {
            match self.delete_once(group_id).await {
                Err(failure) => self.again(failure, Kind::Change, deadline).await?,
                deleted => return deleted,
            }
        }
    }

    /// Deletes several groups, each for itself.
    pub async fn delete_groups(&self, group_ids: &[&str]) -> BTreeMap<String, Result<(), AdminError>> {
        let deleted = group_ids
            .iter()
            .map(|&group_id| async move { (group_id.to_owned(), self.delete_group(group_id).await) });
        join_all(deleted).await.into_iter().collect()
    }

    async fn delete_once(&self, group_id: &str) -> Result<(), AdminError> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group_id],
        };
        let reply = self.ask_coordinator(group_id, &request).await?;
        let result = first::<DeleteGroupsRequest<'_>, _>(&reply, group_id, |answer| answer.results.into_iter().next())?;
        accept(&format!("deleting group {group_id}"), result.error_code, None)
    }
}

fn describing(group_id: &str) -> String {
    format!("describing group {group_id}")
}

fn consumer_group(group: &ConsumerGroup<'_>) -> GroupDescription {
    let mut members: Vec<GroupMember> = group.members.iter().map(consumer_member).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    GroupDescription {
        group_id: group.group_id.to_owned(),
        group_type: GroupType::Consumer,
        state: GroupState::from_wire(group.group_state),
        protocol_type: "consumer".to_owned(),
        assignor: group.assignor_name.to_owned(),
        group_epoch: Some(group.group_epoch),
        assignment_epoch: Some(group.assignment_epoch),
        members,
    }
}

fn consumer_member(member: &ConsumerMember<'_>) -> GroupMember {
    GroupMember {
        member_id: member.member_id.to_owned(),
        group_instance_id: member.instance_id.map(str::to_owned),
        client_id: member.client_id.to_owned(),
        client_host: member.client_host.to_owned(),
        rack: member.rack_id.map(str::to_owned),
        epoch: Some(member.member_epoch),
        topics: member
            .subscribed_topic_names
            .iter()
            .map(|&topic| Arc::from(topic))
            .collect(),
        topic_regex: member
            .subscribed_topic_regex
            .filter(|regex| !regex.is_empty())
            .map(str::to_owned),
        assignment: partitions(&member.assignment),
        target: Some(partitions(&member.target_assignment)),
    }
}

fn partitions(assignment: &Assignment<'_>) -> BTreeSet<TopicPartition> {
    let topics = assignment.topic_partitions.iter();
    topics
        .flat_map(|topic| {
            let name: Arc<str> = Arc::from(topic.topic_name);
            topic
                .partitions
                .iter()
                .map(move |&number| TopicPartition::new(Arc::clone(&name), number))
        })
        .collect()
}

fn classic_group(group: &ClassicGroup<'_>) -> GroupDescription {
    let mut members: Vec<GroupMember> = group.members.iter().map(classic_member).collect();
    members.sort_by(|one, other| one.member_id.cmp(&other.member_id));
    GroupDescription {
        group_id: group.group_id.to_owned(),
        group_type: GroupType::Classic,
        state: GroupState::from_wire(group.group_state),
        protocol_type: group.protocol_type.to_owned(),
        assignor: group.protocol_data.to_owned(),
        group_epoch: None,
        assignment_epoch: None,
        members,
    }
}

/// What members tell each other need not be the consumer protocol; what cannot be read is left out.
fn classic_member(member: &ClassicMember<'_>) -> GroupMember {
    let read = |bytes: &Bytes| read_subscription(member.member_id, member.group_instance_id, bytes).ok();
    let facts = Some(&member.member_metadata)
        .filter(|bytes| !bytes.is_empty())
        .and_then(read);
    GroupMember {
        member_id: member.member_id.to_owned(),
        group_instance_id: member.group_instance_id.map(str::to_owned),
        client_id: member.client_id.to_owned(),
        client_host: member.client_host.to_owned(),
        rack: None,
        epoch: None,
        topics: facts.map(|facts| facts.topics).unwrap_or_default(),
        topic_regex: None,
        assignment: read_assignment(&member.member_assignment).unwrap_or_default(),
        target: None,
    }
}
