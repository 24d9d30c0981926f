//! DeleteGroups (42): deletes groups that have no members, and their offsets.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use klamm_broker::group::{Call, Reply};
use klamm_types::ErrorCode;
use klamm_wire::delete_groups_request::DeleteGroupsRequest;
use klamm_wire::delete_groups_response::{DeletableGroupResult, DeleteGroupsResponse};

use super::coordinator::{self, CALLS_AT_A_TIME};
use crate::context::Client;
use crate::net::request::{Answer, Request};

pub(crate) async fn answer(client: &Client, request: &Request) -> Answer {
    let body = request.body();
    let asked: DeleteGroupsRequest<'_> = request.decode(&body)?;
    // Who names a group twice is answered once.
    let groups: BTreeSet<&str> = asked.groups_names.iter().copied().collect();
    let groups = Vec::from_iter(groups);
    let mut codes = Vec::with_capacity(groups.len());
    for names in groups.chunks(CALLS_AT_A_TIME) {
        codes.extend(join_all(names.iter().map(|group| delete(client, group))).await);
    }
    let results = groups.iter().zip(codes);
    let results = results.map(|(&group_id, code)| DeletableGroupResult {
        group_id,
        error_code: code.code(),
    });
    request.answer(&DeleteGroupsResponse {
        results: results.collect(),
        ..Default::default()
    })
}

async fn delete(client: &Client, group: &str) -> ErrorCode {
    let call = Call::DeleteGroup {
        group: group.to_owned(),
    };
    match coordinator::call(client, call).await {
        Ok(Reply::DeleteGroup(code)) | Err(code) => code,
        Ok(_) => coordinator::wrong_reply(),
    }
}
