//! Each promise is shown kept and broken once.

use klamm_types::{HighWatermark, LeaderEpoch, NodeId, Offset, ProducerId};

use super::*;

fn placed(base: i64, next: i64, epoch: i32, crc: u32) -> Placed {
    Placed {
        base: Offset(base),
        next: Offset(next),
        epoch: LeaderEpoch(epoch),
        crc,
    }
}

fn stamp(first: i32, last: i32) -> Stamp {
    let producer = ProducerId(7);
    Stamp { producer, first, last }
}

fn which<T: std::fmt::Debug>(result: Result<T, Broken>) -> Invariant {
    result.expect_err("the promise is broken").invariant
}

#[test]
fn names_and_numbers_are_each_used_once() {
    let numbers: Vec<u8> = Invariant::ALL.iter().map(|one| one.number()).collect();
    let expected: Vec<u8> = (1..=Invariant::ALL.len() as u8).collect();
    assert_eq!(numbers, expected);
    let names: std::collections::BTreeSet<&str> = Invariant::ALL.iter().map(|one| one.name()).collect();
    assert_eq!(names.len(), Invariant::ALL.len());
    assert_eq!(Invariant::Order.to_string(), "I8 order");
}

#[test]
fn logs_agree_below_the_high_watermark() {
    let mut log = LogMatching::default();
    assert_eq!(log.covered(placed(0, 2, 1, 10)), Ok(Seen::FirstNow));
    assert_eq!(log.covered(placed(0, 2, 1, 10)), Ok(Seen::Before));
    assert_eq!(which(log.covered(placed(0, 2, 2, 10))), Invariant::LogMatching);
    assert_eq!(which(log.covered(placed(3, 4, 1, 11))), Invariant::LogMatching);
    assert_eq!(no_acknowledged_loss(&log, Offset(0), 10), Ok(()));
    assert_eq!(
        which(no_acknowledged_loss(&log, Offset(2), 11)),
        Invariant::NoAcknowledgedLoss
    );
    assert_eq!(read_consistency(&log, Offset(0), 10), Ok(()));
    assert_eq!(which(read_consistency(&log, Offset(0), 11)), Invariant::ReadConsistency);
}

#[test]
fn leaders_hold_what_older_epochs_committed() {
    let mut leaders = LeaderCompleteness::default();
    leaders.committed(LeaderEpoch(3), Offset(10));
    assert_eq!(leaders.leads(LeaderEpoch(3), Offset(5)), Ok(()));
    assert_eq!(leaders.leads(LeaderEpoch(4), Offset(10)), Ok(()));
    assert_eq!(
        which(leaders.leads(LeaderEpoch(4), Offset(9))),
        Invariant::LeaderCompleteness
    );
    let mut single = SingleLeaderPerEpoch::default();
    assert_eq!(single.leads(LeaderEpoch(1), NodeId(1), 1), Ok(()));
    assert_eq!(single.leads(LeaderEpoch(1), NodeId(1), 1), Ok(()));
    assert_eq!(
        which(single.leads(LeaderEpoch(1), NodeId(2), 1)),
        Invariant::SingleLeaderPerEpoch
    );
    assert_eq!(
        which(single.leads(LeaderEpoch(1), NodeId(1), 2)),
        Invariant::SingleLeaderPerEpoch
    );
}

#[test]
fn the_high_watermark_does_not_go_back() {
    let mut marks = HighWatermarkMonotonic::default();
    assert_eq!(marks.told(LeaderEpoch(2), Offset(8)), Ok(()));
    assert_eq!(marks.told(LeaderEpoch(1), Offset(4)), Ok(()));
    assert_eq!(
        which(marks.told(LeaderEpoch(3), Offset(7))),
        Invariant::HighWatermarkMonotonic
    );
    assert_eq!(marks.leads(LeaderEpoch(2), HighWatermark(8)), Ok(()));
    assert_eq!(
        which(marks.leads(LeaderEpoch(2), HighWatermark(7))),
        Invariant::HighWatermarkMonotonic
    );
}

