//! DescribeGroups (15): state and members of classic groups.

use futures_util::future::join_all;
use klamm_broker::group::reply::DescribedGroup;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::describe_groups_request::DescribeGroupsRequest;
use klamm_wire::describe_groups_response::{self as wire, DescribeGroupsResponse, DescribedGroupMember};

use super::coordinator::{self, CALLS_AT_A_TIME};
use crate::context::Client;
use crate::net::request::{Answer, Request};
use crate::topics::{GROUP_OPERATIONS, OPERATIONS_NOT_ASKED};

/// A group that does not exist is an error from this version on.
const NOT_FOUND_FROM: i16 = 6;

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DescribeGroupsRequest<'_> = request.decode(&body)?;
    let names = coordinator::distinct(&asked.groups);
    let mut described = Vec::with_capacity(names.len());
    for names in names.chunks(CALLS_AT_A_TIME) {
        described.extend(join_all(names.iter().map(|group| describe(client, group))).await);
    }
    let operations = if asked.include_authorized_operations {
        GROUP_OPERATIONS
    } else {
        OPERATIONS_NOT_ASKED
    };
    let groups = described
        .iter()
        .map(|group| to_wire(group, request.version, operations));
    request.answer(&DescribeGroupsResponse {
        groups: groups.collect(),
        ..Default::default()
    })
}

async fn describe(client: &Client, group: &str) -> DescribedGroup {
    let failed = |error| DescribedGroup {
        error,
        message: None,
        group: group.to_owned(),
        state: String::new(),
        protocol_type: String::new(),
        protocol: String::new(),
        members: Vec::new(),
    };
    let call = Call::DescribeGroup {
        group: group.to_owned(),
    };
    match coordinator::call(client, call).await {
        Ok(Reply::DescribeGroup(described)) => *described,
        Ok(_) => failed(coordinator::wrong_reply()),
        Err(code) => failed(code),
    }
}

fn to_wire(group: &DescribedGroup, version: i16, operations: i32) -> wire::DescribedGroup<'_> {
    let hidden = group.error == ErrorCode::GroupIdNotFound && version < NOT_FOUND_FROM;
    let members = group.members.iter().map(|member| DescribedGroupMember {
        member_id: &member.member,
        group_instance_id: member.instance.as_deref(),
        client_id: &member.client_id,
        client_host: &member.client_host,
        member_metadata: member.metadata.clone(),
        member_assignment: member.assignment.clone(),
    });
    wire::DescribedGroup {
        error_code: if hidden { 0 } else { group.error.code() },
        error_message: if version < NOT_FOUND_FROM {
            None
        } else {
            group.message.as_deref()
        },
        group_id: &group.group,
        group_state: &group.state,
        protocol_type: &group.protocol_type,
        protocol_data: &group.protocol,
        members: members.collect(),
        authorized_operations: if group.error.is_error() && !hidden {
            OPERATIONS_NOT_ASKED
        } else {
            operations
        },
    }
}
