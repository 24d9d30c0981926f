//! The APIs of groups: what reaches the coordinator, and what becomes of its answer in each version.

use bytes::Bytes;
use klamm_broker::group::call::{
    ConsumerHeartbeat, Heartbeat, Join, Leave, LeavingMember, ListGroups, MemberIdChoice, MemberIdRule,
    PartitionsByTopic, SkipAssignment, Sync, SyncProtocol,
};
use klamm_broker::group::reply::{
    ConsumerHeartbeatReply, DescribedGroup, DescribedMember, Joined, JoinedMember, Left, LeftMember, ListedGroup,
    Synced,
};
use klamm_broker::group::{Call, Client, Reply};
use klamm_types::{ErrorCode, NodeId, TopicId, Uuid};
use klamm_wire::*;

use crate::group_offsets::{front, last_call};

fn caller() -> Client {
    Client {
        id: "tests".to_owned(),
        host: "/127.0.0.1".to_owned(),
    }
}

#[tokio::test]
async fn the_coordinator_is_named_by_the_clients_listener() {
    let front = front([]).await;
    front
        .fake
        .with(|state| state.coordinators.insert("g".to_owned(), NodeId(2)));
    for version in 0..=3 {
        let ask = |key| FindCoordinatorRequest {
            key,
            ..Default::default()
        };
        let found = front.call(&ask("g"), version).await;
        let found = found.read::<FindCoordinatorRequest<'_>>();
        assert_eq!(
            (found.error_code, found.node_id, found.host, found.port),
            (0, 2, "h2", 9093)
        );
        assert_eq!(found.error_message, if version >= 1 { Some("NONE") } else { Some("") });
        let missing = front.call(&ask("other"), version).await;
        let missing = missing.read::<FindCoordinatorRequest<'_>>();
        assert_eq!(
            (missing.error_code, missing.node_id, missing.host, missing.port),
            (15, -1, "", -1)
        );
    }
    for version in 4..=6 {
        let ask = |key_type| FindCoordinatorRequest {
            key_type,
            coordinator_keys: vec!["g", "other"],
            ..Default::default()
        };
        let found = front.call(&ask(0), version).await;
        let found = found.read::<FindCoordinatorRequest<'_>>();
        let seen: Vec<_> = found
            .coordinators
            .iter()
            .map(|one| (one.key, one.node_id, one.host, one.port, one.error_code))
            .collect();
        assert_eq!(seen, [("g", 2, "h2", 9093, 0), ("other", -1, "", -1, 15)]);
        assert_eq!(found.coordinators[0].error_message, Some(""));
        let wrong = front.call(&ask(9), version).await;
        let wrong = wrong.read::<FindCoordinatorRequest<'_>>();
        assert!(
            wrong
                .coordinators
                .iter()
                .all(|one| one.error_code == 42 && one.node_id == -1)
        );
    }
}

fn join_request<'a>() -> JoinGroupRequest<'a> {
    JoinGroupRequest {
        group_id: "g",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        member_id: "m",
        group_instance_id: None,
        protocol_type: "consumer",
        protocols: vec![join_group_request::JoinGroupRequestProtocol {
            name: "range",
            metadata: Bytes::from_static(b"meta"),
        }],
        reason: Some("why"),
    }
}

