//! The exit codes that `klamm --help` and docs/operations.md promise, one command of each class.

use klamm_faults::{Member, Roles};

use crate::support::{Done, fleet, klamm, klamm_with};

/// What a script sees: the code, and one line that says why.
fn ends_with(done: &Done, code: i32, reason: &str) {
    assert_eq!(done.code, code, "{done:?}");
    assert!(done.stderr.starts_with("klamm: ") || code == 2, "{done:?}");
    assert!(done.stderr.contains(reason), "{done:?}");
}

#[test]
fn the_table_is_the_same_everywhere() {
    let help = klamm(&["--help"]).good();
    let page = include_str!("../../../../docs/operations.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| ")).collect();
    for code in 0..=5 {
        let row = rows
            .iter()
            .find(|row| row.starts_with(&format!("| {code} | ")))
            .unwrap();
        let meaning = row.split('|').nth(2).unwrap().replace('`', "");
        let told = format!("  {code}  {}", meaning.trim());
        assert!(help.contains(&told), "{told:?} is not in the help:\n{help}");
    }
}

#[test]
fn wrong_words_end_with_2() {
    ends_with(&klamm(&["topic", "create"]), 2, "required");
    ends_with(
        &klamm(&["--bootstrap", "nonsense:port", "topic", "list"]),
        2,
        "bootstrap",
    );
    ends_with(&klamm(&["config", "alter", "--cluster"]), 2, "nothing to change");
    ends_with(&klamm(&["quorum", "add", "4", "nowhere"]), 2, "HOST:PORT");
    ends_with(&klamm(&["server", "--set", "no_such_key=1"]), 2, "no_such_key");
    ends_with(&klamm(&["verify", "--duration", "soon"]), 2, "expected a number");
}

#[test]
fn a_cluster_that_is_not_there_ends_with_3() {
    for command in [
        &["topic", "list"][..],
        &["produce", "orders"],
        &["consume", "orders"],
        &["doctor"],
        &["verify"],
    ] {
        let done = klamm(&[&["--bootstrap", "127.0.0.1:1", "--timeout", "1"], command].concat());
        ends_with(&done, 3, "127.0.0.1:1");
    }
}

#[tokio::test]
async fn a_refusal_ends_with_4_and_everything_else_with_1() {
    let (mut nodes, folder) = fleet(vec![Member::new(1, Roles::Both)]);
    nodes.start_all().await.unwrap();
    let bootstrap = nodes.bootstrap();
    let run = |input: &str, arguments: &[&str]| {
        let common = ["--bootstrap", &bootstrap, "--timeout", "2"];
        klamm_with(input, &[&common[..], arguments].concat())
    };
    run("", &["topic", "create", "orders"]).good();

    ends_with(&run("", &["topic", "create", "orders"]), 4, "TOPIC_ALREADY_EXISTS");
    ends_with(
        &run("", &["topic", "describe", "nobody"]),
        4,
        "UNKNOWN_TOPIC_OR_PARTITION",
    );
    ends_with(&run("line\n", &["produce", "nobody"]), 4, "\"nobody\" was not found");
    ends_with(
        &run("line\n", &["produce", "orders", "--partition", "7"]),
        4,
        "no partition 7",
    );
    ends_with(
        &run("", &["consume", "nobody", "--from", "beginning"]),
        4,
        "\"nobody\" was not found",
    );
    let alter = ["topic", "alter", "orders", "--config", "retention.ms=soon"];
    ends_with(&run("", &alter), 4, "INVALID_CONFIG");
    ends_with(&run("", &["quorum", "remove", "9"]), 4, "node 9 is no voter");

    let missing = folder.path().join("missing").display().to_string();
    ends_with(&run("", &["produce", "orders", "--file", &missing]), 1, &missing);
    ends_with(
        &run("no separator\n", &["produce", "orders", "--key-separator", ":"]),
        1,
        "a line has no",
    );
    let recover = [
        "quorum",
        "recover",
        "--node",
        "1",
        "--address",
        "127.0.0.1:1",
        "--data-dir",
        &missing,
    ];
    ends_with(&run("", &recover), 1, "no snapshot");
}
