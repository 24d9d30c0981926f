//! What may be lost, held against what is lost: exactly that, and whoever should know is told. Values in, a sentence out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::fault::Loss;

/// An acknowledged record of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub at: Duration,
    pub offset: i64,
    /// What its offset holds at the end is another record, or none.
    pub is_lost: bool,
}

/// One partition as its producers and its reader saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partition {
    pub acknowledged: Vec<Acknowledged>,
    /// When each offset was read.
    pub reads: Vec<(Duration, i64)>,
    /// Where the log was cut, as the reader was told.
    pub cuts: Vec<i64>,
}

impl Partition {
    fn lost(&self) -> impl Iterator<Item = &Acknowledged> {
        self.acknowledged.iter().filter(|one| one.is_lost)
    }
}

/// What is known of how it came to the loss.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When an operator chose a leader, and where its logs ended then.
    pub chosen: Option<(Duration, BTreeMap<i32, i64>)>,
    /// When the machines had lost their power.
    pub power_lost: Option<Duration>,
    /// Partitions of which the metadata say that records may be lost.
    pub told: BTreeSet<i32>,
}

impl Facts {
    /// How long before the power failed the oldest record that is missing was acknowledged.
    pub fn oldest(&self, partitions: &BTreeMap<i32, Partition>) -> Option<Duration> {
        let at = self.power_lost?;
        let lost = partitions.values().flat_map(Partition::lost);
        lost.map(|one| at.saturating_sub(one.at)).max()
    }
}

/// How many acknowledged records are lost, all of which may be.
///
/// # Errors
/// A record is lost that may not be, one is there that cannot be, or somebody was not told.
pub fn allowed(loss: Loss, partitions: &BTreeMap<i32, Partition>, facts: &Facts) -> anyhow::Result<u64> {
    match loss {
        Loss::Nothing => {
            let cut = partitions.iter().find(|(_, partition)| !partition.cuts.is_empty());
            ensure!(
                cut.is_none(),
                "a reader was told that its log was cut: {:?}",
                cut.map(|(number, _)| number)
            );
            return Ok(0);
        }
        Loss::BeyondChosen => {
            let (at, ends) = facts.chosen.as_ref().context("nobody was chosen")?;
            for (number, partition) in partitions {
                let end = *ends
                    .get(number)
                    .with_context(|| format!("partition {number} has no log"))?;
                beyond(partition, *at, end).with_context(|| format!("partition {number}"))?;
            }
        }
        Loss::Newest(age_max) => {
            let at = facts.power_lost.context("no power was lost")?;
            for (number, partition) in partitions {
                newest(partition, at, age_max).with_context(|| format!("partition {number}"))?;
            }
        }
    }
    let losing = partitions
        .iter()
        .filter(|(_, partition)| partition.lost().next().is_some());
    let untold: Vec<i32> = losing
        .map(|(number, _)| *number)
        .filter(|number| !facts.told.contains(number))
        .collect();
    ensure!(
        untold.is_empty(),
        "partitions {untold:?} lost records, and the metadata do not tell"
    );
    let lost = partitions
        .values()
        .map(|partition| partition.lost().count() as u64)
        .sum();
    // A flush may have come just before the power went; nothing comes before an operator's choice.
    let must_lose = loss == Loss::BeyondChosen;
    ensure!(lost > 0 || !must_lose, "nothing was lost: the fault has proved nothing");
    Ok(lost)
}

/// Lost is what was acknowledged before `at` and stood at `end` or later; and who had read that far was told, once.
fn beyond(partition: &Partition, at: Duration, end: i64) -> anyhow::Result<()> {
    for one in &partition.acknowledged {
        let must_be_lost = one.at <= at && one.offset >= end;
        match (must_be_lost, one.is_lost) {
            (true, false) => bail!("offset {} is there, and the chosen log ended at {end}", one.offset),
            (false, true) => bail!("offset {} is lost, and the chosen log ended at {end}", one.offset),
            _ => {}
        }
    }
    let read = partition.reads.iter().filter(|(when, _)| *when <= at);
    let position = read.map(|(_, offset)| offset + 1).max().unwrap_or(0);
    let expected: &[i64] = if position > end { &[end] } else { &[] };
    ensure!(
        partition.cuts == expected,
        "a reader at {position} should have been told of cuts at {expected:?}, and was told of {:?}",
        partition.cuts
    );
    Ok(())
}