#[tokio::test]
async fn a_join_in_every_version() {
    let joined = Joined {
        error: ErrorCode::None,
        generation: 3,
        protocol_type: Some("consumer".to_owned()),
        protocol: Some("range".to_owned()),
        leader: "m".to_owned(),
        skip_assignment: true,
        member: "m".to_owned(),
        members: vec![JoinedMember {
            member: "m".to_owned(),
            instance: Some("i".to_owned()),
            metadata: Bytes::from_static(b"meta"),
        }],
    };
    for version in 0..=9 {
        let replies = [
            Ok(Reply::Join(Box::new(Joined {
                skip_assignment: version >= 9,
                ..joined.clone()
            }))),
            Err(ErrorCode::NotCoordinator),
        ];
        let front = front(replies).await;
        let request = JoinGroupRequest {
            rebalance_timeout_ms: if version >= 1 { 60_000 } else { -1 },
            reason: if version >= 8 { Some("why") } else { None },
            ..join_request()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<JoinGroupRequest<'_>>();
        assert_eq!(
            (answer.error_code, answer.generation_id, answer.leader, answer.member_id),
            (0, 3, "m", "m")
        );
        assert_eq!(answer.protocol_name, Some("range"), "version {version}");
        assert_eq!(answer.skip_assignment, version >= 9);
        assert_eq!(
            answer.members[0].group_instance_id,
            if version >= 5 { Some("i") } else { None }
        );
        let expected = Join {
            group: "g".to_owned(),
            member: "m".to_owned(),
            instance: None,
            client: caller(),
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: if version >= 1 { 60_000 } else { 10_000 },
            protocol_type: "consumer".to_owned(),
            protocols: vec![("range".to_owned(), Bytes::from_static(b"meta"))],
            reason: request.reason.map(str::to_owned),
            member_id_rule: if version >= 4 {
                MemberIdRule::Required
            } else {
                MemberIdRule::Given
            },
            skip_assignment: if version >= 9 {
                SkipAssignment::Supported
            } else {
                SkipAssignment::Unsupported
            },
        };
        assert_eq!(last_call(&front), Call::Join(Box::new(expected)), "version {version}");

        let refused = front.call(&request, version).await;
        let refused = refused.read::<JoinGroupRequest<'_>>();
        assert_eq!(
            (refused.error_code, refused.generation_id, refused.member_id),
            (16, -1, "")
        );
        assert_eq!(refused.protocol_name, if version >= 7 { None } else { Some("") });
    }
}

#[tokio::test]
async fn a_sync_in_every_version() {
    for version in 0..=5 {
        let front = front([Ok(Reply::Sync(Synced {
            error: ErrorCode::None,
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            assignment: Bytes::from_static(b"mine"),
        }))])
        .await;
        let request = SyncGroupRequest {
            group_id: "g",
            generation_id: 3,
            member_id: "m",
            protocol_type: (version >= 5).then_some("consumer"),
            protocol_name: (version >= 5).then_some("range"),
            assignments: vec![sync_group_request::SyncGroupRequestAssignment {
                member_id: "m",
                assignment: Bytes::from_static(b"mine"),
            }],
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<SyncGroupRequest<'_>>();
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"mine"[..]));
        assert_eq!(answer.protocol_name, (version >= 5).then_some("range"));
        let expected = Sync {
            group: "g".to_owned(),
            generation: 3,
            member: "m".to_owned(),
            instance: None,
            protocol: (version >= 5).then(|| SyncProtocol {
                protocol_type: Some("consumer".to_owned()),
                name: Some("range".to_owned()),
            }),
            assignments: vec![("m".to_owned(), Bytes::from_static(b"mine"))],
        };
        assert_eq!(last_call(&front), Call::Sync(Box::new(expected)), "version {version}");
    }
}

#[tokio::test]
async fn a_heartbeat_survives_a_coordinator_that_loads() {
    for version in 0..=4 {
        let replies = [
            Ok(Reply::Heartbeat(ErrorCode::RebalanceInProgress)),
            Err(ErrorCode::CoordinatorLoadInProgress),
            Err(ErrorCode::NotCoordinator),
        ];
        let front = front(replies).await;
        let request = HeartbeatRequest {
            group_id: "g",
            generation_id: 3,
            member_id: "m",
            ..Default::default()
        };
        for code in [27, 0, 16] {
            let answer = front.call(&request, version).await;
            assert_eq!(
                answer.read::<HeartbeatRequest<'_>>().error_code,
                code,
                "version {version}"
            );
        }
        let expected = Heartbeat {
            group: "g".to_owned(),
            generation: 3,
            member: "m".to_owned(),
            instance: None,
        };
        assert_eq!(last_call(&front), Call::Heartbeat(expected));
    }
}

