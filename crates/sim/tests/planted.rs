//! Every planted bug is caught: each is put back into the cores and must break an invariant in several seeds.
//!
//! Needs the feature `planted-bugs`, which only this test turns on; `scripts/test` runs it. Run in release mode.

use std::collections::BTreeMap;

use klamm_sim::{Keep, Options, run};
use klamm_types::planted::Bug;

/// A bug that shows in fewer of so many seeds means that the weather does not reach it.
const SEEDS: u64 = 200;
const CAUGHT_MIN: usize = 5;

#[test]
fn every_planted_bug_is_caught_by_several_seeds() {
    let mut caught = BTreeMap::new();
    for bug in Bug::ALL {
        let options = Options {
            bug: Some(bug),
            ..Options::default()
        };
        let failing = (0..SEEDS).filter(|&seed| run(seed, options, Keep::Nothing).violation.is_some());
        caught.insert(bug.name(), failing.count());
    }
    let missed: Vec<_> = caught.iter().filter(|(_, count)| **count < CAUGHT_MIN).collect();
    assert!(
        missed.is_empty(),
        "too few of {SEEDS} seeds catch {missed:?}: {caught:?}"
    );
}
