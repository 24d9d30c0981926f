//! `klamm demo`: three nodes, a text file line by line, the leader killed in the middle, everything read back.
//!
//! It uses only what any program could use: the SDK, processes and signals. The verdict is `klamm-verify`'s.

use std::collections::VecDeque;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use klamm_client::admin::NewTopic;
use klamm_client::{
    Client, ClientConfig, ConsumerConfig, DeliveryFuture, Producer, ProducerConfig, ProducerRecord, Start,
    TopicPartition,
};
use klamm_types::PartitionId;
use klamm_verify::{History, Outcome, Read, Sent, Value, Verdict, check, longest_gap};
use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::Common;
use crate::dev::{Echo, Folder, start};
use crate::failure::Failure;
use crate::output::{self, Format};

const TEXT: &str = include_str!("../../../tests/data/pride-and-prejudice.txt");
const TOPIC: &str = "demo";
/// Lines sent at a time, so that writes are under way at any moment and a gap can be seen.
const LINES_PER_TICK: usize = 5;
const TICK: Duration = Duration::from_millis(1);
const READ_MAX: Duration = Duration::from_secs(30);

#[derive(clap::Args)]
pub struct Args {
    /// A text file of your own, a record a line [default: a novel of 13,030 lines].
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where the nodes live [default: a temporary folder, removed at the end].
    #[arg(long = "in", value_name = "DIR")]
    folder: Option<PathBuf>,
}

pub fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    // Nodes end with the thread that started them: one thread for everything.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let text = match &args.file {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
        None => TEXT.to_owned(),
    };
    let lines: Vec<Bytes> = text
        .lines()
        .map(|line| Bytes::copy_from_slice(line.as_bytes()))
        .collect();
    if lines.len() < 100 {
        return Err(Failure::usage(format!(
            "the text has {} lines; a demo takes at least 100",
            lines.len()
        )));
    }
    let teller = Teller {
        format: common.output,
        begin: Instant::now(),
    };
    let folder = args
        .folder
        .unwrap_or_else(|| std::env::temp_dir().join(format!("klamm-demo-{}", std::process::id())));
    let told = runtime.block_on(tell(&teller, &lines, &folder))?;
    if told.verdict.is_good() && args_are_default(&folder) {
        let _ = std::fs::remove_dir_all(&folder);
    }
    told.conclude(&teller, &folder)
}

fn args_are_default(folder: &Path) -> bool {
    folder.starts_with(std::env::temp_dir()) && folder.to_string_lossy().contains("klamm-demo-")
}

/// Says what happens as it happens; to programs only the end is said.
struct Teller {
    format: Format,
    begin: Instant,
}

impl Teller {
    fn say(&self, text: impl AsRef<str>) {
        if self.format == Format::Table {
            println!("{:6.2} s  {}", self.begin.elapsed().as_secs_f64(), text.as_ref());
        }
    }
}

/// What the demo showed.
struct Told {
    verdict: Verdict,
    /// Lines that came back as they were sent.
    intact: bool,
    write_gap: Option<Duration>,
    victim: i32,
    was_controller: bool,
}

async fn tell(teller: &Teller, lines: &[Bytes], folder: &Path) -> anyhow::Result<Told> {
    teller.say(format!("starting three nodes under {}", folder.display()));
    let folder = Folder::new(folder);
    let mut cluster = start(&folder, 3, 0, &[], Echo::Silent)?;
    cluster.ready().await?;
    teller.say(format!("ready: {}", cluster.cluster.bootstrap));
    let outcome = play(teller, lines, &folder, &cluster.cluster.bootstrap).await;
    cluster.stop().await;
    outcome
}

