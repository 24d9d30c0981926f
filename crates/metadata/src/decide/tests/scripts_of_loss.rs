//! Stories of what disks may have lost, and who may lead then. `epoch L.P` is leader epoch and partition epoch.

use super::script::check;

#[test]
fn all_machines_down_at_once() {
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
create f replicas=1,2,3
    f-0: leader 1 epoch 0.0 isr 1,2,3
create r replicas=1,2,3 klamm.durability=replicated
    r-0: leader 1 epoch 0.0 isr 1,2,3
fence 1
    f-0: leader 2 epoch 1.1 isr 2,3
    r-0: leader 2 epoch 1.1 isr 2,3
fence 2
    f-0: leader 3 epoch 2.2 isr 3 elr 2
    r-0: leader 3 epoch 2.2 isr 3 elr 2
fence 3
    f-0: leader none epoch 3.3 elr 2,3
    r-0: leader none epoch 3.3 elr 2,3
# What was flushed is there; what was only written may be gone.
register 2 other-boot log=f-0:1:100,r-0:1:90
    epoch 4
    r-0: leader none epoch 3.4 elr 3 last 2@1:90
unfence 2
    f-0: leader 2 epoch 4.4 isr 2 elr 3
# The last member is back and its log reaches further: it leads, and the record says that records may be lost.
register 3 other-boot log=f-0:2:100,r-0:2:80
    epoch 5
    r-0: leader none epoch 3.5 last 2@1:90,3@2:80
unfence 3
    r-0: leader 3 epoch 4.6 isr 3",
    );
}

#[test]
fn a_changed_durability_counts_once_the_whole_log_was_flushed() {
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
create t replicas=1,2,3 klamm.durability=replicated
    t-0: leader 1 epoch 0.0 isr 1,2,3
set t klamm.durability=fsync
fence 1
    t-0: leader 2 epoch 1.1 isr 2,3
fence 2
    t-0: leader 3 epoch 2.2 isr 3 elr 2
fence 3
    t-0: leader none epoch 3.3 elr 2,3
# Its machine went down before the log was flushed under the new level.
register 2 other-boot log=t-0:1:90:unflushed
    epoch 4
    t-0: leader none epoch 3.4 elr 3 last 2@1:90
unfence 2
# Its process died, but the machine ran on: what was written is there.
register 3 same-boot log=t-0:2:100:unflushed
    epoch 5
unfence 3
    t-0: leader 3 epoch 4.5 isr 3 last 2@1:90
alter 3 t-0 isr=3,2
    t-0: leader 3 epoch 4.6 isr 3,2
fence 2
    t-0: leader 3 epoch 4.7 isr 3 elr 2
# By now the whole log was flushed: the replica is one of the new level.
register 2 other-boot log=t-0:4:120
    epoch 6
fence 3
    t-0: leader none epoch 5.8 elr 2,3
unfence 2
    t-0: leader 2 epoch 6.9 isr 2 elr 3",
    );
}

#[test]
fn a_clean_member_of_the_last_isr_is_worth_waiting_for() {
    check(
        "\
register 1
    epoch 1
register 2
    epoch 2
unfence 1
unfence 2
create r replicas=1,2 klamm.durability=replicated
    r-0: leader 1 epoch 0.0 isr 1,2
fence 1
    r-0: leader 2 epoch 1.1 isr 2 elr 1
fence 2
    r-0: leader none epoch 2.2 elr 1,2
register 1 other-boot log=r-0:0:500
    epoch 3
    r-0: leader none epoch 2.3 elr 2 last 1@0:500
unfence 1
register 2 same-boot log=r-0:1:400
    epoch 4
unfence 2
    r-0: leader 2 epoch 3.4 isr 2 last 1@0:500
alter 2 r-0 isr=2,1
    r-0: leader 2 epoch 3.5 isr 2,1",
    );
}

#[test]
fn replicas_that_lost_data_or_are_damaged_are_not_eligible() {
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
create u replicas=2,1
    u-0: leader 2 epoch 0.0 isr 2,1
alter 1 t-0 isr=1 lost=2
    t-0: leader 1 epoch 0.1 isr 1 last 2
damage 2 u-0
    u-0: leader 1 epoch 1.1 isr 1 last 2
# Refetched, it is as good as any.
alter 1 u-0 isr=1,2
    u-0: leader 1 epoch 1.2 isr 1,2
fail 2
    u-0: leader 1 epoch 1.3 isr 1 last 2
fence 1
    t-0: leader none epoch 1.2 elr 1 last 2
    u-0: leader none epoch 2.4 elr 1 last 2
register 1 damaged=t-0
    epoch 3
    t-0: leader none epoch 1.3 last 2,1
unfence 1
    u-0: leader 1 epoch 3.5 isr 1 last 2
# Nobody's log may count: only an operator can decide.
operator u-0
    ELECTION_NOT_NEEDED
operator t-0 leader=2
    t-0: leader 2 epoch 2.4 isr 2",
    );
}

