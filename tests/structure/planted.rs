//! Nothing that ships can contain a planted bug: their feature is off unless it is asked for by name, and only the
//! simulation can ask.

use std::process::Command;

const FEATURE: &str = "planted-bugs";

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).arg("--offline").output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

/// Where a manifest turns the feature on: by default, through another feature, or for a dependency.
fn switches(metadata: &serde_json::Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().unwrap_or_default();
        let features = package["features"].as_object().expect("features");
        for (feature, switched) in features {
            let switched = switched.as_array().expect("a list of features").iter();
            let on = switched.filter(|one| one.as_str().is_some_and(|one| one.contains(FEATURE)));
            found.extend(on.map(|one| format!("{name}/{feature} -> {one}")));
        }
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let switched = dependency["features"].as_array().expect("a list of features");
            if switched.iter().any(|one| one == FEATURE) {
                found.push(format!("{name} -> {}", dependency["name"]));
            }
        }
    }
    found
}

#[test]
fn only_the_simulation_can_plant_bugs() {
    let metadata = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata = serde_json::from_str(&metadata).expect("cargo prints JSON");
    assert_eq!(
        switches(&metadata),
        [r#"klamm-sim/planted-bugs -> "klamm-types/planted-bugs""#]
    );
}

#[test]
fn what_is_built_to_ship_resolves_without_planted_bugs() {
    let features = |arguments: &[&str]| {
        let tree = [
            "tree",
            "--edges",
            "normal,build",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ];
        cargo(&[&tree, arguments].concat())
    };
    let names_types = |tree: &str| tree.lines().any(|line| line.starts_with("klamm-types "));
    let shipped = features(&["-p", "klamm", "-p", "klamm-sim"]);
    assert!(names_types(&shipped) && !shipped.contains(FEATURE), "{shipped}");
    // The same question where the answer is yes, so that the test does not miss a change of cargo's words.
    let planted = features(&["-p", "klamm-sim", "--features", FEATURE]);
    assert!(names_types(&planted) && planted.contains(FEATURE), "{planted}");
}
