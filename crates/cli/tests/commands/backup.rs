//! `klamm quorum backup` and `recover --from`: what is written is whole, what is not whole is refused, and so is another
//! cluster's. That a quorum built from one works is the runbook's test.

use klamm_faults::{Member, Roles};

use crate::support::{fleet, klamm};

#[tokio::test]
async fn a_backup_is_whole_or_refused() {
    let (mut nodes, folder) = fleet(vec![Member::new(1, Roles::Both)]);
    nodes.start_all().await.unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let http = nodes.http(1).unwrap();
    klamm(&["--bootstrap", &nodes.bootstrap(), "topic", "create", "orders"]).good();

    let live = path("live");
    let take = ["--output", "json", "quorum", "backup", "--http", &http, "--to", &live];
    let told = klamm(&take).json();
    assert_eq!((&told["brokers"], &told["topics"]), (&1.into(), &1.into()), "{told}");
    let again = klamm(&take);
    assert_eq!(again.code, 2, "{again:?}");
    assert!(again.stderr.contains("exists already"), "{again:?}");
    let checked = klamm(&["--output", "json", "quorum", "backup", "--check", &live]);
    assert_eq!(checked.json(), told);

    let torn = path("torn");
    let whole = std::fs::read(&live).unwrap();
    std::fs::write(&torn, &whole[..whole.len() - 1]).unwrap();
    let refused = klamm(&["quorum", "backup", "--check", &torn]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("is no backup"), "{refused:?}");

    let data = nodes.data(1).display().to_string();
    let stopped = path("stopped");
    let offline = [
        "--output",
        "json",
        "quorum",
        "backup",
        "--data-dir",
        &data,
        "--to",
        &stopped,
    ];
    assert!(klamm(&offline).stderr.contains("in use"), "the node runs");
    nodes.kill(&[1]).await.unwrap();
    let offline = klamm(&offline).json();
    assert_eq!(offline["cluster_id"], told["cluster_id"]);
    assert!(
        offline["last_entry"].as_u64() >= told["last_entry"].as_u64(),
        "{offline} {told}"
    );

    let unreachable = klamm(&["quorum", "backup", "--http", &http, "--to", &path("none")]);
    assert_eq!(unreachable.code, 3, "{unreachable:?}");
}

#[tokio::test]
async fn a_backup_of_another_cluster_is_refused() {
    let (mut nodes, folder) = fleet(vec![Member::new(1, Roles::Both)]);
    nodes.start_all().await.unwrap();
    let backup = folder.path().join("backup").display().to_string();
    klamm(&["quorum", "backup", "--http", &nodes.http(1).unwrap(), "--to", &backup]).good();

    let other = folder.path().join("other").display().to_string();
    klamm(&["format", "--data-dir", &other, "--node", "1"]).good();
    let recover = [
        "quorum",
        "recover",
        "--from",
        &backup,
        "--node",
        "1",
        "--address",
        "127.0.0.1:1",
    ];
    let refused = klamm(&[&recover[..], &["--data-dir", &other]].concat());
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("belongs to cluster"), "{refused:?}");

    // Nobody takes the store away from under a node that runs.
    let data = nodes.data(1).display().to_string();
    let held = klamm(&[&recover[..], &["--data-dir", &data]].concat());
    assert_eq!(held.code, 1, "{held:?}");
    assert!(held.stderr.contains("in use by another process"), "{held:?}");
}
