//! Requests to a broker that does not coordinate the group, and FindCoordinator, which says who does.

use anyhow::Result;
use klamm_wire::{
    ApiKey, ConsumerGroupHeartbeatRequest, DescribeGroupsRequest, FindCoordinatorRequest, JoinGroupRequest, Tree,
};

use super::heartbeat::{beat, consumer_described, full};
use super::living::{self, Member, NOBODY, described, heartbeat, join, sync, topic};
use crate::case::{ALL, Case, Cases, from};
use crate::cluster::{list, number};
use crate::session::Session;

pub fn cases() -> Vec<Case> {
    let mut cases = find_coordinator();
    cases.extend(members());
    cases.extend(administration());
    cases
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
    cases.add("version 0 knows groups only", 0..=0, |session, version| {
        let request = FindCoordinatorRequest {
            key: "group",
            ..Default::default()
        };
        session.ask_until(version, &request, ready)?;
        Ok(())
    });
    cases.add("batches", from(4), |session, version| {
        for (what, keys) in [
            ("none", vec![]),
            ("one twice", vec!["group", "group"]),
            ("three", vec!["a", "", "c"]),
        ] {
            let request = FindCoordinatorRequest {
                coordinator_keys: keys,
                ..Default::default()
            };
            session.ask_as(what, version, &request)?;
        }
        Ok(())
    });
    for key in ["id", ""] {
        cases.add(
            format!("the transactional id {key:?}"),
            from(1),
            move |session, version| {
                let mut request = FindCoordinatorRequest {
                    key_type: 1,
                    ..Default::default()
                };
                match version {
                    0..=3 => request.key = key,
                    _ => request.coordinator_keys = vec![key],
                }
                session.ask(version, &request)?;
                Ok(())
            },
        );
    }
    cases.list
}

/// A group, and requests go to a broker that is not its coordinator.
fn elsewhere(session: &mut Session<'_>, version: i16) -> Result<String> {
    let group = living::group(session, version)?;
    let coordinator = session.broker();
    session.to(coordinator % 3 + 1);
    Ok(group)
}

type SpoilJoin = fn(&mut JoinGroupRequest<'_>);
type SpoilBeat = fn(&mut ConsumerGroupHeartbeatRequest<'_>);

fn members() -> Vec<Case> {
    let mut joins = Cases::of(ApiKey::JoinGroup);
    joins.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        let faults: [(&str, SpoilJoin); 4] = [
            ("nothing wrong", |_| ()),
            ("a short session", |request| request.session_timeout_ms = 1),
            ("no protocols", |request| request.protocols.clear()),
            ("a member id", |request| request.member_id = "nobody"),
        ];
        for (what, spoil) in faults {
            let mut request = join(&group, "", &["t"]);
            spoil(&mut request);
            session.ask_as(what, version, &request)?;
        }
        Ok(())
    });
    let mut beats = Cases::of(ApiKey::ConsumerGroupHeartbeat);
    beats.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        let faults: [(&str, SpoilBeat); 5] = [
            ("nothing wrong", |_| ()),
            ("no member id", |request| request.member_id = ""),
            ("no rebalance timeout", |request| request.rebalance_timeout_ms = -1),
            ("an unsupported assignor", |request| {
                request.server_assignor = Some("none")
            }),
            ("epoch -3", |request| request.member_epoch = -3),
        ];
        for (what, spoil) in faults {
            let mut request = full(&group, "member", &["t"]);
            spoil(&mut request);
            session.ask_as(what, version, &request)?;
        }
        session.ask_as("a bare heartbeat", version, &beat(&group, &Member::named("member", 1)))?;
        Ok(())
    });
    let mut heartbeats = Cases::of(ApiKey::Heartbeat);
    heartbeats.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        session.ask(version, &heartbeat(&group, &Member::named("member", 1)))?;
        Ok(())
    });
    let mut syncs = Cases::of(ApiKey::SyncGroup);
    syncs.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        session.ask(version, &sync(&group, &Member::named("member", 1), &[]))?;
        Ok(())
    });
    let mut leaves = Cases::of(ApiKey::LeaveGroup);
    leaves.add("another broker", from(3), |session, version| {
        let group = elsewhere(session, version)?;
        living::close_by(session, version, &group, &[&Member::named("member", 1)])?;
        living::close_by(session, version, &group, &[])
    });
    let cases = [joins, beats, heartbeats, syncs, leaves];
    cases.into_iter().flat_map(|cases| cases.list).collect()
}

fn administration() -> Vec<Case> {
    let mut commits = Cases::of(ApiKey::OffsetCommit);
    commits.add("another broker", ALL, |session, version| {
        let topic = topic(session)?;
        let group = elsewhere(session, version)?;
        let mut request = super::commit::of(version, &group, &NOBODY, &topic);
        session.ask_as("a known topic", version, &request)?;
        if version < 10 {
            request.topics[0].name = "no-such-topic";
            session.ask_as("an unknown topic", version, &request)?;
        }
        Ok(())
    });
    let mut fetches = Cases::of(ApiKey::OffsetFetch);
    fetches.add("another broker", ALL, |session, version| {
        let topic = topic(session)?;
        let group = elsewhere(session, version)?;
        let request = super::fetch_offsets::fetch(version, &group, Some(&[(&topic, &[0])]));
        session.ask_as("a partition", version, &request)?;
        if version >= 2 {
            session.ask_as("all", version, &super::fetch_offsets::fetch(version, &group, None))?;
        }
        Ok(())
    });
    let mut deletes = Cases::of(ApiKey::OffsetDelete);
    deletes.add("another broker", ALL, |session, version| {
        let topic = topic(session)?;
        let group = elsewhere(session, version)?;
        session.ask(
            version,
            &super::delete_offsets::delete(&group, &[(&topic.name, &[0, 9])]),
        )?;
        Ok(())
    });
    let mut describes = Cases::of(ApiKey::DescribeGroups);
    describes.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        session.ask(version, &described(&group))?;
        if version >= 3 {
            let request = DescribeGroupsRequest {
                include_authorized_operations: true,
                ..described(&group)
            };
            session.ask_as("with operations", version, &request)?;
        }
        Ok(())
    });
    let mut consumer_describes = Cases::of(ApiKey::ConsumerGroupDescribe);
    consumer_describes.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        session.ask(version, &consumer_described(&group))?;
        Ok(())
    });
    let mut groups = Cases::of(ApiKey::DeleteGroups);
    groups.add("another broker", ALL, |session, version| {
        let group = elsewhere(session, version)?;
        session.ask(version, &super::administration::delete(&[&group]))?;
        Ok(())
    });
    let cases = [commits, fetches, deletes, describes, consumer_describes, groups];
    cases.into_iter().flat_map(|cases| cases.list).collect()
}
