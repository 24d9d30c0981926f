//! ConsumerGroupDescribe.

use klamm_types::ErrorCode;

use crate::call::{CallId, PartitionsByTopic};
use crate::draft::Draft;
use crate::group::Group as AnyGroup;
use crate::reply::{DescribedConsumerGroup, DescribedConsumerMember, MemberKind, NamedPartitions, Reply};
use crate::topics::Topics;

use super::group::Group;
use super::member::Member;

/// A group that does not exist, or is of another kind, is not found.
pub fn describe(draft: &mut Draft<'_>, id: CallId) {
    let described = match draft.before() {
        Some(AnyGroup::Consumer(group)) => DescribedConsumerGroup {
            error: ErrorCode::None,
            message: None,
            group: draft.name().to_owned(),
            state: group.state().to_owned(),
            group_epoch: group.epoch,
            assignment_epoch: group.target_epoch,
            assignor: group.assignor().to_owned(),
            members: members(group, draft.topics),
        },
        Some(AnyGroup::Classic(_)) | None => DescribedConsumerGroup {
            error: ErrorCode::GroupIdNotFound,
            message: Some(format!("there is no consumer group {}", draft.name())),
            group: draft.name().to_owned(),
            state: String::new(),
            group_epoch: 0,
            assignment_epoch: 0,
            assignor: String::new(),
            members: Vec::new(),
        },
    };
    draft.reply(id, Reply::DescribeConsumerGroup(Box::new(described)));
}

fn members(group: &Group, topics: &Topics) -> Vec<DescribedConsumerMember> {
    let none = PartitionsByTopic::new();
    let members = group.members.iter();
    members
        .map(|(id, member)| DescribedConsumerMember {
            member: id.clone(),
            instance: member.instance.clone(),
            rack: member.rack.clone(),
            member_epoch: member.epoch,
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            subscribed_names: member.subscribed_names.iter().cloned().collect(),
            subscribed_regex: Some(member.subscribed_regex.clone()),
            assignment: named(&held(member), topics),
            target: named(group.targets.get(id).map_or(&none, |target| target), topics),
            kind: if member.is_classic() {
                MemberKind::Classic
            } else {
                MemberKind::Consumer
            },
        })
        .collect()
}

/// What is still to be given up counts as held.
fn held(member: &Member) -> PartitionsByTopic {
    let mut held = PartitionsByTopic::new();
    for (topic, partition) in member.held() {
        held.entry(topic).or_default().insert(partition);
    }
    held
}

fn named(partitions: &PartitionsByTopic, topics: &Topics) -> NamedPartitions {
    partitions
        .iter()
        .filter_map(|(id, partitions)| {
            let (name, _) = topics.by_id(*id)?;
            Some((*id, name.to_owned(), partitions.iter().copied().collect()))
        })
        .collect()
}
