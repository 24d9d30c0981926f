//! `klamm verify` against a cluster of real processes: a good run, one that is stopped, one whose records are taken away.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Dev, Done, program};

/// Few partitions and a slow pace: the machine has other things to do.
const SMALL: &[&str] = &[
    "--partitions",
    "3",
    "--rate",
    "300",
    "--record-bytes",
    "100",
    "--group-members",
    "2",
];

fn verify(dev: &Dev, arguments: &[&str]) -> Done {
    dev.klamm(&[&["--output", "json", "verify"], SMALL, arguments].concat())
}

/// A run of an hour, and what it says of how it goes; it has begun to acknowledge.
fn begun(dev: &Dev, topic: &str) -> Child {
    let mut child = Command::new(program())
        .args([
            "--bootstrap",
            &dev.bootstrap,
            "verify",
            "--duration",
            "1h",
            "--topic",
            topic,
        ])
        .args(SMALL)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("longest gap") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ended before it began");
    }
    assert!(line.contains("good so far"), "{line}");
    // Nobody reads what it says from here on; it must not mind.
    child
}

fn interrupt(child: Child) -> Done {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    child.wait_with_output().unwrap().into()
}

#[test]
fn a_good_run_is_told_in_every_form_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(&folder.path().join("dev"));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let (page, json, marks) = (file("page.html"), file("report.json"), file("marks"));
    // Far in the future: it is shown at the end of the run.
    std::fs::write(&marks, "4102444800000 the end of the century\n").unwrap();
    let files = ["--report", &page, "--json", &json, "--mark-file", &marks];
    let told = verify(
        &dev,
        &[&["--duration", "4s", "--rejoin-seconds", "1"][..], &files].concat(),
    )
    .json();

    assert_eq!(told["verdict"], "good", "{told}");
    let totals = &told["totals"];
    let sent = totals["sent"].as_u64().unwrap();
    assert!(sent > 100, "{totals}");
    for count in ["acknowledged", "read"] {
        assert_eq!(totals[count].as_u64(), Some(sent), "{count}: {totals}");
    }
    // Members came and went: the group may have read some records twice, and none never.
    let again = totals["redelivered"].as_u64().unwrap();
    assert_eq!(totals["read_by_group"].as_u64(), Some(sent + again), "{totals}");
    assert_eq!(totals["unchecked"], 0);
    assert_eq!(told["anomalies"].as_object().unwrap().len(), 8);
    assert_eq!(told["marks"][0]["text"], "the end of the century");
    assert_eq!(
        told["changes"].as_array().unwrap().len(),
        3,
        "each partition's leader is known: {told}"
    );
    let written: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
    assert_eq!(written, told);
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("the end of the century") && page.contains("<svg"));
    assert_eq!(
        dev.klamm(&["--output", "json", "topic", "list"]).json(),
        serde_json::json!([])
    );
    assert_eq!(
        dev.klamm(&["--output", "json", "group", "list"]).json(),
        serde_json::json!([])
    );

    // A topic that is there is somebody's: it is neither used nor removed.
    dev.klamm(&["topic", "create", "orders"]).good();
    let refused = verify(&dev, &["--topic", "orders"]);
    assert_eq!(refused.code, 4, "{refused:?}");
    assert!(refused.stderr.contains("TOPIC_ALREADY_EXISTS"), "{refused:?}");
    dev.klamm(&["topic", "describe", "orders"]).good();
}

#[test]
fn a_run_that_is_stopped_has_a_verdict_and_lost_records_a_bad_one() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let stopped = interrupt(begun(&dev, "stopped")).good();
    assert!(stopped.contains("verdict: nothing acknowledged was lost"), "{stopped}");

    let robbed = begun(&dev, "robbed");
    // What was acknowledged goes with the topic; another of its name takes its place, and the load goes on there.
    dev.klamm(&["topic", "delete", "robbed"]).good();
    dev.klamm(&["topic", "create", "robbed", "--partitions", "3"]).good();
    let told = interrupt(robbed);
    assert_eq!(told.code, 5, "{told:?}");
    assert!(told.stdout.contains("the cluster broke its word"), "{told:?}");
}
