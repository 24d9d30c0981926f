//! `klamm bench`: measures any Kafka cluster with the same client, and the processes of its brokers.
//!
//! Latency is from handing a record to the producer to its acknowledgement (produce), or to a consumer having it
//! (end-to-end). With a rate, time is counted from when a record was due, so that a stall shows in full.

mod consume;
mod coordinator;
mod end_to_end;
mod latency;
mod process;
mod produce;
mod rebalance;

use std::process::ExitCode;

use klamm_client::Compression;
use serde::Serialize;

use crate::Common;
use crate::failure::Failure;
use crate::output;
use latency::Latency;
use process::{Usage, Watch};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Records per second and the latency of acknowledgements.
    Produce(LoadArgs),
    /// Bytes per second of reading a topic from its beginning.
    Consume(ConsumeArgs),
    /// The latency from producer to consumer.
    EndToEnd(LoadArgs),
    /// How long a group of many members takes to a stable assignment.
    Rebalance(rebalance::Args),
    /// Kills a broker that coordinates groups: how long they are without, and what became of their offsets.
    Coordinator(coordinator::Args),
}

#[derive(Clone, clap::Args)]
pub struct LoadArgs {
    #[arg(long, default_value = "klamm-bench")]
    topic: String,
    /// Create the topic with so many partitions; it must not exist. Without it, the topic must exist.
    #[arg(long)]
    create_partitions: Option<i32>,
    #[arg(long, default_value_t = 3)]
    replication_factor: i16,
    /// A setting of the topic that is created.
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::key_value)]
    config: Vec<(String, String)>,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    #[arg(long, default_value_t = 100_000)]
    records: u64,
    /// Records per second over all producers; as fast as possible without it.
    #[arg(long)]
    rate: Option<u64>,
    #[arg(long, default_value_t = 4)]
    producers: u32,
    #[arg(long, default_value_t = 0)]
    linger_ms: u64,
    #[arg(long, default_value_t = 65_536)]
    batch_bytes: usize,
    #[arg(long, default_value = "none", value_parser = super::produce::compression)]
    compression: Compression,
    /// Processes of brokers, to measure their CPU time and memory.
    #[arg(long)]
    pid: Vec<i32>,
}

#[derive(clap::Args)]
pub struct ConsumeArgs {
    #[arg(long, default_value = "klamm-bench")]
    topic: String,
    /// Stop after so many records; at the end of the topic without it.
    #[arg(long)]
    records: Option<u64>,
    /// Processes of brokers, to measure their CPU time and memory.
    #[arg(long)]
    pid: Vec<i32>,
}

/// What a run gave.
#[derive(Debug, Serialize)]
pub struct Report {
    pub what: &'static str,
    pub records: u64,
    pub bytes: u64,
    pub seconds: f64,
    pub records_per_second: f64,
    /// 10^6 bytes of values.
    pub megabytes_per_second: f64,
    pub failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<Latency>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub brokers: Option<Usage>,
}

pub async fn run(common: &Common, command: Command) -> Result<ExitCode, Failure> {
    let report = match command {
        Command::Produce(args) => produce::run(common, &args).await?,
        Command::Consume(args) => consume::run(common, &args).await?,
        Command::EndToEnd(args) => end_to_end::run(common, &args).await?,
        Command::Rebalance(args) => return rebalance::run(common, &args).await,
        Command::Coordinator(args) => return coordinator::run(common, &args).await,
    };
    output::print(common.output, &report, to_text)?;
    Ok(if report.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Failure::CHECK)
    })
}

fn to_text(report: &Report) -> String {
    let mut text = format!(
        "{}: {} records in {:.2} s: {:.0} records/s, {:.1} MB/s, {} failed",
        report.what,
        report.records,
        report.seconds,
        report.records_per_second,
        report.megabytes_per_second,
        report.failed
    );
    if let Some(latency) = &report.latency_ms {
        text += &format!("\nlatency: {latency}");
    }
    if let Some(usage) = &report.brokers {
        text += &format!("\nbrokers: {usage}");
    }
    text
}

/// Puts a report together from what was counted.
fn report(what: &'static str, counted: Counted, watch: Watch) -> Report {
    let Counted {
        records,
        bytes,
        seconds,
        failed,
        latency,
    } = counted;
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    Report {
        what,
        records,
        bytes,
        seconds,
        records_per_second: per_second(records),
        megabytes_per_second: per_second(bytes) / 1e6,
        failed,
        latency_ms: latency,
        brokers: watch.usage(bytes, seconds),
    }
}

struct Counted {
    records: u64,
    bytes: u64,
    seconds: f64,
    failed: u64,
    latency: Option<Latency>,
}
