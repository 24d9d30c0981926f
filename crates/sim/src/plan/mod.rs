//! What one seed is about: how the cluster is set up, who uses it, and what goes wrong. Everything follows from the seed,
//! and everything can be printed, changed and given back.

mod draw;
mod fault;
mod setup;

pub use draw::Weather;
pub use fault::{Fault, What, Whom};
pub use setup::{REPLICAS, Setup};

use std::fmt;
use std::str::FromStr;

/// Microseconds of simulated time.
pub type Time = u64;
pub const MS: Time = 1000;

/// What is the same for all seeds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Steps of brokers before the healing begins.
    pub steps: u64,
    pub durability_changes: Switch,
    /// A known bug that the cores commit.
    #[cfg(feature = "planted-bugs")]
    pub bug: Option<klamm_types::planted::Bug>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            steps: 4000,
            durability_changes: Switch::On,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }
}

/// Whether a kind of event happens at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub seed: u64,
    /// Another number lets everything that is left to chance fall out otherwise, the faults excepted.
    pub noise: u64,
    pub steps: u64,
    pub setup: Setup,
    /// `None`: the weather of the seed.
    pub faults: Option<Vec<Fault>>,
}

impl Plan {
    pub fn draw(seed: u64, options: &Options) -> Plan {
        Plan {
            seed,
            noise: 0,
            steps: options.steps,
            setup: Setup::draw(seed, options),
            faults: None,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {}\nnoise {}\nsteps {}", self.seed, self.noise, self.steps)?;
        for (name, value) in self.setup.lines() {
            writeln!(f, "{name} {value}")?;
        }
        for fault in self.faults.iter().flatten() {
            writeln!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl FromStr for Plan {
    type Err = String;

    /// Lines with `#` are left out. A plan names all its faults.
    fn from_str(text: &str) -> Result<Plan, String> {
        let mut plan = Plan::draw(0, &Options::default());
        let mut faults = Vec::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with("at ") {
                faults.push(line.parse().map_err(|fault::NoFault(text)| text)?);
                continue;
            }
            let (name, value) = line.split_once(' ').ok_or_else(|| format!("no setting: {line}"))?;
            let number = || value.parse::<u64>().map_err(|error| format!("{line}: {error}"));
            match name {
                "seed" => plan.seed = number()?,
                "noise" => plan.noise = number()?,
                "steps" => plan.steps = number()?,
                _ => plan.setup.set(name, value)?,
            }
        }
        plan.faults = Some(faults);
        Ok(plan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_read_back_as_it_was_printed() {
        for seed in 0..50 {
            let mut plan = Plan::draw(seed, &Options::default());
            plan.faults = Some(Weather::new(&plan).take(20).collect());
            assert_eq!(plan.to_string().parse(), Ok(plan));
        }
    }
}
