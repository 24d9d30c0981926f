//! Faults of the members of a group, which are processes of their own.

use klamm_client::GroupProtocol;

use crate::fault::{Act, Fault, Step, Target};

/// Each blow, and the group is stable again: first without who was hit, then with it.
const MEMBERS_HIT: &[Step] = &[
    Step::Member(Act::Kill(0)),
    Step::Member(Act::Stable(2)),
    Step::Member(Act::Start(0)),
    Step::Member(Act::Stable(3)),
    Step::Member(Act::Pause(1)),
    Step::Member(Act::Stable(2)),
    Step::Member(Act::Resume(1)),
    Step::Member(Act::Stable(3)),
    Step::Member(Act::Double),
    Step::Member(Act::Stable(3)),
    Step::Member(Act::RestartStatic),
    Step::Member(Act::Stable(3)),
    Step::InSync,
];

const fn of_members(name: &'static str, protocol: GroupProtocol) -> Fault {
    Fault {
        members: Some(protocol),
        ..Fault::new(40, name, Target::Follower, MEMBERS_HIT)
    }
}

pub const FAULTS: &[Fault] = &[
    of_members("members-classic", GroupProtocol::Classic),
    Fault {
        // The cluster decides how long the session is.
        settings: &["group_consumer_session_timeout_ms=6000"],
        ..of_members("members-consumer", GroupProtocol::Consumer)
    },
];
