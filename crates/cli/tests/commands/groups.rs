//! The measurements of groups, small: they have to say the right thing, how fast is not judged here.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{klamm, program};

/// `klamm dev`; it is stopped when this is dropped.
struct Dev {
    child: Child,
    bootstrap: String,
}

impl Dev {
    fn start(folder: &Path) -> Dev {
        let folder = folder.to_str().unwrap();
        let mut child = Command::new(program())
            .args(["dev", "--port", "0", "--in", folder, "--set", "log_level=warn"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        let bootstrap = told.split_whitespace().nth(1).unwrap().to_owned();
        Dev { child, bootstrap }
    }

    fn bench(&self, arguments: &[&str]) -> Value {
        let common = [
            "--bootstrap",
            &self.bootstrap,
            "--output",
            "json",
            "--timeout",
            "60",
            "bench",
        ];
        klamm(&[&common[..], arguments].concat()).json()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.child.wait();
    }
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
        let report = dev.bench(&[&["rebalance", "--protocol", protocol], &small[..], &quick[..]].concat());
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
    let report = dev.bench(&["coordinator", "--groups", "30", "--partitions", "5", "--kill", &kill]);
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
