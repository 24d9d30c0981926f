//! What all tests need: a cluster, fresh topics, and reading a topic back whole.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_client::admin::NewTopic;
use klamm_client::{Client, ClientConfig, ConsumerConfig, ConsumerRecord, Start};

/// A client of the cluster under test; `None`, with a line that says so, if there is none.
///
/// This is the one place to change for an in-process cluster.
pub async fn client() -> Option<Client> {
    let Ok(bootstrap) = std::env::var("KLAMM_TEST_BOOTSTRAP") else {
        println!("skipped: KLAMM_TEST_BOOTSTRAP names no cluster");
        return None;
    };
    let config = ClientConfig {
        api_timeout: Duration::from_secs(20),
        ..ClientConfig::new(bootstrap)
    };
    Some(Client::connect(config).await.expect("the cluster answers"))
}

/// A name that no earlier run has used.
pub fn fresh_name(prefix: &str) -> String {
    format!("{prefix}-{:08x}", rand::random::<u32>())
}

/// Makes a topic with three replicas, or as many as the cluster has brokers.
pub async fn fresh_topic(client: &Client, prefix: &str, partitions: i32) -> String {
    let name = fresh_name(prefix);
    let replicas = client.cluster().brokers.len().min(3) as i16;
    let topic = NewTopic::new(&name).partitions(partitions).replication_factor(replicas);
    client.admin().create_topic(topic).await.expect("the topic is created");
    client.topic(&name).await.expect("the topic appears");
    name
}

/// Everything that the topic holds, by partition.
pub async fn read_all(client: &Client, topic: &str) -> BTreeMap<i32, Vec<ConsumerRecord>> {
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(topic, Start::Earliest).await.unwrap();
    let ends = consumer.end_offsets().await.unwrap();
    let mut records: BTreeMap<i32, Vec<ConsumerRecord>> = BTreeMap::new();
    while !consumer.has_reached(&ends) {
        for record in consumer.poll(Duration::from_secs(5)).await.unwrap() {
            records.entry(record.partition.0).or_default().push(record);
        }
    }
    records
}
