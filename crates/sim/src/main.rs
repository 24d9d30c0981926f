//! `klamm-sim`: runs seeds, prints what they went through, and the timeline and a small plan of the first that fails.

mod summary;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use clap::Parser;
use klamm_sim::{Keep, Options, Outcome, Plan, Switch, run, run_plan, shrink};
#[cfg(feature = "planted-bugs")]
use klamm_types::planted::{Bug, plant};

use summary::Summary;

/// Prints whole lines. Whoever reads them may stop reading, as `head` does.
fn say(text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    let written = std::io::stdout().write_all(format!("{text}{end}").as_bytes());
    drop(written);
}

/// After so many seeds it is said how far it is: many take long.
const TOLD_EVERY: u64 = 10_000;

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
    let summary = run_all(from..to, options, arguments.threads.max(1));
    say(&summary.to_string());
    let Some(&failed) = summary.failures.keys().next() else {
        return Ok(ExitCode::SUCCESS);
    };
    say(&format!(
        "{} seeds failed; the first is {failed}:",
        summary.failures.len()
    ));
    let again = run(failed, options, Keep::Last);
    again.lines.iter().for_each(|line| say(line));
    print_smaller(&again);
    say(&format!("again: klamm-sim --seed {}{}", failed, arguments.repeated()));
    Ok(verdict(&again))
}

fn one(arguments: &Arguments, plan: Plan) -> ExitCode {
    let keep = if arguments.print_plan { Keep::Nothing } else { Keep::All };
    let outcome = run_plan(plan, keep);
    if arguments.print_plan {
        say(&outcome.plan.to_string());
        return verdict(&outcome);
    }
    outcome.lines.iter().for_each(|line| say(line));
    say(&format!("{:?}", outcome.counts));
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
        say(&format!(
            "# {before} faults, shrunk to {after} in {} runs; give it back as a file: --plan FILE",
            shrunk.runs
        ));
        say(&shrunk.plan.to_string());
        say("# end of the plan");
    }
}

fn verdict(outcome: &Outcome) -> ExitCode {
    match &outcome.violation {
        Some(violation) => {
            say(&format!("seed {}: {violation}", outcome.plan.seed));
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn run_all(seeds: std::ops::Range<u64>, options: Options, threads: usize) -> Summary {
    let next = AtomicU64::new(seeds.start);
    let summary = Mutex::new(Summary::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, options, Keep::Nothing);
                    if let Some(violation) = &outcome.violation {
                        say(&format!("seed {seed}: {violation}"));
                    }
                    if let Ok(mut summary) = summary.lock() {
                        summary.add(outcome);
                        if summary.seeds.is_multiple_of(TOLD_EVERY) {
                            let (seeds, failed) = (summary.seeds, summary.failures.len());
                            eprintln!("{seeds} seeds, {failed} failed, {:.0} s", began.elapsed().as_secs_f64());
                        }
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_default();
    summary.took = began.elapsed();
    summary
}
