//! ConsumerGroupDescribe (69): state and members of KIP-848 groups.

use futures_util::future::join_all;
use klamm_broker::group::reply::{DescribedConsumerGroup, DescribedConsumerMember, MemberKind, NamedPartitions};
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::consumer_group_describe_request::ConsumerGroupDescribeRequest;
use klamm_wire::consumer_group_describe_response::{
    Assignment, ConsumerGroupDescribeResponse, DescribedGroup, Member, TopicPartitions,
};

use super::coordinator::{self, CALLS_AT_A_TIME};
use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ConsumerGroupDescribeRequest<'_> = request.decode(&body)?;
    let names = coordinator::distinct(&asked.group_ids);
    let mut described = Vec::with_capacity(names.len());
    for names in names.chunks(CALLS_AT_A_TIME) {
        described.extend(join_all(names.iter().map(|group| describe(client, group))).await);
    }
    let groups = described.iter().map(|group| DescribedGroup {
        error_code: group.error.code(),
        error_message: group.message.as_deref(),
        group_id: &group.group,
        group_state: &group.state,
        group_epoch: group.group_epoch,
        assignment_epoch: group.assignment_epoch,
        assignor_name: &group.assignor,
        members: group.members.iter().map(member).collect(),
        authorized_operations: if asked.include_authorized_operations && !group.error.is_error() {
            GROUP_OPERATIONS
        } else {
            OPERATIONS_NOT_ASKED
        },
    });
    request.answer(&ConsumerGroupDescribeResponse {
        groups: groups.collect(),
        ..Default::default()
    })
}

async fn describe(client: &Client, group: &str) -> DescribedConsumerGroup {
    let failed = |error| DescribedConsumerGroup {
        error,
        message: None,
        group: group.to_owned(),
        state: String::new(),
        group_epoch: 0,
        assignment_epoch: 0,
        assignor: String::new(),
        members: Vec::new(),
    };
    if group.is_empty() {
        return failed(ErrorCode::InvalidGroupId);
    }
    let call = Call::DescribeConsumerGroup {
        group: group.to_owned(),
    };
    match coordinator::call(client, call).await {
        Ok(Reply::DescribeConsumerGroup(described)) => *described,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    }
}

fn member(member: &DescribedConsumerMember) -> Member<'_> {
    Member {
        member_id: &member.member,
        instance_id: member.instance.as_deref(),
        rack_id: member.rack.as_deref(),
        member_epoch: member.member_epoch,
        client_id: &member.client_id,
        client_host: &member.client_host,
        subscribed_topic_names: member.subscribed_names.iter().map(String::as_str).collect(),
        subscribed_topic_regex: member.subscribed_regex.as_deref(),
        assignment: assignment(&member.assignment),
        target_assignment: assignment(&member.target),
        member_type: match member.kind {
            MemberKind::Classic => 0,
            MemberKind::Consumer => 1,
        },
    }
}

fn assignment(partitions: &NamedPartitions) -> Assignment<'_> {
    let topics = partitions.iter().map(|(id, name, partitions)| TopicPartitions {
        topic_id: id.0,
        topic_name: name,
        partitions: partitions.clone(),
    });
    Assignment {
        topic_partitions: topics.collect(),
    }
}
