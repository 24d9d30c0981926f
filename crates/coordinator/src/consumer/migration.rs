//! A group of one kind becomes one of the other, with its members in it (KIP-848, online migration).
//!
//! ```text
//!             first heartbeat of a consumer member
//!   classic ───────────────────────────────────────► consumer, with classic members in it
//!           ◄───────────────────────────────────────
//!             last consumer member is gone, classic ones stay
//! ```
//!
//! Everyone keeps its partitions across the change; who is to get others learns it by a rebalance afterwards. An empty
//! group of the other kind is removed without further ado; offsets stay in either case.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::ErrorCode;

use crate::call::PartitionsByTopic;
use crate::classic;
use crate::draft::Draft;
use crate::record::{
    AssignedPartitions, ClassicGroup, ClassicMember, ClassicMemberMetadata, ConsumerGroup, ConsumerTargetEpoch, Record,
};
use crate::topics::Topics;

use super::consumer_protocol;
use super::group::{Group, Timer};
use super::heartbeat::{Refusal, arm, consumer};
use super::member::{Member, MemberState};
use super::reconcile::without_epochs;

/// A consumer member joins a classic group.
pub(super) fn to_consumer(draft: &mut Draft<'_>, group: &classic::Group) -> Result<(), Refusal> {
    let name = draft.name().to_owned();
    let tombstone = Record::ClassicGroup {
        group: name.clone(),
        value: None,
    };
    if group.is_empty() {
        draft.record(tombstone);
        return Ok(());
    }
    let refuse = |why: &str| Err(Refusal::new(ErrorCode::GroupIdNotFound, why));
    if !group.uses_consumer_protocol() {
        return refuse("the classic group of this name is not one of consumers");
    }
    if group.member_count() > draft.settings.consumer_members_max {
        return refuse("the classic group of this name has too many members");
    }
    let Some(members) = converted(group, draft.topics) else {
        return refuse("what the members of the classic group of this name read cannot be told");
    };
    classic::answer_all(draft, ErrorCode::RebalanceInProgress);
    draft.record(tombstone);
    let generation = group.generation();
    for record in records(&name, generation, &members) {
        draft.record(record);
    }
    for (id, member) in &members {
        let session = member.session_timeout(draft.settings);
        arm(draft, id, Timer::Session, session);
    }
    Ok(())
}

/// The members as they are in the new group; `None` if one cannot be read.
fn converted(group: &classic::Group, topics: &Topics) -> Option<BTreeMap<String, Member>> {
    let mut taken = BTreeSet::new();
    let mut members = BTreeMap::new();
    for classic in group.members() {
        let chosen = group.protocol().and_then(|protocol| classic.metadata(protocol));
        let metadata = chosen.or_else(|| classic.protocols.first().map(|(_, metadata)| metadata))?;
        let subscription = consumer_protocol::subscription(metadata, topics)?;
        let mut assigned = AssignedPartitions::new();
        for (topic, partitions) in consumer_protocol::assigned(&classic.assignment, topics)? {
            for partition in partitions {
                // A leader may have given one partition to two; here it has one owner.
                if taken.insert((topic, partition)) {
                    let since = group.generation();
                    assigned.entry(topic).or_default().insert(partition, since);
                }
            }
        }
        let member = Member {
            instance: classic.instance.clone(),
            rack: subscription.rack,
            client_id: classic.client_id.clone(),
            client_host: classic.client_host.clone(),
            subscribed_names: subscription.topics,
            subscribed_regex: String::new(),
            rebalance_timeout_ms: classic.rebalance_timeout_ms,
            server_assignor: None,
            classic: Some(ClassicMemberMetadata {
                session_timeout_ms: classic.session_timeout_ms,
                protocols: classic.protocols.clone(),
            }),
            epoch: group.generation(),
            previous_epoch: group.generation(),
            state: MemberState::Stable,
            assigned,
            pending: AssignedPartitions::new(),
        };
        members.insert(classic.member.clone(), member);
    }
    Some(members)
}

