//! `klamm produce`: lines of text become records, in order, and every one is accounted for.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use klamm_client::{Acks, Compression, Delivery, DeliveryFuture, Guarantee, ProducerConfig, ProducerRecord};
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::mpsc;

use super::{connect, key_value};
use crate::Common;
use crate::failure::Failure;
use crate::output::{self, Format};

/// A line longer than this is refused rather than gathered without end.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// Records whose delivery is still to be reported.
const WAITING_MAX: usize = 10_000;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Args {
    topic: String,
    /// Read lines from here instead of standard input.
    #[arg(long, short)]
    file: Option<PathBuf>,
    /// What stands between key and value in a line; without it a line is all value.
    #[arg(long, short, value_name = "TEXT")]
    key_separator: Option<String>,
    /// One key for all records.
    #[arg(long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// A header for every record; may be repeated, also with the same name.
    #[arg(long, short = 'H', value_name = "NAME=VALUE", value_parser = key_value)]
    header: Vec<(String, String)>,
    /// Send everything to this partition.
    #[arg(long, short)]
    partition: Option<i32>,
    /// Who must have a record before it counts: all, 1 or 0.
    #[arg(long, default_value = "all", value_parser = acks)]
    acks: Acks,
    /// none, gzip, snappy, lz4 or zstd.
    #[arg(long, short, default_value = "none", value_parser = compression)]
    compression: Compression,
    /// How long a batch may wait for more records, in milliseconds.
    #[arg(long, default_value_t = 5)]
    linger_ms: u64,
    /// Create the topic if the cluster does that.
    #[arg(long)]
    create: bool,
    /// Show how far it is.
    #[arg(long)]
    progress: bool,
    /// Print partition and offset of every record as it is acknowledged, in the order of the lines.
    #[arg(long)]
    offsets: bool,
}

fn acks(text: &str) -> Result<Acks, String> {
    match text {
        "all" | "-1" => Ok(Acks::All),
        "1" => Ok(Acks::Leader),
        "0" => Ok(Acks::NoneUnsafe),
        _ => Err("expected all, 1 or 0".to_owned()),
    }
}

pub fn compression(text: &str) -> Result<Compression, String> {
    match text {
        "none" => Ok(Compression::None),
        "gzip" => Ok(Compression::Gzip),
        "snappy" => Ok(Compression::Snappy),
        "lz4" => Ok(Compression::Lz4),
        "zstd" => Ok(Compression::Zstd),
        _ => Err("expected none, gzip, snappy, lz4 or zstd".to_owned()),
    }
}

