//! Writes the table of APIs and versions into the page that is named, where that page has it already.
//!
//! `scripts/write-compatibility` runs it; a test of `advertised` says when that is needed.

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("names no page");
        return ExitCode::FAILURE;
    };
    let written = std::fs::read_to_string(&path).and_then(|page| match klamm_kafka::advertised::with_table(&page) {
        Some(page) => std::fs::write(&path, page),
        None => Err(std::io::Error::other("the page has no table of versions")),
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{path}: {error}");
            ExitCode::FAILURE
        }
    }
}
