//! No function outside tests is longer than a screen.

use std::path::{Path, PathBuf};

use crate::files::{read, root, tracked};

/// From the line with `fn` to the closing brace.
const LINES_MAX: usize = 70;

/// A function's name and its number of lines.
#[derive(Debug, PartialEq, Eq)]
struct Function {
    name: String,
    lines: usize,
}

/// The functions of a file in the form that rustfmt gives it: one ends with the first closing brace that stands as far
/// to the right as its `fn`. Tests at the end of the file are left out.
fn functions(text: &str) -> Vec<Function> {
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().position(|line| line.trim() == "#[cfg(test)]");
    let mut found = Vec::new();
    for (start, line) in lines[..end.unwrap_or(lines.len())].iter().enumerate() {
        let Some(name) = function_name(line) else {
            continue;
        };
        // Without a body the signature ends with a semicolon; a body in the same line is short.
        let has_body = lines[start..].iter().find(|line| line.ends_with(['{', ';', '}']));
        if !has_body.is_some_and(|line| line.ends_with('{')) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let closing = format!("{}}}", " ".repeat(indent));
        if let Some(length) = lines[start..].iter().position(|line| *line == closing) {
            found.push(Function {
                name: name.to_owned(),
                lines: length + 1,
            });
        }
    }
    found
}

/// The name behind `fn` in a line that begins a function.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start();
    for prefix in [
        "pub(crate) ",
        "pub(super) ",
        "pub ",
        "const ",
        "async ",
        "unsafe ",
        "extern \"C\" ",
    ] {
        words = words.strip_prefix(prefix).unwrap_or(words);
    }
    let name = words.strip_prefix("fn ")?;
    Some(&name[..name.find(['(', '<'])?])
}

fn is_test(path: &Path) -> bool {
    let inside = path.strip_prefix(root()).unwrap_or(path);
    let named = |part: &std::ffi::OsStr| {
        let part = part.to_string_lossy();
        part == "tests" || part == "tests.rs" || part.ends_with("_test.rs")
    };
    inside.iter().any(named)
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut count = 0;
    let mut too_long = Vec::new();
    let files = tracked(".rs").into_iter().filter(|path| !is_test(path));
    for path in files.collect::<Vec<PathBuf>>() {
        for function in functions(&read(&path)) {
            count += 1;
            if function.lines > LINES_MAX {
                too_long.push((path.clone(), function));
            }
        }
    }
    assert!(count > 1000, "only {count} functions were found");
    assert!(too_long.is_empty(), "longer than {LINES_MAX} lines: {too_long:#?}");
}

#[test]
fn lines_are_counted() {
    let text = "\
impl World {
    pub(crate) fn short(&self) -> u8 {
        7
    }

    fn empty() {}

    async fn long<T>(
        one: T,
    ) -> Vec<T> {
        let closure = |_| {
            one
        };
        vec![closure(())]
    }
}

trait Port {
    fn only_named(&self);
}

#[cfg(test)]
mod tests {
    fn left_out() {
    }
}
";
    let found = |name: &str, lines| Function {
        name: name.to_owned(),
        lines,
    };
    assert_eq!(functions(text), [found("short", 3), found("long", 8)]);
}
