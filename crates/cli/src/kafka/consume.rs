//! `klamm consume`: prints records of a topic, from where it is told, until it is told to stop.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use klamm_client::admin::OffsetSpec;
use klamm_client::{
    Client, CommitError, CommittedOffset, Consumer, ConsumerConfig, ConsumerRecord, GroupConfig, GroupProtocol,
    IsolationLevel, OffsetReset, Start, TopicPartition,
};
use klamm_types::{Offset, PartitionId, Timestamp};
use serde_json::json;

use super::{admin_failure, connect};
use crate::Common;
use crate::failure::Failure;
use crate::output::Format;

/// How often a member of a group commits what it has printed.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(500);

#[derive(clap::Args)]
pub struct Args {
    topic: String,
    /// Read as a member of this group, from where it is, and commit what was printed. --from then counts for partitions
    /// without a committed offset: beginning or end.
    #[arg(long, short, conflicts_with = "partition")]
    group: Option<String>,
    /// The group's protocol.
    #[arg(long, requires = "group", value_enum, default_value_t = Protocol::Classic)]
    protocol: Protocol,
    /// Where to begin: beginning, end, an offset, or @MILLISECONDS for the first record from a time on.
    #[arg(long, default_value = "end", value_parser = start)]
    from: Start,
    /// Only these partitions; all without it.
    #[arg(long, short)]
    partition: Vec<i32>,
    /// How to print a record: %k key, %v value, %t topic, %p partition, %o offset, %T timestamp, %h headers,
    /// \n newline, \t tab, %% percent.
    #[arg(long, short, default_value = "%v\\n")]
    format: String,
    /// Stop at the end, as it is when the command starts.
    #[arg(long)]
    stop_at_end: bool,
    /// Stop after so many records.
    #[arg(long, short)]
    max: Option<u64>,
    /// Only records of committed transactions.
    #[arg(long)]
    committed: bool,
}

/// By which protocol to take part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    Classic,
    Consumer,
}

impl Args {
    fn group_config(&self) -> Option<GroupConfig> {
        let group = self.group.as_ref()?;
        Some(GroupConfig {
            group_protocol: match self.protocol {
                Protocol::Classic => GroupProtocol::Classic,
                Protocol::Consumer => GroupProtocol::Consumer,
            },
            // What was printed is committed, not what was fetched.
            auto_commit_interval: None,
            ..GroupConfig::new(group)
        })
    }

    /// What a group does where it has committed nothing.
    fn reset(&self) -> Result<OffsetReset, Failure> {
        match (&self.group, self.from) {
            (None, _) | (Some(_), Start::Earliest) => Ok(OffsetReset::Earliest),
            (Some(_), Start::Latest) => Ok(OffsetReset::Latest),
            (Some(group), _) => Err(Failure::usage(format!(
                "a group goes on where it is: use --from beginning or end, or klamm group reset-offsets {group}"
            ))),
        }
    }
}

fn start(text: &str) -> Result<Start, String> {
    let expected = || "expected beginning, end, an offset, or @MILLISECONDS".to_owned();
    match text {
        "beginning" | "earliest" => Ok(Start::Earliest),
        "end" | "latest" => Ok(Start::Latest),
        _ => match text.strip_prefix('@') {
            Some(time) => time
                .parse()
                .map(|ms| Start::Timestamp(Timestamp(ms)))
                .map_err(|_| expected()),
            None => {
                let offset: i64 = text.parse().map_err(|_| expected())?;
                if offset < 0 {
                    Err(expected())
                } else {
                    Ok(Start::Offset(Offset(offset)))
                }
            }
        },
    }
}

pub async fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    let client = connect(common).await?;
    let config = ConsumerConfig {
        offset_reset: args.reset()?,
        group: args.group_config(),
        isolation: if args.committed {
            IsolationLevel::ReadCommitted
        } else {
            IsolationLevel::ReadUncommitted
        },
        ..ConsumerConfig::default()
    };
    let mut consumer = client.consumer(config);
    let reading = || format!("reading {}", args.topic);
    if args.group.is_some() {
        consumer.subscribe([args.topic.as_str()]).with_context(reading)?;
    } else if args.partition.is_empty() {
        consumer
            .assign_topic(&args.topic, args.from)
            .await
            .with_context(reading)?;
    } else {
        let partition = |&number: &i32| (TopicPartition::new(args.topic.as_str(), number), args.from);
        consumer.assign(args.partition.iter().map(partition));
    }
    let ends = match (args.stop_at_end, &args.group) {
        (false, _) => None,
        (true, None) => Some(consumer.end_offsets().await.with_context(reading)?),
        // Which partitions this member gets is not known yet.
        (true, Some(_)) => Some(ends_of_topic(&client, &args.topic).await?),
    };
    let mut stop = crate::signals::stop_signals()?;
    let printer = Printer {
        format: common.output,
        template: &args.format,
    };
    let mut reading = Reading {
        consumer,
        done: args.group.is_some().then(BTreeMap::new),
        committed_at: Instant::now(),
    };
    tokio::select! {
        outcome = reading.pump(ends.as_ref(), args.max, &printer) => outcome?,
        () = stop.recv() => {}
    }
    reading.close().await?;
    Ok(ExitCode::SUCCESS)
}

async fn ends_of_topic(client: &Client, topic: &str) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let admin = client.admin();
    let described = admin.describe_topic(topic).await.map_err(admin_failure)?;
    let mut ends = BTreeMap::new();
    for partition in described.partitions {
        let number = PartitionId(partition.partition);
        let end = admin.list_offset(topic, number, OffsetSpec::Latest).await;
        if let Some(end) = end.map_err(admin_failure)? {
            ends.insert(TopicPartition::new(topic, partition.partition), end.offset);
        }
    }
    Ok(ends)
}

