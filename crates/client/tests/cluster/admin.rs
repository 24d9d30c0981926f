//! Administration against a real cluster.

use klamm_client::admin::NewTopic;
use klamm_client::{ErrorCode, Client};

use crate::support::{client, fresh_name};

async fn create(client: &Client, name: &str) {
    let topic = NewTopic::new(name).partitions(3).config("retention.ms", "60000");
    client.admin().create_topic(topic).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_come_and_go() {
    let Some(client) = client().await else { return };
    let (admin, name) = (client.admin(), fresh_name("admin"));
    create(&client, &name).await;
    let again = admin.create_topic(NewTopic::new(&name)).await.unwrap_err();
    assert_eq!(again.code(), Some(ErrorCode::TopicAlreadyExists));
    client.topic(&name).await.unwrap();
    assert!(admin.list_topics().await.unwrap().iter().any(|topic| topic.name == name));
    admin.create_partitions(&name, 5).await.unwrap();
    admin.delete_topic(&name).await.unwrap();
    let gone = admin.delete_topic(&name).await.unwrap_err();
    assert_eq!(gone.code(), Some(ErrorCode::UnknownTopicOrPartition));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_and_its_quorum() {
    let Some(client) = client().await else { return };
    let described = client.admin().describe_cluster().await.unwrap();
    assert_eq!(described.brokers.len(), client.cluster().brokers.len());
    let quorum = client.admin().describe_quorum().await.unwrap();
    assert!(!quorum.voters.is_empty());
}
