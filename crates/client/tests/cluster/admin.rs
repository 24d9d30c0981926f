//! Administration against a real cluster.

use std::time::Duration;

use klamm_client::admin::{AlterConfig, ConfigResource, NewTopic, OffsetSpec};
use klamm_client::{Client, ErrorCode, LeaderEpoch, PartitionId, ProducerConfig, ProducerRecord, Timestamp};

use crate::support::{client, fresh_name};

async fn create(client: &Client, name: &str) {
    let topic = NewTopic::new(name).partitions(3).config("retention.ms", "60000");
    client.admin().create_topic(topic).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go() {
    let client = client().await;
    let (admin, name) = (client.admin(), fresh_name("admin"));
    create(&client, &name).await;
    let again = admin.create_topic(NewTopic::new(&name)).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists));
    client.topic(&name).await.unwrap();
    assert!(
        admin
            .list_topics()
            .await
            .unwrap()
            .iter()
            .any(|topic| topic.name == name)
    );
    admin.create_partitions(&name, 5).await.unwrap();
    admin.delete_topic(&name).await.unwrap();
    let gone = admin.delete_topic(&name).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_and_its_quorum() {
    let client = client().await;
    let described = client.admin().describe_cluster().await.unwrap();
    assert_eq!(described.brokers.len(), client.cluster().brokers.len());
    let quorum = client.admin().describe_quorum().await.unwrap();
    assert!(!quorum.voters.is_empty());
    let node = *client.cluster().brokers.keys().next().unwrap();
    let versions = client.admin().api_versions(node).await.unwrap();
    assert!(
        versions
            .iter()
            .any(|api| api.name == Some("Produce") && api.used.is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_with_their_replicas_and_the_room_there_is() {
    let client = client().await;
    let name = fresh_name("directories");
    create(&client, &name).await;
    let partition = &client.admin().describe_topic(&name).await.unwrap().partitions[0];
    let directories = client.admin().describe_log_dirs(partition.replicas[0]).await.unwrap();
    assert!(!directories.is_empty());
    for directory in &directories {
        let (total, usable) = (directory.total_bytes.unwrap(), directory.usable_bytes.unwrap());
        assert!(
            directory.path.starts_with('/') && total > 0 && usable <= total,
            "{directory:?}"
        );
    }
    let mut replicas = directories.iter().flat_map(|directory| &directory.replicas);
    assert!(replicas.any(|replica| replica.topic == name && replica.partition.0 == partition.partition));
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_topic() {
    let client = client().await;
    let (admin, name) = (client.admin(), fresh_name("settings"));
    create(&client, &name).await;
    client.topic(&name).await.unwrap();
    let resource = ConfigResource::Topic(name);
    let set = |value: &str| AlterConfig::Set {
        name: "retention.ms".to_owned(),
        value: value.to_owned(),
    };
    let value = async |key: &str| {
        let entries = admin.describe_configs(&resource).await.unwrap();
        entries.into_iter().find(|entry| entry.name == key).unwrap().value
    };
    assert_eq!(value("retention.ms").await.as_deref(), Some("60000"));
    let change = set("70000");
    admin.alter_configs(&resource, &[change]).await.unwrap();
    // Brokers learn of it one after another.
    let changed = async { while value("retention.ms").await.as_deref() != Some("70000") {} };
    tokio::time::timeout(Duration::from_secs(10), changed).await.unwrap();
    let bad = set("soon");
    let refused = admin.alter_configs(&resource, &[bad]).await.unwrap_err();
    assert_eq!(refused.code(), Some(ErrorCode::InvalidConfig));
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_of_a_partition() {
    let client = client().await;
    let (admin, name) = (client.admin(), fresh_name("offsets"));
    create(&client, &name).await;
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for number in 0..10 {
        let record = ProducerRecord::to(name.as_str())
            .partition(1)
            .value("v")
            .timestamp(Timestamp(1000 + number));
        drop(producer.send(record).await.unwrap());
    }
    producer.close().await;
    let offset = async |spec| {
        let listed = admin.list_offset(&name, PartitionId(1), spec).await.unwrap();
        listed.map(|listed| listed.offset.0)
    };
    assert_eq!(offset(OffsetSpec::Latest).await, Some(10));
    assert_eq!(offset(OffsetSpec::Earliest).await, Some(0));
    assert_eq!(offset(OffsetSpec::AtOrAfter(Timestamp(1004))).await, Some(4));
    assert_eq!(offset(OffsetSpec::AtOrAfter(Timestamp(9999))).await, None);
    let end = admin
        .offset_for_leader_epoch(&name, PartitionId(1), LeaderEpoch(0))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((end.leader_epoch, end.end_offset.0), (LeaderEpoch(0), 10));
}
