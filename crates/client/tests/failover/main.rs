//! Brokers die while records are produced.
//!
//! Besides `KLAMM_TEST_BOOTSTRAP`, of three brokers or more, this needs a hand that breaks and mends brokers: set `KLAMM_TEST_CLUSTER` to a
//! command that takes `kill`, `pause`, `term`, `resume` or `restart` and a node's number.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[allow(dead_code, reason = "the tests of a whole cluster use the rest")]
#[path = "../cluster/support.rs"]
mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use klamm_client::admin::NewTopic;
use klamm_client::{
    Client, ConsumerConfig, ConsumerRecord, ErrorCode, NodeId, PartitionId, ProducerConfig, ProducerRecord, Start,
};
use support::{client, fresh_name, read_all};
use tokio::sync::watch;

/// Records acknowledged, or read, between one blow and the next: the stream is steady then.
const STEADY: u64 = 200;
/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Does something to a broker; false if nobody can.
fn order(what: &str, node: NodeId) -> bool {
    let Ok(command) = std::env::var("KLAMM_TEST_CLUSTER") else {
        println!("skipped: KLAMM_TEST_CLUSTER names no command");
        return false;
    };
    let script = format!("{command} {what} {node}");
    // Its standard streams are not ours: a broker that it starts would keep the test's open.
    let status = Command::new("bash")
        .args(["-c", &format!("{script} >/dev/null 2>&1 </dev/null")])
        .status()
        .unwrap();
    assert!(status.success(), "{script}");
    true
}

/// How many records were acknowledged or read so far, for those who wait for more.
#[derive(Clone)]
struct Count(watch::Sender<u64>);

impl Count {
    fn new() -> Count {
        Count(watch::Sender::new(0))
    }

    fn add(&self, more: usize) {
        self.0.send_modify(|count| *count += more as u64);
    }

    async fn wait_for_more(&self, what: &str) {
        let mut count = self.0.subscribe();
        let until = *count.borrow_and_update() + STEADY;
        let more = count.wait_for(|count| *count >= until);
        let more = tokio::time::timeout(PATIENCE, more).await;
        more.unwrap_or_else(|_| panic!("no {STEADY} more records were {what} within {PATIENCE:?}"))
            .unwrap();
    }
}

/// A topic of one partition on three brokers, all of them in sync: without one of them, and without another that is
/// still coming back, nothing could be acknowledged.
async fn topic_on_three(client: &Client) -> String {
    let (admin, name) = (client.admin(), fresh_name("failover"));
    let created = async {
        loop {
            let topic = NewTopic::new(&name).partitions(1).replication_factor(3);
            match admin.create_topic(topic).await {
                Ok(_) => return,
                // A cluster that has just started, or been mended, may not have all its brokers yet.
                Err(error) if error.code() == Some(ErrorCode::InvalidReplicationFactor) => {}
                Err(error) => panic!("creating the topic: {error}"),
            }
        }
    };
    tokio::time::timeout(PATIENCE, created).await.expect("three brokers");
    in_sync(client, &name).await;
    client.topic(&name).await.unwrap();
    name
}

/// Waits until all replicas are in sync.
async fn in_sync(client: &Client, topic: &str) {
    let admin = client.admin();
    let healed = async {
        loop {
            // A broker that has just come back may not know the topic yet.
            if let Ok(topic) = admin.describe_topic(topic).await
                && topic.partitions.iter().all(|one| one.isr.len() == one.replicas.len())
            {
                return;
            }
        }
    };
    let healed = tokio::time::timeout(PATIENCE, healed).await;
    healed.expect("all replicas are in sync in time");
}

