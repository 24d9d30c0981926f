//! Commits and where reading goes on: by the program, by auto commit, without a subscription, and from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use klamm_client::{
    Client, ClientConfig, CommitError, ConsumeError, ErrorCode, Offset, OffsetReset, Start, TopicPartition,
};

use crate::member::{WAIT, config, fill, offset, protocols, read, with};
use crate::support::{client, fresh_name, fresh_topic};

#[tokio::test(flavor = "multi_thread")]
async fn the_next_consumer_goes_on_after_the_last_commit() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "resume", 1).await, fresh_name("group"));
        let key = TopicPartition::new(topic.as_str(), 0);
        fill(&client, &topic, 1, 100).await;
        let by_hand = with(config(&group, protocol), |group| group.auto_commit_interval = None);
        let mut by_hand_ten = by_hand.clone();
        by_hand_ten.poll_records_max = 10;
        let mut consumer = client.consumer(by_hand_ten);
        consumer.subscribe([topic.as_str()]).unwrap();
        read(&mut consumer, 40).await;
        consumer.commit().await.unwrap();
        let committed = consumer.committed([key.clone()]).await.unwrap();
        assert_eq!(committed[&key].offset, Offset(40));
        assert_eq!(consumer.position(&key), Some(Offset(40)));
        read(&mut consumer, 10).await;
        // Without a commit, the ten are not dealt with.
        consumer.close().await.unwrap();

        let mut consumer = client.consumer(by_hand.clone());
        consumer.subscribe([topic.as_str()]).unwrap();
        assert_eq!(read(&mut consumer, 60).await[0].offset, Offset(40));
        let metadata = klamm_client::CommittedOffset {
            metadata: "so far".to_owned(),
            ..offset(70)
        };
        let offsets = BTreeMap::from([(key.clone(), metadata.clone())]);
        consumer.commit_offsets(offsets).await.unwrap();
        assert_eq!(consumer.committed([key.clone()]).await.unwrap()[&key], metadata);
        consumer.close().await.unwrap();

        // A commit that nobody waits for is made all the same, and in order.
        let mut consumer = client.consumer(by_hand);
        consumer.subscribe([topic.as_str()]).unwrap();
        assert_eq!(read(&mut consumer, 30).await[0].offset, Offset(70));
        for at in 71..=90 {
            drop(consumer.commit_offsets_async(BTreeMap::from([(key.clone(), offset(at))])));
        }
        consumer
            .commit_offsets_async(BTreeMap::from([(key.clone(), offset(91))]))
            .await
            .unwrap();
        assert_eq!(consumer.committed([key.clone()]).await.unwrap()[&key], offset(91));
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_commit_commits_only_what_was_dealt_with() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "auto", 1).await, fresh_name("group"));
        let key = TopicPartition::new(topic.as_str(), 0);
        fill(&client, &topic, 1, 50).await;
        let mut often = with(config(&group, protocol), |group| {
            group.auto_commit_interval = Some(Duration::from_millis(100));
        });
        often.poll_records_max = 10;
        let mut consumer = client.consumer(often.clone());
        consumer.subscribe([topic.as_str()]).unwrap();
        read(&mut consumer, 10).await;
        // The ten are in the program's hands now: not committed, however often auto commit comes by.
        let end = tokio::time::Instant::now() + Duration::from_millis(600);
        while tokio::time::Instant::now() < end {
            let committed = consumer.committed([key.clone()]).await.unwrap();
            assert!(
                committed
                    .get(&key)
                    .is_none_or(|committed| committed.offset == Offset(0)),
                "{committed:?}"
            );
        }
        // The next call says that they are dealt with.
        read(&mut consumer, 10).await;
        let committed = async {
            while consumer
                .committed([key.clone()])
                .await
                .unwrap()
                .get(&key)
                .map(|found| found.offset)
                != Some(Offset(10))
            {}
        };
        tokio::time::timeout(WAIT, committed).await.unwrap();
        consumer.close().await.unwrap();
        let mut consumer = client.consumer(often);
        consumer.subscribe([topic.as_str()]).unwrap();
        assert_eq!(read(&mut consumer, 10).await[0].offset, Offset(20), "closing commits");
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_committed_offset_the_program_decides() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "nothing", 1).await, fresh_name("group"));
        let key = TopicPartition::new(topic.as_str(), 0);
        fill(&client, &topic, 1, 10).await;
        let mut careful = config(&group, protocol);
        careful.offset_reset = OffsetReset::Error;
        let mut consumer = client.consumer(careful.clone());
        consumer.subscribe([topic.as_str()]).unwrap();
        let refused = async {
            loop {
                if let Err(failure) = consumer.poll(WAIT).await {
                    return failure;
                }
            }
        };
        let failure = tokio::time::timeout(WAIT, refused).await.unwrap();
        assert!(
            matches!(&failure, ConsumeError::NoCommittedOffset { partition } if *partition == key),
            "{failure:?}"
        );
        consumer.seek(&key, Start::Offset(Offset(4))).unwrap();
        assert_eq!(read(&mut consumer, 6).await[0].offset, Offset(4));
        consumer.close().await.unwrap();
        let mut late = careful;
        late.offset_reset = OffsetReset::Latest;
        late.group.as_mut().unwrap().group_id = fresh_name("group");
        let mut consumer = client.consumer(late);
        consumer.subscribe([topic.as_str()]).unwrap();
        let at_the_end = async {
            while consumer.position(&key) != Some(Offset(10)) {
                consumer.poll(WAIT).await.unwrap();
            }
        };
        tokio::time::timeout(WAIT, at_the_end).await.unwrap();
        fill(&client, &topic, 1, 1).await;
        assert_eq!(read(&mut consumer, 1).await[0].offset, Offset(10));
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_without_a_subscription_and_from_outside() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "manual", 2).await, fresh_name("group"));
        let key = TopicPartition::new(topic.as_str(), 0);
        fill(&client, &topic, 2, 10).await;
        let mut alone = client.consumer(config(&group, protocol));
        alone.assign([(key.clone(), Start::Earliest)]);
        read(&mut alone, 10).await;
        alone.commit().await.unwrap();
        assert_eq!(alone.committed([key.clone()]).await.unwrap()[&key].offset, Offset(10));
        // Once the group has members, others cannot commit for it.
        let mut member = client.consumer(config(&group, protocol));
        member.subscribe([topic.as_str()]).unwrap();
        read(&mut member, 10).await;
        let refused = alone
            .commit_offsets(BTreeMap::from([(key.clone(), offset(0))]))
            .await
            .unwrap_err();
        assert!(
            matches!(
                &refused,
                CommitError::Refused {
                    code: ErrorCode::UnknownMemberId,
                    ..
                }
            ),
            "{refused:?}"
        );
        member.close().await.unwrap();
        alone.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_commits_that_nobody_waits_for() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "last", 1).await, fresh_name("group"));
        let key = TopicPartition::new(topic.as_str(), 0);
        fill(&client, &topic, 1, 10).await;
        let by_hand = with(config(&group, protocol), |group| group.auto_commit_interval = None);
        let mut consumer = client.consumer(by_hand);
        consumer.subscribe([topic.as_str()]).unwrap();
        read(&mut consumer, 10).await;
        for at in 1..=10 {
            drop(consumer.commit_offsets_async(BTreeMap::from([(key.clone(), offset(at))])));
        }
        consumer.close().await.unwrap();
        let stored = client.admin().list_group_offsets(&group).await.unwrap();
        assert_eq!(stored, BTreeMap::from([(key, offset(10))]));
    }
}

