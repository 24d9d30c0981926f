//! A server whose data lies on the disk: what it acknowledged is there after losses of power.

use std::path::{Path, PathBuf};
use std::time::Duration;

use klamm_faults::disk::{Disk, NamesLast, Survivors};
use klamm_faults::{Fleet, Member, Program, Roles};
use klamm_verify::{Load, Workload, check};
use tokio::time::timeout;

use crate::is_possible;

/// Acknowledgements of each partition between two losses.
const STEADY: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(30);

/// The program to test: `FAULTS_PROGRAM` (a node would take `KLAMM_…` for a setting), or what cargo built beside this test.
fn program() -> Option<PathBuf> {
    if let Some(program) = std::env::var_os("FAULTS_PROGRAM") {
        return Some(program.into());
    }
    let own = std::env::current_exe().unwrap();
    let beside = own.parent().and_then(Path::parent).unwrap().join("klamm");
    beside.exists().then_some(beside)
}

async fn more(workload: &Workload) {
    let since = workload.progress().counts();
    let more = workload.progress().wait_for_more(&since, STEADY);
    if timeout(PATIENCE, more).await.is_err() {
        let described = workload.client().admin().describe_topic("t").await;
        panic!("writes did not go on: {described:?}");
    }
}

async fn start(fleet: &mut Fleet) {
    if let Err(error) = fleet.start_all().await {
        let log = std::fs::read_to_string(fleet.log(1)).unwrap();
        panic!("{error:#}\n{log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_keeps_what_it_acknowledged_through_losses_of_power() {
    if !is_possible() {
        return;
    }
    let Some(program) = program() else {
        println!("skipped: no klamm; FAULTS_PROGRAM may name one");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::new(
        Program::Klamm(program),
        folder.path(),
        vec![Member::new(1, Roles::Both)],
    )
    .unwrap();
    std::fs::create_dir_all(fleet.data(1)).unwrap();
    let backing = folder.path().join("disk");
    // Sled does not sync the folder that its files are in: their names are there once a file system with one journal
    // has synced any of them.
    let mut disk = Disk::mount_with(&backing, &fleet.data(1), NamesLast::WithAnySync).unwrap();
    start(&mut fleet).await;

    let mut load = Load::new(fleet.bootstrap(), "t");
    load.partitions = 3;
    load.replication_factor = 1;
    load.configs = vec![("klamm.durability".to_owned(), "fsync".to_owned())];
    let workload = Workload::start(load).await.unwrap();
    more(&workload).await;
    let seed = rand::random();
    for survivors in [Survivors::None, Survivors::SomePages { seed }] {
        fleet.kill(&[1]).await.unwrap();
        let released = async {
            while disk.is_in_use() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, released).await.expect("a dead process has no files");
        let lost = disk.power_loss(survivors).unwrap();
        println!("{survivors:?}: {lost:?}");
        assert!(!lost.were_open);
        start(&mut fleet).await;
        more(&workload).await;
    }
    let verdict = check(&workload.finish().await.unwrap());
    assert!(verdict.is_good(), "seed {seed}: {verdict:?}");
    println!("{} records, {:?}", verdict.acknowledged, disk.counters());
    fleet.kill(&[1]).await.unwrap();
}
