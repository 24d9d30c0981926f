//! What all tests need: a cluster, fresh topics, and reading a topic back whole.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use klamm_client::admin::NewTopic;
use klamm_client::{Client, ClientConfig, ConsumerConfig, ConsumerRecord, Start};

/// A client of the cluster under test: the one that `KLAMM_TEST_BOOTSTRAP` names, or one of Klamm in this process.
pub async fn client() -> Client {
    let bootstrap = match std::env::var("KLAMM_TEST_BOOTSTRAP") {
        Ok(bootstrap) => bootstrap,
        Err(_) => tokio::task::spawn_blocking(|| IN_PROCESS.get_or_init(start_in_process).clone())
            .await
            .unwrap(),
    };
    let config = ClientConfig {
        api_timeout: Duration::from_secs(20),
        ..ClientConfig::new(bootstrap)
    };
    Client::connect(config).await.expect("the cluster answers")
}

/// One cluster for all tests of the process.
static IN_PROCESS: OnceLock<String> = OnceLock::new();

/// Starts three nodes on a runtime of their own: each test's runtime ends with the test.
fn start_in_process() -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let cluster = klamm_testkit::Cluster::with_nodes(3).await.expect("the cluster starts");
            tell.send(cluster.bootstrap().to_owned()).unwrap();
            // The cluster lives as long as the process.
            std::future::pending::<()>().await;
        });
    });
    told.recv().expect("the cluster starts")
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
