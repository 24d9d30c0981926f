//! A short set of seeds, and the proof that a seed means one run.

use klamm_sim::{Counts, Keep, Options, Outcome, Plan, run, run_plan};

fn outcomes(seeds: std::ops::Range<u64>, options: Options) -> Vec<Outcome> {
    seeds.map(|seed| run(seed, options, Keep::Nothing)).collect()
}

#[test]
fn a_set_of_seeds_is_clean_and_stormy() {
    let outcomes = outcomes(0..40, Options::default());
    for outcome in &outcomes {
        let seed = outcome.plan.seed;
        assert_eq!(outcome.violation, None, "seed {seed}");
        assert!(outcome.counts.steps >= 1000, "seed {seed}: {:?}", outcome.counts);
    }
    let count = |happened: fn(&Counts) -> bool| outcomes.iter().filter(|outcome| happened(&outcome.counts)).count();
    assert!(count(|it| it.leader_changes > 1) * 2 >= outcomes.len());
    assert!(count(|it| it.truncations > 0) * 3 >= outcomes.len());
    assert!(count(|it| it.lossy_crashes > 0) * 5 >= outcomes.len());
}

#[test]
fn a_seed_twice_is_the_same_run() {
    let [one, other] = [(); 2].map(|()| run(7, Options::default(), Keep::All));
    assert_eq!(one.lines, other.lines);
    assert_eq!((one.counts, one.digest), (other.counts, other.digest));
    let another = run(8, Options::default(), Keep::All);
    assert_ne!(one.digest, another.digest);
}

#[test]
fn a_timeline_does_not_change_the_run() {
    let [silent, told] = [Keep::Nothing, Keep::Last].map(|keep| run(3, Options::default(), keep));
    assert_eq!(silent.counts, told.counts);
}

/// What a failure prints can be given back.
#[test]
fn the_plan_of_a_seed_is_the_same_run() {
    for seed in 0..5 {
        let drawn = run(seed, Options::default(), Keep::All);
        let plan: Plan = drawn.plan.to_string().parse().expect("a plan is read back");
        let given = run_plan(plan, Keep::All);
        assert_eq!(drawn.lines, given.lines, "seed {seed}");
    }
}
