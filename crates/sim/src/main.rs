//! `klamm-sim`: runs seeds, prints what they went through, and the timeline of the first that fails.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use clap::Parser;
use klamm_sim::{Counts, Keep, Options, Outcome, Switch, run};
#[cfg(feature = "planted-bugs")]
use klamm_types::planted::Bug;

/// Simulates a partition of three replicas, one run per seed.
#[derive(Debug, Parser)]
#[command(name = "klamm-sim")]
struct Arguments {
    /// The seeds from A to B, B excluded.
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Only this seed, with its whole timeline.
    #[arg(long)]
    seed: Option<u64>,
    /// Happenings at brokers before the healing begins.
    #[arg(long, default_value_t = Options::default().steps)]
    steps: u64,
    /// Whether klamm.durability changes in some seeds.
    #[arg(long, value_enum, default_value_t = Options::default().durability_changes)]
    durability_changes: Switch,
    /// Puts a known bug back into the cores; the run should then fail.
    #[cfg(feature = "planted-bugs")]
    #[arg(long)]
    plant: Option<String>,
    /// Threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

impl Arguments {
    fn options(&self) -> anyhow::Result<Options> {
        Ok(Options {
            steps: self.steps,
            durability_changes: self.durability_changes,
            #[cfg(feature = "planted-bugs")]
            bug: self.bug()?,
        })
    }

    #[cfg(feature = "planted-bugs")]
    fn bug(&self) -> anyhow::Result<Option<Bug>> {
        let named = |name: &String| {
            Bug::from_name(name).with_context(|| {
                let names: Vec<&str> = Bug::ALL.iter().map(|bug| bug.name()).collect();
                format!("there is no planted bug {name}; there are {}", names.join(", "))
            })
        };
        self.plant.as_ref().map(named).transpose()
    }

    /// What must be given again, with the seed, to see the same run.
    fn repeated(&self) -> String {
        let mut steps = format!(" --steps {}", self.steps);
        if self.durability_changes == Switch::Off {
            steps.push_str(" --durability-changes off");
        }
        #[cfg(feature = "planted-bugs")]
        if let Some(name) = &self.plant {
            return format!("{steps} --plant {name}");
        }
        steps
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = arguments.options()?;
    if let Some(seed) = arguments.seed {
        let outcome = run(seed, options, Keep::All);
        outcome.lines.iter().for_each(|line| println!("{line}"));
        println!("{:?}", outcome.counts);
        return Ok(verdict(&outcome));
    }
    let (from, to) = arguments.seeds.split_once("..").context("seeds are given as A..B")?;
    let (from, to): (u64, u64) = (from.parse().context("reading A")?, to.parse().context("reading B")?);
    if from >= to {
        bail!("there is no seed from {from} up to {to}");
    }
    let mut outcomes = run_all(from, to, options, arguments.threads.max(1));
    outcomes.sort_by_key(|outcome| outcome.seed);
    print_shares(&outcomes);
    let Some(failed) = outcomes.iter().find(|outcome| outcome.violation.is_some()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let failures = outcomes.iter().filter(|outcome| outcome.violation.is_some()).count();
    println!("{failures} seeds failed; the first is {}:", failed.seed);
    let again = run(failed.seed, options, Keep::Last);
    again.lines.iter().for_each(|line| println!("{line}"));
    println!("again: klamm-sim --seed {}{}", failed.seed, arguments.repeated());
    Ok(verdict(&again))
}

fn verdict(outcome: &Outcome) -> ExitCode {
    match &outcome.violation {
        Some(violation) => {
            println!("seed {}: {violation}", outcome.seed);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn run_all(from: u64, to: u64, options: Options, threads: usize) -> Vec<Outcome> {
    let next = AtomicU64::new(from);
    let outcomes = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        return;
                    }
                    let outcome = run(seed, options, Keep::Nothing);
                    if let Some(violation) = &outcome.violation {
                        println!("seed {seed}: {violation}");
                    }
                    if let Ok(mut outcomes) = outcomes.lock() {
                        outcomes.push(outcome);
                    }
                }
            });
        }
    });
    outcomes.into_inner().unwrap_or_default()
}

fn print_shares(outcomes: &[Outcome]) {
    let count = outcomes.len();
    let share = |happened: &dyn Fn(&Counts) -> bool| {
        let those = outcomes.iter().filter(|outcome| happened(&outcome.counts)).count();
        100.0 * those as f64 / count as f64
    };
    let sum = |of: &dyn Fn(&Counts) -> u64| outcomes.iter().map(|outcome| of(&outcome.counts)).sum::<u64>();
    let least = outcomes.iter().map(|outcome| outcome.counts.steps).min().unwrap_or(0);
    println!("{count} seeds, {} events, at least {least} each", sum(&|it| it.steps));
    println!(
        "  with a change of leader:                 {:5.1} %",
        share(&|it| it.leader_changes > 1)
    );
    println!(
        "  with a truncation:                       {:5.1} %",
        share(&|it| it.truncations > 0)
    );
    println!(
        "  with a crash that lost unflushed writes: {:5.1} %",
        share(&|it| it.lossy_crashes > 0)
    );
    println!(
        "  with a stale ISR request:                {:5.1} %",
        share(&|it| it.stale_requests > 0)
    );
    println!(
        "  with a change of the topic's settings:   {:5.1} %",
        share(&|it| it.setting_changes > 0)
    );
    println!(
        "  with an unclean election:                {:5.1} %",
        share(&|it| it.unclean_elections > 0)
    );
    println!(
        "  with a clean stop:                       {:5.1} %",
        share(&|it| it.clean_stops > 0)
    );
    println!(
        "  with a move of the log start:            {:5.1} %",
        share(&|it| it.deletions > 0)
    );
    println!(
        "  {} leaders, {} truncations, {} crashes, {} batches committed, {} acknowledged",
        sum(&|it| it.leader_changes),
        sum(&|it| it.truncations),
        sum(&|it| it.crashes),
        sum(&|it| it.committed_batches),
        sum(&|it| it.acknowledged)
    );
}
