//! Faults of disks that only a disk of ours commits.

use std::time::Duration;

use crate::fault::{Fault, Need, Step, Target, Trouble};

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