async fn play(teller: &Teller, lines: &[Bytes], folder: &Folder, bootstrap: &str) -> anyhow::Result<Told> {
    let config = ClientConfig {
        connect_timeout: Duration::from_secs(1),
        ..ClientConfig::new(bootstrap)
    };
    let client = Client::connect(config).await.context("connecting")?;
    let admin = client.admin();
    admin
        .create_topic(NewTopic::new(TOPIC).partitions(1).replication_factor(3))
        .await
        .context("creating the topic")?;
    let topic = admin.describe_topic(TOPIC).await?;
    let leader = topic.partitions[0].leader.context("the partition has no leader")?;
    let controller = admin.describe_quorum().await?.leader;
    let was_controller = controller == Some(leader);
    teller.say(format!(
        "topic {TOPIC}: one partition on three nodes, acknowledged when flushed on all in sync"
    ));
    let role = if was_controller {
        "also the active controller"
    } else {
        "not the active controller"
    };
    teller.say(format!(
        "node {leader} leads it ({role}); producing {} lines",
        lines.len()
    ));
    let producer = client.producer(ProducerConfig::default())?;
    let mut run = Run::new(&producer, teller);
    run.produce(lines, 0..lines.len() / 2).await?;
    let struck = run.begin.elapsed();
    kill_process(folder.pid(leader.0)?, Signal::KILL).context("killing the leader")?;
    teller.say(format!(
        "kill -9 node {leader}, with {} lines acknowledged",
        run.acknowledged
    ));
    run.struck = Some((struck, (lines.len() / 2) as u64));
    run.produce(lines, lines.len() / 2..lines.len()).await?;
    run.settle().await;
    let mut history = run.history;
    producer.close().await;
    let after = admin.describe_topic(TOPIC).await?;
    let new = after.partitions[0]
        .leader
        .map_or_else(|| "nobody".to_owned(), |node| format!("node {node}"));
    teller.say(format!(
        "all lines are acknowledged; {new} leads now; reading back from the survivors"
    ));
    let intact = read_back(&client, lines, &mut history).await?;
    Ok(Told {
        verdict: check(&history),
        intact,
        write_gap: longest_gap(&history, 0, struck).map(|gap| gap.length),
        victim: leader.0,
        was_controller,
    })
}

/// The producing side, written down.
struct Run<'a> {
    producer: &'a Producer,
    teller: &'a Teller,
    begin: Instant,
    waiting: VecDeque<(u64, DeliveryFuture)>,
    history: History,
    acknowledged: u64,
    /// When the leader was killed and the first line after that, until that line is acknowledged.
    struck: Option<(Duration, u64)>,
}

impl<'a> Run<'a> {
    fn new(producer: &'a Producer, teller: &'a Teller) -> Self {
        let (waiting, history) = (VecDeque::new(), History::default());
        Self {
            producer,
            teller,
            begin: Instant::now(),
            waiting,
            history,
            acknowledged: 0,
            struck: None,
        }
    }

    async fn produce(&mut self, lines: &[Bytes], range: std::ops::Range<usize>) -> anyhow::Result<()> {
        let mut tick = tokio::time::interval(TICK);
        for number in range {
            let record = ProducerRecord::to(TOPIC)
                .partition(0)
                .key(number.to_string())
                .value(lines[number].clone());
            let delivery = self.producer.send(record).await.context("sending a line")?;
            self.waiting.push_back((number as u64, delivery));
            if number % LINES_PER_TICK == 0 {
                self.note_until(tick.tick()).await;
            }
        }
        Ok(())
    }

    /// Writes down what ends until then.
    async fn note_until(&mut self, then: impl Future) {
        let mut then = std::pin::pin!(then);
        loop {
            tokio::select! {
                biased;
                _ = &mut then => return,
                outcome = first(&mut self.waiting) => self.note(outcome),
            }
        }
    }

    /// Waits for everything under way.
    async fn settle(&mut self) {
        while !self.waiting.is_empty() {
            let outcome = first(&mut self.waiting).await;
            self.note(outcome);
        }
    }

