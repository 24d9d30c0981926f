//! Makes a run that breaks a promise smaller: fewer faults, fewer clients, fewer steps, and still the same promise.
//!
//! Leaving out one fault changes when everything after it happens, so what is left to chance is drawn anew a few times
//! before a fault is held to be needed.

use klamm_invariants::Invariant;

use crate::plan::{Fault, Plan, Setup};
use crate::world::{Keep, Outcome, run_plan};

/// So many runs are tried at most.
const RUNS_MAX: u32 = 1500;
/// How often what is left to chance is drawn for one smaller plan.
const DRAWS: u64 = 4;

/// The smallest plan that was found.
#[derive(Debug)]
pub struct Shrunk {
    pub plan: Plan,
    pub runs: u32,
}

struct Shrinking {
    plan: Plan,
    invariant: Invariant,
    runs: u32,
}

/// Shrinks the run of an outcome; `None` if nothing was broken in it.
pub fn shrink(outcome: &Outcome) -> Option<Shrunk> {
    let violation = outcome.violation.as_ref()?;
    let mut shrinking = Shrinking {
        plan: outcome.plan.clone(),
        invariant: violation.broken.invariant,
        runs: 0,
    };
    let mut size = usize::MAX;
    while shrinking.size() < size && shrinking.runs < RUNS_MAX {
        size = shrinking.size();
        shrinking.leave_out_faults();
        shrinking.leave_out_clients();
        shrinking.soften_faults();
    }
    shrinking.cut_steps();
    let Shrinking { plan, runs, .. } = shrinking;
    Some(Shrunk { plan, runs })
}

impl Shrinking {
    fn faults(&self) -> &[Fault] {
        self.plan.faults.as_deref().unwrap_or_default()
    }

    fn size(&self) -> usize {
        let setup = &self.plan.setup;
        self.faults().len() + setup.producers + setup.readers + setup.groups
    }

    /// Takes a plan over if it breaks the same promise.
    fn attempt(&mut self, plan: Plan) -> bool {
        for draw in 0..DRAWS {
            if self.runs >= RUNS_MAX {
                return false;
            }
            self.runs += 1;
            let noise = self.plan.noise + draw;
            let outcome = run_plan(Plan { noise, ..plan.clone() }, Keep::Nothing);
            let broken = outcome.violation.map(|violation| violation.broken.invariant);
            if broken == Some(self.invariant) {
                // Faults that did not come any more are left out by this.
                self.plan = outcome.plan;
                return true;
            }
        }
        false
    }

    fn leave_out_faults(&mut self) {
        let mut piece = self.faults().len();
        while piece > 0 {
            let mut from = 0;
            while from < self.faults().len() {
                let to = (from + piece).min(self.faults().len());
                let mut fewer = self.faults().to_vec();
                fewer.drain(from..to);
                let plan = Plan {
                    faults: Some(fewer),
                    ..self.plan.clone()
                };
                if !self.attempt(plan) {
                    from = to;
                }
            }
            piece /= 2;
        }
    }

    fn leave_out_clients(&mut self) {
        let fewer: [fn(&mut Setup); 4] = [
            |setup| setup.groups = setup.groups.saturating_sub(1),
            |setup| setup.readers = setup.readers.saturating_sub(1),
            |setup| setup.producers = setup.producers.saturating_sub(1),
            |setup| setup.slow_connections = 0,
        ];
        for change in fewer {
            loop {
                let mut plan = self.plan.clone();
                change(&mut plan.setup);
                if plan.setup == self.plan.setup || !self.attempt(plan) {
                    break;
                }
            }
        }
    }

    /// Shorter, where that is enough.
    fn soften_faults(&mut self) {
        for number in 0..self.faults().len() {
            let mut softer = self.faults().to_vec();
            let Some(fault) = softer.get_mut(number).filter(|fault| fault.lasts > 0) else {
                continue;
            };
            fault.lasts /= 2;
            let plan = Plan {
                faults: Some(softer),
                ..self.plan.clone()
            };
            self.attempt(plan);
        }
    }

    /// Nothing has to happen after the promise was broken, and healing may begin as soon as it will be.
    fn cut_steps(&mut self) {
        let mut steps = self.plan.steps;
        while steps > 1 {
            steps /= 2;
            let plan = Plan {
                steps,
                ..self.plan.clone()
            };
            if !self.attempt(plan) {
                break;
            }
        }
    }
}
