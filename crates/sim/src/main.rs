//! `klamm-sim`: runs seeds, prints what they went through, and the timeline and a small plan of the first that fails.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use klamm_sim::{Counts, Keep, Options, Outcome, Plan, Switch, run, run_plan, shrink};
#[cfg(feature = "planted-bugs")]
use klamm_types::planted::{Bug, plant};

/// Simulates clusters, one run per seed.
#[derive(Debug, Parser)]
#[command(name = "klamm-sim")]
struct Arguments {
    /// The seeds from A to B, B excluded.
    #[arg(long, default_value = "0..1000")]
    seeds: String,
    /// Only this seed, with its whole timeline.
    #[arg(long)]
    seed: Option<u64>,
    /// Only this plan, with its whole timeline: a file as a failure prints it.
    #[arg(long)]
    plan: Option<PathBuf>,
    /// With --seed or --plan: the plan instead of the timeline.
    #[arg(long)]
    print_plan: bool,
    /// With --seed or --plan: makes what fails smaller, and prints its plan.
    #[arg(long)]
    shrink: bool,
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

    fn one_plan(&self, options: &Options) -> anyhow::Result<Option<Plan>> {
        let Some(path) = &self.plan else {
            return Ok(self.seed.map(|seed| Plan::draw(seed, options)));
        };
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        text.parse()
            .map(Some)
            .map_err(|problem: String| anyhow!("{}: {problem}", path.display()))
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let options = arguments.options()?;
    #[cfg(feature = "planted-bugs")]
    plant(options.bug);
    if let Some(plan) = arguments.one_plan(&options)? {
        return Ok(one(&arguments, plan));
    }
    let (from, to) = arguments.seeds.split_once("..").context("seeds are given as A..B")?;
    let (from, to): (u64, u64) = (from.parse().context("reading A")?, to.parse().context("reading B")?);
    if from >= to {
        bail!("there is no seed from {from} up to {to}");
    }
    let began = Instant::now();
    let mut outcomes = run_all(from, to, options, arguments.threads.max(1));
    let took = began.elapsed();
    outcomes.sort_by_key(|outcome| outcome.plan.seed);
    print_shares(&outcomes, took);
    let Some(failed) = outcomes.iter().find(|outcome| outcome.violation.is_some()) else {
        return Ok(ExitCode::SUCCESS);
    };
    let failures = outcomes.iter().filter(|outcome| outcome.violation.is_some()).count();
    println!("{failures} seeds failed; the first is {}:", failed.plan.seed);
    let again = run_plan(failed.plan.clone(), Keep::Last);
    again.lines.iter().for_each(|line| println!("{line}"));
    print_smaller(&again);
    println!("again: klamm-sim --seed {}{}", failed.plan.seed, arguments.repeated());
    Ok(verdict(&again))
}

fn one(arguments: &Arguments, plan: Plan) -> ExitCode {
    let keep = if arguments.print_plan { Keep::Nothing } else { Keep::All };
    let outcome = run_plan(plan, keep);
    if arguments.print_plan {
        print!("{}", outcome.plan);
        return verdict(&outcome);
    }
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!("{:?}", outcome.counts);
    if arguments.shrink {
        print_smaller(&outcome);
    }
    verdict(&outcome)
}

/// The smallest plan that breaks the same promise.
fn print_smaller(outcome: &Outcome) {
    if let Some(shrunk) = shrink(outcome) {
        let count = |plan: &Plan| plan.faults.as_ref().map_or(0, Vec::len);
        let (before, after) = (count(&outcome.plan), count(&shrunk.plan));
        println!(
            "# {before} faults, shrunk to {after} in {} runs; give it back as a file: --plan FILE",
            shrunk.runs
        );
        print!("{}", shrunk.plan);
        println!("# end of the plan");
    }
}

fn verdict(outcome: &Outcome) -> ExitCode {
    match &outcome.violation {
        Some(violation) => {
            println!("seed {}: {violation}", outcome.plan.seed);
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
                    let mut outcome = run(seed, options, Keep::Nothing);
                    match &outcome.violation {
                        Some(violation) => println!("seed {seed}: {violation}"),
                        // Of a hundred thousand seeds nobody asks for the faults.
                        None => outcome.plan.faults = None,
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

/// In how many seeds each kind of thing has happened: seeds in which nothing happens prove nothing.
fn print_shares(outcomes: &[Outcome], took: Duration) {
    let count = outcomes.len();
    let least = outcomes.iter().map(|outcome| outcome.counts.steps).min().unwrap_or(0);
    let per_minute = count as f64 * 60.0 / took.as_secs_f64();
    println!("{count} seeds, at least {least} steps each, {per_minute:.0} seeds a minute");
    println!("  {:<20} {:>9} {:>12}", "", "of seeds", "altogether");
    for (number, (name, _)) in Counts::default().figures().into_iter().enumerate() {
        let figures = || outcomes.iter().map(|outcome| outcome.counts.figures()[number].1);
        let share = 100.0 * figures().filter(|&figure| figure > 0).count() as f64 / count as f64;
        let name = name.replace('_', " ");
        println!("  {name:<20} {share:>7.1} % {:>12}", figures().sum::<u64>());
    }
}
