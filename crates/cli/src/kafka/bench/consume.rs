//! Reading a topic from its beginning, as fast as it comes.

use std::time::{Duration, Instant};

use anyhow::Context;
use klamm_client::{ConsumerConfig, Start};

use super::{ConsumeArgs, Counted, Report, Watch, report};
use crate::Common;
use crate::failure::Failure;
use crate::kafka::connect;

const POLL: Duration = Duration::from_millis(500);

pub(super) async fn run(common: &Common, args: &ConsumeArgs) -> Result<Report, Failure> {
    let client = connect(common).await?;
    let config = ConsumerConfig {
        poll_records_max: 10_000,
        ..ConsumerConfig::default()
    };
    let mut consumer = client.consumer(config);
    let (watch, begin) = (Watch::start(&args.pid), Instant::now());
    consumer
        .assign_topic(&args.topic, Start::Earliest)
        .await
        .context("reading the topic")?;
    let ends = consumer
        .end_offsets()
        .await
        .context("looking for the end of the topic")?;
    let (mut records, mut bytes) = (0u64, 0u64);
    while !consumer.has_reached(&ends) && args.records.is_none_or(|max| records < max) {
        for record in consumer.poll(POLL).await.context("reading the topic")? {
            records += 1;
            bytes += record.value.map_or(0, |value| value.len() as u64);
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    Ok(report(
        "consume",
        Counted {
            records,
            bytes,
            seconds,
            failed: 0,
            latency: None,
        },
        watch,
    ))
}
