//! Three nodes, of which one is killed: the others say who, when and why, also after all of them were started anew.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Dev, Done, klamm, klamm_with};

/// `klamm dev ACTION NODE` for the cluster in the folder.
fn dev(folder: &Path, action: &str, node: i64) -> Done {
    let node = node.to_string();
    klamm(&["dev", "--in", folder.to_str().unwrap(), action, &node])
}

/// Starts a node that was killed. `klamm dev` has to notice that first.
fn start(folder: &Path, node: i64) {
    for _ in 0..1000 {
        let started = dev(folder, "start", node);
        if !started.stderr.contains("it runs") {
            started.good();
            return;
        }
    }
    panic!("node {node} would not die");
}

fn leader(dev: &Dev, topic: &str) -> i64 {
    let described = dev.klamm(&["--output", "json", "topic", "describe", topic]).json();
    described[0]["partitions"][0]["leader"].as_i64().unwrap()
}

/// Once this is acknowledged, somebody leads.
fn produce(dev: &Dev, line: &str) {
    let arguments = ["--bootstrap", &dev.bootstrap, "--timeout", "60", "produce", "orders"];
    klamm_with(line, &arguments).good();
}

fn why(folder: &Path, arguments: &[&str]) -> Done {
    let place = ["--in", folder.to_str().unwrap()];
    klamm(&[arguments, &place].concat())
}

fn entries(folder: &Path, arguments: &[&str]) -> Vec<Value> {
    let answer = why(folder, &[&["--output", "json"], arguments].concat()).json();
    answer.as_array().unwrap().clone()
}

#[test]
fn a_killed_leader_is_named_with_the_cause_whoever_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cluster = Dev::start(folder);
    cluster.klamm(&["topic", "create", "orders"]).good();
    produce(&cluster, "before\n");
    let nothing = why(folder, &["topic", "why", "orders/0"]).good();
    assert_eq!(nothing, "nothing has changed since it was created\n");

    let victim = leader(&cluster, "orders");
    dev(folder, "kill", victim).good();
    produce(&cluster, "after\n");
    let next = leader(&cluster, "orders");
    let told = why(folder, &["topic", "why", "orders"]).good();
    let line = told.lines().find(|line| line.contains(" leader ")).unwrap();
    let change = format!("Z  orders/0  leader {victim} → {next}, epoch 1, ISR 1,2,3 → ");
    assert!(line.contains(&change), "{told}");
    assert!(
        line.contains(&format!(": broker {victim}'s process ended (127.0.0.1:")),
        "{told}"
    );
    assert!(line.contains(" refuses connections)"), "{told}");

    let of_partition = entries(folder, &["topic", "why", "orders/0"]);
    let happened = &of_partition[0]["happened"];
    assert_eq!(happened["cause"], "process_ended", "{happened}");
    assert_eq!(happened["broker"], json!(victim), "{happened}");
    assert_eq!(happened["before"]["leader"], json!(victim), "{happened}");
    assert_eq!(happened["after"]["leader"], json!(next), "{happened}");
    let fences = |entries: &[Value]| {
        let fence = |entry: &&Value| entry["happened"]["step"] == "fenced";
        entries.iter().filter(fence).cloned().collect::<Vec<_>>()
    };
    let of_cluster = fences(&entries(folder, &["cluster", "why"]));
    assert!(
        of_cluster
            .iter()
            .any(|entry| entry["happened"]["broker"] == json!(victim)),
        "{of_cluster:?}"
    );

    // It is no memory of those who saw it.
    for node in (1..=3).filter(|node| *node != victim) {
        dev(folder, "kill", node).good();
    }
    for node in 1..=3 {
        start(folder, node);
    }
    produce(&cluster, "later\n");
    let later = entries(folder, &["topic", "why", "orders/0"]);
    assert_eq!(later[0], of_partition[0]);
    assert!(fences(&entries(folder, &["cluster", "why"])).starts_with(&of_cluster));
    assert_eq!(entries(folder, &["topic", "why", "orders", "--max", "1"]).len(), 1);
}

/// What the cluster's first node answers to a GET.
fn get(folder: &Path, path: &str) -> String {
    let cluster = std::fs::read(folder.join("cluster.json")).unwrap();
    let cluster: Value = serde_json::from_slice(&cluster).unwrap();
    let mut stream = TcpStream::connect(cluster["nodes"][0]["http"].as_str().unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn questions_without_an_answer_have_their_exit_codes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let cluster = Dev::start(folder);
    cluster.klamm(&["topic", "create", "orders"]).good();
    let absent = why(folder, &["topic", "why", "absent"]);
    assert_eq!(absent.code, 4, "{absent:?}");
    assert!(
        absent
            .stderr
            .contains("there is no topic absent (UNKNOWN_TOPIC_OR_PARTITION)"),
        "{absent:?}"
    );
    let absent = why(folder, &["topic", "why", "orders/7"]);
    assert!(
        absent.code == 4 && absent.stderr.contains("topic orders has no partition 7"),
        "{absent:?}"
    );
    assert_eq!(why(folder, &["topic", "why", "orders/x"]).code, 2);
    let unreachable = klamm(&["topic", "why", "orders", "--http", "127.0.0.1:1"]);
    assert!(
        unreachable.code == 3 && unreachable.stderr.contains("--http HOST:PORT"),
        "{unreachable:?}"
    );
    let elsewhere = tempfile::tempdir().unwrap();
    assert_ne!(why(elsewhere.path(), &["cluster", "why"]).code, 0);
    for (path, status, error) in [
        (
            "/why/topic?topic=absent",
            " 404 ",
            r#""error":"UNKNOWN_TOPIC_OR_PARTITION""#,
        ),
        (
            "/why/partition?topic=orders&partition=a",
            " 400 ",
            r#""error":"INVALID_REQUEST""#,
        ),
        ("/why/partition", " 400 ", r#""error":"INVALID_REQUEST""#),
        (
            "/why/topic?topic=orders",
            " 200 ",
            r#""keeps_history":true,"entries":[]"#,
        ),
    ] {
        let answer = get(folder, path);
        assert!(answer.contains(status) && answer.contains(error), "{path}: {answer}");
    }
    let controllers = why(folder, &["cluster", "why"]).good();
    assert!(controllers.contains(" decides from here on, term "), "{controllers}");
}
