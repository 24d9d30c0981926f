//! The differences that are meant, each with the place that says why. Everything else that differs is a fault.

use crate::value::Difference;

/// Differences of one kind.
pub struct Accepted {
    /// The beginning of the case's name.
    pub case: &'static str,
    /// The field's path without indexes in brackets; `*` at its end stands for anything.
    pub field: &'static str,
    pub kafka: &'static str,
    pub klamm: &'static str,
    /// A page, or `docs/compatibility.md: ` and the beginning of the line that explains it.
    pub page: &'static str,
}

/// `*` stands for any value.
pub const ACCEPTED: &[Accepted] = &[];

impl Accepted {
    pub fn covers(&self, case: &str, found: &Difference) -> bool {
        let field = without_indexes(&found.field);
        let field = match self.field.strip_suffix('*') {
            Some(begin) => field.starts_with(begin),
            None => field == self.field,
        };
        let value = |wanted: &str, value: &str| match wanted.strip_suffix('*') {
            Some(begin) => value.starts_with(begin),
            None => wanted == value,
        };
        field && case.starts_with(self.case) && value(self.kafka, &found.kafka) && value(self.klamm, &found.klamm)
    }
}

fn without_indexes(field: &str) -> String {
    let mut inside = false;
    let keep = |letter: &char| {
        inside = (inside || *letter == '[') && *letter != ']';
        !inside && *letter != ']'
    };
    field.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_accepted_difference_is_explained_in_the_documentation() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for accepted in ACCEPTED {
            let (page, line) = accepted.page.split_once(": ").unwrap_or((accepted.page, ""));
            let text = std::fs::read_to_string(root.join(page)).expect(page);
            let row = format!("| {line}");
            assert!(line.is_empty() || text.lines().any(|found| found.starts_with(&row)), "{}", accepted.page);
        }
    }

    #[test]
    fn a_difference_is_covered_by_case_field_and_values() {
        let accepted = Accepted { case: "Produce: null", field: "responses.*", kafka: "no answer", klamm: "*", page: "" };
        let found = |field: &str, kafka: &str| Difference { field: field.into(), kafka: kafka.into(), klamm: "87".into() };
        assert!(accepted.covers("Produce: null records", &found("responses[0].partitions[1].error_code", "no answer")));
        assert!(!accepted.covers("Produce: null records", &found("throttle_time_ms", "no answer")));
        assert!(!accepted.covers("Produce: null records", &found("responses[0].index", "3")));
        assert!(!accepted.covers("Produce: acks", &found("responses[0].index", "no answer")));
    }
}
