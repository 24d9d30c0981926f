//! What three nodes tell at `/metrics` of a topic that was written and read, and of what was refused.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::support::{Dev, klamm_with};

/// The samples of all nodes, added up; by name and labels as they are written.
fn scrape(folder: &Path) -> BTreeMap<String, f64> {
    let cluster = std::fs::read(folder.join("cluster.json")).unwrap();
    let cluster: Value = serde_json::from_slice(&cluster).unwrap();
    let mut samples = BTreeMap::new();
    for node in cluster["nodes"].as_array().unwrap() {
        let mut stream = TcpStream::connect(node["http"].as_str().unwrap()).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, text) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.contains("200") && head.contains("text/plain; version=0.0.4"),
            "{head}"
        );
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap();
            *samples.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    samples
}

fn sum(samples: &BTreeMap<String, f64>, begins: &str) -> f64 {
    let found = samples.iter().filter(|(name, _)| name.starts_with(begins));
    found.map(|(_, value)| value).sum()
}

#[test]
fn records_groups_and_errors_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.klamm(&["topic", "create", "orders", "--partitions", "3"]).good();
    let lines: String = (0..30).map(|number| format!("{number}\n")).collect();
    klamm_with(&lines, &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();
    let read = [
        "consume",
        "orders",
        "--group",
        "a \"b\"",
        "--from",
        "beginning",
        "--stop-at-end",
    ];
    assert_eq!(dev.klamm(&read).good().lines().count(), 30);
    assert_eq!(dev.klamm(&["group", "delete", "absent"]).code, 4);

    let samples = scrape(folder.path());
    assert_eq!(sum(&samples, r#"klamm_partition_high_watermark{topic="orders""#), 30.0);
    assert_eq!(
        sum(
            &samples,
            r#"klamm_group_committed_offset{group="a \"b\"",topic="orders""#
        ),
        30.0
    );
    assert_eq!(sum(&samples, "klamm_groups_left_out"), 0.0);
    assert_eq!(sum(&samples, "klamm_quorum_active_controller"), 1.0);
    assert_eq!(sum(&samples, r#"klamm_replica_lag{topic="orders""#), 0.0);
    let produces = sum(&samples, r#"klamm_kafka_request_seconds_count{api="Produce"}"#);
    assert!(produces >= 1.0, "{produces}");
    let buckets = sum(
        &samples,
        r#"klamm_kafka_request_seconds_bucket{api="Produce",le="+Inf"}"#,
    );
    assert_eq!(buckets, produces);
    let refused = r#"klamm_kafka_errors_total{api="DeleteGroups",error="GROUP_ID_NOT_FOUND"}"#;
    assert_eq!(sum(&samples, refused), 1.0);
}
