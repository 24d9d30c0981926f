//! ListGroups (16): the groups that this broker coordinates.

use klamm_broker::group::call::ListGroups;
use klamm_types::ErrorCode;
use klamm_wire::list_groups_request::ListGroupsRequest;
use klamm_wire::list_groups_response::{ListGroupsResponse, ListedGroup};

use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: ListGroupsRequest<'_> = request.decode(&body)?;
    let texts = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
    let filter = ListGroups {
        states: texts(&asked.states_filter),
        types: texts(&asked.types_filter),
    };
    let listed = client.backend().list_groups(filter).await;
    let (error, groups) = match listed {
        Ok(groups) => (ErrorCode::None, groups),
        Err(code) => (code, Vec::new()),
    };
    let groups = groups.iter().map(|group| ListedGroup {
        group_id: &group.group,
        protocol_type: &group.protocol_type,
        group_state: &group.state,
        group_type: &group.kind,
    });
    request.answer(&ListGroupsResponse {
        error_code: error.code(),
        groups: groups.collect(),
        ..Default::default()
    })
}
