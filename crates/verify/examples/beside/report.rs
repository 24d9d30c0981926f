//! What the comparison found, gathered over versions, and whether it may be so.

use std::collections::{BTreeMap, BTreeSet};

use klamm_wire::ApiKey;

use crate::accepted::{ACCEPTED, PAGE, Place, explanation, places};
use crate::case::Case;
use crate::session::Exchange;
use crate::value::{Difference, Names, differences, normalise};

/// Longer values are cut in the printed text; comparing sees them whole.
const SHOWN_MAX: usize = 400;

/// A difference that occurs in several versions stands once.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    case: String,
    what: String,
    field: String,
    kafka: String,
    klamm: String,
}

#[derive(Default)]
pub struct Report {
    /// Requests to each of the clusters.
    pub sent: usize,
    compared: usize,
    differing: usize,
    unexplained: usize,
    cases: BTreeSet<String>,
    skipped: BTreeMap<ApiKey, usize>,
    lines: BTreeMap<Line, Vec<i16>>,
    accepted: BTreeMap<Place, BTreeMap<Line, Vec<i16>>>,
}

impl Report {
    pub fn skip(&mut self, case: &Case) {
        *self.skipped.entry(case.api).or_default() += 1;
    }

    /// Compares the answers to one case in one version.
    pub fn compare(&mut self, case: &Case, version: i16, kafka: (&[Exchange], &Names), klamm: (&[Exchange], &Names)) {
        self.cases.insert(case.name.clone());
        if kafka.0.len() != klamm.0.len() {
            let count = |exchanges: &[Exchange]| format!("{} answers", exchanges.len());
            let found = Difference {
                field: String::new(),
                kafka: count(kafka.0),
                klamm: count(klamm.0),
            };
            self.unexplained += usize::from(self.note(case, version, "", found));
        }
        for (theirs, ours) in kafka.0.iter().zip(klamm.0) {
            self.compared += 1;
            let their_value = normalise(&theirs.answer, theirs.key, kafka.1);
            let our_value = normalise(&ours.answer, ours.key, klamm.1);
            let found = differences(&their_value, &our_value);
            self.differing += usize::from(!found.is_empty());
            let notes = found
                .into_iter()
                .map(|found| self.note(case, version, &theirs.what, found));
            // Every difference is to be noted, not only the first that is unexplained.
            self.unexplained += usize::from(notes.fold(false, |any, unexplained| any | unexplained));
        }
    }

    /// Whether the difference is one that nothing explains.
    fn note(&mut self, case: &Case, version: i16, what: &str, found: Difference) -> bool {
        let accepted = explanation(&case.name, &found);
        let line = Line {
            case: case.name.clone(),
            what: what.to_owned(),
            field: found.field,
            kafka: found.kafka,
            klamm: found.klamm,
        };
        let lines = match accepted {
            Some(place) => self.accepted.entry(place).or_default(),
            None => &mut self.lines,
        };
        if accepted.is_none() && !lines.contains_key(&line) {
            // Who watches need not wait for the end.
            eprintln!(
                "{version}: {}: {}: {}: Kafka {}, Klamm {}",
                line.case,
                line.what,
                line.field,
                cut(&line.kafka),
                cut(&line.klamm)
            );
        }
        lines.entry(line).or_default().push(version);
        accepted.is_none()
    }

    pub fn print(&self, show_accepted: bool) {
        for (line, versions) in &self.lines {
            print(line, versions);
        }
        for (number, explained) in ACCEPTED.iter().enumerate() {
            let lines = || {
                self.accepted
                    .range((number, 0)..(number + 1, 0))
                    .flat_map(|(_, lines)| lines)
            };
            if lines().next().is_some() {
                println!("accepted, {PAGE}: {}: {} places", explained.line, lines().count());
            }
            for (line, versions) in lines().filter(|_| show_accepted) {
                print(line, versions);
            }
        }
        for (api, count) in &self.skipped {
            println!("skipped: {count} cases of {api}, which one of the clusters does not list");
        }
        println!(
            "{} cases, {} requests to each cluster, {} answers compared: {} differ, {} of them unexplained",
            self.cases.len(),
            self.sent,
            self.compared,
            self.differing,
            self.unexplained,
        );
    }

    /// Whether nothing is unexplained and, in a whole run, no explanation is without use.
    pub fn passed(&self, whole: bool) -> bool {
        let unused: Vec<_> = places()
            .filter(|(place, _)| !self.accepted.contains_key(place))
            .collect();
        if whole && !unused.is_empty() {
            for (_, difference) in &unused {
                println!("accepted, but no longer there: {difference:?}");
            }
        }
        self.lines.is_empty() && (!whole || unused.is_empty())
    }
}

fn print(line: &Line, versions: &[i16]) {
    let versions: Vec<String> = versions.iter().map(i16::to_string).collect();
    let what = if line.what.is_empty() {
        String::new()
    } else {
        format!(" ({})", line.what)
    };
    println!("{}{what}, versions {}", line.case, versions.join(" "));
    println!(
        "    {}\n        Kafka {}\n        Klamm {}",
        line.field,
        cut(&line.kafka),
        cut(&line.klamm)
    );
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
