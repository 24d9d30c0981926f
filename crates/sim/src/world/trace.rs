//! The timeline of a run, for people. Lines are made only when somebody wants to read them.

use std::collections::VecDeque;
use std::fmt::Arguments;

use crate::plan::Time;

/// Lines kept of a run that fails.
const LINES_MAX: usize = 400;

/// What becomes of a run's lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    Nothing,
    /// The last ones.
    Last,
    All,
}

#[derive(Debug)]
pub struct Trace {
    keep: Keep,
    lines: VecDeque<String>,
    /// A digest of every line, kept or not, to compare runs by; only while lines are made.
    digest: u64,
}

impl Trace {
    pub fn new(keep: Keep) -> Trace {
        Trace {
            keep,
            lines: VecDeque::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub fn is_on(&self) -> bool {
        self.keep != Keep::Nothing
    }

    pub fn line(&mut self, now: Time, who: Arguments<'_>, what: Arguments<'_>) {
        if !self.is_on() {
            return;
        }
        let line = format!("{:>9}.{:03} {:<12} {what}", now / 1000, now % 1000, who.to_string());
        for byte in line.bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.keep == Keep::Last && self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    pub fn digest(&self) -> u64 {
        self.digest
    }

    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}