/// Produces one record after another to one partition until told to stop; says what was acknowledged, and the longest
/// time between two acknowledgements.
async fn produce_until(
    client: Client,
    topic: String,
    stop: watch::Receiver<bool>,
    count: Count,
) -> (Vec<u64>, Duration) {
    let producer = client.producer(ProducerConfig::default()).unwrap();
    let (mut acknowledged, mut gap, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    let mut waiting = std::collections::VecDeque::new();
    let mut number = 0u64;
    while !*stop.borrow() || !waiting.is_empty() {
        while waiting.len() < 20 && !*stop.borrow() {
            number += 1;
            let record = ProducerRecord::to(topic.as_str())
                .partition(0)
                .value(number.to_string());
            waiting.push_back((number, producer.send(record).await.unwrap()));
        }
        let Some((number, delivery)) = waiting.pop_front() else {
            continue;
        };
        delivery.await.unwrap();
        acknowledged.push(number);
        count.add(1);
        gap = gap.max(last.elapsed());
        last = Instant::now();
    }
    producer.close().await;
    (acknowledged, gap)
}

/// Reads from the start until all is produced and the end is reached; says what came, and the longest time without.
async fn tail(
    client: Client,
    topic: String,
    produced: watch::Receiver<bool>,
    count: Count,
) -> (Vec<ConsumerRecord>, Duration) {
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(&topic, Start::Earliest).await.unwrap();
    let (mut records, mut gap, mut last) = (Vec::new(), Duration::ZERO, Instant::now());
    loop {
        // Looked at first: what is produced before it turns true lies below the ends asked for afterwards.
        let ends = if *produced.borrow() {
            Some(consumer.end_offsets().await.unwrap())
        } else {
            None
        };
        if ends.is_some_and(|ends| consumer.has_reached(&ends)) {
            return (records, gap);
        }
        let taken = consumer.poll(Duration::from_millis(200)).await.unwrap();
        if !taken.is_empty() {
            gap = gap.max(last.elapsed());
            last = Instant::now();
            count.add(taken.len());
            records.extend(taken);
        }
    }
}

async fn survive(fault: &str, mend: &str) {
    let client = client().await;
    let topic = topic_on_three(&client).await;
    let (stop, stopped) = watch::channel(false);
    let (sent, seen) = (Count::new(), Count::new());
    let producing = tokio::spawn(produce_until(client.clone(), topic.clone(), stopped, sent.clone()));
    let (all_produced, produced) = watch::channel(false);
    let reading = tokio::spawn(tail(client.clone(), topic.clone(), produced, seen.clone()));
    sent.wait_for_more("acknowledged").await;
    seen.wait_for_more("read").await;
    let leader = client.cluster().leader(&topic, PartitionId(0)).unwrap().id;
    if !order(fault, leader) {
        stop.send_replace(true);
        producing.await.unwrap();
        all_produced.send_replace(true);
        reading.await.unwrap();
        return;
    }
    let broken = Instant::now();
    // Until another leads, and both streams flow again.
    let mut cluster = client.watch_cluster();
    let moved = |now: &std::sync::Arc<klamm_client::Cluster>| {
        now.leader(&topic, PartitionId(0))
            .is_some_and(|broker| broker.id != leader)
    };
    tokio::time::timeout(PATIENCE, cluster.wait_for(moved))
        .await
        .unwrap()
        .unwrap();
    // What of the write gap lies before this is the cluster's, the rest may be ours.
    println!("{fault}: another leader was known after {:?}", broken.elapsed());
    sent.wait_for_more("acknowledged").await;
    seen.wait_for_more("read").await;
    order(mend, leader);
    in_sync(&client, &topic).await;
    stop.send_replace(true);
    let (acknowledged, gap) = producing.await.unwrap();
    println!(
        "{fault} of the leader: {} records acknowledged, write gap {gap:?}",
        acknowledged.len()
    );
    all_produced.send_replace(true);
    let (tailed, read_gap) = reading.await.unwrap();
    println!("{} records read meanwhile, read gap {read_gap:?}", tailed.len());
    let read = read_all(&client, &topic).await.remove(&0).unwrap();
    assert_eq!(tailed, read, "a reader through it all sees what is there afterwards");
    let read: Vec<u64> = read
        .iter()
        .map(|r| std::str::from_utf8(r.value.as_ref().unwrap()).unwrap().parse().unwrap())
        .collect();
    assert!(read.is_sorted_by(|one, other| one < other), "in order, and none twice");
    let read: BTreeSet<u64> = read.into_iter().collect();
    assert!(
        acknowledged.iter().all(|number| read.contains(number)),
        "nothing acknowledged is lost"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_dies() {
    if std::env::var("KLAMM_TEST_BOOTSTRAP").is_err() {
        println!("skipped: KLAMM_TEST_BOOTSTRAP names no cluster whose brokers can be broken");
        return;
    }
    survive("kill", "restart").await;
    survive("pause", "resume").await;
    survive("term", "restart").await;
}