#[test]
fn the_isr_holds_what_is_committed() {
    let held = |node, is_in_sync, up_to| Held {
        node: NodeId(node),
        is_in_sync,
        up_to: Some(Offset(up_to)),
    };
    let both = [held(1, true, 5), held(2, true, 5), held(3, false, 0)];
    assert_eq!(isr_superset(HighWatermark(5), &both, 2), Ok(()));
    assert_eq!(which(isr_superset(HighWatermark(6), &both, 2)), Invariant::IsrSuperset);
    assert_eq!(which(isr_superset(HighWatermark(5), &both, 3)), Invariant::IsrSuperset);
}

#[test]
fn producers_batches_come_once_and_in_order() {
    let (mut once, mut order) = (NoDuplicate::default(), Order::default());
    assert_eq!(once.committed(stamp(0, 1), Offset(0)), Ok(()));
    assert_eq!(which(once.committed(stamp(0, 1), Offset(2))), Invariant::NoDuplicate);
    assert_eq!(order.committed(stamp(0, 1), Offset(0)), Ok(()));
    assert_eq!(which(order.committed(stamp(3, 3), Offset(2))), Invariant::Order);
    let mut places = OneBatchPerPlace::default();
    assert_eq!(places.given(placed(0, 2, 1, 10)), Ok(()));
    assert_eq!(which(places.given(placed(0, 2, 1, 11))), Invariant::OneBatchPerPlace);
    let mut front = FrontKept::default();
    front.may_delete(Offset(3));
    assert_eq!(front.begins(Offset(3)), Ok(()));
    assert_eq!(which(front.begins(Offset(4))), Invariant::FrontKept);
}

#[test]
fn groups_skip_nothing_and_forget_nothing() {
    let mut owners = GroupOwnership::default();
    assert_eq!(owners.claimed(1, 0, "a"), Ok(()));
    assert_eq!(owners.claimed(2, 0, "b"), Ok(()));
    assert_eq!(which(owners.claimed(2, 0, "a")), Invariant::GroupOwnership);
    let mut reading = OffsetsNeverSkipped::default();
    assert_eq!(reading.read(0, Offset(0), Offset(4), Offset(0)), Ok(()));
    assert_eq!(reading.read(0, Offset(6), Offset(7), Offset(6)), Ok(()));
    assert_eq!(
        which(reading.read(0, Offset(8), Offset(9), Offset(6))),
        Invariant::OffsetsNeverSkipped
    );
    let mut offsets = CommittedOffsetsKept::default();
    let by = |member, epoch| Committer { member, epoch };
    offsets.owned(0, by("a", 1));
    offsets.tried(0, Offset(5), by("a", 1));
    offsets.acknowledged(0, Offset(4));
    assert_eq!(offsets.fetched(0, Offset(5), offsets.due(0)), Ok(()));
    assert_eq!(
        which(offsets.fetched(0, Offset(3), offsets.due(0))),
        Invariant::CommittedOffsetsKept
    );
    assert_eq!(
        which(offsets.fetched(0, Offset(6), offsets.due(0))),
        Invariant::CommittedOffsetsKept
    );
    // Who owns the partition may go back; who owned it before may not.
    offsets.tried(0, Offset(3), by("a", 1));
    assert_eq!(offsets.fetched(0, Offset(3), offsets.due(0)), Ok(()));
    offsets.owned(0, by("b", 2));
    offsets.tried(0, Offset(1), by("a", 1));
    offsets.tried(0, Offset(9), by("a", 1));
    for refused in [1, 9] {
        assert_eq!(
            which(offsets.fetched(0, Offset(refused), offsets.due(0))),
            Invariant::CommittedOffsetsKept
        );
    }
    // Some commits of an older epoch are the owner's own.
    offsets.owned(0, by("b", 4));
    offsets.tried(0, Offset(2), by("b", 3));
    assert_eq!(offsets.fetched(0, Offset(2), offsets.due(0)), Ok(()));
}