/// Lost is the end of what was acknowledged before `at`, and nothing of it is older than `age_max`.
fn newest(partition: &Partition, at: Duration, age_max: Duration) -> anyhow::Result<()> {
    let mut before: Vec<_> = partition.acknowledged.iter().filter(|one| one.at <= at).collect();
    before.sort_unstable_by_key(|one| one.offset);
    let first = before.iter().position(|one| one.is_lost).unwrap_or(before.len());
    if let Some(there) = before[first..].iter().find(|one| !one.is_lost) {
        let lost = before[first].offset;
        bail!("offset {lost} is lost, and offset {} after it is there", there.offset);
    }
    let old = before[first..].iter().find(|one| at - one.at > age_max);
    ensure!(
        old.is_none(),
        "a record is lost that was acknowledged {:?} before the power: {old:?}",
        old.map(|one| at - one.at).unwrap_or_default()
    );
    let later = partition.lost().find(|one| one.at > at);
    ensure!(
        later.is_none(),
        "a record is lost that was acknowledged afterwards: {later:?}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST_AT: Duration = Duration::from_millis(1000);

    /// Ten records, one every 100 ms, all read at once; those from `lost` on are lost before 1 s, and a reader is told.
    fn partition(lost: i64) -> Partition {
        let at = |offset: i64| Duration::from_millis(offset as u64 * 100);
        let acknowledged = |offset| Acknowledged {
            at: at(offset),
            offset,
            is_lost: offset >= lost,
        };
        // Afterwards others come to stand there.
        let later = |offset| Acknowledged {
            at: LOST_AT * 3,
            offset,
            is_lost: false,
        };
        Partition {
            acknowledged: (0..10).map(acknowledged).chain((lost..lost + 5).map(later)).collect(),
            reads: (0..10).map(|offset| (at(offset), offset)).collect(),
            cuts: vec![lost],
        }
    }

    fn chosen(end: i64) -> Facts {
        Facts {
            chosen: Some((LOST_AT, [(0, end)].into())),
            power_lost: Some(LOST_AT),
            told: [0].into(),
        }
    }

    fn judged(loss: Loss, partition: Partition, facts: &Facts) -> Result<u64, String> {
        allowed(loss, &[(0, partition)].into(), facts).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn exactly_what_lies_beyond_the_chosen_log_may_be_lost() {
        assert_eq!(judged(Loss::BeyondChosen, partition(6), &chosen(6)), Ok(4));
        let more = judged(Loss::BeyondChosen, partition(6), &chosen(7)).unwrap_err();
        assert!(more.contains("offset 6 is lost"), "{more}");
        let less = judged(Loss::BeyondChosen, partition(6), &chosen(5)).unwrap_err();
        assert!(less.contains("offset 5 is there"), "{less}");
        let mut later = partition(6);
        later.acknowledged.last_mut().unwrap().is_lost = true;
        assert!(judged(Loss::BeyondChosen, later, &chosen(6)).is_err());
    }

    #[test]
    fn who_has_read_what_is_lost_is_told_once() {
        for cuts in [vec![], vec![5], vec![6, 6]] {
            let silent = Partition { cuts, ..partition(6) };
            let said = judged(Loss::BeyondChosen, silent, &chosen(6)).unwrap_err();
            assert!(said.contains("should have been told of cuts at [6]"), "{said}");
        }
        let mut behind = Partition {
            cuts: vec![],
            ..partition(6)
        };
        behind.reads.truncate(6);
        assert_eq!(judged(Loss::BeyondChosen, behind, &chosen(6)), Ok(4));
    }

    #[test]
    fn only_the_newest_may_go_with_the_power() {
        let loss = |ms| Loss::Newest(Duration::from_millis(ms));
        assert_eq!(judged(loss(400), partition(6), &chosen(0)), Ok(4));
        assert_eq!(
            chosen(0).oldest(&[(0, partition(6))].into()),
            Some(Duration::from_millis(400))
        );
        let old = judged(loss(399), partition(6), &chosen(0)).unwrap_err();
        assert!(old.contains("400ms before the power"), "{old}");
        let mut gap = partition(6);
        gap.acknowledged[8].is_lost = false;
        let gap = judged(loss(400), gap, &chosen(0)).unwrap_err();
        assert!(
            gap.contains("offset 6 is lost, and offset 8 after it is there"),
            "{gap}"
        );
        let mut later = partition(6);
        later.acknowledged.last_mut().unwrap().is_lost = true;
        assert!(judged(loss(400), later, &chosen(0)).unwrap_err().contains("afterwards"));
    }

    #[test]
    fn the_metadata_must_tell_and_something_must_happen() {
        let silent = Facts {
            told: BTreeSet::new(),
            ..chosen(6)
        };
        let said = judged(Loss::BeyondChosen, partition(6), &silent).unwrap_err();
        assert!(said.contains("the metadata do not tell"), "{said}");
        let whole = Partition {
            cuts: vec![],
            ..partition(10)
        };
        assert!(
            judged(Loss::BeyondChosen, whole.clone(), &chosen(10))
                .unwrap_err()
                .contains("proved nothing")
        );
        assert_eq!(judged(Loss::Newest(LOST_AT), whole.clone(), &chosen(10)), Ok(0));
        assert_eq!(judged(Loss::Nothing, whole, &Facts::default()), Ok(0));
        assert!(judged(Loss::Nothing, partition(6), &Facts::default()).is_err());
    }
}
