//! Stories of one partition on three brokers. `epoch L.P` is leader epoch and partition epoch.

use super::script::check;

#[test]
fn a_killed_leader_comes_back_as_a_follower() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
register 3
    epoch 3
unfence 1
unfence 2
unfence 3
create t replicas=1,2,3
    t-0: leader 1 epoch 0.0 isr 1,2,3
fence 1
    t-0: leader 2 epoch 1.1 isr 2,3
fence 1
    nothing
register 1 same-boot log=t-0:0:10
    epoch 4
unfence 1
# Its former epoch lets nobody in; its new one does.
alter 2 t-0 isr=2,3,1 member-epoch=1
    INELIGIBLE_REPLICA
alter 2 t-0 isr=2,3,1
    t-0: leader 2 epoch 1.2 isr 2,3,1
prefer t-0
    t-0: leader 1 epoch 2.3 isr 2,3,1
prefer t-0
    ELECTION_NOT_NEEDED",
    );
}

#[test]
fn a_registration_takes_the_lead_even_if_nobody_saw_the_death() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
unfence 1
unfence 2
create t replicas=1,2
    t-0: leader 1 epoch 0.0 isr 1,2
create alone replicas=1
    alone-0: leader 1 epoch 0.0 isr 1
register 1 same-boot
    epoch 3
    alone-0: leader none epoch 1.1 elr 1
    t-0: leader 2 epoch 1.1 isr 2 elr 1
# Elected again, under a new leader epoch.
unfence 1
    alone-0: leader 1 epoch 2.2 isr 1",
    );
}

#[test]
fn eligible_leader_replicas_come_and_go() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
register 3
    epoch 3
unfence 1
unfence 2
unfence 3
create t replicas=1,2,3 min.insync.replicas=2
    t-0: leader 1 epoch 0.0 isr 1,2,3
# Who leaves an ISR that keeps the minimum may miss what is committed later: not eligible.
alter 1 t-0 isr=1,2
    t-0: leader 1 epoch 0.1 isr 1,2
# Below the minimum the high watermark stands still: who leaves now stays eligible.
fence 2
    t-0: leader 1 epoch 0.2 isr 1 elr 2
fence 1
    t-0: leader none epoch 1.3 elr 2,1
# Broker 3 lives but lacks records; nobody leads until an eligible replica is back.
register 2 same-boot
    epoch 4
unfence 2
    t-0: leader 2 epoch 2.4 isr 2 elr 1
# The ISR has the minimum again: the ELR is empty.
alter 2 t-0 isr=2,3
    t-0: leader 2 epoch 2.5 isr 2,3",
    );
}

#[test]
fn lowering_the_minimum_empties_the_elr_in_the_same_entry() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
unfence 1
unfence 2
create t replicas=1,2 min.insync.replicas=2
    t-0: leader 1 epoch 0.0 isr 1,2
create u replicas=1,2
    u-0: leader 1 epoch 0.0 isr 1,2
fence 2
    t-0: leader 1 epoch 0.1 isr 1 elr 2
    u-0: leader 1 epoch 0.1 isr 1 elr 2
set t min.insync.replicas=1
    t-0: leader 1 epoch 0.2 isr 1
set cluster min.insync.replicas=1
    u-0: leader 1 epoch 0.2 isr 1
register 3
    epoch 3
unfence 3
create v replicas=1,3 min.insync.replicas=2
    v-0: leader 1 epoch 0.0 isr 1,3
fence 3
    v-0: leader 1 epoch 0.1 isr 1 elr 3
fence 1
    t-0: leader none epoch 1.3 elr 1
    u-0: leader none epoch 1.3 elr 1
    v-0: leader none epoch 1.2 elr 3,1
# With an empty ISR no high watermark moves: the eligible stay.
set v min.insync.replicas=1
register 3
    epoch 4
unfence 3
    v-0: leader 3 epoch 2.3 isr 3",
    );
}

#[test]
fn lowering_the_minimum_counts_also_while_the_isr_stays_below_it() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
register 3
    epoch 3
unfence 1
unfence 2
unfence 3
create t replicas=1,2,3 min.insync.replicas=3
    t-0: leader 1 epoch 0.0 isr 1,2,3
alter 1 t-0 isr=1
    t-0: leader 1 epoch 0.1 isr 1 elr 2,3
set t min.insync.replicas=2
    t-0: leader 1 epoch 0.2 isr 1",
    );
}

#[test]
fn controlled_shutdown_moves_leaders_and_keeps_the_minimum() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
register 3
    epoch 3
