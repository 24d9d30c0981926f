//! What many seeds went through, in one table: seeds in which nothing happens prove nothing.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use klamm_sim::{Counts, Outcome, Violation, What};

/// Something that happened: in how many seeds, and how often.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    seeds: u64,
    times: u64,
}

/// Takes outcomes one by one and keeps none but the failures.
#[derive(Debug, Default)]
pub struct Summary {
    pub seeds: u64,
    steps_min: Option<u64>,
    figures: BTreeMap<usize, Share>,
    faults: BTreeMap<What, Share>,
    pub failures: BTreeMap<u64, Violation>,
    pub took: Duration,
}

impl Share {
    fn add(&mut self, times: u64) {
        self.seeds += u64::from(times > 0);
        self.times += times;
    }
}

impl Summary {
    pub fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        let steps = outcome.counts.steps;
        self.steps_min = Some(self.steps_min.map_or(steps, |least| least.min(steps)));
        for (number, (_, times)) in outcome.counts.figures().into_iter().enumerate() {
            self.figures.entry(number).or_default().add(times);
        }
        let mut faults: BTreeMap<What, u64> = BTreeMap::new();
        for fault in outcome.plan.faults.iter().flatten() {
            *faults.entry(fault.what).or_default() += 1;
        }
        for (what, times) in faults {
            self.faults.entry(what).or_default().add(times);
        }
        if let Some(violation) = outcome.violation {
            self.failures.insert(outcome.plan.seed, violation);
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seeds = self.seeds as f64;
        let per_minute = seeds * 60.0 / self.took.as_secs_f64();
        let least = self.steps_min.unwrap_or(0);
        writeln!(
            f,
            "{} seeds, at least {least} steps each, {per_minute:.0} seeds a minute",
            self.seeds
        )?;
        writeln!(f, "  {:<20} {:>9} {:>12}", "", "of seeds", "altogether")?;
        let mut line = |name: &str, share: Share| {
            let percent = 100.0 * share.seeds as f64 / seeds;
            writeln!(f, "  {name:<20} {percent:>7.1} % {:>12}", share.times)
        };
        for (number, (name, _)) in Counts::default().figures().into_iter().enumerate() {
            line(
                &name.replace('_', " "),
                self.figures.get(&number).copied().unwrap_or_default(),
            )?;
        }
        for (what, share) in &self.faults {
            line(&format!("fault {what}"), *share)?;
        }
        Ok(())
    }
}