fn records(name: &str, generation: i32, members: &BTreeMap<String, Member>) -> Vec<Record> {
    let group = || name.to_owned();
    let mut records = Vec::new();
    for (id, member) in members {
        records.push(Record::ConsumerMember {
            group: group(),
            member: id.clone(),
            value: Some(member.metadata()),
        });
    }
    records.push(Record::ConsumerGroup {
        group: group(),
        value: Some(ConsumerGroup {
            epoch: generation,
            metadata_hash: 0,
        }),
    });
    for (id, member) in members {
        records.push(Record::ConsumerTarget {
            group: group(),
            member: id.clone(),
            value: Some(without_epochs(&member.assigned)),
        });
    }
    records.push(Record::ConsumerTargetEpoch {
        group: group(),
        value: Some(ConsumerTargetEpoch {
            epoch: generation,
            timestamp: 0,
        }),
    });
    for (id, member) in members {
        records.push(Record::ConsumerCurrent {
            group: group(),
            member: id.clone(),
            value: Some(member.current()),
        });
    }
    records
}

/// Whether only classic members remain when these leave, and can be a classic group.
pub(super) fn only_classic_stay(draft: &mut Draft<'_>, leaving: &BTreeSet<&str>) -> bool {
    let limit = draft.settings.members_max;
    let Some(group) = consumer(draft) else {
        return false;
    };
    let mut count = 0;
    for (_, member) in staying(group, leaving) {
        if !member.is_classic() {
            return false;
        }
        count += 1;
    }
    count > 0 && count <= limit && common_protocol(group, leaving).is_some()
}

/// The group becomes a classic one of those who stay. With a cause, they rebalance.
pub(super) fn to_classic(draft: &mut Draft<'_>, leaving: &BTreeSet<&str>, cause: Option<&str>) {
    let (name, now, topics) = (draft.name().to_owned(), draft.at.wall.0, draft.topics);
    let Some(group) = consumer(draft) else {
        return;
    };
    let Some(protocol) = common_protocol(group, leaving) else {
        return;
    };
    let members: Vec<ClassicMember> = staying(group, leaving)
        .filter_map(|(id, member)| classic_member(id, member, &protocol, topics))
        .collect();
    let value = ClassicGroup {
        protocol_type: classic::CONSUMER_PROTOCOL_TYPE.to_owned(),
        generation: group.epoch,
        protocol: Some(protocol),
        leader: members.first().map(|member| member.member.clone()),
        state_timestamp: now,
        members,
    };
    for tombstone in group.tombstones(&name) {
        draft.record(tombstone);
    }
    draft.record(Record::ClassicGroup {
        group: name,
        value: Some(value),
    });
    if let Some(cause) = cause {
        classic::rebalance(draft, cause);
    }
}

fn classic_member(id: &str, member: &Member, protocol: &str, topics: &Topics) -> Option<ClassicMember> {
    let classic = member.classic.as_ref()?;
    let (_, metadata) = classic.protocols.iter().find(|(name, _)| name == protocol)?;
    let assigned: PartitionsByTopic = without_epochs(&member.assigned);
    Some(ClassicMember {
        member: id.to_owned(),
        instance: member.instance.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        session_timeout_ms: classic.session_timeout_ms,
        subscription: metadata.clone(),
        assignment: consumer_protocol::assignment(&assigned, metadata, topics),
    })
}

fn staying<'a>(group: &'a Group, leaving: &'a BTreeSet<&str>) -> impl Iterator<Item = (&'a str, &'a Member)> {
    group.members().filter(|(id, _)| !leaving.contains(id))
}

/// The protocol that all who stay support and most prefer; among equals the first by name.
fn common_protocol(group: &Group, leaving: &BTreeSet<&str>) -> Option<String> {
    let mut supporters: BTreeMap<&str, usize> = BTreeMap::new();
    let mut members = 0;
    for (_, member) in staying(group, leaving) {
        members += 1;
        for (name, _) in &member.classic.as_ref()?.protocols {
            *supporters.entry(name).or_default() += 1;
        }
    }
    supporters.retain(|_, count| *count == members);
    let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
    for (_, member) in staying(group, leaving) {
        let choices = member.classic.as_ref()?.protocols.iter();
        let first = choices
            .map(|(name, _)| name.as_str())
            .find(|name| supporters.contains_key(name))?;
        *votes.entry(first).or_default() += 1;
    }
    let most = votes.values().max()?;
    let chosen = votes.iter().find(|(_, count)| *count == most);
    chosen.map(|(name, _)| (*name).to_owned())
}
