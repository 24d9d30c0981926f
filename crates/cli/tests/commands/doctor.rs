//! `klamm doctor` against a cluster that is well, and against one whose advertised address leads nowhere.

use klamm_faults::{Member, Roles};
use serde_json::Value;

use crate::support::{Done, fleet, klamm};

fn doctor(bootstrap: &str, format: &str) -> Done {
    klamm(&["--bootstrap", bootstrap, "--output", format, "doctor"])
}

#[tokio::test]
async fn a_cluster_that_is_well_gets_no_complaint() {
    let members = (1..=2).map(|id| Member::new(id, Roles::Both)).collect();
    let (mut nodes, _folder) = fleet(members);
    nodes.start_all().await.unwrap();
    let bootstrap = nodes.bootstrap();
    let create = [
        "topic",
        "create",
        "orders",
        "--partitions",
        "2",
        "--replication-factor",
        "2",
    ];
    klamm(&[&["--bootstrap", &bootstrap], &create[..]].concat()).good();
    let findings = doctor(&bootstrap, "json").json();
    let findings = findings.as_array().unwrap();
    // How full this machine's disk is, is not the cluster's doing.
    let is_disk = |finding: &&Value| {
        finding["subject"]
            .as_str()
            .is_some_and(|subject| subject.starts_with("disk"))
    };
    let (disks, others): (Vec<_>, Vec<_>) = findings.iter().partition(is_disk);
    let bad: Vec<_> = others.iter().filter(|finding| finding["level"] != "good").collect();
    assert!(bad.is_empty(), "{bad:?}");
    let subjects: Vec<_> = others.iter().map(|finding| &finding["subject"]).collect();
    assert_eq!(subjects, ["bootstrap", "broker 1", "broker 2", "quorum", "partitions"]);
    assert_eq!(disks.len(), 2, "{disks:?}");
    assert!(disks[0]["text"].as_str().unwrap().contains(" free of "), "{disks:?}");
}

#[tokio::test]
async fn a_wrong_advertised_address_is_named_with_what_to_set() {
    // Nobody listens on port 1.
    let wrong = "127.0.0.1:1";
    let member = Member::new(1, Roles::Both).set("advertised_listeners", format!("HOST://{wrong}"));
    let (mut nodes, _folder) = fleet(vec![member]);
    nodes.start_all().await.unwrap();
    let bootstrap = nodes.bootstrap();
    let told = doctor(&bootstrap, "json");
    assert_eq!(told.code, 5, "{told:?}");
    let findings: Vec<Value> = serde_json::from_str(&told.stdout).unwrap();
    let broker = findings
        .iter()
        .find(|finding| finding["subject"] == "broker 1")
        .unwrap();
    assert_eq!(broker["level"], "bad");
    let advice = broker["advice"].as_str().unwrap();
    assert!(
        advice.contains("set advertised_listeners of node 1") && advice.contains(wrong),
        "{advice}"
    );
    let text = doctor(&bootstrap, "table");
    assert_eq!(text.code, 5, "{text:?}");
    assert!(text.stdout.contains("set advertised_listeners of node 1"), "{text:?}");
}
