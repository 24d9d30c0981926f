//! Every package in the lock file may be used under a licence that asks for nothing but naming it.

use std::process::Command;

/// Licences that are fine alone. An expression with OR needs one of them, one with AND all.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn is_allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    // In the expressions that occur, AND joins parts that may be bracketed, OR stands inside them.
    let parts: Vec<&str> = expression.split(" AND ").collect();
    parts.iter().all(|part| {
        let part = part.trim().trim_matches(['(', ')']);
        part.split(" OR ").any(|one| ALLOWED.contains(&one.trim()))
    })
}

#[test]
fn every_package_has_a_licence_that_fits() {
    let output = Command::new(env!("CARGO"))
        // Not --offline: packages of other platforms are in the lock file, and no build has downloaded those.
        .args(["metadata", "--format-version", "1", "--locked"])
        .output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    assert!(packages.len() > 100, "only {} packages", packages.len());
    let wrong = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(is_allowed));
    let wrong: Vec<_> = wrong
        .map(|package| format!("{} {}", package["name"], package["license"]))
        .collect();
    assert!(wrong.is_empty(), "licences that do not fit: {wrong:#?}");
}

#[test]
fn expressions_are_read() {
    for good in [
        "MIT",
        "MIT/Apache-2.0",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "GPL-3.0 OR MIT",
    ] {
        assert!(is_allowed(good), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", ""] {
        assert!(!is_allowed(bad), "{bad}");
    }
}
