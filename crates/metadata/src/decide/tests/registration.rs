//! Registration: who is refused, and what a repeat answers. What replicas may claim is told in scripts.

use klamm_schema::id_bytes;
use klamm_schema::requests::controller_reply::Reply;
use klamm_schema::requests::controller_request::Request;
use klamm_schema::requests::{DirectoryReport, RegisterBrokerReply, RegisterBrokerRequest, ReplicaLog};
use klamm_types::{ClusterId, ErrorCode, Incarnation, NodeId, TopicId};

use super::script::{Arguments, World, directory_id};
use crate::decide::{Claim, decide};

fn no_arguments() -> Arguments<'static> {
    Arguments {
        words: vec!["register"],
        named: std::collections::BTreeMap::new(),
    }
}

fn register(world: &World, request: &RegisterBrokerRequest, claim: Claim) -> (RegisterBrokerReply, usize) {
    let mut overlay = world.overlay();
    match decide(&mut overlay, &Request::RegisterBroker(request.clone()), claim) {
        Reply::RegisterBroker(reply) => (reply, overlay.records().len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_is_refused() {
    let mut world = World::with_brokers(2);
    let good = world.registration(3, &no_arguments());
    let refused = |request: &RegisterBrokerRequest| {
        let (reply, records) = register(&world, request, Claim::Free);
        assert_eq!(
            (reply.broker_epoch, records),
            (-1, 0),
            "a refused registration leaves no records"
        );
        ErrorCode::from_code(i16::try_from(reply.error_code).unwrap()).unwrap()
    };
    let changed = |change: &dyn Fn(&mut RegisterBrokerRequest)| {
        let mut request = good.clone();
        change(&mut request);
        refused(&request)
    };
    let stranger = id_bytes(ClusterId::from_u128(99).as_bytes());
    assert_eq!(
        changed(&|r| r.cluster_id = stranger.clone()),
        ErrorCode::InconsistentClusterId
    );
    assert_eq!(changed(&|r| r.features.clear()), ErrorCode::UnsupportedVersion);
    assert_eq!(
        changed(&|r| r.incarnation = id_bytes(&[0; 16])),
        ErrorCode::InvalidRegistration
    );
    assert_eq!(
        changed(&|r| r.incarnation = id_bytes(&[0; 16]).slice(..3)),
        ErrorCode::InvalidRegistration
    );
    assert_eq!(changed(&|r| r.broker = -1), ErrorCode::InvalidRegistration);
    assert_eq!(
        changed(&|r| r.listeners[0].port = 70_000),
        ErrorCode::InvalidRegistration
    );
    assert_eq!(
        changed(&|r| r.listeners.push(r.listeners[0].clone())),
        ErrorCode::InvalidRegistration
    );
    assert_eq!(changed(&|r| r.directories.clear()), ErrorCode::InvalidRegistration);
    let foreign = DirectoryReport {
        directory_id: id_bytes(directory_id(1, 0).as_bytes()),
        stored_broker_epoch: 1,
    };
    assert_eq!(
        changed(&|r| r.directories.push(foreign.clone())),
        ErrorCode::InvalidRegistration
    );
    assert_eq!(
        changed(&|r| r.directories[0].stored_broker_epoch = i64::MAX),
        ErrorCode::InvalidRegistration
    );
    let log = ReplicaLog {
        topic_id: id_bytes(TopicId::from_u128(5).as_bytes()),
        partition: 0,
        highest_leader_epoch: i32::MAX,
        last_epoch: 0,
        log_end_offset: 0,
        unflushed: false,
    };
    assert_eq!(
        changed(&|r| r.replica_logs.push(log.clone())),
        ErrorCode::InvalidRegistration
    );
}

#[test]
fn a_held_id_is_not_given_away() {
    let mut world = World::with_brokers(2);
    let mut other = world.registration(2, &no_arguments());
    other.directories[0].stored_broker_epoch = 2;
    let (reply, records) = register(&world, &other, Claim::Held);
    assert_eq!(
        reply.error_code,
        i32::from(ErrorCode::DuplicateBrokerRegistration.code())
    );
    assert_eq!((reply.broker_epoch, records), (-1, 0));
    let (reply, _) = register(&world, &other, Claim::Free);
    assert_eq!((reply.error_code, reply.broker_epoch), (0, 3));
}

#[test]
fn a_repeat_by_the_same_process_answers_the_same_epoch() {
    let mut world = World::with_brokers(1);
    let request = world.registration(2, &no_arguments());
    let first = world.request(Request::RegisterBroker(request.clone()));
    let (again, records) = register(&world, &request, Claim::Held);
    assert_eq!((Reply::RegisterBroker(again), records), (first, 0));
    let broker = world.image.broker(NodeId(2)).unwrap();
    assert!(broker.fenced);
    assert_eq!(broker.incarnation.as_bytes()[..], request.incarnation[..]);
    assert_ne!(broker.incarnation, Incarnation::ZERO);
}

#[test]
fn epochs_lie_above_what_any_disk_has_seen() {
    let mut world = World::with_brokers(1);
    let mut request = world.registration(2, &no_arguments());
    request.directories[0].stored_broker_epoch = 40;
    let (reply, _) = register(&world, &request, Claim::Free);
    assert_eq!(
        reply.broker_epoch, 41,
        "a quorum built anew from an old snapshot may know less than the disks"
    );
}
