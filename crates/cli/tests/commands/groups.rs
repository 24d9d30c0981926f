//! The measurements of groups, small: they have to say the right thing, how fast is not judged here.

use serde_json::{Value, json};

use crate::support::{Dev, program};

/// A measurement's report.
fn bench(dev: &Dev, arguments: &[&str]) -> Value {
    let common = ["--output", "json", "--timeout", "60", "bench"];
    dev.klamm(&[&common[..], arguments].concat()).json()
}

#[test]
fn every_protocol_gets_to_a_stable_assignment_before_and_after_one_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    for protocol in ["range", "cooperative-sticky", "consumer"] {
        let small = [
            "--members",
            "4",
            "--partitions",
            "6",
            "--runs",
            "1",
            "--settle-seconds",
            "1",
        ];
        let quick = ["--heartbeat-interval-ms", "100"];
        let report = bench(
            &dev,
            &[&["rebalance", "--protocol", protocol], &small[..], &quick[..]].concat(),
        );
        // Four members share six partitions by one or two, three have two each.
        assert_eq!(report["runs"][0]["spread"], json!([2, 2]), "{report}");
        assert_eq!(report["doubled"], 0, "{report}");
        assert!(report["start_seconds"]["median"].as_f64().unwrap() > 0.0, "{report}");
        assert!(report["leave_seconds"]["median"].as_f64().unwrap() > 0.0, "{report}");
    }
}

#[test]
fn offsets_outlive_the_coordinator_that_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let kill = format!(
        "'{}' dev --in '{}' kill $NODE",
        program().display(),
        folder.path().display()
    );
    let report = bench(
        &dev,
        &["coordinator", "--groups", "30", "--partitions", "5", "--kill", &kill],
    );
    assert_eq!(
        report["wrong"],
        json!({"lost": 0, "older": 0, "foreign": 0}),
        "{report}"
    );
    assert_eq!(report["offsets"], 150, "{report}");
    assert!(report["concerned"].as_u64().unwrap() >= 10, "{report}");
    let (fetched, committed) = (&report["fetched_ms"]["max"], &report["committed_ms"]["max"]);
    assert!(fetched.as_f64().unwrap() < committed.as_f64().unwrap(), "{report}");
}
