//! A made-up run with all that a report can show.

use super::*;
use crate::anomaly::Reader;
use crate::history::Outcome;
use crate::judge::{Audiences, Ending, Event, Judge, Limits};
use crate::value::Value;
use klamm_client::NodeId;
use klamm_client::admin::PartitionDescription;

fn at(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn described(partition: i32, leader: i32, leader_epoch: i32, isr: &[i32]) -> PartitionDescription {
    let nodes = |nodes: &[i32]| nodes.iter().map(|&node| NodeId(node)).collect();
    PartitionDescription {
        partition,
        leader: Some(NodeId(leader)),
        leader_epoch,
        replicas: nodes(&[1, 2, 3]),
        isr: nodes(isr),
        offline: Vec::new(),
    }
}

/// Twenty seconds, six partitions; partition 0 and 3 lose their leader for a while, and `lost` records are lost.
fn monitor(lost: u64) -> Monitor {
    let mut judge = Judge::new(Limits::shared_by(10));
    for partition in 0..6 {
        let readers = [(0, Some(0))].into();
        judge.expect(partition, Audiences { readers, group: None });
    }
    let mut monitor = Monitor::new(judge, Outages::new(6, at(500)));
    let mut numbers = [0u64; 6];
    for tick in 0..2000u64 {
        let (partition, ms) = ((tick % 6) as i32, tick * 10);
        if partition % 3 == 0 && (8000..11_000).contains(&ms) {
            continue;
        }
        let number = numbers[partition as usize];
        numbers[partition as usize] += 1;
        let (value, offset) = (Value { producer: 0, number }, number as i64);
        monitor.step(at(ms), partition, Event::Sent { value });
        let outcome = Outcome::Acknowledged { offset, at: at(ms + 3) };
        monitor.step(at(ms + 3), partition, Event::Settled { value, outcome });
        monitor.latencies.add(at(3));
        if partition == 0 && (20..20 + lost).contains(&number) {
            continue;
        }
        let reader = Reader::Partition(0);
        let value = Some(value);
        monitor.step(at(ms + 5), partition, Event::Read { reader, offset, value });
    }
    monitor.outages.finish(at(20_000));
    monitor.judge.finish(Ending::Read);
    monitor
}

fn report(lost: u64) -> Report {
    let mut changes = Changes::default();
    let whole = |partition| described(partition, partition % 3 + 1, 4, &[1, 2, 3]);
    changes.look(at(0), &(0..6).map(whole).collect::<Vec<_>>());
    changes.look(at(11_000), &[described(0, 2, 5, &[2, 3]), described(3, 3, 5, &[2, 3])]);
    changes.look(
        at(15_000),
        &[described(0, 2, 5, &[1, 2, 3]), described(3, 3, 5, &[1, 2, 3])],
    );
    let mark = |ms, text: &str| Mark {
        at: at(ms),
        text: text.to_owned(),
    };
    let marks = vec![mark(8000, "kill -9 <node 1>"), mark(14_000, "start node 1")];
    let run = Description {
        bootstrap: "localhost:9092".to_owned(),
        topic: "verify-1".to_owned(),
        started_ms: 1_772_366_400_000,
        seconds: 20.0,
        partitions: 6,
        replication_factor: 3,
        producers: 1,
        records_per_second: 100,
        record_bytes: 100,
        ..Description::default()
    };
    let cause = Cause {
        at: at(8120),
        partitions: vec![0, 3],
        text: "leader 1 → <2>: broker 1's process ended".to_owned(),
    };
    Report {
        causes: vec![cause],
        marks,
        troubles: vec!["a reader & its trouble".to_owned()],
        ..Report::new(run, &monitor(lost), &changes)
    }
}

#[test]
fn a_report_says_what_happened() {
    let report = report(2);
    assert_eq!(report.verdict, "anomalies");
    assert_eq!(report.anomalies[&Kind::LostWrite], 2);
    assert_eq!(report.sentence(), "the cluster broke its word: 2 lost-write");
    assert_eq!(report.unavailability.spans, 2);
    // From the last acknowledgement before to the first after: 7.98 s to 11.04 s, and 7.95 s to 11.01 s.
    assert_eq!(report.unavailability.max_ms, Some(3060.0));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["anomalies"]["lost-write"], 2);
    assert_eq!(json["anomalies"]["G1a"], 0);
    assert_eq!(json["examples"][0]["anomaly"], "lost-write");
    assert_eq!(json["changes"][6]["after"]["isr"], serde_json::json!([2, 3]));
    assert_eq!(json["causes"][0]["at_ms"], 8120);
    assert_eq!(json["causes"][0]["partitions"], serde_json::json!([0, 3]));
    assert_eq!(json["unavailability"]["list"][0]["length_ms"], 3060);
    assert_eq!(json["throughput"]["bucket_ms"], 200);
}

#[test]
fn verdicts() {
    let mut good = report(0);
    assert!(good.is_good());
    assert_eq!(good.sentence(), "nothing acknowledged was lost, doubled or reordered");
    good.totals.unchecked = 3;
    assert!(good.sentence().contains("3 sends or reads could not be checked"));
    let nothing = Monitor::new(Judge::new(Limits::shared_by(10)), Outages::new(1, at(500)));
    let run = Description::default();
    let nothing = Report::new(run, &nothing, &Changes::default());
    assert_eq!((nothing.verdict, nothing.is_good()), ("nothing acknowledged", false));
    assert!(to_html(&nothing).contains("Nothing acknowledged"));
}

#[test]
fn the_page_is_whole_and_stands_alone() {
    let page = to_html(&report(2));
    for text in [
        "2026-03-01 12:00:00 UTC",
        "kill -9 &lt;node 1&gt;",
        "<td>0,3</td><td>leader 1 → &lt;2&gt;: broker 1's process ended</td>",
        "a reader &amp; its trouble",
        "<code>lost-write</code>",
        "0:20 acknowledged at 20, never read",
        "no acknowledged write for 3060 ms",
        "node 2 leads in epoch 5, in sync 2,3",
        "1 → 2",
        "prefers-color-scheme: dark",
    ] {
        assert!(page.contains(text), "{text} is not in the page");
    }
    for foreign in ["<script", "http:", "https:", "@import", "url(", "NaN", "inf"] {
        assert!(!page.contains(foreign), "{foreign} is in the page");
    }
    let opened = page.matches("<table>").count();
    assert_eq!(opened, page.matches("</table>").count());
    assert_eq!(page.matches("<rect").count(), page.matches("</rect>").count());
}
