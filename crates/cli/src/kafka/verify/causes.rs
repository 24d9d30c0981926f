//! Why leaders and in-sync replicas changed while the load went on, where the nodes tell it: Klamm's do, others' do not.

use std::time::Duration;

use klamm_broker::node::why::{Answer, Entry};
use klamm_verify::Cause;

use crate::Common;
use crate::why::{self, Places};

/// The causes, oldest first, and what went wrong. That no node tells any is wrong only if somebody said where to ask.
pub async fn since(common: &Common, places: &Places, topic: &str, started_ms: i64) -> (Vec<Cause>, Vec<String>) {
    match why::both(common, places, topic).await {
        Ok((of_topic, of_cluster)) => {
            let (causes, left_out) = told(&of_topic, &of_cluster, started_ms);
            let untold = (left_out > 0).then(|| format!("{left_out} older causes were not told"));
            (causes, untold.into_iter().collect())
        }
        Err(failure) if places.are_given() => {
            let trouble = format!("no node told why leaders changed: {:#}", failure.error);
            (Vec::new(), vec![trouble])
        }
        Err(_) => (Vec::new(), Vec::new()),
    }
}

/// What happened since a time, and how much of it was left out.
fn told(of_topic: &Answer, of_cluster: &Answer, started_ms: i64) -> (Vec<Cause>, usize) {
    let cause = |entry: &Entry, partitions: Vec<i32>| {
        let since = u64::try_from(entry.at_ms - started_ms).ok()?;
        Some(Cause {
            at: Duration::from_millis(since),
            partitions,
            text: entry.text.clone(),
        })
    };
    let partitions = why::by_partitions(&of_topic.entries);
    let mut causes: Vec<Cause> = partitions
        .into_iter()
        .filter_map(|(entry, partitions)| cause(entry, partitions))
        .chain(of_cluster.entries.iter().filter_map(|entry| cause(entry, Vec::new())))
        .collect();
    // A broker's fence comes before what follows from it.
    causes.sort_by_key(|cause| (cause.at, !cause.partitions.is_empty()));
    let began_before = |answer: &Answer| answer.entries.first().is_some_and(|first| first.at_ms < started_ms);
    let left_out = [of_topic, of_cluster]
        .into_iter()
        .filter(|answer| !began_before(answer))
        .map(|answer| answer.left_out)
        .sum();
    (causes, left_out)
}

#[cfg(test)]
mod tests {
    use klamm_broker::node::why::{Happened, Why};

    use super::*;

    fn answer(times: &[i64], left_out: usize) -> Answer {
        let entry = |&at_ms: &i64| Entry {
            at_ms,
            text: format!("broker 2 fenced at {at_ms}"),
            happened: Happened::BrokerChanged {
                step: "fenced".into(),
                broker_epoch: 1,
                why: Why {
                    cause: "process_ended".into(),
                    evidence: String::new(),
                    broker: Some(2),
                    last_contact_ms: None,
                },
            },
        };
        Answer {
            node_id: 1,
            applied_index: 9,
            keeps_history: true,
            entries: times.iter().map(entry).collect(),
            left_out,
        }
    }

    #[test]
    fn only_what_happened_meanwhile_is_told() {
        let (causes, left_out) = told(&answer(&[], 0), &answer(&[900, 1000, 1500], 7), 1000);
        let at: Vec<_> = causes.iter().map(|cause| cause.at.as_millis()).collect();
        assert_eq!(at, [0, 500]);
        assert_eq!(left_out, 0, "what was left out had happened before");
        let (causes, left_out) = told(&answer(&[], 0), &answer(&[1100], 7), 1000);
        assert_eq!((causes.len(), left_out), (1, 7));
    }
}