/// A consumer, and what it has printed. In a group only that is committed: a record that was fetched and not printed is
/// another member's to print.
struct Reading {
    consumer: Consumer,
    done: Option<BTreeMap<TopicPartition, CommittedOffset>>,
    committed_at: Instant,
}

impl Reading {
    async fn pump(
        &mut self,
        ends: Option<&BTreeMap<TopicPartition, Offset>>,
        max: Option<u64>,
        printer: &Printer<'_>,
    ) -> Result<(), Failure> {
        let mut printed = 0;
        loop {
            if max.is_some_and(|max| printed >= max) || ends.is_some_and(|ends| self.has_reached(ends)) {
                return Ok(());
            }
            let records = self.consumer.poll(POLL).await.context("reading")?;
            let left = max.map_or(u64::MAX, |max| max - printed);
            let wanted = records.iter().filter(|record| !is_past(record, ends));
            let wanted: Vec<_> = wanted.take(usize::try_from(left).unwrap_or(usize::MAX)).collect();
            printed += wanted.len() as u64;
            printer.print(&wanted)?;
            self.note(&wanted);
            if self.committed_at.elapsed() >= COMMIT_INTERVAL {
                self.commit().await?;
            }
        }
    }

    fn has_reached(&self, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
        if self.done.is_none() {
            return self.consumer.has_reached(ends);
        }
        let assigned = self.consumer.assignment();
        let at_end = |partition: &TopicPartition| {
            let position = self.consumer.position(partition);
            ends.get(partition)
                .is_none_or(|end| position.is_some_and(|position| position >= *end))
        };
        !assigned.is_empty() && assigned.iter().all(at_end)
    }

    fn note(&mut self, printed: &[&ConsumerRecord]) {
        let Some(done) = &mut self.done else { return };
        for record in printed {
            let next = CommittedOffset {
                leader_epoch: record.leader_epoch,
                ..CommittedOffset::new(Offset(record.offset.0 + 1))
            };
            done.insert(TopicPartition::new(record.topic.clone(), record.partition.0), next);
        }
    }

    /// A rebalance may take partitions away before this; who has them then prints their records again.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.committed_at = Instant::now();
        let Some(done) = self.done.as_mut().filter(|done| !done.is_empty()) else {
            return Ok(());
        };
        match self.consumer.commit_offsets(std::mem::take(done)).await {
            Ok(()) | Err(CommitError::RebalanceInProgress | CommitError::NotMember) => Ok(()),
            Err(error) => Err(Failure::from(anyhow::Error::new(error))),
        }
    }

    async fn close(mut self) -> Result<(), Failure> {
        self.commit().await?;
        self.consumer.close().await.context("leaving the group")?;
        Ok(())
    }
}

/// Whether a record came after the end that the command stops at.
fn is_past(record: &ConsumerRecord, ends: Option<&BTreeMap<TopicPartition, Offset>>) -> bool {
    let partition = || TopicPartition::new(record.topic.clone(), record.partition.0);
    ends.and_then(|ends| ends.get(&partition()))
        .is_some_and(|end| record.offset >= *end)
}

struct Printer<'a> {
    format: Format,
    template: &'a str,
}

impl Printer<'_> {
    fn print(&self, records: &[&ConsumerRecord]) -> anyhow::Result<()> {
        let mut text = Vec::new();
        for record in records {
            match self.format {
                Format::Table => render(self.template, record, &mut text),
                Format::Json => {
                    text.extend_from_slice(to_json(record).to_string().as_bytes());
                    text.push(b'\n');
                }
            }
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(&text).and_then(|()| out.flush()) {
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
            other => other.context("printing"),
        }
    }
}

/// Bytes that are no UTF-8 are printed as they are: what was produced from a file comes back the same.
fn render(template: &str, record: &ConsumerRecord, out: &mut Vec<u8>) {
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        match (letter, letters.clone().next()) {
            ('%', Some(kind)) if "kvtpoTh%".contains(kind) => {
                letters.next();
                field(kind, record, out);
            }
            ('\\', Some(kind)) if "nt\\".contains(kind) => {
                letters.next();
                out.push(match kind {
                    'n' => b'\n',
                    't' => b'\t',
                    _ => b'\\',
                });
            }
            (other, _) => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

fn field(kind: char, record: &ConsumerRecord, out: &mut Vec<u8>) {
    match kind {
        'k' => out.extend_from_slice(record.key.as_deref().unwrap_or_default()),
        'v' => out.extend_from_slice(record.value.as_deref().unwrap_or_default()),
        't' => out.extend_from_slice(record.topic.as_bytes()),
        'p' => out.extend_from_slice(record.partition.to_string().as_bytes()),
        'o' => out.extend_from_slice(record.offset.to_string().as_bytes()),
        'T' => out.extend_from_slice(record.timestamp.to_string().as_bytes()),
        'h' => {
            for (index, header) in record.headers.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let value = header.value.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                let name = String::from_utf8_lossy(&header.key);
                out.extend_from_slice(format!("{comma}{name}={value}").as_bytes());
            }
        }
        _ => out.push(b'%'),
    }
}

fn to_json(record: &ConsumerRecord) -> serde_json::Value {
    let text = |bytes: &Option<bytes::Bytes>| {
        bytes
            .as_deref()
            .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    };
    let headers = record
        .headers
        .iter()
        .map(|header| json!({"name": String::from_utf8_lossy(&header.key), "value": text(&header.value)}));
    json!({
        "topic": &*record.topic,
        "partition": record.partition.0,
        "offset": record.offset.0,
        "timestamp": record.timestamp.0,
        "key": text(&record.key),
        "value": text(&record.value),
        "headers": headers.collect::<Vec<_>>(),
        "leader_epoch": record.leader_epoch.0,
    })
}
