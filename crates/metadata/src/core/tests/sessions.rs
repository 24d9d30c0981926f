//! Sessions, probes, time-outs: who is fenced when, and who comes back.

use klamm_types::{NodeId, Timestamp};

use super::harness::{Shell, check};
use crate::decide::Ended;
use crate::history::render;

#[test]
fn the_first_start_of_a_cluster() {
    check(
        "\
request register 1
    reply 1 NOT_CONTROLLER
elected
request register 1
blank
    propose cluster id; level 2; register 1 as 1; controller 100
    reply 2 epoch 1
open 1
# Its image does not contain its registration yet.
beat 1 applied=1
beat 1 unready
beat 1
    propose unfence 1 CaughtUp
beat 1",
    );
}

#[test]
fn a_killed_broker_is_fenced_by_one_entry() {
    check(
        "\
start 3
request create t replicas=1,2,3/1,3,2/2,3,1
    propose topic t; partition 0; partition 1; partition 2
beat 1
beat 2
    reply 4 ok
eof 1
    probe 1 at host-1:9190
probe 1 refused
    propose fence 1 ProcessEnded; t-0 leader 2 epoch 1.1 isr 2,3; t-1 leader 3 epoch 1.1 isr 3,2; t-2 leader 2 epoch 0.1 isr 2,3
# It comes back as another process.
request register 1 same-boot
    propose register 1 as 4
    reply 5 epoch 4
open 1 epoch=1
    end session of 1: STALE_BROKER_EPOCH
open 1
beat 1
    propose unfence 1 CaughtUp",
    );
}

#[test]
fn what_a_probe_proves() {
    check(
        "\
start 2
# An end of file, and nobody answers: dead.
eof 1
    probe 1 at host-1:9190
probe 1 none
    propose fence 1 NoAnswer
# A stream error proves nothing; another process does.
error 2
    probe 2 at host-2:9190
probe 2 none
hint 2
    probe 2 at host-2:9190
hint 2
probe 2 other
    propose fence 2 ProcessReplaced",
    );
}

#[test]
fn a_probe_that_began_before_the_end_of_file_is_asked_again() {
    check(
        "\
start 1
hint 1
    probe 1 at host-1:9190
eof 1
    probe 1 at host-1:9190
probe 1 none
    propose fence 1 NoAnswer",
    );
}

#[test]
fn the_same_process_is_alive() {
    check(
        "\
start 1
eof 1
    probe 1 at host-1:9190
probe 1 same
# It has a full time-out to open another session.
wait 1900
open 1
wait 1900
# The answer of a probe that was overtaken by a sign of life means nothing.
eof 1
    probe 1 at host-1:9190
open 1
beat 1
probe 1 refused
wait 1900
wait 200
    propose fence 1 SessionTimeout",
    );
}

#[test]
fn silence_is_judged_by_time_outs() {
    check(
        "\
start 2
wait 1950 beating=2
wait 100 beating=2
    propose fence 1 SessionTimeout
# Stopped and continued: its session is still open, and it needs no restart.
wait 1000 beating=2
beat 1
    propose unfence 1 AliveAgain
# A time-out was no lie of its address: the probe is asked as before.
eof 1
    probe 1 at host-1:9190",
    );
}

#[test]
fn a_wrong_fence_is_taken_back_and_remembered() {
    check(
        "\
start 2
eof 1
    probe 1 at host-1:9190
probe 1 refused
    propose fence 1 ProcessEnded
open 1
beat 1
    propose unfence 1 AliveAgain
# For five minutes only time-outs count.
eof 1
hint 1
wait 1950 beating=2
wait 100 beating=2
    propose fence 1 SessionTimeout
open 1
beat 1
    propose unfence 1 AliveAgain
wait 300000 beating=1,2
eof 1
    probe 1 at host-1:9190",
    );
}

#[test]
fn who_judges_looks_at_its_own_clock_first() {
    check(
        "\
start 2
wait 1500 beating=2
# This process stood still: nobody else was silent.
sleep 5000
wait 1900
wait 150 beating=2
    propose fence 1 SessionTimeout
# Nor does no answer count that was awaited through a pause.
eof 2
    probe 2 at host-2:9190
sleep 5000
probe 2 none
    probe 2 at host-2:9190
probe 2 none
    propose fence 2 NoAnswer",
    );
}

