//! Every fault that can be run. One line of the checklist may have several forms.

mod disks;
mod groups;
mod network;
mod processes;

use crate::fault::Fault;

/// All of them, in the order of the checklist.
pub fn faults() -> impl Iterator<Item = &'static Fault> {
    let mut all: Vec<&Fault> = [processes::FAULTS, groups::FAULTS, network::FAULTS, disks::FAULTS]
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
    use crate::fault::{Act, Ask, Loss, Step};

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
        let mut others = true;
        for step in steps {
            match step {
                Step::Kill | Step::Terminate => {
                    assert!(*running, "{steps:?}");
                    *running = false;
                }
                Step::Start | Step::CatchUp(_) => {
                    assert!(!*running, "{steps:?}");
                    *running = true;
                }
                Step::Harm(_) | Step::LosePower => assert!(!*running, "{steps:?}"),
                Step::Each(inner) => {
                    let mut one = *running;
                    walk(inner, &mut one);
                    assert!(one);
                }
                Step::Others(inner) => walk(inner, &mut others),
                Step::Times(_, inner) => walk(inner, running),
                _ => {}
            }
        }
        assert!(others, "{steps:?} leave others down");
    }

    /// All steps, those inside others too, as often as they stand there.
    fn flat(steps: &[Step]) -> Vec<Step> {
        let inner = |step: &Step| match step {
            Step::Each(inner) | Step::Others(inner) | Step::Times(_, inner) => flat(inner),
            step => vec![*step],
        };
        steps.iter().flat_map(inner).collect()
    }

    #[test]
    fn every_fault_leaves_the_cluster_whole() {
        for fault in faults() {
            let mut running = true;
            walk(fault.steps, &mut running);
            assert!(running, "{} leaves victims down", fault.name);
            let steps = flat(fault.steps);
            let count = |wanted: &dyn Fn(&Step) -> bool| steps.iter().filter(|step| wanted(step)).count();
            let same = |bad: &dyn Fn(&Step) -> bool, good: &dyn Fn(&Step) -> bool| {
                assert_eq!(count(bad), count(good), "{}", fault.name);
            };
            same(&|step| matches!(step, Step::Weather(..) | Step::Trouble(_)), &|step| {
                matches!(step, Step::Clear | Step::Mend)
            });
            same(&|step| *step == Step::Pause, &|step| *step == Step::Resume);
            same(&|step| *step == Step::Fill, &|step| *step == Step::Free);
            same(&|step| *step == Step::PauseClient, &|step| *step == Step::ResumeClient);
            same(&|step| matches!(step, Step::Member(Act::Kill(_))), &|step| {
                matches!(step, Step::Member(Act::Start(_)))
            });
            same(&|step| matches!(step, Step::Member(Act::Pause(_))), &|step| {
                matches!(step, Step::Member(Act::Resume(_)))
            });
            assert_eq!(steps.last(), Some(&Step::InSync), "{}", fault.name);
        }
    }

    #[test]
    fn who_is_hit_beside_the_load_is_there() {
        for fault in faults() {
            let steps = flat(fault.steps);
            let has = |wanted: fn(&Step) -> bool| steps.iter().any(wanted);
            assert_eq!(
                has(|step| *step == Step::PauseClient),
                fault.with_client,
                "{}",
                fault.name
            );
            assert_eq!(
                has(|step| matches!(step, Step::Member(_))),
                fault.members.is_some(),
                "{}",
                fault.name
            );
            let elects = has(|step| *step == Step::Ask(Ask::UncleanElection));
            assert_eq!(elects, fault.loss == Loss::BeyondChosen, "{}", fault.name);
            if matches!(fault.loss, Loss::Newest(_)) {
                assert!(
                    fault.configs.contains(&("klamm.durability", "replicated")),
                    "{}",
                    fault.name
                );
            }
            if has(|step| matches!(step, Step::CatchUp(_))) {
                let place = |wanted: fn(&Step) -> bool| steps.iter().position(wanted);
                let down = place(|step| matches!(step, Step::Kill | Step::Terminate));
                let behind = place(|step| *step == Step::FallBehind);
                let usual = place(|step| matches!(step, Step::Usual(_)));
                assert!(down < behind && behind < usual, "{}", fault.name);
            }
        }
    }
}
