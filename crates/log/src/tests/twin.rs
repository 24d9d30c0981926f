//! The log against a dumb twin: a list of batches. A seed decides what happens to both, and at which disk operation
//! the power fails. After each power cut the log must hold what was flushed, nothing that was not appended, and
//! everything derived from it (epochs, indexes, snapshots, times) must agree.
//!
//! A failure prints its seed and the operation at which the power failed; `one` runs them again.

mod model;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use self::model::World;
use crate::disk::sim::{Effect, Fault, Operation};

/// How many things happen in one life of the process.
const STEPS: usize = 25;

/// A run in which the power fails during the operations `cuts`, counted from the last start.
fn run(seed: u64, cuts: &[u64]) -> bool {
    let mut world = World::new(seed);
    for &cut in cuts {
        world.disk.inject(Fault::power_cut_after(cut));
        world.live(STEPS);
        if !world.disk.is_powered_off() {
            return false;
        }
        world.lose_power();
    }
    world.disk.take_faults();
    world.live(STEPS);
    true
}

struct Told(u64, Vec<u64>);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "this was seed {} with power cuts after {:?}: one({0}, &{1:?})",
                self.0, self.1
            );
        }
    }
}

fn one(seed: u64, cuts: &[u64]) -> bool {
    let _told = Told(seed, cuts.to_vec());
    run(seed, cuts)
}

#[test]
fn the_power_may_fail_at_every_operation() {
    for seed in 0..8 {
        let mut cut = 0;
        while one(seed, &[cut]) {
            cut += 1;
        }
        assert!(cut > 50, "seed {seed} did next to nothing");
    }
}

#[test]
fn the_power_may_fail_again_and_again() {
    for seed in 1000..1300 {
        let mut rng = StdRng::seed_from_u64(seed);
        let cuts: Vec<u64> = (0..6).map(|_| rng.random_range(0..150)).collect();
        one(seed, &cuts);
    }
}

#[test]
fn disks_fail_and_fill_up_and_the_power_fails_too() {
    for seed in 5000..5200 {
        let _told = Told(seed, Vec::new());
        let mut world = World::new(seed);
        let mut rng = StdRng::seed_from_u64(seed ^ 0xD15C);
        for _ in 0..5 {
            let operations = [
                Operation::Write,
                Operation::SyncData,
                Operation::Open,
                Operation::SyncDir,
                Operation::Rename,
            ];
            let effects = [
                Effect::Io,
                Effect::Torn { keep: 70 },
                Effect::Full { keep: 90 },
                Effect::Full { keep: 0 },
            ];
            world.disk.inject(Fault {
                skip: rng.random_range(0..20),
                ..Fault::next(operations[rng.random_range(0..5)], "", effects[rng.random_range(0..4)])
            });
            world.live(STEPS);
            world.lose_power();
        }
        world.live(STEPS);
    }
}
