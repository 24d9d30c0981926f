//! Group APIs: coordinators, classic and KIP-848 groups with their members, and their offsets.

mod administration;
mod commit;
mod consumer;
mod consumer_static;
mod delete_offsets;
mod fetch_offsets;
mod heartbeat;
mod join;
mod join_static;
mod living;
mod members;
mod sync;

use klamm_wire::{ApiKey, FindCoordinatorRequest, Tree};

use crate::case::{Case, Cases, from};
use crate::cluster::{list, number};

pub fn cases() -> Vec<Case> {
    let mut list = find_coordinator();
    list.extend(join::cases());
    list.extend(join_static::cases());
    list.extend(sync::cases());
    list.extend(members::cases());
    list.extend(commit::cases());
    list.extend(fetch_offsets::cases());
    list.extend(delete_offsets::cases());
    list.extend(administration::cases());
    list.extend(consumer::cases());
    list.extend(consumer_static::cases());
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
