//! Whom a fault hits and who leads meanwhile: decided from who is there, before anything is created.

use klamm_types::NodeId;

use crate::fault::Target;

/// One run's cast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Hit at the same time, or one after the other for [`Target::EachInTurn`].
    pub victims: Vec<NodeId>,
    /// The replicas of each partition, the leader first.
    pub assignments: Vec<Vec<i32>>,
}

/// Casts a run. `round` varies who is hit where there is a choice.
pub fn plan(target: Target, nodes: &[NodeId], controller: NodeId, partitions: i32, round: usize) -> Plan {
    let others: Vec<NodeId> = nodes.iter().copied().filter(|&node| node != controller).collect();
    let some_other = others[round % others.len()];
    let (victims, leaders): (Vec<NodeId>, Vec<NodeId>) = match target {
        Target::Leader => (vec![some_other], nodes.to_vec()),
        Target::Follower => (
            vec![some_other],
            nodes.iter().copied().filter(|&node| node != some_other).collect(),
        ),
        Target::Controller => (vec![controller], others),
        Target::LeaderAndController => (vec![controller], nodes.to_vec()),
        Target::TwoNodes => (vec![some_other, others[(round + 1) % others.len()]], nodes.to_vec()),
        Target::AllNodes | Target::EachInTurn => (nodes.to_vec(), nodes.to_vec()),
    };
    let assignments = (0..usize::try_from(partitions).unwrap_or(0)).map(|partition| {
        let leader = leaders[partition % leaders.len()];
        let rest = nodes.iter().filter(|&&node| node != leader).map(|node| node.0);
        std::iter::once(leader.0).chain(rest).collect()
    });
    Plan {
        victims,
        assignments: assignments.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODES: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn leaders(plan: &Plan) -> Vec<i32> {
        let mut leaders: Vec<_> = plan.assignments.iter().map(|replicas| replicas[0]).collect();
        leaders.sort_unstable();
        leaders.dedup();
        leaders
    }

    #[test]
    fn the_cast_fits_the_target() {
        let cast = |target| plan(target, &NODES, NodeId(2), 6, 0);
        let leader = cast(Target::Leader);
        assert_eq!(
            (leader.victims.as_slice(), leaders(&leader)),
            (&[NodeId(1)][..], vec![1, 2, 3])
        );
        let follower = cast(Target::Follower);
        assert_eq!(
            (follower.victims.as_slice(), leaders(&follower)),
            (&[NodeId(1)][..], vec![2, 3])
        );
        let controller = cast(Target::Controller);
        assert_eq!(
            (controller.victims.as_slice(), leaders(&controller)),
            (&[NodeId(2)][..], vec![1, 3])
        );
        assert_eq!(cast(Target::LeaderAndController).victims, [NodeId(2)]);
        assert_eq!(cast(Target::TwoNodes).victims, [NodeId(1), NodeId(3)]);
        assert_eq!(cast(Target::AllNodes).victims, NODES);
        assert!(leader.assignments.iter().all(|replicas| replicas.len() == 3));
    }
}
