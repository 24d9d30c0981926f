//! Metrics as Prometheus reads them: its text format, version 0.0.4.

use std::borrow::Cow;
use std::fmt::Write;

use klamm_broker::metrics::{BOUNDS_SECONDS, Definition, Distribution, Family, Kind, Value};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The text that a scrape is answered with.
pub fn render(families: &[Family]) -> String {
    let mut text = String::new();
    for family in families {
        render_family(&mut text, family);
    }
    text
}

/// Every metric that a node can have, by name: for the page that lists them.
#[cfg(test)]
pub fn catalogue() -> Vec<&'static Definition> {
    let mut all = klamm_broker::node::metric_definitions();
    all.extend(klamm_kafka::Metrics::definitions());
    all.sort_by_key(|definition| definition.name);
    all
}

/// The name as it is written.
fn written_name(definition: &Definition) -> Cow<'static, str> {
    match definition.kind {
        Kind::Counter => format!("{}_total", definition.name).into(),
        Kind::Gauge | Kind::Histogram => definition.name.into(),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

// Writing to a string cannot fail.
fn render_family(text: &mut String, family: &Family) {
    let Family { definition, samples } = family;
    let name = written_name(definition);
    let _ = writeln!(text, "# HELP {name} {}", definition.help);
    let _ = writeln!(text, "# TYPE {name} {}", kind_name(definition.kind));
    for sample in samples {
        let pairs = definition.labels.iter().zip(&sample.labels);
        let labels: Vec<String> = pairs.map(|(label, value)| pair(label, value)).collect();
        match &sample.value {
            Value::Count(count) => line(text, &name, &labels, count),
            Value::Gauge(value) => line(text, &name, &labels, value),
            Value::Histogram(distribution) => render_histogram(text, &name, labels, distribution),
        }
    }
}

fn render_histogram(text: &mut String, name: &str, mut labels: Vec<String>, distribution: &Distribution) {
    line(text, &format!("{name}_sum"), &labels, &distribution.sum_seconds);
    line(text, &format!("{name}_count"), &labels, &distribution.count());
    let bounds = BOUNDS_SECONDS
        .iter()
        .map(ToString::to_string)
        .chain(["+Inf".to_owned()]);
    let mut at_or_below = 0;
    for (bound, count) in bounds.zip(&distribution.buckets) {
        at_or_below += count;
        labels.push(pair("le", &bound));
        line(text, &format!("{name}_bucket"), &labels, &at_or_below);
        labels.pop();
    }
}

fn line(text: &mut String, name: &str, labels: &[String], value: &dyn std::fmt::Display) {
    let _ = if labels.is_empty() {
        writeln!(text, "{name} {value}")
    } else {
        writeln!(text, "{name}{{{}}} {value}", labels.join(","))
    };
}

/// Names of groups are any text that a client sends.
fn pair(label: &str, value: &str) -> String {
    let value = value.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
    format!("{label}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::time::Duration;

    use klamm_broker::metrics::Histogram;

    use super::*;

    const PAGE: &str = "docs/metrics.md";
    const HEAD: &str = "| metric | type | unit | labels | what it tells |\n| --- | --- | --- | --- | --- |\n";

    fn table() -> String {
        let mut text = String::from(HEAD);
        for definition in catalogue() {
            let (name, kind) = (written_name(definition), kind_name(definition.kind));
            let Definition { unit, help, .. } = definition;
            let labels = definition.labels.join(", ");
            text += &format!("| `{name}` | {kind} | {unit} | {labels} | {help} |\n");
        }
        text
    }

    /// With `KLAMM_WRITE_DOCS` set the page is written instead.
    #[test]
    fn the_page_lists_every_metric() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(PAGE);
        let page = std::fs::read_to_string(&path).expect("the page is there");
        let begin = page.find(HEAD).expect("the page has the table");
        let end = page[begin..].find("\n\n").map_or(page.len(), |end| begin + end + 1);
        let wanted = [&page[..begin], &table(), &page[end..]].concat();
        if std::env::var_os("KLAMM_WRITE_DOCS").is_some() {
            std::fs::write(&path, wanted).expect("the page can be written");
            return;
        }
        assert!(
            page == wanted,
            "{PAGE} is not true any more: run this test with KLAMM_WRITE_DOCS=1"
        );
    }

    #[test]
    fn names_are_unique_and_of_one_form() {
        let mut seen = BTreeSet::new();
        for definition in catalogue() {
            let name = definition.name;
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("klamm_"), "{name}");
            assert!(
                name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'),
                "{name}"
            );
            assert!(!name.ends_with("_total"), "{name}: the written form adds it");
            assert!(definition.help.ends_with('.'), "{name}: {}", definition.help);
            assert_eq!(
                definition.kind == Kind::Histogram,
                name.ends_with("_seconds") && !name.contains("oldest"),
                "{name}"
            );
        }
    }

    /// The words of a text that begin as our metrics do.
    fn metrics_named_in(text: &str) -> BTreeSet<String> {
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let ours = words.filter(|word| word.starts_with("klamm_"));
        ours.map(str::to_owned).collect()
    }

    #[test]
    fn alerts_and_dashboards_name_metrics_that_exist() {
        let mut known = BTreeSet::new();
        for definition in catalogue() {
            let name = written_name(definition).into_owned();
            if definition.kind == Kind::Histogram {
                known.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
            }
            known.insert(name);
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in [
            "deploy/prometheus/alerts.yml",
            "deploy/prometheus/alerts_test.yml",
            "deploy/grafana/dashboards/klamm.json",
            PAGE,
        ] {
            let text = std::fs::read_to_string(root.join(file)).expect("the file is there");
            let named = metrics_named_in(&text);
            assert!(named.len() > 3, "{file}: {named:?}");
            let unknown: Vec<&String> = named.difference(&known).collect();
            assert!(unknown.is_empty(), "{file} names {unknown:?}");
        }
    }

    static SECONDS: Definition = Definition {
        name: "klamm_test_seconds",
        kind: Kind::Histogram,
        unit: "seconds",
        labels: &["api"],
        help: "How long.",
    };
    static ERRORS: Definition = Definition {
        name: "klamm_test_errors",
        kind: Kind::Counter,
        unit: "errors",
        labels: &[],
        help: "How many.",
    };

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(250));
        histogram.observe(Duration::from_millis(3_600_250));
        let mut seconds = Family::new(&SECONDS);
        seconds.push(vec!["a \"b\" \\ \n".to_owned()], histogram.value());
        let text = render(&[seconds, Family::single(&ERRORS, Value::Count(7))]);
        let lines: Vec<&str> = text.lines().collect();
        let labels = r#"api="a \"b\" \\ \n""#;
        let begin = [
            "# HELP klamm_test_seconds How long.".to_owned(),
            "# TYPE klamm_test_seconds histogram".to_owned(),
            format!("klamm_test_seconds_sum{{{labels}}} 3600.25025"),
            format!("klamm_test_seconds_count{{{labels}}} 2"),
            format!("klamm_test_seconds_bucket{{{labels},le=\"0.0001\"}} 0"),
            format!("klamm_test_seconds_bucket{{{labels},le=\"0.00025\"}} 1"),
        ];
        assert_eq!(lines[..begin.len()], begin);
        let end = [
            &format!("klamm_test_seconds_bucket{{{labels},le=\"10\"}} 1"),
            &format!("klamm_test_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            "# HELP klamm_test_errors_total How many.",
            "# TYPE klamm_test_errors_total counter",
            "klamm_test_errors_total 7",
        ];
        assert_eq!(lines[lines.len() - end.len()..], end);
    }
}
