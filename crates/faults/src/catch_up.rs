//! A broker that comes back far behind: a topic that it lacks, who leads it meanwhile, and how much goes on meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, ensure};
use klamm_client::admin::{Admin, NewTopic, TopicDescription};
use klamm_client::{Client, ProducerConfig, ProducerRecord};

use crate::ledger::Ledger;

const PARTITIONS: i32 = 6;
const RECORD_BYTES: usize = 16 << 10;

/// Beside the load's topic.
pub fn name(topic: &str) -> String {
    format!("{topic}-behind")
}

pub async fn create(admin: &Admin, topic: &str) -> anyhow::Result<()> {
    let new = NewTopic::new(name(topic)).partitions(PARTITIONS).replication_factor(3);
    admin
        .create_topic(new)
        .await
        .context("creating the topic to fall behind with")?;
    Ok(())
}

/// Writes so much to it, as fast as it is taken.
pub async fn fill(client: &Client, topic: &str, bytes: u64) -> anyhow::Result<()> {
    let producer = client.producer(ProducerConfig::default())?;
    let value = vec![b'.'; RECORD_BYTES];
    let mut deliveries = Vec::new();
    for number in 0..bytes.div_ceil(RECORD_BYTES as u64) {
        let partition = i32::try_from(number % PARTITIONS as u64)?;
        let record = ProducerRecord::to(name(topic))
            .partition(partition)
            .value(value.clone());
        deliveries.push(producer.send(record).await?);
    }
    for delivery in deliveries {
        delivery.await.context("filling the topic to fall behind with")?;
    }
    producer.close().await;
    Ok(())
}

/// Watches who leads: a victim may not before it has been seen in sync with others.
#[derive(Debug, Default)]
pub struct Leaders {
    /// By topic and partition: whether a victim was in sync beside others.
    in_sync: BTreeMap<(String, i32), bool>,
}

impl Leaders {
    /// # Errors
    /// A victim leads a partition and was never in sync with it, or leads it alone.
    pub fn seen(&mut self, topic: &TopicDescription, victims: &[i32]) -> anyhow::Result<()> {
        for one in &topic.partitions {
            let is_victim = |node: i32| victims.contains(&node);
            let others = one.isr.iter().filter(|member| !is_victim(member.0)).count();
            let member = one.isr.iter().any(|member| is_victim(member.0));
            let known = self.in_sync.entry((topic.name.to_string(), one.partition)).or_default();
            *known |= member && others > 0;
            let leads = one.leader.is_some_and(|leader| is_victim(leader.0));
            ensure!(
                !leads || *known,
                "a victim leads {}/{} and was not in sync: {one:?}",
                topic.name,
                one.partition
            );
        }
        Ok(())
    }
}

/// The times of a catch-up, counted from the start of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// What is usual was measured in between.
    pub usual: (Duration, Duration),
    pub during: (Duration, Duration),
}

/// What went on, second by second, in percent of what is usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Shares {
    /// While nothing was caught up: what a second may differ by in any case.
    pub usual: Vec<f64>,
    pub during: Vec<f64>,
}

impl Shares {
    pub fn of(ledger: &Ledger, times: &CatchUp) -> anyhow::Result<Shares> {
        let count = |(from, to)| ledger.acknowledged_between(from, to) as f64;
        let usual = count(times.usual) / (times.usual.1 - times.usual.0).as_secs_f64();
        ensure!(
            usual > 0.0,
            "nothing was acknowledged when the usual throughput was measured"
        );
        let second = Duration::from_secs(1);
        let shares = |(from, to): (Duration, Duration)| {
            let begins = (0..).map(|number| from + second * number);
            let whole = begins.take_while(|begin| *begin + second <= to);
            whole
                .map(|begin| count((begin, begin + second)) / usual * 100.0)
                .collect()
        };
        Ok(Shares {
            usual: shares(times.usual),
            during: shares(times.during),
        })
    }

