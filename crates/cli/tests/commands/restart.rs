//! A node that starts again.

use std::time::Duration;

use klamm_client::admin::NewTopic;
use klamm_client::{Client, ClientConfig};
use klamm_faults::{Member, Roles};
use klamm_types::ErrorCode;

use crate::support::fleet;

const RESTARTS: usize = 8;

/// The first answer of a node that starts knows of the newest topic: its own controller may be behind, and it does not
/// speak before it has caught up.
#[tokio::test]
async fn a_node_that_starts_denies_no_topic() {
    let (mut nodes, _folder) = fleet((1..=3).map(|id| Member::new(id, Roles::Both)).collect());
    nodes.start_all().await.unwrap();
    let config = |bootstrap: &str| ClientConfig {
        retry_backoff: Duration::from_millis(1),
        ..ClientConfig::new(bootstrap)
    };
    let all = Client::connect(config(&nodes.bootstrap())).await.unwrap();
    let first = nodes.bootstrap().split(',').next().unwrap().to_owned();
    for round in 0..RESTARTS {
        let topic = format!("topic-{round}");
        all.admin()
            .create_topic(NewTopic::new(&topic).partitions(1))
            .await
            .unwrap();
        nodes.kill(&[1]).await.unwrap();
        let (started, ()) = tokio::join!(nodes.start(&[1]), async {
            // It alone is asked; until it listens nobody answers.
            let client = loop {
                if let Ok(client) = Client::connect(config(&first)).await {
                    break client;
                }
            };
            let described = client.admin().describe_topic(&topic).await;
            let denied = described.as_ref().err().and_then(|error| error.code());
            assert_ne!(denied, Some(ErrorCode::UnknownTopicOrPartition), "{described:?}");
        });
        started.unwrap();
    }
}