#[test]
fn what_a_directory_proves() {
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
fence 2
    t-0: leader 1 epoch 0.1 isr 1 elr 2
# Restored from a backup that was taken before the last epoch in which the broker lived.
register 2 stored=1
    epoch 3
    t-0: leader 1 epoch 0.2 isr 1 last 2
unfence 2
alter 1 t-0 isr=1,2
    t-0: leader 1 epoch 0.3 isr 1,2
fence 2
    t-0: leader 1 epoch 0.4 isr 1 elr 2
# An empty disk.
register 2 dir=1 stored=-1
    epoch 4
    t-0: leader 1 epoch 0.5 isr 1 last 2
# A registration whose epoch was never used proves as much as the one before it.
register 1 same-boot
    epoch 5
    t-0: leader none epoch 1.6 elr 1 last 2
register 1 same-boot stored=1
    epoch 6
unfence 1
    t-0: leader 1 epoch 2.7 isr 1 last 2",
    );
}

#[test]
fn leader_epochs_in_logs_are_a_floor() {
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
fence 2
    t-0: leader 1 epoch 0.1 isr 1 elr 2
register 2 log=t-0:41:7
    epoch 3
    t-0: leader 1 epoch 42.2 isr 1 elr 2
recover
    t-0: leader none epoch 143.3 elr 2,1
unfence 2
    t-0: leader 2 epoch 144.4 isr 2 elr 1",
    );
}

#[test]
fn after_a_backup_the_longest_log_leads_whoever_was_in_sync() {
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
create u replicas=3,1
    u-0: leader 3 epoch 0.0 isr 3,1
recover backup
    t-0: leader none epoch 101.1 elr 1,2,3
    u-0: leader none epoch 101.1 elr 3,1
# It had fallen behind after the backup. Its directory is another by now, and counts all the same.
register 3 dir=1 stored=-1 log=t-0:0:50
    epoch 7
    t-0: leader none epoch 101.2 elr 1,2 last 3@0:50
    u-0: leader none epoch 101.2 elr 1 last 3@-1:0
unfence 3
register 1 log=t-0:0:90,u-0:0:5
    epoch 8
    t-0: leader none epoch 101.3 elr 2 last 3@0:50,1@0:90
    u-0: leader none epoch 101.3 last 3@-1:0,1@0:5
unfence 1
    u-0: leader 1 epoch 102.4 isr 1
register 2 log=t-0:0:80
    epoch 9
    t-0: leader 1 epoch 102.4 isr 1",
    );
}

#[test]
fn a_backup_knows_neither_what_logs_hold_nor_waits_for_brokers_that_were_given_up() {
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
create t replicas=1,2 klamm.durability=replicated
    t-0: leader 1 epoch 0.0 isr 1,2
create u replicas=1,3
    u-0: leader 1 epoch 0.0 isr 1
unregister 3
fence 2
    t-0: leader 1 epoch 0.1 isr 1 elr 2
register 2 other-boot log=t-0:0:50
    epoch 4
    t-0: leader 1 epoch 0.2 isr 1 last 2@0:50
# What was known of the log of 2 counts no more.
recover backup
    t-0: leader none epoch 101.3 elr 1,2
    u-0: leader none epoch 101.1 elr 1
register 1 log=t-0:0:40,u-0:0:7
    epoch 7
    t-0: leader none epoch 101.4 elr 2 last 1@0:40
    u-0: leader none epoch 101.2 last 1@0:7
unfence 1
    u-0: leader 1 epoch 102.3 isr 1
register 2 log=t-0:0:70
    epoch 8
    t-0: leader none epoch 101.5 last 1@0:40,2@0:70
unfence 2
    t-0: leader 2 epoch 102.6 isr 2",
    );
}

#[test]
fn unclean_elections_only_where_the_topic_allows_them() {
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
create t replicas=1,2,3 min.insync.replicas=1
    t-0: leader 1 epoch 0.0 isr 1,2,3
alter 1 t-0 isr=1
    t-0: leader 1 epoch 0.1 isr 1
fence 1
    t-0: leader none epoch 1.2 elr 1
set t unclean.leader.election.enable=true
    t-0: leader 2 epoch 2.3 isr 2
fence 2
    t-0: leader 3 epoch 3.4 isr 3
fence 3
    t-0: leader none epoch 4.5 elr 3",
    );
}
