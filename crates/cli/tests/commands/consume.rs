//! Groups at the command line: how `klamm consume --group` ends, and what is left of its group.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::support::{Dev, klamm_with, program};

/// A member of a group that reads `orders` from the beginning, beside the test.
fn consume(dev: &Dev, group: &str, stdout: Stdio) -> Child {
    let arguments = ["consume", "orders", "--group", group, "--from", "beginning"];
    Command::new(program())
        .args(["--bootstrap", &dev.bootstrap])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn produce(dev: &Dev, lines: &str) {
    klamm_with(lines, &["--bootstrap", &dev.bootstrap, "produce", "orders"]).good();
}

/// Nobody is in the group any more: others need not wait for a session to end.
fn has_members(dev: &Dev, group: &str) -> bool {
    let described = dev.klamm(&["--output", "json", "group", "members", group]).json();
    !matches!(&described, Value::Array(members) if members.is_empty())
}

#[test]
fn a_member_that_cannot_print_leaves_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.klamm(&["topic", "create", "orders"]).good();
    produce(&dev, "one\ntwo\n");
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut member = consume(&dev, "full", full.into());
    assert_eq!(member.wait().unwrap().code(), Some(1));
    assert!(!has_members(&dev, "full"));

    let mut member = consume(&dev, "pipe", Stdio::piped());
    let mut line = String::new();
    let mut reader = BufReader::new(member.stdout.take().unwrap());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    assert!(has_members(&dev, "pipe"));
    drop(reader);
    // It notices when it prints.
    produce(&dev, "three\n");
    assert_eq!(member.wait().unwrap().code(), Some(0), "a pipe's reader may go");
    assert!(!has_members(&dev, "pipe"));
}

#[test]
fn all_are_tried_and_each_failure_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    dev.klamm(&["topic", "create", "orders"]).good();
    let reset = ["group", "reset-offsets", "known", "--topic", "orders"];
    dev.klamm(&[&reset[..], &["--to", "beginning", "--execute"]].concat())
        .good();
    let done = dev.klamm(&["group", "delete", "absent", "known", "zero"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("absent") && done.stderr.contains("zero"),
        "{done:?}"
    );
    assert!(!done.stderr.contains("known"), "{done:?}");
    assert!(!dev.klamm(&["group", "list"]).good().contains("known"));

    let done = dev.klamm(&["topic", "delete", "absent", "orders", "zero"]);
    assert_eq!(done.code, 4, "{done:?}");
    assert!(
        done.stderr.contains("absent") && done.stderr.contains("zero"),
        "{done:?}"
    );
    assert!(!dev.klamm(&["topic", "list"]).good().contains("orders"));
}
