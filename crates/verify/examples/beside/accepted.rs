//! The differences that are meant, each with the place that says why. Everything else that differs is a fault.

mod table;

pub use table::ACCEPTED;

use crate::value::Difference;

/// Where differences are explained: by a line of its table.
pub const PAGE: &str = "docs/compatibility.md";

/// The differences that one line explains.
pub struct Explained {
    /// The beginning of the line.
    pub line: &'static str,
    pub differences: &'static [Accepted],
}

/// The beginning of the case's name; the field's path without indexes in brackets, where `*` at its beginning or end
/// stands for anything and `|` parts several; Kafka's value; ours.
pub type Accepted = (&'static str, &'static str, &'static str, &'static str);

/// Numbers of a line and of a difference that it explains.
pub type Place = (usize, usize);

pub fn places() -> impl Iterator<Item = (Place, Accepted)> {
    ACCEPTED.iter().enumerate().flat_map(|(line, explained)| {
        let differences = explained.differences.iter().enumerate();
        differences.map(move |(number, difference)| ((line, number), *difference))
    })
}

/// What explains a difference, if anything does.
pub fn explanation(case: &str, found: &Difference) -> Option<Place> {
    places().find_map(|(place, accepted)| covers(accepted, case, found).then_some(place))
}

fn covers((of_case, of_field, kafka, klamm): Accepted, case: &str, found: &Difference) -> bool {
    let field = without_indexes(&found.field);
    let is_field = |wanted: &str| match (wanted.strip_prefix('*'), wanted.strip_suffix('*')) {
        (Some(end), _) => field.ends_with(end),
        (None, Some(begin)) => field.starts_with(begin),
        (None, None) => field == wanted,
    };
    let is_value = |wanted: &str, value: &str| match wanted.strip_suffix('*') {
        Some(begin) => value.starts_with(begin),
        None => wanted == value,
    };
    case.starts_with(of_case)
        && of_field.split('|').any(is_field)
        && is_value(kafka, &found.kafka)
        && is_value(klamm, &found.klamm)
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
        let text = std::fs::read_to_string(root.join(PAGE)).expect(PAGE);
        for explained in ACCEPTED {
            let row = format!("| {}", explained.line);
            assert!(text.lines().any(|found| found.starts_with(&row)), "{}", explained.line);
        }
    }

    #[test]
    fn a_difference_is_covered_by_case_field_and_values() {
        let accepted = ("Produce: null", "responses.*|code", "no answer", "*");
        let found = |field: &str, kafka: &str| Difference {
            field: field.into(),
            kafka: kafka.into(),
            klamm: "87".into(),
        };
        let covered = |case, field, kafka| covers(accepted, case, &found(field, kafka));
        assert!(covered(
            "Produce: null records",
            "responses[0].partitions[1].error_code",
            "no answer"
        ));
        assert!(covered("Produce: null records", "code", "no answer"));
        assert!(!covered("Produce: null records", "throttle_time_ms", "no answer"));
        assert!(!covered("Produce: null records", "responses[0].index", "3"));
        assert!(!covered("Produce: acks", "responses[0].index", "no answer"));
    }
}
