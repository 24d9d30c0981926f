//! Sled in a process of its own, which is killed; on a disk that then forgets what was not synced, where it can be had.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use klamm_faults::disk::{Disk, NamesLast, Survivors};
use rand::RngExt;

use super::{Said, Twin, open, owner, reopened, work};

const FOLDER: &str = "KLAMM_CONTRACT_FOLDER";
const SEED: &str = "KLAMM_CONTRACT_SEED";
/// More than any child gets done.
const OPERATIONS: usize = 100_000;

/// No test of its own: what the killed process does. It says on its standard output what it has begun and what was
/// acknowledged to it.
#[test]
fn the_process_that_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else {
        return;
    };
    let seed = std::env::var(SEED).unwrap().parse().unwrap();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap()
        .block_on(async {
            let mut log = open(&folder, &owner(5)).unwrap().log;
            // One system call for each line, because a killed process flushes nothing.
            let say = |said| eprintln!("{said:?}");
            work(&folder, &mut log, seed, OPERATIONS, say).await;
        });
}

/// Runs the process on `folder` until it has acknowledged `enough`, and kills it then, in the middle of something else.
/// Says what it had acknowledged, and what it had begun.
fn kill_after(enough: usize, folder: &Path, seed: u64) -> (usize, usize) {
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "store::contract::processes::the_process_that_is_killed",
            "--nocapture",
        ])
        .env(FOLDER, folder)
        .env(SEED, seed.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut acknowledged, mut begun) = (0, 0);
    let mut killed = false;
    // What it said before it died is still in the pipe afterwards.
    while let Some(Ok(line)) = lines.next() {
        match parse(&line) {
            Some(Said::Begun(number)) => begun = number,
            Some(Said::Acknowledged(number)) => acknowledged = number,
            // The last line may be cut.
            None => continue,
        }
        if acknowledged >= enough && !killed {
            child.kill().unwrap();
            killed = true;
        }
    }
    child.wait().unwrap();
    assert!(
        killed,
        "the process ended by itself after {acknowledged} acknowledgements"
    );
    // One more may have been begun, and its line lost.
    (acknowledged, begun + 1)
}

fn parse(line: &str) -> Option<Said> {
    let (what, number) = line.strip_suffix(')')?.split_once('(')?;
    let number = number.parse().ok()?;
    match what {
        "Begun" => Some(Said::Begun(number)),
        "Acknowledged" => Some(Said::Acknowledged(number)),
        _ => None,
    }
}

async fn check(folder: &Path, seed: u64, (acknowledged, begun): (usize, usize)) {
    let found = reopened(folder)
        .await
        .unwrap_or_else(|refused| panic!("seed {seed}: after {acknowledged} acknowledged operations: {refused}"));
    let allowed = Twin::new(seed).allows(&found, acknowledged, begun);
    assert!(
        allowed,
        "seed {seed}: acknowledged {acknowledged} of {begun}; found vote {:?}, purged {:?}, {} entries",
        found.vote,
        found.purged,
        found.entries.len()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_killed_process_loses_nothing_that_was_acknowledged() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let seed = rand::random();
        let said = kill_after(rand::rng().random_range(1..150), folder.path(), seed);
        check(folder.path(), seed, said).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_loss_of_power_takes_nothing_that_was_acknowledged() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        assert!(std::env::var_os("CI").is_none(), "a disk needs root and /dev/fuse");
        println!("skipped: a disk that forgets needs root and /dev/fuse");
        return;
    }
    for round in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let (backing, at) = (folder.path().join("backing"), folder.path().join("at"));
        std::fs::create_dir(&at).unwrap();
        let mut disk = Disk::mount_with(&backing, &at, NamesLast::WithTheirFolder).unwrap();
        let seed = rand::random();
        let said = kill_after(rand::rng().random_range(1..60), &at, seed);
        let survivors = match round % 2 {
            0 => Survivors::None,
            _ => Survivors::SomePages { seed },
        };
        let lost = disk.power_loss(survivors).unwrap();
        println!("seed {seed}: {said:?}, {survivors:?}: {lost:?}");
        check(&at, seed, said).await;
    }
}
