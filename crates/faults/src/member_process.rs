//! The member of a group that is a process of its own: joins, reads, commits, and tells all of it in lines of JSON until
//! its input ends.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use klamm_client::{
    Assigned, Client, ClientConfig, CommittedOffset, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord,
    GroupConfig, GroupProtocol, OffsetReset, RebalanceListener, Revoked, TopicPartition,
};
use rustix::time::{ClockId, clock_gettime};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep};

use crate::members::SESSION;
use crate::owners::{Told, What};

const POLL: Duration = Duration::from_millis(100);
const COMMIT_INTERVAL: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(20);

/// What the child is told.
#[derive(clap::Args)]
pub struct MemberArgs {
    #[arg(long)]
    bootstrap: String,
    /// Also the group's name.
    #[arg(long)]
    topic: String,
    #[arg(long)]
    number: u32,
    #[arg(long)]
    instance: Option<String>,
    /// By the protocol of KIP-848.
    #[arg(long)]
    consumer: bool,
}

/// The clock that all processes of a machine share.
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000 + now.tv_nsec.unsigned_abs() / 1000
}

/// Runs until its input ends.
pub async fn run_member(args: MemberArgs) -> anyhow::Result<()> {
    let config = ClientConfig {
        client_id: "klamm-faults".to_owned(),
        connect_timeout: Duration::from_secs(1),
        ..ClientConfig::new(&args.bootstrap)
    };
    let client = Client::connect(config).await?;
    let mut consumer = join(&client, &args)?;
    let teller = Teller { member: args.number };
    let (mut input, mut byte) = (tokio::io::stdin(), [0]);
    let mut committed_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            ended = input.read(&mut byte) => if ended? == 0 { break },
            polled = consumer.poll(POLL) => match polled {
                Ok(records) => teller.read(&records)?,
                Err(error @ ConsumeError::Group(_)) => {
                    teller.tell(What::Refused { why: format!("{:#}", anyhow::Error::new(error)) })?;
                    // Whoever started it ends it.
                    while input.read(&mut byte).await? != 0 {}
                    return Ok(());
                }
                Err(_) => sleep(PAUSE).await,
            },
        }
        if committed_at.elapsed() >= COMMIT_INTERVAL {
            teller.commit(&consumer).await?;
            committed_at = Instant::now();
        }
    }
    teller.commit(&consumer).await?;
    // It is committed already.
    let _ = consumer.close().await;
    Ok(())
}

fn join(client: &Client, args: &MemberArgs) -> anyhow::Result<Consumer> {
    let group_protocol = match args.consumer {
        true => GroupProtocol::Consumer,
        false => GroupProtocol::Classic,
    };
    let group = GroupConfig {
        group_protocol,
        group_instance_id: args.instance.clone(),
        session_timeout: SESSION,
        heartbeat_interval: Duration::from_secs(1),
        auto_commit_interval: None,
        ..GroupConfig::new(&args.topic)
    };
    let mut consumer = client.consumer(ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        group: Some(group),
        ..ConsumerConfig::default()
    });
    consumer.on_rebalance(Teller { member: args.number });
    consumer.subscribe([args.topic.as_str()]).context("subscribing")?;
    Ok(consumer)
}

/// Tells the parent. If that is gone, so is whoever would read it.
#[derive(Clone, Copy)]
struct Teller {
    member: u32,
}

impl Teller {
    fn tell(self, what: What) -> anyhow::Result<()> {
        let told = Told {
            at_us: now_us(),
            member: self.member,
            what,
        };
        writeln!(std::io::stdout(), "{}", serde_json::to_string(&told)?).context("telling the parent")
    }

    /// One line for each run of offsets.
    fn read(self, records: &[ConsumerRecord]) -> anyhow::Result<()> {
        let mut rest = records;
        while let Some(first) = rest.first() {
            let follows = |pair: &[ConsumerRecord]| {
                pair[0].partition == pair[1].partition && pair[0].offset.0 + 1 == pair[1].offset.0
            };
            let count = 1 + rest.windows(2).take_while(|pair| follows(pair)).count();
            let (from, partition) = (first.offset.0, first.partition.0);
            self.tell(What::Read {
                partition,
                from,
                to: rest[count - 1].offset.0,
            })?;
            rest = &rest[count..];
        }
        Ok(())
    }

    async fn commit(self, consumer: &Consumer) -> anyhow::Result<()> {
        let asked_us = now_us();
        let positions = consumer.positions();
        let offsets = positions
            .iter()
            .map(|(partition, offset)| (partition.clone(), CommittedOffset::new(*offset)));
        let offsets: BTreeMap<_, _> = offsets.collect();
        if offsets.is_empty() || consumer.commit_offsets(offsets).await.is_err() {
            return Ok(());
        }
        let offsets = positions
            .iter()
            .map(|(partition, offset)| (partition.partition.0, offset.0));
        self.tell(What::Committed {
            asked_us,
            offsets: offsets.collect(),
        })
    }
}

fn numbers<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> Vec<i32> {
    partitions.into_iter().map(|partition| partition.partition.0).collect()
}

impl RebalanceListener for Teller {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        let partitions = numbers(assigned.partitions());
        let _ = self.tell(What::Assigned { partitions });
    }

    async fn revoked(&mut self, revoked: &mut Revoked) {
        let partitions: Vec<TopicPartition> = revoked.partitions().cloned().collect();
        let mut positions = Vec::new();
        for partition in partitions {
            let position = revoked.position(&partition);
            if let Some(position) = position {
                revoked.commit(&partition, CommittedOffset::new(position));
            }
            positions.push((partition.partition.0, position.map_or(0, |position| position.0)));
        }
        let _ = self.tell(What::Revoked { positions });
    }

    async fn lost(&mut self, partitions: &[TopicPartition]) {
        let _ = self.tell(What::Lost {
            partitions: numbers(partitions),
        });
    }
}