#[test]
fn goodbye_fences_at_once() {
    check(
        "\
start 2
request create t replicas=1,2 min.insync.replicas=1
    propose topic t; set min.insync.replicas; partition 0
beat 1
    reply 3 ok
request shutdown 1
    propose relieve 1 ControlledShutdown; t-0 leader 2 epoch 1.1 isr 2
    reply 4 ok
goodbye 1
    propose fence 1 Goodbye
# After a clean stop the id is free.
request register 1
    propose register 1 as 3
    reply 5 epoch 3",
    );
}

#[test]
fn the_id_of_a_live_broker_is_not_given_away() {
    check(
        "\
start 2
request register 1
    probe 1 at host-1:9190
    reply 3 DUPLICATE_BROKER_REGISTRATION
probe 1 same
request register 1
    probe 1 at host-1:9190
    reply 4 DUPLICATE_BROKER_REGISTRATION
# Killed and restarted: the probe meets the new process.
probe 1 other
    propose fence 1 ProcessReplaced
request register 1
    propose register 1 as 3
    end session of 1: STALE_BROKER_EPOCH
    reply 5 epoch 3",
    );
}

#[test]
fn a_new_controller_asks_everybody_at_once() {
    check(
        "\
start 3
depose
    end session of 1: NOT_CONTROLLER
    end session of 2: NOT_CONTROLLER
    end session of 3: NOT_CONTROLLER
elected
open 3
blank
    probe 1 at host-1:9190
    probe 2 at host-2:9190
# Broker 1 died with the old controller; broker 2 is slow, which proves nothing.
probe 1 refused
    propose fence 1 ProcessEnded; controller 100
probe 2 none
wait 1900 beating=3
open 2
wait 1900 beating=3
wait 200 beating=3
    propose fence 2 SessionTimeout",
    );
}

#[test]
fn sessions_of_strangers_end() {
    check(
        "\
start 1
open 1 incarnation=other
    end session of 1: STALE_BROKER_EPOCH
open 1
    end session of an older one: NONE
request unregister 1
    reply 2 INVALID_REQUEST
goodbye 1
    propose fence 1 Goodbye
request unregister 1
    propose unregister 1
    reply 3 ok",
    );
}

/// What the history says of the last fence.
fn last_fence(shell: &Shell, broker: NodeId) -> String {
    let entries = shell.controller.image().broker_history();
    let of_broker = entries.filter(|(id, _)| *id == broker);
    of_broker.last().map(|(id, entry)| render::broker(id, entry)).unwrap()
}

#[test]
fn a_fence_says_how_late_it_came() {
    let mut shell = Shell::new();
    for command in [
        "start 3",
        "wait 1000 beating=1,2,3",
        "eof 1",
        "sleep 60",
        "probe 1 refused",
    ] {
        shell.run(command);
    }
    let fence = "broker 1 fenced: its process ended (host-1:9190 refuses connections); noticed after 60 ms";
    assert_eq!(last_fence(&shell, NodeId(1)), fence);
    shell.run("wait 2100 beating=3");
    let fence = "broker 2 fenced: it was silent for a whole session time-out (silent for 2010 ms)";
    assert_eq!(last_fence(&shell, NodeId(2)), fence);
}

#[test]
fn a_new_controller_knows_since_when_the_old_ones_broker_is_dead() {
    let mut shell = Shell::new();
    for command in ["start 3", "wait 1000 beating=1,2,3", "depose"] {
        shell.run(command);
    }
    let ended = Ended {
        node: NodeId(100),
        last_contact: Timestamp(1_960),
        evidence: "it is gone".into(),
    };
    shell.ended = Some(ended.clone());
    for command in ["elected", "blank", "wait 50 beating="] {
        shell.run(command);
    }
    let last = shell.controller.image().controller_history().back().unwrap();
    assert_eq!(
        render::controller(last),
        "controller 100 decides from here on, term 2: controller 100 ended 90 ms before (it is gone)"
    );
    // Of a controller that was not the last one nothing is believed.
    shell.run("depose");
    shell.ended = Some(Ended {
        node: NodeId(2),
        ..ended
    });
    for command in ["elected", "blank", "probe 2 refused"] {
        shell.run(command);
    }
    assert_eq!(
        last_fence(&shell, NodeId(2)),
        "broker 2 fenced: its process ended (host-2:9190 refuses connections)"
    );
}
