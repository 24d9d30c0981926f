//! Faults of disks that only a disk of ours commits.

use std::time::Duration;

use crate::fault::{Fault, Loss, Need, Step, Target, Trouble};

const fn of_disks(number: u32, name: &'static str, target: Target, steps: &'static [Step]) -> Fault {
    Fault {
        need: Need::BreakableDisks,
        ..Fault::new(number, name, target, steps)
    }
}

/// The disk fails once; the replica stays stopped until its node is started again.
macro_rules! fails {
    ($trouble:expr) => {
        &[
            Step::Trouble($trouble),
            Step::WritesBack,
            Step::Mend,
            Step::Kill,
            Step::WritesBack,
            Step::Start,
            Step::InSync,
        ]
    };
}

/// A checkpoint flushes what nothing else has flushed, every 3 s (`checkpoint_interval_ms`); and a flush takes its time.
const UNFLUSHED_MAX: Duration = Duration::from_secs(4);
/// So that what is lost is not all there was.
const LONGER_THAN_UNFLUSHED: Duration = Duration::from_secs(8);
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// The disk stands still until others lead; then it goes on.
macro_rules! stalls {
    ($trouble:expr) => {
        &[Step::Trouble($trouble), Step::WritesBack, Step::Mend, Step::InSync]
    };
}

pub const FAULTS: &[Fault] = &[
    of_disks(
        8,
        "power-loss",
        Target::AllNodes,
        &[Step::Kill, Step::LosePower, Step::Start, Step::InSync],
    )
    .quick(),
    Fault {
        configs: &[("klamm.durability", "replicated")],
        ..of_disks(
            8,
            "power-loss-replicated",
            Target::AllNodes,
            &[
                Step::Wait(LONGER_THAN_UNFLUSHED),
                Step::Kill,
                Step::LosePower,
                Step::Start,
                Step::InSync,
            ],
        )
        .losing(Loss::Newest(UNFLUSHED_MAX))
    },
    of_disks(
        9,
        "power-loss-leader",
        Target::Leader,
        &[Step::Kill, Step::LosePower, Step::WritesBack, Step::Start, Step::InSync],
    )
    .within(300),
    of_disks(26, "failed-write", Target::Leader, fails!(Trouble::FailedWrite)).within(4000),
    of_disks(26, "failed-sync", Target::Leader, fails!(Trouble::FailedSync))
        .within(4000)
        .quick(),
    of_disks(
        27,
        "stalled-syncs",
        Target::Leader,
        stalls!(Trouble::StalledSync(TEN_SECONDS)),
    )
    .within(4000),
    of_disks(27, "stalled-disk", Target::Leader, stalls!(Trouble::Stall(TEN_SECONDS)))
        .within(4000)
        .quick(),
];
