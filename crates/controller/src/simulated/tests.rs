//! Seeds, and the bugs that they must catch.

use std::time::Instant;

use super::Planted;
use super::report::Report;
use super::world::run;

/// Seeds from `KLAMM_SEEDS` (`0..1000`), or a few.
fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("KLAMM_SEEDS") else {
        return 0..2;
    };
    let (from, to) = text.split_once("..").expect("KLAMM_SEEDS is from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

#[test]
fn seeds_keep_the_promises() {
    let begin = Instant::now();
    let mut reports = Vec::new();
    let mut failed = Vec::new();
    for seed in seeds() {
        match run(seed, None) {
            Ok(report) => {
                println!("seed {seed}: {report:?}");
                reports.push(report);
            }
            Err(failure) => {
                println!("{failure}\n");
                failed.push(seed);
            }
        }
    }
    summarize(&reports, begin.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "broken promises in the seeds {failed:?}");
}

fn summarize(reports: &[Report], seconds: f64) {
    let of = reports.len().max(1);
    let share = |what: &str, had: fn(&Report) -> bool| {
        let seeds = reports.iter().filter(|report| had(report)).count();
        println!("  {what}: {} %", seeds * 100 / of);
    };
    println!(
        "{} seeds in {seconds:.1} s: {:.0} a minute; of them with",
        reports.len(),
        reports.len() as f64 * 60.0 / seconds
    );
    share("changes of leader", |report| report.leaderships > 1);
    share("snapshots installed", |report| report.snapshots_installed > 0);
    share("changes of voters", |report| report.voter_changes > 0);
    share("crashes", |report| report.crashes > 0);
    share("crashes with loss", |report| report.crashes_with_loss > 0);
    share("truncations", |report| report.truncations > 0);
    share("truncations of several entries", |report| report.truncated_max > 1);
    share("a lost store", |report| report.stores_lost > 0);
    share("a store that became an old copy", |report| report.copies_restored > 0);
    share("writes of unknown outcome", |report| report.unknown > 0);
    let writes: u64 = reports.iter().map(|report| report.writes).sum();
    let slowest = reports.iter().map(|report| report.healed_in_ms).max().unwrap_or(0);
    println!(
        "  {} acknowledged writes a seed; whole again within {slowest} ms",
        writes / of as u64
    );
}

/// The seeds that may go by before a planted bug is caught.
const PATIENCE: u64 = 60;

fn caught(bug: Planted) -> Option<u64> {
    (0..PATIENCE).find(|seed| match run(*seed, Some(bug)) {
        Ok(_) => false,
        Err(failure) => {
            println!("{bug:?} in seed {seed}: {}", failure.broken);
            true
        }
    })
}

#[test]
fn planted_bugs_are_caught() {
    // Too long for every change: `scripts/prove quorum` asks for all, or for one by its name.
    let Ok(asked) = std::env::var("KLAMM_PLANTED") else {
        return;
    };
    let bugs = [
        Planted::VoteBeforeFlush,
        Planted::AppendBeforeFlush,
        Planted::SnapshotWithoutMembers,
        Planted::ReadWithoutQuorum,
        Planted::PurgeBeforeSnapshot,
        Planted::TruncateFromStart,
    ];
    let asked = bugs
        .into_iter()
        .filter(|bug| asked == "all" || asked == format!("{bug:?}"));
    let missed: Vec<Planted> = asked.filter(|bug| caught(*bug).is_none()).collect();
    assert!(missed.is_empty(), "nothing caught {missed:?} in {PATIENCE} seeds");
}
