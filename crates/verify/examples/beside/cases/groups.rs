//! Group APIs: coordinators, heartbeats, descriptions, deletions and lists of groups that do not exist.
//!
//! Groups with members, their offsets and the KIP-848 protocol have no cases yet.

use anyhow::Result;
use klamm_wire::{
    ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, ListGroupsRequest,
    Tree,
};

use crate::case::{ALL, Case, Cases, from};
use crate::cluster::{list, number};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut list = find_coordinator();
    list.extend(members());
    list.extend(administration());
    list
}

/// The internal topic is created by the first question for it.
fn ready(tree: &Tree) -> bool {
    let code = list(tree, "coordinators")
        .first()
        .map_or_else(|| number(tree, "error_code"), |one| number(one, "error_code"));
    code != 15
}

/// Sends what follows to the coordinator of a group.
fn to_coordinator(session: &mut Session<'_>, group: &str) -> Result<()> {
    let request = FindCoordinatorRequest {
        key: group,
        ..Default::default()
    };
    let tree = session
        .cluster
        .until(1, 1, &request, |tree| number(tree, "error_code") == 0)?;
    let coordinator = number(&tree, "node_id");
    // A coordinator that has just become one says so to everybody, or answers a heartbeat with 0.
    let loaded = |tree: &Tree| {
        let code = list(tree, "groups")
            .first()
            .map_or(-1, |group| number(group, "error_code"));
        ![14, 15, 16].contains(&code)
    };
    let request = DescribeGroupsRequest {
        groups: vec![group],
        ..Default::default()
    };
    session.cluster.until(coordinator, 0, &request, loaded)?;
    session.to(coordinator);
    Ok(())
}

fn find_coordinator() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::FindCoordinator);
    for (what, key, key_type) in [
        ("a group", "group", 0),
        ("an empty group id", "", 0),
        ("type 9", "group", 9),
        ("type -1", "group", -1),
    ] {
        cases.add(what, from(1), move |session, version| {
            let request = match version {
                0..=3 => FindCoordinatorRequest {
                    key,
                    key_type,
                    ..Default::default()
                },
                _ => FindCoordinatorRequest {
                    key_type,
                    coordinator_keys: vec![key, "other"],
                    ..Default::default()
                },
            };
            session.ask_until(version, &request, ready)?;
            Ok(())
        });
    }
    cases.list
}

fn members() -> Vec<Case> {
    let mut cases = Cases::of(ApiKey::Heartbeat);
    for (group, member) in [("", ""), ("", "m"), ("no-such-group", ""), ("no-such-group", "m")] {
        cases.add(
            format!("group {group:?}, member {member:?}"),
            ALL,
            move |session, version| {
                to_coordinator(session, group)?;
                let request = HeartbeatRequest {
                    group_id: group,
                    generation_id: 1,
                    member_id: member,
                    ..Default::default()
                };
                session.ask(version, &request)?;
                Ok(())
            },
        );
    }
    cases.list
}

fn administration() -> Vec<Case> {
    let mut describe = Cases::of(ApiKey::DescribeGroups);
    let mut delete = Cases::of(ApiKey::DeleteGroups);
    for group in ["", "no-such-group"] {
        describe.add(format!("group {group:?}"), ALL, move |session, version| {
            to_coordinator(session, group)?;
            session.ask(
                version,
                &DescribeGroupsRequest {
                    groups: vec![group],
                    ..Default::default()
                },
            )?;
            Ok(())
        });
        delete.add(format!("group {group:?}"), ALL, move |session, version| {
            to_coordinator(session, group)?;
            session.ask(
                version,
                &DeleteGroupsRequest {
                    groups_names: vec![group],
                },
            )?;
            Ok(())
        });
    }
    let mut all = Cases::of(ApiKey::ListGroups);
    all.add("no groups of an unknown state or type", from(4), |session, version| {
        let mut request = ListGroupsRequest {
            states_filter: vec!["NoSuchState"],
            ..Default::default()
        };
        session.ask(version, &request)?;
        if version >= 5 {
            request = ListGroupsRequest {
                types_filter: vec!["nosuchtype"],
                ..Default::default()
            };
            session.ask(version, &request)?;
        }
        Ok(())
    });
    describe.list.into_iter().chain(delete.list).chain(all.list).collect()
}
