//! Requests, the overlay, and the one proposal in flight.

use super::harness::{Shell, check};

#[test]
fn waiting_requests_become_one_entry() {
    check(
        "\
start 1
hold
request create a replicas=1
    propose topic a; partition 0
request create b replicas=1
request create a replicas=1
request create b replicas=1
# The second of each sees the first: in the image, or pending in the same entry. A refusal that rests on pending
# records waits for them.
commit
    propose topic b; partition 0
    reply 4 TOPIC_ALREADY_EXISTS
    reply 5 TOPIC_ALREADY_EXISTS
beat 1
    reply 2 ok
    reply 3 ok",
    );
}

#[test]
fn a_refusal_over_the_image_alone_needs_no_entry() {
    check(
        "\
start 1
request create a rf=7
    reply 2 INVALID_REPLICATION_FACTOR",
    );
}

#[test]
fn an_unknown_outcome_is_told_as_unknown_and_settled_first() {
    check(
        "\
start 1
hold
request create a replicas=1
    propose topic a; partition 0
request create b replicas=1
outcome unknown
    reply 2 REQUEST_TIMED_OUT
# Nothing is decided before it is known what became of the entry.
request create a replicas=1
wait 50
    propose nothing
commit
    propose topic b; partition 0; topic a; partition 0
beat 1
    reply 3 ok
    reply 4 ok",
    );
}

#[test]
fn an_unknown_outcome_may_have_been_a_success() {
    check(
        "\
start 1
hold
request create a replicas=1
    propose topic a; partition 0
outcome unknown applied
    reply 2 REQUEST_TIMED_OUT
request create a replicas=1
wait 50
    propose nothing
commit
    reply 3 TOPIC_ALREADY_EXISTS",
    );
}

#[test]
fn a_rejected_entry_had_no_effect() {
    check(
        "\
start 1
hold
request create a replicas=1
    propose topic a; partition 0
outcome rejected
    reply 2 NOT_CONTROLLER
request create a replicas=1
wait 50
    propose topic a; partition 0
commit
beat 1
    reply 3 ok",
    );
}

#[test]
fn a_fence_survives_a_lost_entry() {
    check(
        "\
start 2
hold
eof 1
    probe 1 at host-1:9190
probe 1 refused
    propose fence 1 ProcessEnded
outcome unknown
wait 50
    propose nothing
commit
    propose fence 1 ProcessEnded",
    );
}

#[test]
fn leadership_lost_with_an_entry_in_flight() {
    check(
        "\
start 1
hold
request create a replicas=1
    propose topic a; partition 0
request create b replicas=1
depose
    reply 2 REQUEST_TIMED_OUT
    reply 3 NOT_CONTROLLER
    end session of 1: NOT_CONTROLLER
request create b replicas=1
    reply 4 NOT_CONTROLLER",
    );
}

#[test]
fn alter_partition_races_with_a_fence_in_the_same_entry() {
    check(
        "\
start 3
request create t replicas=1,2,3
    propose topic t; partition 0
beat 1
    reply 4 ok
hold
request create other replicas=2
    propose topic other; partition 0
# While that is in flight, broker 3 dies and the leader still counts it in.
eof 3
    probe 3 at host-3:9190
probe 3 refused
request alter 1 t-0 isr=1,2,3
request alter 1 t-0 isr=1,2
commit
    propose fence 3 ProcessEnded; t-0 leader 1 epoch 0.1 isr 1,2
    reply 6 INVALID_UPDATE_VERSION
    reply 7 INVALID_UPDATE_VERSION
beat 2
    reply 5 ok",
    );
}

#[test]
fn a_slow_leader_delays_the_reply_but_not_for_ever() {
    check(
        "\
start 2
request create t replicas=1,2/2,1
    propose topic t; partition 0; partition 1
beat 1
wait 1950 beating=1
wait 50 beating=1
    reply 3 ok",
    );
}

#[test]
fn requests_are_bounded_in_number_and_time() {
    let mut shell = Shell::new();
    shell.run("start 1");
    shell.run("hold");
    shell.run("request create first replicas=1");
    for number in 0..10_000 {
        assert!(shell.run(&format!("request create t{number} replicas=1")).is_empty());
    }
    assert_eq!(
        shell.run("request create more replicas=1"),
        ["reply 10003 REQUEST_TIMED_OUT"]
    );
    assert!(shell.run("wait 10000 beating=1").is_empty());
    assert_eq!(shell.run("wait 50 beating=1").len(), 10_000);
}
