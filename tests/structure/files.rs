//! Limits on files, and words that have no place in the tree.

use std::path::{Path, PathBuf};
use std::process::Command;

const LINES_MAX: usize = 500;

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lies in the workspace")
        .to_owned()
}

pub fn tracked(suffix: &str) -> Vec<PathBuf> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files", "-z"])
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    names
        .split('\0')
        .filter(|name| name.ends_with(suffix))
        .map(|name| root().join(name))
        .collect()
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn no_file_is_too_long_to_proofread() {
    let files = tracked(".rs");
    assert!(files.len() > 50, "only {} Rust files are tracked", files.len());
    let long = |path: &&PathBuf| read(path).lines().count() > LINES_MAX;
    let too_long: Vec<_> = files.iter().filter(long).collect();
    assert!(too_long.is_empty(), "longer than {LINES_MAX} lines: {too_long:#?}");
}

#[test]
fn every_file_says_what_it_is_for() {
    let silent = |path: &&PathBuf| !read(path).trim_start().starts_with("//!");
    let files = tracked(".rs");
    let without: Vec<_> = files.iter().filter(silent).collect();
    assert!(without.is_empty(), "no opening comment: {without:#?}");
}

#[test]
fn the_top_level_holds_only_what_it_should() {
    const ALLOWED: &[&str] = &[
        "Cargo.toml",
        "Cargo.lock",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "crates",
        "deny.toml",
        "deploy",
        "docs",
        "proto",
        "rustfmt.toml",
        "scripts",
        "tests",
    ];
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(["ls-files"])
        .output()
        .expect("git runs");
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let tops = names.lines().map(|name| name.split('/').next().unwrap_or(name));
    let wrong: Vec<_> = tops
        .filter(|top| !top.starts_with('.') && !ALLOWED.contains(top))
        .collect();
    assert!(wrong.is_empty(), "at the top level: {wrong:?}");
}

#[test]
fn the_text_says_nothing_of_the_workplace() {
    let forbidden = [
        ["../", "shared"].concat(),
        ["/work", "/main"].concat(),
        ["crates", ".io/"].concat(),
    ];
    let allowed = |path: &Path| path.ends_with(".ci/run") || path.ends_with("Cargo.lock");
    let mut found = Vec::new();
    for path in tracked("") {
        if path.is_dir() || allowed(&path) {
            continue;
        }
        let text = read(&path);
        found.extend(
            forbidden
                .iter()
                .filter(|word| text.contains(*word))
                .map(|word| (path.clone(), word.clone())),
        );
    }
    assert!(found.is_empty(), "words that have no place in the tree: {found:#?}");
}
