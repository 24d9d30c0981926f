//! Whom a fault hits and who leads meanwhile: decided from who is there, before anything is created.

use crate::fault::{Shape, Target};

/// Who is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// In the order of their numbers, three at least.
    pub brokers: Vec<i32>,
    /// The active controller; among the brokers unless the shape is [`Shape::Apart`].
    pub controller: i32,
    pub shape: Shape,
}

/// One run's roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Hit at the same time, or one after the other; none if they are known only under load.
    pub victims: Vec<i32>,
    /// The replicas of each partition, the leader first.
    pub assignments: Vec<Vec<i32>>,
}

/// Casts a run. `round` varies who is hit where there is a choice.
pub fn plan(target: Target, cast: &Cast, partitions: i32, round: usize) -> Plan {
    let (brokers, controller) = (&cast.brokers, cast.controller);
    let others: Vec<i32> = brokers.iter().copied().filter(|&node| node != controller).collect();
    let other = |turn: usize| others[(round + turn) % others.len()];
    let without = |away: i32| brokers.iter().copied().filter(|&node| node != away).collect();
    let (victims, leaders): (Vec<i32>, Vec<i32>) = match target {
        Target::Leader => (vec![other(0)], brokers.clone()),
        Target::Follower => (vec![other(0)], without(other(0))),
        Target::Controller => (vec![controller], without(controller)),
        Target::LeaderAndController => (vec![controller], brokers.clone()),
        Target::Coordinator => (Vec::new(), brokers.clone()),
        Target::TwoNodes => (vec![other(0), other(1)], brokers.clone()),
        Target::AllNodes => (brokers.clone(), brokers.clone()),
    };
    let assignments = (0..usize::try_from(partitions).unwrap_or(0)).map(|partition| {
        let leader = leaders[partition % leaders.len()];
        let rest = brokers.iter().copied().filter(|&node| node != leader);
        std::iter::once(leader).chain(rest).take(3).collect()
    });
    Plan {
        victims,
        assignments: assignments.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaders(plan: &Plan) -> Vec<i32> {
        let mut leaders: Vec<_> = plan.assignments.iter().map(|replicas| replicas[0]).collect();
        leaders.sort_unstable();
        leaders.dedup();
        leaders
    }

    #[test]
    fn the_cast_fits_the_target() {
        let there = |controller, shape| Cast {
            brokers: vec![1, 2, 3],
            controller,
            shape,
        };
        let combined = there(2, Shape::Combined);
        for (target, victims, leading) in [
            (Target::Leader, vec![1], vec![1, 2, 3]),
            (Target::Follower, vec![1], vec![2, 3]),
            (Target::Controller, vec![2], vec![1, 3]),
            (Target::LeaderAndController, vec![2], vec![1, 2, 3]),
            (Target::Coordinator, vec![], vec![1, 2, 3]),
            (Target::TwoNodes, vec![1, 3], vec![1, 2, 3]),
            (Target::AllNodes, vec![1, 2, 3], vec![1, 2, 3]),
        ] {
            let plan = plan(target, &combined, 6, 0);
            assert_eq!((&plan.victims, leaders(&plan)), (&victims, leading), "{target:?}");
            assert!(plan.assignments.iter().all(|replicas| replicas.len() == 3));
        }
        let apart = plan(Target::Controller, &there(102, Shape::Apart), 6, 0);
        assert_eq!((apart.victims.as_slice(), leaders(&apart)), (&[102][..], vec![1, 2, 3]));
    }
}
