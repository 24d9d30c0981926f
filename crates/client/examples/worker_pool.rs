//! A pool of workers: several members of one group share a topic's partitions. Start it in several terminals, stop one,
//! and the others take over what it had, from its last commit on.
//!
//! ```text
//! cargo run --example worker_pool -- 127.0.0.1:9092 orders billing 3 [classic|consumer]
//! ```
//!
//! Each worker commits after it has dealt with what a poll brought, so a record is dealt with at least once: again, if
//! the worker died between the work and the commit. Ctrl-C leaves the group in order.

use std::time::Duration;

use anyhow::{Context, bail};
use klamm_client::{
    Assigned, Client, ClientConfig, ConsumerConfig, GroupConfig, GroupProtocol, OffsetReset, RebalanceListener,
    Revoked, TopicPartition,
};
use tokio::sync::watch;

/// Prints what comes and goes.
struct Report {
    worker: usize,
}

impl RebalanceListener for Report {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        println!(
            "worker {}: {} partitions more",
            self.worker,
            assigned.partitions().len()
        );
    }

    async fn revoked(&mut self, revoked: &mut Revoked) {
        println!(
            "worker {}: gives up {} partitions",
            self.worker,
            revoked.partitions().count()
        );
    }

    async fn lost(&mut self, partitions: &[TopicPartition]) {
        println!("worker {}: has lost {} partitions", self.worker, partitions.len());
    }
}

async fn work(
    client: Client,
    config: ConsumerConfig,
    topic: String,
    worker: usize,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut consumer = client.consumer(config);
    consumer.on_rebalance(Report { worker });
    consumer.subscribe([topic])?;
    loop {
        let polled = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            polled = consumer.poll(Duration::from_secs(1)) => polled,
        };
        for record in polled? {
            println!(
                "worker {worker}: {}-{} at {}",
                record.topic, record.partition, record.offset
            );
        }
        match consumer.commit().await {
            // The next poll takes part in the rebalance; what is still ours is committed after it.
            Err(failure) if failure.is_retriable() => println!("worker {worker}: {failure}"),
            outcome => outcome?,
        }
    }
    consumer.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, workers, rest @ ..] = arguments.as_slice() else {
        bail!("usage: worker_pool BOOTSTRAP TOPIC GROUP WORKERS [classic|consumer]");
    };
    let group_protocol = match rest.first().map(String::as_str) {
        None | Some("classic") => GroupProtocol::Classic,
        Some("consumer") => GroupProtocol::Consumer,
        Some(other) => bail!("no group protocol: {other}"),
    };
    let config = ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        group: Some(GroupConfig {
            group_protocol,
            auto_commit_interval: None,
            ..GroupConfig::new(group)
        }),
        ..ConsumerConfig::default()
    };
    let client = Client::connect(ClientConfig::new(bootstrap)).await?;
    let (tell, stop) = watch::channel(false);
    let count: usize = workers.parse().context("the number of workers")?;
    let work = |worker| {
        tokio::spawn(work(
            client.clone(),
            config.clone(),
            topic.clone(),
            worker,
            stop.clone(),
        ))
    };
    let workers: Vec<_> = (0..count).map(work).collect();
    tokio::signal::ctrl_c().await?;
    tell.send_replace(true);
    for worker in workers {
        worker.await??;
    }
    Ok(())
}