    fn note(&mut self, outcome: Result<i64, klamm_client::ProduceError>) {
        let Some((number, _)) = self.waiting.pop_front() else {
            return;
        };
        let outcome = match outcome {
            Ok(offset) => {
                self.acknowledged += 1;
                if let Some((struck, _)) = self.struck.take_if(|(_, line)| number >= *line) {
                    let after = (self.begin.elapsed() - struck).as_millis();
                    self.teller
                        .say(format!("first acknowledgement {after} ms after the kill"));
                }
                Outcome::Acknowledged {
                    offset,
                    at: self.begin.elapsed(),
                }
            }
            Err(error) if error.may_have_had_effect() => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        };
        let value = Value { producer: 0, number };
        self.history.partition(0).sent.push(Sent { value, outcome });
    }
}

/// The oldest delivery's end; it stays in the queue. Never ends while nothing is under way.
async fn first(waiting: &mut VecDeque<(u64, DeliveryFuture)>) -> Result<i64, klamm_client::ProduceError> {
    match waiting.front_mut() {
        Some((_, delivery)) => delivery.await.map(|delivery| delivery.offset.0),
        None => std::future::pending().await,
    }
}

/// Reads the partition whole; says whether every line is as it was sent.
async fn read_back(client: &Client, lines: &[Bytes], history: &mut History) -> anyhow::Result<bool> {
    let end = client
        .admin()
        .list_offset(TOPIC, PartitionId(0), klamm_client::admin::OffsetSpec::Latest)
        .await?;
    let end = end.context("the topic is empty")?.offset.0;
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign([(TopicPartition::new(TOPIC, 0), Start::Earliest)]);
    let (mut next, mut intact, begin) = (0, true, Instant::now());
    let reads = history.partition(0).reads.entry(0).or_default();
    while next < end {
        ensure!(
            begin.elapsed() < READ_MAX,
            "only {next} of {end} records could be read within {READ_MAX:?}"
        );
        for record in consumer
            .poll(Duration::from_millis(500))
            .await
            .context("reading back")?
        {
            next = record.offset.0 + 1;
            let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
            let number: Option<u64> = key.and_then(|key| key.parse().ok());
            let sent = number.and_then(|number| lines.get(usize::try_from(number).ok()?));
            intact &= sent.is_some() && sent == record.value.as_ref();
            reads.push(Read {
                offset: record.offset.0,
                value: number.map(|number| Value { producer: 0, number }),
            });
        }
    }
    Ok(intact)
}

impl Told {
    fn conclude(self, teller: &Teller, folder: &Path) -> Result<ExitCode, Failure> {
        let verdict = &self.verdict;
        let write_gap_ms = self.write_gap.map(|gap| (gap.as_secs_f64() * 10_000.0).round() / 10.0);
        let good = verdict.is_good() && self.intact && self.write_gap.is_some();
        teller.say(format!(
            "{} acknowledged, {} read: {} lost, {} doubled, {} reordered",
            verdict.acknowledged, verdict.read, verdict.lost, verdict.doubled, verdict.reordered
        ));
        let gap = write_gap_ms.map_or_else(|| "writes never came back".to_owned(), |ms| format!("{ms} ms"));
        teller.say(format!("no acknowledged write was possible for: {gap}"));
        teller.say(if good {
            "verdict: nothing acknowledged was lost, doubled or reordered"
        } else {
            "verdict: BAD"
        });
        if teller.format == Format::Json {
            let value = json!({
                "acknowledged": verdict.acknowledged,
                "read": verdict.read,
                "lost": verdict.lost,
                "doubled": verdict.doubled,
                "reordered": verdict.reordered,
                "inconsistent": verdict.inconsistent,
                "intact": self.intact,
                "write_gap_ms": write_gap_ms,
                "killed_node": self.victim,
                "killed_node_was_controller": self.was_controller,
            });
            output::print_out(&value.to_string())?;
        }
        if good {
            return Ok(ExitCode::SUCCESS);
        }
        let examples = serde_json::to_string_pretty(&verdict.examples).unwrap_or_default();
        Err(Failure::check(format!(
            "the cluster broke its word; the nodes' folders are under {}\n{examples}",
            folder.display()
        )))
    }
}
