//! The group's coordinator is killed while its members read. Besides `KLAMM_TEST_BOOTSTRAP` this needs
//! `KLAMM_TEST_CLUSTER`: a command that takes `kill` or `restart` and a node's number. Run it alone.

use std::process::Command;
use std::time::Duration;

use klamm_client::{Client, NodeId};

use crate::member::{Seen, Troupe, config, fill, protocols, with};
use crate::support::{client, fresh_name, fresh_topic};

/// Does something to a broker; false if nobody can.
async fn order(what: &'static str, node: NodeId) -> bool {
    let Ok(command) = std::env::var("KLAMM_TEST_CLUSTER") else {
        println!("passed over: KLAMM_TEST_CLUSTER names no command");
        return false;
    };
    let script = format!("{command} {what} {node} >/dev/null 2>&1 </dev/null");
    let run = move || Command::new("bash").args(["-c", &script]).status().unwrap().success();
    assert!(tokio::task::spawn_blocking(run).await.unwrap(), "{what} {node}");
    true
}

async fn records(client: Client, topic: String, partitions: i32, count: i64) {
    fill(&client, &topic, partitions, count).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_dies() {
    const PARTITIONS: i32 = 4;
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (
            fresh_topic(&client, "coordinator", PARTITIONS).await,
            fresh_name("group"),
        );
        let often = with(config(&group, protocol), |group| {
            group.auto_commit_interval = Some(Duration::from_millis(200));
            group.session_timeout = Duration::from_secs(20);
        });
        let mut troupe = Troupe::new(&client, &topic);
        let mut seen = Seen::default();
        let (one, two) = (troupe.join("one", often.clone()), troupe.join("two", often));
        let share = |book: &crate::member::Book| book.loads().into_values().collect::<Vec<_>>() == [2, 2];
        troupe.book.until("two share", share).await;
        fill(&client, &topic, PARTITIONS, 100).await;
        troupe.until_read(&mut seen, PARTITIONS, 100).await;
        let coordinator = client.admin().group_coordinator(&group).await.unwrap();
        if !order("kill", coordinator).await {
            one.close().await.unwrap();
            two.close().await.unwrap();
            return;
        }
        // Read on meanwhile, in the old assignment or a new one, with commits at the new coordinator.
        let filling = tokio::spawn(records(client.clone(), topic.clone(), PARTITIONS, 300));
        troupe.until_read(&mut seen, PARTITIONS, 400).await;
        filling.await.unwrap();
        let three = troupe.join("three", config(&group, protocol));
        let spread = |book: &crate::member::Book| book.loads().len() == 3 && book.owners().len() == 4;
        troupe.book.until("a newcomer finds the new coordinator", spread).await;
        let moved = client.admin().group_coordinator(&group).await.unwrap();
        assert_ne!(moved, coordinator);
        for member in [one, two, three] {
            member.close().await.unwrap();
        }
        // All that was read is committed.
        let committed = client.admin().list_group_offsets(&group).await.unwrap();
        let offsets: Vec<i64> = committed.values().map(|committed| committed.offset.0).collect();
        assert_eq!(offsets, [400; PARTITIONS as usize]);
        assert!(order("restart", coordinator).await);
        // The next round needs it: its topic has a replica on every broker.
        let mut cluster = client.watch_cluster();
        let back = async {
            while !cluster.borrow_and_update().brokers.contains_key(&coordinator) {
                client.refresh();
                // A refresh that finds nothing new is no change: then it is asked again.
                let changed = tokio::time::timeout(Duration::from_millis(200), cluster.changed()).await;
                changed.unwrap_or(Ok(())).unwrap();
            }
        };
        tokio::time::timeout(crate::member::WAIT, back).await.unwrap();
    }
}
