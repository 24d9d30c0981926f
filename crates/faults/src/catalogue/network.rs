//! Faults of the network: every node is a host of its own.

use std::time::Duration;

use crate::fault::{Fault, Need, Shape, Step, Target, Ways, Weather};

const fn seconds(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

const fn of_network(number: u32, name: &'static str, target: Target, steps: &'static [Step]) -> Fault {
    Fault {
        need: Need::Network,
        ..Fault::new(number, name, target, steps)
    }
}

/// Nothing passes; writes come back all the same; it lasts; the network is whole again.
macro_rules! cut {
    ($ways:expr) => {
        &[
            Step::Weather($ways, Weather::Cut),
            Step::WritesBack,
            seconds(5),
            Step::Clear,
            Step::InSync,
        ]
    };
}

pub const FAULTS: &[Fault] = &[
    of_network(
        14,
        "cut-leader-from-followers",
        Target::Leader,
        cut!(Ways::ToOtherNodes),
    )
    .within(3000)
    .quick(),
    Fault {
        shape: Shape::Apart,
        ..of_network(
            15,
            "cut-leader-from-controllers",
            Target::Leader,
            cut!(Ways::ToControllers),
        )
        .within(3000)
    },
    of_network(
        16,
        "cut-clients-from-broker",
        Target::Leader,
        &[
            Step::Weather(Ways::ToClients, Weather::Cut),
            seconds(5),
            Step::Clear,
            Step::WritesBack,
            Step::InSync,
        ],
    ),
    of_network(17, "one-way-from-leader", Target::Leader, cut!(Ways::FromVictims))
        .within(3000)
        .quick(),
    of_network(17, "one-way-to-leader", Target::Leader, cut!(Ways::TowardsVictims)).within(3000),
    of_network(
        18,
        "cut-two-from-each-other",
        Target::TwoNodes,
        cut!(Ways::AmongVictims),
    )
    .within(3000),
    of_network(
        19,
        "cut-and-heal",
        Target::Leader,
        &[
            Step::Times(
                4,
                &[
                    Step::Weather(Ways::ToOtherNodes, Weather::Cut),
                    seconds(3),
                    Step::Clear,
                    seconds(3),
                ],
            ),
            Step::WritesBack,
            Step::InSync,
        ],
    )
    .within(4000),
    of_network(
        20,
        "storm",
        Target::AllNodes,
        &[
            Step::Weather(Ways::Everywhere, Weather::Storm),
            seconds(10),
            Step::Clear,
            Step::WritesBack,
            Step::InSync,
        ],
    ),
    of_network(
        21,
        "narrow-link",
        Target::Follower,
        &[
            Step::Weather(Ways::TowardsVictims, Weather::Narrow),
            Step::OutOfSync,
            Step::WritesBack,
            Step::Clear,
            Step::InSync,
        ],
    )
    .within(4000),
    Fault {
        without_failures: true,
        ..of_network(
            22,
            "reset-connections",
            Target::AllNodes,
            &[Step::Reset, Step::WritesBack, Step::InSync],
        )
        .within(1000)
        .quick()
    },
];
