//! Which ways between hosts a fault means, and what it does to them: values.

use std::time::Duration;

use crate::fault::{Ways, Weather};
use crate::network::{CLIENT, Link, Rate};

/// Every way from one host to another that is meant.
pub fn ways(ways: Ways, victims: &[i32], nodes: &[i32], controllers: &[i32]) -> Vec<(i32, i32)> {
    let others: Vec<i32> = nodes.iter().copied().filter(|node| !victims.contains(node)).collect();
    let everybody: Vec<i32> = nodes.iter().copied().chain([CLIENT]).collect();
    match ways {
        Ways::ToOtherNodes => both(victims, &others),
        Ways::FromVictims => pairs(victims, &others),
        Ways::TowardsVictims => pairs(&others, victims),
        Ways::ToControllers => both(victims, controllers),
        Ways::ToClients => both(victims, &[CLIENT]),
        Ways::AmongVictims => pairs(victims, victims),
        Ways::Everywhere => pairs(&everybody, &everybody),
    }
}

fn pairs(from: &[i32], to: &[i32]) -> Vec<(i32, i32)> {
    let all = from.iter().flat_map(|&one| to.iter().map(move |&other| (one, other)));
    all.filter(|(one, other)| one != other).collect()
}

fn both(some: &[i32], others: &[i32]) -> Vec<(i32, i32)> {
    [pairs(some, others), pairs(others, some)].concat()
}

pub fn link(weather: Weather) -> Link {
    match weather {
        Weather::Cut => Link::cut(),
        Weather::Storm => Link {
            loss: 0.3,
            delay: Duration::from_millis(200),
            jitter: Duration::from_millis(100),
            duplicate: 0.05,
            reorder: 0.1,
            corrupt: 0.01,
            ..Link::default()
        },
        Weather::Narrow => Link {
            rate: Some(Rate::bits(1_000_000)),
            ..Link::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_are_those_that_are_named() {
        let of = |meant, victims: &[i32]| ways(meant, victims, &[1, 2, 3], &[1, 2, 3]);
        assert_eq!(of(Ways::FromVictims, &[2]), [(2, 1), (2, 3)]);
        assert_eq!(of(Ways::TowardsVictims, &[2]), [(1, 2), (3, 2)]);
        assert_eq!(of(Ways::ToOtherNodes, &[2]), [(2, 1), (2, 3), (1, 2), (3, 2)]);
        assert_eq!(of(Ways::ToClients, &[2]), [(2, CLIENT), (CLIENT, 2)]);
        assert_eq!(of(Ways::AmongVictims, &[1, 3]), [(1, 3), (3, 1)]);
        assert_eq!(of(Ways::Everywhere, &[2]).len(), 12);
        let apart = ways(Ways::ToControllers, &[2], &[1, 2, 101, 102], &[101, 102]);
        assert_eq!(apart, [(2, 101), (2, 102), (101, 2), (102, 2)]);
    }
}
