//! Faults of processes, their files, and full disks.

use std::time::Duration;

use crate::fault::{Ask, Fault, Loss, Need, Shape, Step, Target};
use crate::harm::Harm;

const fn seconds(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

/// Left alone for about as long as the quick faults take.
const WATCHED: &[Step] = &[Step::Watch(Duration::from_secs(1)), Step::InSync];
/// Killed; writes come back without it; started again.
const KILLED: &[Step] = &[Step::Kill, Step::WritesBack, Step::Start, Step::InSync];
/// Killed; a topic is asked for meanwhile.
const KILLED_AND_ASKED: &[Step] = &[
    Step::Kill,
    Step::Ask(Ask::NewTopic),
    Step::WritesBack,
    Step::Start,
    Step::InSync,
];
/// Killed; its files come to harm before it is started again.
macro_rules! killed_and_harmed {
    ($harm:expr) => {
        &[
            Step::Kill,
            Step::Harm($harm),
            Step::WritesBack,
            Step::Start,
            Step::InSync,
        ]
    };
}
/// Killed with so many others that no write can be acknowledged.
const KILLED_WITH_OTHERS: &[Step] = &[Step::Kill, seconds(2), Step::Start, Step::InSync];
const TERMINATED: &[Step] = &[Step::Terminate, Step::WritesBack, Step::Start, Step::InSync];
/// The client is paused while none of its writes can be acknowledged: a follower that must have them is paused too. Then
/// all are, and it hears of it after its requests have timed out.
const CLIENT_PAUSED: &[Step] = &[
    Step::Pause,
    Step::Wait(Duration::from_millis(300)),
    Step::PauseClient,
    Step::WritesBack,
    Step::Resume,
    LONGER_THAN_REQUESTS,
    Step::ResumeClient,
    Step::ClientBack,
    Step::InSync,
];
const LONGER_THAN_REQUESTS: Step = seconds(7);
/// Small enough that several are closed before the fault strikes.
const SMALL_SEGMENTS: &[(&str, &str)] = &[("segment.bytes", "1048576")];

const fn harmed(number: u32, name: &'static str, target: Target, steps: &'static [Step]) -> Fault {
    Fault {
        configs: SMALL_SEGMENTS,
        ..Fault::new(number, name, target, steps).within(300)
    }
}

pub const FAULTS: &[Fault] = &[
    Fault {
        without_failures: true,
        ..Fault::new(0, "nothing", Target::Leader, WATCHED).quick()
    },
    Fault::new(1, "kill-leader", Target::Leader, KILLED).quick().within(300),
    Fault {
        without_failures: true,
        ..Fault::new(2, "terminate-leader", Target::Leader, TERMINATED)
            .quick()
            .within(50)
    },
    Fault::new(3, "kill-follower", Target::Follower, KILLED)
        .quick()
        .within(300),
    Fault::new(4, "kill-controller", Target::Controller, KILLED_AND_ASKED)
        .quick()
        .within(500),
    Fault {
        shape: Shape::Apart,
        ..Fault::new(4, "kill-controller-alone", Target::Controller, KILLED_AND_ASKED)
            .quick()
            .within(300)
    },
    Fault {
        with_group: true,
        ..Fault::new(5, "kill-leader-and-controller", Target::LeaderAndController, KILLED)
            .quick()
            .within(500)
    },
    Fault::new(6, "kill-two", Target::TwoNodes, KILLED_WITH_OTHERS).quick(),
    Fault::new(7, "kill-all", Target::AllNodes, KILLED_WITH_OTHERS).quick(),
    Fault {
        throughput_min: Some(80),
        ..Fault::new(
            10,
            "crash-loop",
            Target::Leader,
            &[Step::Times(5, &[Step::Kill, seconds(2), Step::Start]), Step::InSync],
        )
        .within(300)
    },
    Fault::new(
        11,
        "pause-leader",
        Target::Leader,
        &[Step::Pause, Step::WritesBack, seconds(5), Step::Resume, Step::InSync],
    )
    .quick()
    .within(3000),
    Fault::new(
        11,
        "pause-leader-30s",
        Target::Leader,
        &[Step::Pause, Step::WritesBack, seconds(30), Step::Resume, Step::InSync],
    )
    .within(3000),
    Fault::new(
        12,
        "pause-controller",
        Target::Controller,
        &[
            Step::Pause,
            Step::WritesBack,
            seconds(5),
            Step::Ask(Ask::ChangedTopic),
            Step::Resume,
            Step::InSync,
        ],
    )
    .quick()
    .within(4000),
    Fault {
        with_client: true,
        ..Fault::new(13, "pause-client", Target::Follower, &[Step::Times(2, CLIENT_PAUSED)]).within(4000)
    },
    Fault {
        with_client: true,
        ..Fault::new(
            13,
            "pause-client-leader-killed",
            Target::Leader,
            &[
                Step::PauseClient,
                Step::Kill,
                Step::WritesBack,
                LONGER_THAN_REQUESTS,
                Step::ResumeClient,
                Step::ClientBack,
                Step::Start,
                Step::InSync,
            ],
        )
        .within(300)
        .quick()
    },
    Fault {
        need: Need::SmallDisks,
        ..Fault::new(
            23,
            "full-disk-leader",
            Target::Leader,
            &[Step::Fill, seconds(3), Step::Free, Step::WritesBack, Step::InSync],
        )
        .quick()
    },
    Fault {
        need: Need::SmallDisks,
        ..Fault::new(
            24,
            "full-disk-follower",
            Target::Follower,
            &[Step::Fill, Step::OutOfSync, Step::WritesBack, Step::Free, Step::InSync],
        )
        .within(4000)
    },
    Fault {
        need: Need::SmallDisks,
        shape: Shape::Apart,
        ..Fault::new(
            25,
            "full-disk-controller",
            Target::Controller,
            &[
                Step::Fill,
                Step::Ask(Ask::ChangedTopic),
                Step::WritesBack,
                Step::Free,
                Step::InSync,
            ],
        )
        .within(300)
    },
    harmed(
        28,
        "flip-a-bit",
        Target::Follower,
        &[Step::Kill, Step::Harm(Harm::FlipBit), Step::Start, Step::InSync],
    ),
    harmed(
        28,
        "flip-a-bit-of-a-leader",
        Target::Leader,
        killed_and_harmed!(Harm::FlipBit),
    ),
    harmed(29, "cut-tail", Target::Leader, killed_and_harmed!(Harm::CutTail)),
    harmed(29, "zero-page", Target::Leader, killed_and_harmed!(Harm::ZeroPage)),
    harmed(
        29,
        "missing-indexes",
        Target::Leader,
        killed_and_harmed!(Harm::DropIndexes),
    ),
    harmed(
        29,
        "missing-epochs",
        Target::Leader,
        killed_and_harmed!(Harm::DropEpochs),
    ),
    Fault::new(30, "lose-directory", Target::Leader, killed_and_harmed!(Harm::Empty))
        .quick()
        .within(300),
    Fault::new(
        31,
        "restore-backup",
        Target::Leader,
        &[
            Step::Terminate,
            Step::Harm(Harm::Keep),
            Step::Start,
            Step::InSync,
            Step::WritesBack,
            Step::Kill,
            Step::WritesBack,
            Step::Harm(Harm::Restore),
            Step::Start,
            Step::InSync,
        ],
    )
    .within(300),
    Fault::new(
        33,
        "rejoin-far-behind",
        Target::Follower,
        &[
            Step::Kill,
            Step::FallBehind,
            Step::WritesBack,
            Step::Usual(Duration::from_secs(10)),
            Step::CatchUp(80),
            Step::InSync,
        ],
    )
    .within(1000),
    Fault::new(
        35,
        "recreate-topic",
        Target::LeaderAndController,
        &[
            Step::Kill,
            Step::Ask(Ask::RecreatedTopic),
            Step::WritesBack,
            Step::Start,
            Step::InSync,
        ],
    )
    .quick()
    .within(500),
    Fault::new(
        36,
        "change-topic",
        Target::LeaderAndController,
        &[
            Step::Kill,
            Step::Ask(Ask::ChangedTopic),
            Step::WritesBack,
            Step::Start,
            Step::InSync,
        ],
    )
    .quick()
    .within(500),
    Fault {
        shape: Shape::Apart,
        ..Fault::new(
            37,
            "unclean-election",
            Target::Follower,
            &[
                Step::Kill,
                Step::WritesBack,
                seconds(2),
                Step::Others(&[Step::Kill]),
                Step::Start,
                Step::Ask(Ask::UncleanElection),
                Step::Others(&[Step::Start]),
                Step::WritesBack,
                Step::InSync,
            ],
        )
        .losing(Loss::BeyondChosen)
        .quick()
    },
    Fault {
        without_failures: true,
        ..Fault::new(38, "rolling-restart", Target::AllNodes, &[Step::Each(TERMINATED)])
            .quick()
            .within(50)
    },
    Fault::new(
        39,
        "replace-voter",
        Target::Controller,
        &[
            Step::Kill,
            Step::Ask(Ask::RemovedVoter),
            Step::Harm(Harm::Empty),
            Step::Start,
            Step::Ask(Ask::AddedVoter),
            Step::InSync,
        ],
    )
    .quick()
    .within(500),
    Fault {
        with_group: true,
        ..Fault::new(41, "kill-coordinator", Target::Coordinator, KILLED)
            .quick()
            .within(500)
    },
    Fault {
        with_group: true,
        ..Fault::new(
            42,
            "kill-coordinator-again-and-again",
            Target::Coordinator,
            &[Step::Times(
                3,
                &[Step::Kill, Step::WritesBack, Step::Start, Step::InSync],
            )],
        )
        .within(500)
    },
];