/// Its offset can be stored nowhere. Commits, rebalances and goodbyes that wait for that would wait in vain, each for as
/// long as the client's `api_timeout`.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_holds_nobody_up() {
    // Else whoever reads the topic brings it back.
    let config_of_client = ClientConfig {
        auto_create_topics: false,
        ..client().await.config().clone()
    };
    let client = Client::connect(config_of_client).await.unwrap();
    for protocol in protocols(&client).await {
        let (gone, kept) = (
            fresh_topic(&client, "gone", 1).await,
            fresh_topic(&client, "kept", 1).await,
        );
        let (stays, leaves) = (fresh_name("group"), fresh_name("group"));
        fill(&client, &gone, 1, 5).await;
        fill(&client, &kept, 1, 5).await;
        let member = |group: &str| {
            let often = with(config(group, protocol), |group| {
                group.auto_commit_interval = Some(Duration::from_millis(100))
            });
            let mut consumer = client.consumer(often);
            consumer.subscribe([gone.as_str(), kept.as_str()]).unwrap();
            consumer
        };
        let (mut staying, mut leaving) = (member(&stays), member(&leaves));
        read(&mut staying, 10).await;
        read(&mut leaving, 10).await;
        client.admin().delete_topic(&gone).await.unwrap();
        let after_a_while = client.config().api_timeout / 2;
        let left = tokio::time::timeout(after_a_while, leaving.close()).await;
        left.expect("closing waits for nothing").unwrap();
        let only_kept = [TopicPartition::new(kept.as_str(), 0)];
        let revoked = async {
            while staying.assignment() != only_kept {
                // Which may say that the partition cannot be read.
                let _ = staying.poll(Duration::from_millis(50)).await;
            }
        };
        let done = tokio::time::timeout(after_a_while, revoked).await;
        done.expect("what is gone is given up");
        fill(&client, &kept, 1, 5).await;
        read(&mut staying, 5).await;
        staying.close().await.unwrap();
        for (group, read) in [(leaves, 5), (stays, 10)] {
            let stored = client.admin().list_group_offsets(&group).await.unwrap();
            let offset = stored.get(&only_kept[0]).map(|committed| committed.offset);
            assert_eq!(offset, Some(Offset(read)), "{group}");
        }
    }
}
