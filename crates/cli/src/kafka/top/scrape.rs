//! A node's metrics, out of the text that Prometheus reads. Pure; lines that it does not know mean nothing to it.

use std::time::Duration;

/// What is looked for in a node's metrics. Counters count since that node's start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// When they were read, since the looking began.
    pub at: Duration,
    pub produced_bytes: f64,
    pub fetched_bytes: f64,
    /// Errors in answers to clients.
    pub errors: f64,
    /// Flushes that took at most so many seconds, in order of the bounds; the last bound is infinite.
    pub flushes: Vec<(f64, f64)>,
}

impl Figures {
    /// None if this is not the text of one of our nodes with the role of a broker.
    pub fn read(text: &str, at: Duration) -> Option<Figures> {
        let mut figures = Figures {
            at,
            ..Figures::default()
        };
        let mut ours = false;
        for line in text.lines() {
            let Some((name, value)) = line.rsplit_once(' ') else {
                continue;
            };
            // Most lines name partitions: the cheap question comes first.
            if !name.starts_with("klamm_broker_") && !name.starts_with("klamm_kafka_errors") {
                continue;
            }
            let Ok(value) = value.parse::<f64>() else { continue };
            match name {
                "klamm_broker_produced_bytes_total" => (ours, figures.produced_bytes) = (true, value),
                "klamm_broker_fetched_bytes_total" => figures.fetched_bytes = value,
                _ if name.starts_with("klamm_kafka_errors_total{") => figures.errors += value,
                _ => {
                    if let Some(bound) = bound(name, "klamm_broker_flush_seconds_bucket") {
                        figures.flushes.push((bound, value));
                    }
                }
            }
        }
        ours.then_some(figures)
    }
}

/// Of a bucket of this histogram.
fn bound(name: &str, histogram: &str) -> Option<f64> {
    let labels = name.strip_prefix(histogram)?;
    let (_, after) = labels.split_once("le=\"")?;
    let (bound, _) = after.split_once('"')?;
    if bound == "+Inf" {
        return Some(f64::INFINITY);
    }
    bound.parse().ok()
}

/// The time that so large a part of what came between two readings kept below; none if nothing came.
pub fn quantile(before: &[(f64, f64)], now: &[(f64, f64)], part: f64) -> Option<f64> {
    if before.len() != now.len() {
        return None;
    }
    let counts = now
        .iter()
        .zip(before)
        .map(|((bound, now), (_, before))| (*bound, now - before));
    let counts: Vec<(f64, f64)> = counts.collect();
    let all = counts.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let wanted = all * part;
    let (mut below, mut count_below) = (0.0, 0.0);
    for (bound, count) in counts {
        if count >= wanted {
            // Above the last bound nothing more is known.
            let width = if bound.is_finite() { bound - below } else { 0.0 };
            let within = (wanted - count_below) / (count - count_below).max(1.0);
            return Some(below + width * within.clamp(0.0, 1.0));
        }
        (below, count_below) = (bound, count);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP klamm_broker_produced_bytes_total Bytes.
klamm_node_info{version="0.1.0"} 1
klamm_partition_high_watermark{topic="orders",partition="0"} 30
klamm_broker_produced_bytes_total 1500
klamm_broker_fetched_bytes_total 700
klamm_kafka_errors_total{api="Fetch",error="A B"} 2
klamm_kafka_errors_total{api="Produce",error="C"} 3
klamm_broker_flush_seconds_sum 1
klamm_broker_flush_seconds_bucket{le="0.001"} 90
klamm_broker_flush_seconds_bucket{le="0.002"} 100
klamm_broker_flush_seconds_bucket{le="+Inf"} 100
klamm_broker_flush_seconds_bucket{le=
"#;

    #[test]
    fn what_is_known_is_found_and_the_rest_means_nothing() {
        let at = Duration::from_secs(3);
        let expected = Figures {
            at,
            produced_bytes: 1500.0,
            fetched_bytes: 700.0,
            errors: 5.0,
            flushes: vec![(0.001, 90.0), (0.002, 100.0), (f64::INFINITY, 100.0)],
        };
        assert_eq!(Figures::read(TEXT, at), Some(expected));
        for strange in [
            "",
            "<html>\n",
            "klamm_broker_produced_bytes_total x\n",
            "go_threads 9\n",
        ] {
            assert_eq!(Figures::read(strange, at), None, "{strange}");
        }
    }

    #[test]
    fn a_quantile_is_of_what_came_between() {
        let none = [(0.001, 0.0), (0.002, 0.0), (f64::INFINITY, 0.0)];
        let some = [(0.001, 90.0), (0.002, 100.0), (f64::INFINITY, 100.0)];
        assert_eq!(quantile(&none, &some, 0.95), Some(0.0015));
        assert_eq!(quantile(&some, &some, 0.95), None);
        assert_eq!(quantile(&[], &some, 0.95), None);
        assert_eq!(quantile(&[], &[], 0.95), None);
        let slow = [(0.001, 90.0), (0.002, 100.0), (f64::INFINITY, 150.0)];
        assert_eq!(quantile(&some, &slow, 0.99), Some(0.002));
    }
}
