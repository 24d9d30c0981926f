//! `klamm consume`: prints records of a topic, from where it is told, until it is told to stop.

mod printer;
mod reading;

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::Context;
use klamm_client::admin::OffsetSpec;
use klamm_client::{
    Client, ConsumerConfig, GroupConfig, GroupProtocol, IsolationLevel, OffsetReset, Start, TopicPartition,
};
use klamm_types::{Offset, PartitionId, Timestamp};

use self::printer::Printer;
use self::reading::Reading;
use super::{admin_failure, connect};
use crate::Common;
use crate::failure::Failure;

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
    /// Stop at the end, as it is when the command starts. A member of a group that gets no partitions stops when the
    /// group has committed all of it, or after a minute.
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
    let doing = || format!("reading {}", args.topic);
    if args.group.is_some() {
        consumer.subscribe([args.topic.as_str()]).with_context(doing)?;
    } else if args.partition.is_empty() {
        consumer
            .assign_topic(&args.topic, args.from)
            .await
            .with_context(doing)?;
    } else {
        let partition = |&number: &i32| (TopicPartition::new(args.topic.as_str(), number), args.from);
        consumer.assign(args.partition.iter().map(partition));
    }
    let ends = match (args.stop_at_end, &args.group) {
        (false, _) => None,
        (true, None) => Some(consumer.end_offsets().await.with_context(doing)?),
        // Which partitions this member gets is not known yet.
        (true, Some(_)) => Some(ends_of_topic(&client, &args.topic).await?),
    };
    let mut reading = if args.group.is_some() {
        Reading::in_group(consumer)
    } else {
        Reading::alone(consumer)
    };
    let mut stop = crate::signals::stop_signals()?;
    let printer = Printer {
        format: common.output,
        template: &args.format,
    };
    let outcome = tokio::select! {
        outcome = reading.pump(ends.as_ref(), args.max, &printer) => outcome,
        () = stop.recv() => Ok(()),
    };
    // Also after a failure: what was printed is committed, and others have this member's partitions at once.
    let closed = reading.close().await;
    outcome.and(closed)?;
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