    /// # Errors
    /// In some second less than `percent` went on.
    pub fn hold(&self, percent: u32) -> anyhow::Result<()> {
        ensure!(
            !self.during.is_empty(),
            "it took less than a second to catch up: too little to see anything"
        );
        let (worst, usual) = (least(&self.during), least(&self.usual));
        let Shares { during, .. } = self;
        ensure!(
            worst >= f64::from(percent),
            "in one second only {worst:.0} % of the usual throughput went on (before, {usual:.0} %): {during:.0?} %"
        );
        Ok(())
    }
}

/// The figures of a catch-up in which so many percent went on.
pub fn held(ledger: &Ledger, times: &CatchUp, percent: u32) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let length = times.during.1 - times.during.0;
    let shares = Shares::of(ledger, times)?;
    shares
        .hold(percent)
        .with_context(|| format!("caught up after {length:?}"))?;
    let figures = [
        ("caught up after s", length.as_secs_f64()),
        ("worst second %", least(&shares.during)),
        ("worst second before %", least(&shares.usual)),
    ];
    Ok(figures.map(|(name, value)| (name.to_owned(), vec![value])).into())
}

fn least(shares: &[f64]) -> f64 {
    shares.iter().copied().fold(f64::INFINITY, f64::min)
}

#[cfg(test)]
mod tests {
    use klamm_client::admin::PartitionDescription;
    use klamm_client::{NodeId, TopicId};
    use klamm_verify::{Event, Outcome, Recorder, Value};

    use super::*;

    /// A hundred acknowledgements a second for ten seconds, but for `slow` in the eighth.
    fn ledger(slow: u64) -> Ledger {
        let ledger = Ledger::new(1, false);
        let mut number = 0;
        for second in 0..10 {
            let count = if second == 7 { slow } else { 100 };
            for index in 0..count {
                let at = Duration::from_millis(second * 1000 + index * 1000 / count);
                let value = Value { producer: 0, number };
                let offset = number as i64;
                number += 1;
                ledger.note(at, 0, Event::Sent { value });
                let outcome = Outcome::Acknowledged { offset, at };
                ledger.note(at, 0, Event::Settled { value, outcome });
            }
        }
        ledger
    }

    #[test]
    fn the_worst_second_counts() {
        let seconds = Duration::from_secs;
        let times = CatchUp {
            usual: (seconds(0), seconds(5)),
            during: (seconds(5), seconds(10)),
        };
        let shares = Shares::of(&ledger(80), &times).unwrap();
        assert_eq!(shares.during, [100.0, 100.0, 80.0, 100.0, 100.0]);
        shares.hold(80).unwrap();
        let error = Shares::of(&ledger(79), &times)
            .unwrap()
            .hold(80)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("only 79 % of the usual throughput went on (before, 100 %)"),
            "{error}"
        );
        let elsewhere = CatchUp {
            during: (seconds(8), seconds(10)),
            ..times
        };
        Shares::of(&ledger(10), &elsewhere).unwrap().hold(80).unwrap();
        let short = CatchUp {
            during: (seconds(8), seconds(8)),
            ..times
        };
        assert!(Shares::of(&ledger(10), &short).unwrap().hold(80).is_err());
    }

    fn topic(leader: i32, isr: &[i32]) -> TopicDescription {
        let nodes = |ids: &[i32]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
        TopicDescription {
            partitions: vec![PartitionDescription {
                partition: 0,
                leader: Some(NodeId(leader)),
                leader_epoch: 1,
                replicas: nodes(&[1, 2, 3]),
                isr: nodes(isr),
                offline: Vec::new(),
            }],
            name: "t".to_owned(),
            id: TopicId::default(),
            internal: false,
        }
    }

    #[test]
    fn nobody_leads_before_it_is_in_sync() {
        let good = [(1, &[1, 2][..]), (1, &[1, 2, 3]), (3, &[1, 2, 3])];
        let mut leaders = Leaders::default();
        good.iter()
            .for_each(|(leader, isr)| leaders.seen(&topic(*leader, isr), &[3]).unwrap());
        let mut leaders = Leaders::default();
        leaders.seen(&topic(1, &[1, 2]), &[3]).unwrap();
        let error = leaders.seen(&topic(3, &[3]), &[3]).unwrap_err().to_string();
        assert!(error.contains("was not in sync"), "{error}");
    }
}
