//! The faults: whom they hit, what is done, and what must be seen afterwards. Values; nothing here does anything.

use std::time::Duration;

/// Whom a fault hits, found out just before it strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The leader of partition 0; not the active controller.
    Leader,
    /// A node that follows partition 0 and is not the active controller.
    Follower,
    /// The active controller.
    Controller,
    /// The active controller, after the leadership of partition 0 was moved there if need be.
    LeaderAndController,
    /// The leader of partition 0 and another node.
    TwoNodes,
    /// All three.
    AllNodes,
    /// One after the other, each started again before the next.
    EachInTurn,
}

/// What is done to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL; started again at the end.
    Kill,
    /// SIGTERM; started again at the end.
    Terminate,
    /// SIGSTOP for so long, then SIGCONT.
    Pause(Duration),
}

/// One scenario, named as in the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The number in the checklist of faults.
    pub number: u32,
    pub name: &'static str,
    pub target: Target,
    pub blow: Blow,
    /// The write gap allowed at the 99th percentile; `None` where no write can be acknowledged meanwhile.
    pub gap_max: Option<Duration>,
}

const fn ms(milliseconds: u64) -> Option<Duration> {
    Some(Duration::from_millis(milliseconds))
}

/// Every fault that can be run.
pub const FAULTS: &[Fault] = &[
    Fault {
        number: 1,
        name: "kill-leader",
        target: Target::Leader,
        blow: Blow::Kill,
        gap_max: ms(300),
    },
    Fault {
        number: 3,
        name: "kill-follower",
        target: Target::Follower,
        blow: Blow::Kill,
        gap_max: ms(300),
    },
    Fault {
        number: 4,
        name: "kill-controller",
        target: Target::Controller,
        blow: Blow::Kill,
        gap_max: ms(500),
    },
    Fault {
        number: 5,
        name: "kill-leader-and-controller",
        target: Target::LeaderAndController,
        blow: Blow::Kill,
        gap_max: ms(500),
    },
    Fault {
        number: 6,
        name: "kill-two",
        target: Target::TwoNodes,
        blow: Blow::Kill,
        gap_max: None,
    },
    Fault {
        number: 7,
        name: "kill-all",
        target: Target::AllNodes,
        blow: Blow::Kill,
        gap_max: None,
    },
    Fault {
        number: 2,
        name: "terminate-each",
        target: Target::EachInTurn,
        blow: Blow::Terminate,
        gap_max: ms(50),
    },
    Fault {
        number: 11,
        name: "pause-leader",
        target: Target::Leader,
        blow: Blow::Pause(Duration::from_secs(5)),
        gap_max: ms(3000),
    },
];

/// The fault of that name.
pub fn by_name(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_unique() {
        for (index, fault) in FAULTS.iter().enumerate() {
            assert_eq!(by_name(fault.name), Some(fault));
            assert!(FAULTS[..index].iter().all(|other| other.number != fault.number));
        }
    }
}