unfence 1
unfence 2
unfence 3
create t replicas=1,2,3/2,1,3
    t-0: leader 1 epoch 0.0 isr 1,2,3
    t-1: leader 2 epoch 0.0 isr 2,1,3
create two replicas=1,2
    two-0: leader 1 epoch 0.0 isr 1,2
create alone replicas=1
    alone-0: leader 1 epoch 0.0 isr 1
# The pair keeps its minimum of two only with broker 1 in the ISR; the lead moves all the same.
shutdown 1
    still leads 1
    t-0: leader 2 epoch 1.1 isr 2,3
    t-1: leader 2 epoch 0.1 isr 2,3
    two-0: leader 2 epoch 1.1 isr 1,2
# About to stop, it joins no ISR.
alter 2 t-0 isr=2,3,1
    INELIGIBLE_REPLICA
fence 1
    alone-0: leader none epoch 1.1 elr 1
    two-0: leader 2 epoch 1.2 isr 2 elr 1
register 1
    epoch 4
unfence 1
    alone-0: leader 1 epoch 2.2 isr 1",
    );
}

#[test]
fn alter_partition_is_a_compare_and_set() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
register 3
    epoch 3
unfence 1
unfence 2
unfence 3
create t replicas=1,2,3
    t-0: leader 1 epoch 0.0 isr 1,2,3
alter 1 t-0 isr=1,2
    t-0: leader 1 epoch 0.1 isr 1,2
# A repeat of the same request, sent before its answer came.
alter 1 t-0 isr=1,2 partition-epoch=0
    INVALID_UPDATE_VERSION
# The same wish over the current state changes no member, but settles that nothing older may still be applied.
alter 1 t-0 isr=1,2
    t-0: leader 1 epoch 0.2 isr 1,2
alter 1 t-0 isr=1,2,3 leader-epoch=1
    NOT_CONTROLLER
alter 1 t-0 isr=1,2,3 partition-epoch=9
    NOT_CONTROLLER
alter 2 t-0 isr=1,2,3
    INVALID_REQUEST
alter 1 t-0 isr=1,2,3 broker-epoch=9
    STALE_BROKER_EPOCH
alter 1 t-0 isr=1,2,4
    INVALID_REQUEST
alter 1 t-0 isr=1,1
    INVALID_REQUEST
alter 1 t-0 isr=
    INVALID_REQUEST
fence 3
alter 1 t-0 isr=1,2,3
    INELIGIBLE_REPLICA
fence 1
    t-0: leader 2 epoch 1.3 isr 2 elr 1
# Stopped for a while, broker 1 still believes that it leads.
alter 1 t-0 isr=1 leader-epoch=0
    FENCED_LEADER_EPOCH",
    );
}

#[test]
fn a_slow_leader_asks_to_be_replaced() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
unfence 1
unfence 2
create t replicas=1,2 min.insync.replicas=1
    t-0: leader 1 epoch 0.0 isr 1,2
alter 1 t-0 isr=2
    NEW_LEADER_ELECTED
    t-0: leader 2 epoch 1.1 isr 2
create u replicas=1,2
    u-0: leader 1 epoch 0.0 isr 1,2
fence 2
    t-0: leader none epoch 2.2 elr 2
    u-0: leader 1 epoch 0.1 isr 1 elr 2
alter 1 u-0 isr=2
    INELIGIBLE_REPLICA",
    );
}

#[test]
fn balance_moves_leaders_back() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
unfence 1
unfence 2
create t replicas=1,2/2,1
    t-0: leader 1 epoch 0.0 isr 1,2
    t-1: leader 2 epoch 0.0 isr 2,1
fence 1
    t-0: leader 2 epoch 1.1 isr 2 elr 1
    t-1: leader 2 epoch 0.1 isr 2 elr 1
register 1
    epoch 3
unfence 1
balance
    moved 0
alter 2 t-0 isr=2,1
    t-0: leader 2 epoch 1.2 isr 2,1
set cluster auto.leader.rebalance.enable=false
balance
    moved 0
set cluster auto.leader.rebalance.enable=true
balance
    moved 1
    t-0: leader 1 epoch 2.3 isr 2,1
unregister 2
    INVALID_REQUEST
fence 2
    t-0: leader 1 epoch 2.4 isr 1 elr 2
    t-1: leader 1 epoch 1.2 isr 1 elr 2
unregister 2
    t-0: leader 1 epoch 2.5 isr 1 last 2
    t-1: leader 1 epoch 1.3 isr 1 last 2",
    );
}
