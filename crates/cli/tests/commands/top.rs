//! `klamm top` once: what three nodes tell of a topic, of a group, and of one of them that is down.

use serde_json::Value;

use crate::support::{Dev, klamm, klamm_with};

const ONCE: &[&str] = &["--output", "json", "top", "--once", "--interval", "0.2"];

/// The row about this.
fn row<'v>(model: &'v Value, table: &str, key: &str, value: &str) -> &'v Value {
    let rows = model[table].as_array().unwrap();
    let named = |row: &&Value| {
        row[key] == value || row[key].as_i64().map(|number| number.to_string()).as_deref() == Some(value)
    };
    rows.iter().find(named).unwrap_or_else(|| panic!("{table}: {model}"))
}

#[test]
fn brokers_topics_and_groups_are_told_and_a_broker_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let folder = folder.path().to_str().unwrap();
    dev.klamm(&["topic", "create", "orders", "--partitions", "3"]).good();
    let lines: String = (0..30).map(|number| format!("{number}\n")).collect();
    klamm_with(&lines, &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();
    let read = [
        "consume",
        "orders",
        "--group",
        "billing",
        "--from",
        "beginning",
        "--max",
        "10",
    ];
    dev.klamm(&read).good();

    let once = [ONCE, &["--in", folder]].concat();
    let model = dev.klamm(&once).json();
    assert_eq!(model["cluster"]["brokers_up"], 3, "{model}");
    assert_eq!(model["cluster"]["under_replicated"], 0, "{model}");
    assert_eq!(model["troubles"], serde_json::json!([]));
    let topic = row(&model, "topics", "topic", "orders");
    assert_eq!((&topic["partitions"], &topic["records_in"]), (&3.into(), &0.0.into()));
    assert!(topic["size_bytes"].as_u64().unwrap() > 0, "{topic}");
    let group = row(&model, "groups", "group", "billing");
    let lag = group["lag"].as_i64().unwrap();
    assert!((0..=20).contains(&lag), "{group}");
    for broker in model["brokers"].as_array().unwrap() {
        assert!(
            broker["bytes_in"].is_number() && broker["disk_bytes"].is_number(),
            "{broker}"
        );
    }
    // Without their HTTP ports, as Apache Kafka is seen.
    let blind = dev.klamm(&[ONCE, &["--http", "127.0.0.1:1"]].concat()).json();
    let broker = &blind["brokers"][0];
    assert!(
        broker["records_in"].is_number() && broker["bytes_in"].is_number(),
        "{broker}"
    );
    assert_eq!(broker["errors"], Value::Null);

    klamm(&["dev", "kill", "2", "--in", folder]).good();
    let model = dev.klamm(&once).json();
    assert_eq!(row(&model, "brokers", "id", "2")["state"], "down", "{model}");
    assert_eq!(model["cluster"]["brokers_up"], 2);
    assert_eq!(row(&model, "topics", "topic", "orders")["under_replicated"], 3);
    assert_eq!(row(&model, "topics", "topic", "orders")["offline"], 0);

    // Not a terminal: the same as text.
    let text = dev.klamm(&["top", "--interval", "0.2", "--in", folder]).good();
    assert!(
        text.contains("brokers 2 of 3 up") && text.contains("\nbilling "),
        "{text}"
    );
    assert!(!text.contains('\u{1b}'), "{text}");
}

#[test]
fn nobody_there_is_told_as_such() {
    let nobody = klamm(&["--bootstrap", "127.0.0.1:1", "--timeout", "1", "top", "--once"]);
    assert!(nobody.code == 3 && nobody.stderr.contains("127.0.0.1:1"), "{nobody:?}");
    assert_eq!(klamm(&["top", "--interval", "0"]).code, 2);
}