#[tokio::test]
async fn one_member_leaves_or_several() {
    let left = |members: &[(&str, ErrorCode)]| {
        let member = |&(member, error): &(&str, ErrorCode)| LeftMember {
            member: member.to_owned(),
            instance: None,
            error,
        };
        Ok(Reply::Leave(Left {
            error: ErrorCode::None,
            members: members.iter().map(member).collect(),
        }))
    };
    for version in 0..=2 {
        let front = front([left(&[("m", ErrorCode::UnknownMemberId)])]).await;
        let request = LeaveGroupRequest {
            group_id: "g",
            member_id: "m",
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        assert_eq!(answer.read::<LeaveGroupRequest<'_>>().error_code, 25);
    }
    for version in 3..=5 {
        let front = front([left(&[("m", ErrorCode::None), ("n", ErrorCode::UnknownMemberId)])]).await;
        let reason = (version >= 5).then_some("why");
        let identity = |member_id| leave_group_request::MemberIdentity {
            member_id,
            group_instance_id: None,
            reason,
        };
        let request = LeaveGroupRequest {
            group_id: "g",
            members: vec![identity("m"), identity("n")],
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<LeaveGroupRequest<'_>>();
        let codes: Vec<_> = answer
            .members
            .iter()
            .map(|one| (one.member_id, one.error_code))
            .collect();
        assert_eq!((answer.error_code, codes), (0, vec![("m", 0), ("n", 25)]));
        let leaving = |member: &str| LeavingMember {
            member: member.to_owned(),
            instance: None,
            reason: reason.map(str::to_owned),
        };
        let expected = Leave {
            group: "g".to_owned(),
            members: vec![leaving("m"), leaving("n")],
        };
        assert_eq!(last_call(&front), Call::Leave(expected), "version {version}");
    }
}

#[tokio::test]
async fn groups_are_described_and_a_missing_one_is_an_error_only_to_new_clients() {
    let described = |error, state: &str| {
        Ok(Reply::DescribeGroup(Box::new(DescribedGroup {
            error,
            message: error.is_error().then(|| "there is no such group".to_owned()),
            group: "g".to_owned(),
            state: state.to_owned(),
            protocol_type: "consumer".to_owned(),
            protocol: "range".to_owned(),
            members: vec![DescribedMember {
                member: "m".to_owned(),
                instance: None,
                client_id: "c".to_owned(),
                client_host: "/127.0.0.1".to_owned(),
                metadata: Bytes::from_static(b"meta"),
                assignment: Bytes::from_static(b"mine"),
            }],
        })))
    };
    for version in 0..=6 {
        let replies = [
            described(ErrorCode::None, "Stable"),
            described(ErrorCode::GroupIdNotFound, "Dead"),
            Err(ErrorCode::NotCoordinator),
        ];
        let front = front(replies).await;
        let request = DescribeGroupsRequest {
            groups: vec!["g"],
            include_authorized_operations: version >= 3,
        };
        let mut seen = Vec::new();
        for _ in 0..3 {
            let answer = front.call(&request, version).await;
            let answer = answer.read::<DescribeGroupsRequest<'_>>();
            let group = &answer.groups[0];
            seen.push((
                group.error_code,
                group.group_state.to_owned(),
                group.authorized_operations,
            ));
        }
        let (none, all) = (i32::MIN, if version >= 3 { 3400 } else { i32::MIN });
        let missing = if version >= 6 {
            (69, "Dead", none)
        } else {
            (0, "Dead", all)
        };
        let expected = [(0, "Stable", all), missing, (16, "", none)];
        assert_eq!(seen, expected.map(|(code, state, bits)| (code, state.to_owned(), bits)));
    }
}

#[tokio::test]
async fn groups_are_listed_with_what_the_version_can_tell() {
    let listed = ListedGroup {
        group: "g".to_owned(),
        protocol_type: "consumer".to_owned(),
        state: "Stable".to_owned(),
        kind: "classic".to_owned(),
    };
    for version in 0..=5 {
        let front = front([
            Ok(Reply::ListGroups(vec![listed.clone()])),
            Err(ErrorCode::CoordinatorLoadInProgress),
        ])
        .await;
        let request = ListGroupsRequest {
            states_filter: if version >= 4 { vec!["stable"] } else { vec![] },
            types_filter: if version >= 5 { vec!["classic"] } else { vec![] },
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<ListGroupsRequest<'_>>();
        let group = &answer.groups[0];
        let state = if version >= 4 { "Stable" } else { "" };
        let kind = if version >= 5 { "classic" } else { "" };
        assert_eq!(
            (group.group_id, group.group_state, group.group_type),
            ("g", state, kind)
        );
        let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        let filter = ListGroups {
            states: texts(&request.states_filter),
            types: texts(&request.types_filter),
        };
        assert_eq!(last_call(&front), Call::ListGroups(filter));
        let loading = front.call(&request, version).await;
        assert_eq!(loading.read::<ListGroupsRequest<'_>>().error_code, 14);
    }
}

#[tokio::test]
async fn groups_are_deleted_one_by_one() {
    for version in 0..=2 {
        let front = front([
            Ok(Reply::DeleteGroup(ErrorCode::NonEmptyGroup)),
            Err(ErrorCode::NotCoordinator),
        ])
        .await;
        let request = DeleteGroupsRequest {
            groups_names: vec!["g", "h", "g"],
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<DeleteGroupsRequest<'_>>();
        let codes: Vec<_> = answer
            .results
            .iter()
            .map(|one| (one.group_id, one.error_code))
            .collect();
        assert_eq!(codes, [("g", 68), ("h", 16)]);
    }
}

#[tokio::test]
async fn a_consumer_heartbeat_carries_what_has_changed() {
    let mine: PartitionsByTopic = [(TopicId::from_u128(20), [0, 1].into())].into();
    for version in 0..=1 {
        let replies = [
            Ok(Reply::ConsumerHeartbeat(Box::new(ConsumerHeartbeatReply {
                error: ErrorCode::None,
                message: None,
                member: Some("m".to_owned()),
                member_epoch: 4,
                heartbeat_interval_ms: 5000,
                assignment: Some(mine.clone()),
            }))),
            Err(ErrorCode::NotCoordinator),
        ];
        let front = front(replies).await;
        let request = ConsumerGroupHeartbeatRequest {
            group_id: "g",
            member_id: "m",
            member_epoch: 4,
            subscribed_topic_names: Some(vec!["t"]),
            topic_partitions: Some(vec![consumer_group_heartbeat_request::TopicPartitions {
                topic_id: Uuid::from_u128(20),
                partitions: vec![1, 0],
            }]),
            ..Default::default()
        };
        let answer = front.call(&request, version).await;
        let answer = answer.read::<ConsumerGroupHeartbeatRequest<'_>>();
        assert_eq!(
            (answer.error_code, answer.member_id, answer.member_epoch),
            (0, Some("m"), 4)
        );
        let assignment = answer.assignment.unwrap();
        assert_eq!(assignment.topic_partitions[0].partitions, [0, 1]);
        let expected = ConsumerHeartbeat {
            group: "g".to_owned(),
            member: "m".to_owned(),
            member_id: if version == 0 {
                MemberIdChoice::Coordinator
            } else {
                MemberIdChoice::Client
            },
            member_epoch: 4,
            instance: None,
            rack: None,
            client: caller(),
            rebalance_timeout_ms: -1,
            subscribed_names: Some(vec!["t".to_owned()]),
            subscribed_regex: None,
            server_assignor: None,
            owned: Some(mine.clone()),
        };
        assert_eq!(
            last_call(&front),
            Call::ConsumerHeartbeat(Box::new(expected)),
            "version {version}"
        );
        let refused = front.call(&request, version).await;
        let refused = refused.read::<ConsumerGroupHeartbeatRequest<'_>>();
        assert_eq!(
            (refused.error_code, refused.member_id, refused.assignment),
            (16, None, None)
        );
        // What is wrong anywhere need not go to the coordinator.
        let request = ConsumerGroupHeartbeatRequest {
            member_epoch: -3,
            ..request
        };
        let wrong = front.call(&request, version).await;
        assert_eq!(wrong.read::<ConsumerGroupHeartbeatRequest<'_>>().error_code, 42);
    }
}

#[tokio::test]
async fn a_consumer_group_without_a_name_is_not_described() {
    let front = front([]).await;
    let request = ConsumerGroupDescribeRequest {
        group_ids: vec![""],
        include_authorized_operations: true,
    };
    let answer = front.call(&request, 1).await;
    let answer = answer.read::<ConsumerGroupDescribeRequest<'_>>();
    assert_eq!(answer.groups[0].error_code, 24);
    assert_eq!(answer.groups[0].authorized_operations, i32::MIN);
}
