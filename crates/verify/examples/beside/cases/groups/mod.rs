//! Group APIs: coordinators, classic and KIP-848 groups with their members, and their offsets.

mod join;
mod join_static;
mod living;
mod members;
mod sync;

use klamm_wire::{ApiKey, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, ListGroupsRequest, Tree};

use crate::case::{ALL, Case, Cases, from};
use crate::cluster::{list, number};
use living::to_coordinator;

pub fn cases() -> Vec<Case> {
    let mut list = find_coordinator();
    list.extend(join::cases());
    list.extend(join_static::cases());
    list.extend(sync::cases());
    list.extend(members::cases());
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
