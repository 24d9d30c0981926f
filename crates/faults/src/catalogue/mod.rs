//! Every fault that can be run. One line of the checklist may have several forms.

mod disks;
mod network;
mod processes;

use crate::fault::Fault;

/// All of them, in the order of the checklist.
pub fn faults() -> impl Iterator<Item = &'static Fault> {
    let mut all: Vec<&Fault> = [processes::FAULTS, network::FAULTS, disks::FAULTS]
        .into_iter()
        .flatten()
        .collect();
    all.sort_by_key(|fault| fault.number);
    all.into_iter()
}

/// Those of a name or a number.
pub fn chosen(word: &str) -> Vec<&'static Fault> {
    let number: Option<u32> = word.parse().ok();
    let meant = |fault: &&Fault| fault.name == word || Some(fault.number) == number;
    faults().filter(meant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checklist::CHECKLIST;
    use crate::fault::Step;

    #[test]
    fn names_are_unique_and_numbers_those_of_the_checklist() {
        for (index, fault) in faults().enumerate() {
            assert_eq!(chosen(fault.name), [fault]);
            assert!(faults().take(index).all(|other| other.name != fault.name));
            assert!(
                CHECKLIST.iter().any(|line| line.number == fault.number),
                "{}",
                fault.name
            );
        }
        assert_eq!(chosen("29").len(), 4);
        assert!(chosen("no such").is_empty());
    }

    /// What runs when a step begins, as far as the steps before tell.
    fn walk(steps: &[Step], running: &mut bool) {
        for step in steps {
            match step {
                Step::Kill | Step::Terminate => {
                    assert!(*running, "{steps:?}");
                    *running = false;
                }
                Step::Start => {
                    assert!(!*running, "{steps:?}");
                    *running = true;
                }
                Step::Harm(_) | Step::LosePower => assert!(!*running, "{steps:?}"),
                Step::Each(inner) => {
                    let mut one = *running;
                    walk(inner, &mut one);
                    assert!(one);
                }
                Step::Times(_, inner) => walk(inner, running),
                _ => {}
            }
        }
    }

    #[test]
    fn every_fault_leaves_the_cluster_whole() {
        for fault in faults() {
            let mut running = true;
            walk(fault.steps, &mut running);
            assert!(running, "{} leaves victims down", fault.name);
            let count = |wanted: Step| fault.steps.iter().filter(|step| **step == wanted).count();
            let bad = |step: &&Step| matches!(step, Step::Weather(..) | Step::Trouble(_));
            let good = count(Step::Clear) + count(Step::Mend);
            assert_eq!(fault.steps.iter().filter(bad).count(), good, "{}", fault.name);
            assert_eq!(count(Step::Pause), count(Step::Resume), "{}", fault.name);
            assert_eq!(count(Step::Fill), count(Step::Free), "{}", fault.name);
            let last = match fault.steps.last() {
                Some(Step::Each(inner) | Step::Times(_, inner)) => inner.last(),
                last => last,
            };
            assert_eq!(last, Some(&Step::InSync), "{}", fault.name);
        }
    }
}
