//! The import table: a crate uses only crates named in its row, and each foreign thing is known to few.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// Crate, and what it may use of ours. Rows only name crates above them.
const ALLOWED: &[(&str, &[&str])] = &[
    ("klamm-types", &[]),
    ("klamm-record", &["klamm-types"]),
    ("klamm-wire", &["klamm-types"]),
    ("klamm-schema", &["klamm-types"]),
    ("klamm-invariants", &["klamm-types"]),
    ("klamm-proto", &["klamm-schema"]),
    ("klamm-trace", &["klamm-proto"]),
    ("klamm-metadata", &["klamm-types", "klamm-schema"]),
    (
        "klamm-replication",
        &["klamm-types", "klamm-record", "klamm-invariants"],
    ),
    ("klamm-coordinator", &["klamm-types", "klamm-wire"]),
    ("klamm-log", &["klamm-types", "klamm-record"]),
    (
        "klamm-controller",
        &[
            "klamm-types",
            "klamm-schema",
            "klamm-metadata",
            "klamm-proto",
            "klamm-trace",
        ],
    ),
    (
        "klamm-broker",
        &[
            "klamm-types",
            "klamm-record",
            "klamm-wire",
            "klamm-schema",
            "klamm-proto",
            "klamm-metadata",
            "klamm-replication",
            "klamm-coordinator",
            "klamm-log",
            "klamm-controller",
            "klamm-trace",
        ],
    ),
    (
        "klamm-kafka",
        &[
            "klamm-types",
            "klamm-record",
            "klamm-wire",
            "klamm-broker",
            "klamm-trace",
        ],
    ),
    ("klamm-client", &["klamm-types", "klamm-record", "klamm-wire"]),
    ("klamm-verify", &["klamm-client", "klamm-invariants", "klamm-types"]),
    (
        "klamm-testkit",
        &["klamm-broker", "klamm-controller", "klamm-kafka", "klamm-client"],
    ),
    (
        "klamm-sim",
        &[
            "klamm-types",
            "klamm-record",
            "klamm-wire",
            "klamm-schema",
            "klamm-metadata",
            "klamm-replication",
            "klamm-coordinator",
            "klamm-log",
            "klamm-invariants",
        ],
    ),
    (
        "klamm-faults",
        &["klamm-client", "klamm-verify", "klamm-invariants", "klamm-types"],
    ),
    (
        "klamm",
        &[
            "klamm-types",
            "klamm-record",
            "klamm-wire",
            "klamm-schema",
            "klamm-proto",
            "klamm-trace",
            "klamm-metadata",
            "klamm-replication",
            "klamm-coordinator",
            "klamm-log",
            "klamm-controller",
            "klamm-broker",
            "klamm-kafka",
            "klamm-client",
            "klamm-verify",
            "klamm-faults",
            "klamm-testkit",
        ],
    ),
    ("klamm-tests", &[]),
];

/// Foreign crates that only some of ours may name.
const FOREIGN: &[(&str, &[&str])] = &[
    ("openraft", &["klamm-controller"]),
    ("sled", &["klamm-controller"]),
    (
        "tonic",
        &["klamm-proto", "klamm-trace", "klamm-controller", "klamm-broker"],
    ),
];

/// Crates that decide: nothing that does I/O, keeps time or draws numbers, in tests neither.
const PURE: &[&str] = &[
    "klamm-metadata",
    "klamm-replication",
    "klamm-coordinator",
    "klamm-invariants",
];
const IMPURE: &[&str] = &["tokio", "tonic", "rustix", "socket2", "tracing-subscriber"];

struct Dependency {
    name: String,
    dev: bool,
}

fn workspace() -> BTreeMap<String, Vec<Dependency>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version", "1", "--offline"])
        .output()
        .expect("cargo runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let dependencies = |package: &serde_json::Value| -> Vec<Dependency> {
        let list = package["dependencies"].as_array().expect("dependencies");
        list.iter()
            .map(|one| Dependency {
                name: text(&one["name"]),
                dev: one["kind"] == "dev",
            })
            .collect()
    };
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| (text(&package["name"]), dependencies(package)))
        .collect()
}

/// What is wrong with one crate's arrows.
fn forbidden(name: &str, dependencies: &[Dependency]) -> Vec<String> {
    let Some((_, allowed)) = ALLOWED.iter().find(|(row, _)| *row == name) else {
        return vec![format!("{name} has no row in the import table")];
    };
    let mut wrong = Vec::new();
    for dependency in dependencies {
        let to = dependency.name.as_str();
        let ours = to == "klamm" || to.starts_with("klamm-");
        let exempt = dependency.dev && !PURE.contains(&name);
        if ours && !exempt && !allowed.contains(&to) {
            wrong.push(format!("{name} may not use {to}"));
        }
        if PURE.contains(&name) && IMPURE.contains(&to) {
            wrong.push(format!("{name} decides and may not use {to}"));
        }
        let known = FOREIGN.iter().find(|(foreign, _)| *foreign == to);
        if known.is_some_and(|(_, users)| !dependency.dev && !users.contains(&name)) {
            wrong.push(format!("{name} may not know {to}"));
        }
    }
    wrong
}

#[test]
fn every_arrow_is_in_the_table() {
    let workspace = workspace();
    assert!(
        workspace.len() > 15,
        "cargo metadata listed {} packages",
        workspace.len()
    );
    let wrong: Vec<String> = workspace
        .iter()
        .flat_map(|(name, list)| forbidden(name, list))
        .collect();
    assert!(wrong.is_empty(), "forbidden arrows:\n{}", wrong.join("\n"));
}

#[test]
fn rows_only_name_rows_above() {
    let mut above = BTreeSet::new();
    for (name, allowed) in ALLOWED {
        assert!(
            *name == "klamm" || allowed.iter().all(|one| above.contains(one)),
            "{name} names a row below it"
        );
        above.insert(*name);
    }
}

#[test]
fn a_forbidden_arrow_is_found() {
    let arrow = |name: &str, dev| {
        [Dependency {
            name: name.to_owned(),
            dev,
        }]
    };
    assert_eq!(
        forbidden("klamm-types", &arrow("klamm-log", false)),
        ["klamm-types may not use klamm-log"]
    );
    assert_eq!(
        forbidden("klamm-broker", &arrow("sled", false)),
        ["klamm-broker may not know sled"]
    );
    assert_eq!(
        forbidden("klamm-metadata", &arrow("tokio", true)),
        ["klamm-metadata decides and may not use tokio"]
    );
    assert_eq!(
        forbidden("klamm-metadata", &arrow("klamm-log", true)),
        ["klamm-metadata may not use klamm-log"]
    );
    assert_eq!(forbidden("klamm-kafka", &arrow("klamm-testkit", true)), [""; 0]);
    assert_eq!(
        forbidden("klamm-new", &[]),
        ["klamm-new has no row in the import table"]
    );
}
