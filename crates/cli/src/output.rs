//! What commands print and how they end: tables for people, JSON for programs, exit codes that tell.

use std::fmt;

use serde::Serialize;

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// One JSON value for programs.
    Json,
}

/// Why a command failed; decides the exit code.
///
/// | code | meaning |
/// | --- | --- |
/// | 0 | done |
/// | 1 | failed: see the message |
/// | 2 | the command line is wrong |
/// | 3 | the cluster cannot be reached, or did not answer in time |
/// | 4 | the cluster refused: the topic exists, a setting is wrong, … |
/// | 5 | a check found something wrong: `doctor`, `demo`, `faults` |
#[derive(Debug)]
pub struct Failure {
    pub code: u8,
    pub error: anyhow::Error,
}

impl Failure {
    pub const UNREACHABLE: u8 = 3;
    pub const REFUSED: u8 = 4;
    pub const CHECK: u8 = 5;

    pub fn new(code: u8, error: anyhow::Error) -> Self {
        Self { code, error }
    }

    pub fn check(text: impl Into<String>) -> Self {
        Self {
            code: Self::CHECK,
            error: anyhow::anyhow!(text.into()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self { code: 1, error }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)
    }
}

/// Rows under headings, columns as wide as their widest cell.
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.headings[column].len()]).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..self.headings.len()).map(width).collect();
        let headings = self.headings.iter().map(|heading| (*heading).to_owned()).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// Prints a value as JSON, or as the table that `table` makes.
pub fn print<T: Serialize>(format: Format, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    match format {
        Format::Table => print_out(table(value).trim_end()),
        Format::Json => print_out(&serde_json::to_string(value)?),
    }
}

/// A line to standard output. A reader that has gone away ends the command without a word, as pipes expect.
pub fn print_out(line: &str) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(&["TOPIC", "PARTITIONS"]);
        table.row(vec!["a-long-name".into(), "3".into()]);
        table.row(vec!["b".into(), "12".into()]);
        assert_eq!(
            table.to_string(),
            "TOPIC        PARTITIONS\na-long-name  3\nb            12\n"
        );
    }
}
