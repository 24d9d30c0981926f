//! Producing as fast as it goes, or at a rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use klamm_client::admin::NewTopic;
use klamm_client::{Client, ProducerConfig, ProducerRecord};

use super::latency::{Latency, micros};
use super::{Counted, LoadArgs, Report, Watch, report};
use crate::Common;
use crate::failure::Failure;
use crate::kafka::{admin_failure, connect};

/// Records of one producer that may be unacknowledged; the client's own memory is bounded besides.
const UNDER_WAY_MAX: usize = 50_000;
/// At a rate, how often records are sent.
const TICK: Duration = Duration::from_millis(1);

pub(super) async fn run(common: &Common, args: &LoadArgs) -> Result<Report, Failure> {
    prepare(&connect(common).await?, args).await?;
    let mut clients = Vec::new();
    for _ in 0..args.producers.max(1) {
        clients.push(connect(common).await?);
    }
    let (watch, begin) = (Watch::start(&args.pid), Instant::now());
    let count = clients.len() as u64;
    let tasks = (0..).zip(clients).map(|(number, client)| {
        let records = args.records / count + u64::from(number < args.records % count);
        tokio::spawn(produce(client, args.clone(), records, begin))
    });
    let tasks: Vec<_> = tasks.collect();
    let (mut samples, mut failed) = (Vec::new(), 0);
    for task in tasks {
        let (latencies, failures) = task.await.context("a producer")??;
        samples.extend(latencies);
        failed += failures;
    }
    let records = samples.len() as u64;
    let counted = Counted {
        records,
        bytes: records * args.record_bytes as u64,
        seconds: begin.elapsed().as_secs_f64(),
        failed,
        latency: Latency::of(samples),
    };
    Ok(report("produce", counted, watch))
}

/// Creates the topic if that is wanted.
pub(super) async fn prepare(client: &Client, args: &LoadArgs) -> Result<(), Failure> {
    let Some(partitions) = args.create_partitions else {
        return Ok(());
    };
    let mut topic = NewTopic::new(&args.topic)
        .partitions(partitions)
        .replication_factor(args.replication_factor);
    for (name, value) in &args.config {
        topic = topic.config(name, value);
    }
    client.admin().create_topic(topic).await.map_err(admin_failure)?;
    Ok(())
}

pub(super) fn producer_config(args: &LoadArgs) -> ProducerConfig {
    ProducerConfig {
        compression: args.compression,
        linger: Duration::from_millis(args.linger_ms),
        batch_size: args.batch_bytes,
        ..ProducerConfig::default()
    }
}

/// When the records of one producer are due.
pub(super) struct Pace {
    begin: Instant,
    interval: Option<Duration>,
}

impl Pace {
    pub fn new(args: &LoadArgs, begin: Instant) -> Pace {
        let each = args.rate.map(|rate| rate as f64 / f64::from(args.producers.max(1)));
        let interval = each
            .filter(|each| *each > 0.0)
            .map(|each| Duration::from_secs_f64(1.0 / each));
        Pace { begin, interval }
    }

    /// When the record of this number is due; without a rate that is now.
    pub fn due(&self, number: u64) -> Instant {
        match self.interval {
            Some(interval) => self.begin + interval.mul_f64(number as f64),
            None => Instant::now(),
        }
    }

    /// Waits, in steps, until it is due.
    pub async fn wait(&self, due: Instant) {
        if self.interval.is_some() && due > Instant::now() {
            tokio::time::sleep((due - Instant::now()).max(TICK)).await;
        }
    }
}

type Outcome = anyhow::Result<(Vec<u32>, u64)>;

async fn produce(client: Client, args: LoadArgs, records: u64, begin: Instant) -> Outcome {
    let producer = client.producer(producer_config(&args))?;
    let (topic, value): (Arc<str>, _) = (args.topic.as_str().into(), Bytes::from(vec![b'x'; args.record_bytes]));
    let pace = Pace::new(&args, begin);
    let (mut samples, mut failed) = (Vec::with_capacity(usize::try_from(records)?), 0);
    let mut under_way = FuturesUnordered::new();
    for number in 0..records {
        let due = pace.due(number);
        let mut waiting = std::pin::pin!(pace.wait(due));
        loop {
            // What ends while the next record is awaited is noted when it ends.
            tokio::select! {
                biased;
                () = &mut waiting => break,
                done = under_way.next(), if !under_way.is_empty() => note(done, &mut samples, &mut failed),
            }
        }
        let delivery = producer
            .send(ProducerRecord::to(topic.clone()).value(value.clone()))
            .await?;
        under_way.push(async move { (due, delivery.await) });
        while under_way.len() >= UNDER_WAY_MAX {
            note(under_way.next().await, &mut samples, &mut failed);
        }
        // What is done is taken at once, so that its time is right.
        while let Some(Some(done)) = futures_util::FutureExt::now_or_never(under_way.next()) {
            note(Some(done), &mut samples, &mut failed);
        }
    }
    while let Some(done) = under_way.next().await {
        note(Some(done), &mut samples, &mut failed);
    }
    producer.close().await;
    Ok((samples, failed))
}

fn note<T, E>(done: Option<(Instant, Result<T, E>)>, samples: &mut Vec<u32>, failed: &mut u64) {
    match done {
        Some((due, Ok(_))) => samples.push(micros(due.elapsed())),
        Some((_, Err(_))) => *failed += 1,
        None => {}
    }
}