pub async fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    let client = if args.create {
        super::connect_creating(common).await?
    } else {
        connect(common).await?
    };
    let config = ProducerConfig {
        acks: args.acks,
        guarantee: if args.acks == Acks::All {
            Guarantee::Idempotent
        } else {
            Guarantee::AtMostOnce
        },
        compression: args.compression,
        linger: Duration::from_millis(args.linger_ms),
        max_block: Duration::from_secs(common.timeout.max(1)),
        delivery_timeout: Duration::from_secs(common.timeout.max(1)),
        ..ProducerConfig::default()
    };
    let producer = client.producer(config).context("the producer's settings")?;
    let (deliveries, waiting) = mpsc::channel(WAITING_MAX);
    let shown = Shown {
        progress: args.progress && std::io::stderr().is_terminal(),
        offsets: args.offsets.then_some(common.output),
    };
    let report = tokio::spawn(report(waiting, shown));
    let sent = send_lines(&args, &producer, deliveries).await;
    producer.flush().await;
    let delivered = report.await.context("reporting deliveries")?;
    producer.close().await;
    let tally = delivered?;
    sent?;
    let value = json!({"records": tally.records, "bytes": tally.bytes, "seconds": tally.seconds});
    output::print(common.output, &value, |_| {
        format!(
            "{} records, {} bytes, {:.2} s: all acknowledged",
            tally.records, tally.bytes, tally.seconds
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

type Sent = (u64, DeliveryFuture);

async fn send_lines(
    args: &Args,
    producer: &klamm_client::Producer,
    deliveries: mpsc::Sender<Sent>,
) -> Result<(), Failure> {
    let mut input: Box<dyn AsyncBufRead + Unpin + Send> = match &args.file {
        Some(path) => {
            let file = tokio::fs::File::open(path)
                .await
                .with_context(|| format!("opening {}", path.display()))?;
            Box::new(BufReader::new(file))
        }
        None => Box::new(BufReader::new(tokio::io::stdin())),
    };
    let topic: Arc<str> = args.topic.as_str().into();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut input)
            .take(LINE_BYTES_MAX + 1)
            .read_until(b'\n', &mut line)
            .await
            .context("reading a line")?;
        if read == 0 {
            return Ok(());
        }
        if read as u64 > LINE_BYTES_MAX {
            return Err(Failure::from(anyhow::anyhow!(
                "a line is longer than {LINE_BYTES_MAX} bytes"
            )));
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        let record = record(args, topic.clone(), &line)?;
        let delivery = producer.send(record).await.context("sending a line")?;
        if deliveries.send((line.len() as u64, delivery)).await.is_err() {
            // A delivery has failed; whoever reports says why.
            return Ok(());
        }
    }
}

fn record(args: &Args, topic: Arc<str>, line: &[u8]) -> anyhow::Result<ProducerRecord> {
    let mut record = ProducerRecord::to(topic);
    if let Some(partition) = args.partition {
        record = record.partition(partition);
    }
    for (name, value) in &args.header {
        record = record.header(name.clone(), value.clone().into_bytes());
    }
    let value = match &args.key_separator {
        Some(separator) => {
            let at = find(line, separator.as_bytes());
            let at = at.with_context(|| format!("a line has no {separator:?}: {}", String::from_utf8_lossy(line)))?;
            record = record.key(Bytes::copy_from_slice(&line[..at]));
            &line[at + separator.len()..]
        }
        None => line,
    };
    if let Some(key) = &args.key {
        record = record.key(key.clone().into_bytes());
    }
    Ok(record.value(Bytes::copy_from_slice(value)))
}

fn find(line: &[u8], separator: &[u8]) -> Option<usize> {
    if separator.is_empty() {
        return None;
    }
    line.windows(separator.len()).position(|window| window == separator)
}

fn print_place(format: Format, delivery: &Delivery) -> anyhow::Result<()> {
    let (partition, offset) = (delivery.partition.0, delivery.offset.0);
    match format {
        Format::Table => output::print_out(&format!("{partition} {offset}")),
        Format::Json => output::print_out(&json!({"partition": partition, "offset": offset}).to_string()),
    }
}

struct Tally {
    records: u64,
    bytes: u64,
    seconds: f64,
}

/// What is told of the deliveries while they come.
struct Shown {
    progress: bool,
    /// Each record's place, in this form.
    offsets: Option<Format>,
}

/// Waits for every delivery, in order. The first failure ends it.
async fn report(mut waiting: mpsc::Receiver<Sent>, shown: Shown) -> anyhow::Result<Tally> {
    let (begin, mut told) = (Instant::now(), Instant::now());
    let mut tally = Tally {
        records: 0,
        bytes: 0,
        seconds: 0.0,
    };
    while let Some((bytes, delivery)) = waiting.recv().await {
        let records = tally.records;
        let delivery = delivery
            .await
            .with_context(|| format!("delivering record {records}; all before it are acknowledged"))?;
        tally.records += 1;
        tally.bytes += bytes;
        if let Some(format) = shown.offsets {
            print_place(format, &delivery)?;
        }
        if shown.progress && told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            eprint!("\r{} records acknowledged", tally.records);
        }
    }
    if shown.progress {
        eprintln!("\r{} records acknowledged", tally.records);
    }
    tally.seconds = begin.elapsed().as_secs_f64();
    Ok(tally)
}
