//! From producer to consumer: each record carries when it was due, the consumer says how long ago that was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use klamm_client::{Client, ConsumerConfig, ProducerRecord, Start};
use tokio::sync::watch;

use super::latency::{Latency, micros};
use super::produce::{Pace, prepare, producer_config};
use super::{Counted, LoadArgs, Report, Watch, report};
use crate::Common;
use crate::failure::Failure;
use crate::kafka::connect;

const POLL: Duration = Duration::from_millis(500);
const LATE_MAX: Duration = Duration::from_secs(30);

pub(super) async fn run(common: &Common, args: &LoadArgs) -> Result<Report, Failure> {
    let client = connect(common).await?;
    prepare(&client, args).await?;
    let mut consumer = client.consumer(ConsumerConfig {
        poll_records_max: 10_000,
        ..ConsumerConfig::default()
    });
    consumer
        .assign_topic(&args.topic, Start::Latest)
        .await
        .context("reading the topic")?;
    // Only what is produced from here on carries a time of this run.
    consumer
        .end_offsets()
        .await
        .context("looking for the end of the topic")?;
    let (watched, begin) = (Watch::start(&args.pid), Instant::now());
    let producers = u64::from(args.producers.max(1));
    let (done, all_sent) = watch::channel(0u64);
    let done = Arc::new(done);
    for number in 0..producers {
        let records = args.records / producers + u64::from(number < args.records % producers);
        let task = produce(connect(common).await?, args.clone(), records, begin);
        let done = done.clone();
        tokio::spawn(async move {
            if let Err(error) = task.await {
                tracing::warn!(%error, "a producer of the measurement failed");
            }
            done.send_modify(|count| *count += 1);
        });
    }
    let (mut samples, mut last) = (Vec::new(), Instant::now());
    while (samples.len() as u64) < args.records {
        for record in consumer.poll(POLL).await.context("reading the topic")? {
            let due = record
                .value
                .as_deref()
                .and_then(|value| value.get(..8))
                .and_then(|bytes| bytes.try_into().ok());
            let due = Duration::from_micros(u64::from_be_bytes(due.unwrap_or_default()));
            samples.push(micros(begin.elapsed().saturating_sub(due)));
            last = Instant::now();
        }
        if *all_sent.borrow() == producers && last.elapsed() > LATE_MAX {
            break;
        }
    }
    let records = samples.len() as u64;
    let counted = Counted {
        records,
        bytes: records * args.record_bytes as u64,
        seconds: begin.elapsed().as_secs_f64(),
        failed: args.records.saturating_sub(records),
        latency: Latency::of(samples),
    };
    Ok(report("end-to-end", counted, watched))
}

async fn produce(client: Client, args: LoadArgs, records: u64, begin: Instant) -> anyhow::Result<()> {
    let producer = client.producer(producer_config(&args))?;
    let (topic, pace): (Arc<str>, _) = (args.topic.as_str().into(), Pace::new(&args, begin));
    for number in 0..records {
        let due = pace.due(number);
        pace.wait(due).await;
        let since = u64::try_from(due.saturating_duration_since(begin).as_micros())?;
        let mut value = since.to_be_bytes().to_vec();
        value.resize(args.record_bytes.max(8), b'x');
        // The consumer counts what arrives; a delivery that fails shows as missing there.
        drop(producer.send(ProducerRecord::to(topic.clone()).value(value)).await?);
    }
    producer.close().await;
    Ok(())
}
