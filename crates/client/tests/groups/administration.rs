//! Groups as an administrator sees them: lists, members, offsets, deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use klamm_client::admin::{GroupListing, GroupState, GroupType};
use klamm_client::{Client, ErrorCode, GroupProtocol, Offset, TopicPartition};

use crate::member::{Troupe, WAIT, config, fill, offset, protocols, read};
use crate::support::{client, fresh_name, fresh_topic};

async fn listing(client: &Client, group: &str) -> Option<GroupListing> {
    let groups = client.admin().list_groups().await.unwrap();
    groups.into_iter().find(|listed| listed.group_id == group)
}

fn kind(protocol: GroupProtocol) -> GroupType {
    match protocol {
        GroupProtocol::Classic => GroupType::Classic,
        GroupProtocol::Consumer => GroupType::Consumer,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_listed_described_and_deleted() {
    let client = client().await;
    let admin = client.admin();
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "describe", 4).await, fresh_name("group"));
        let missing = admin.describe_group(&group).await.unwrap_err();
        assert_eq!(missing.code(), Some(ErrorCode::GroupIdNotFound));
        let missing = admin.delete_group(&group).await.unwrap_err();
        assert_eq!(missing.code(), Some(ErrorCode::GroupIdNotFound));
        let troupe = Troupe::new(&client, &topic);
        let (one, two) = (
            troupe.join("one", config(&group, protocol)),
            troupe.join("two", config(&group, protocol)),
        );
        let share = |book: &crate::member::Book| book.loads().into_values().collect::<Vec<_>>() == [2, 2];
        troupe.book.until("two share", share).await;
        let described = loop {
            // The last member's word may still be on its way.
            let described = admin.describe_group(&group).await.unwrap();
            if described.state == GroupState::Stable {
                break described;
            }
        };
        assert_eq!((&described.group_type, described.members.len()), (&kind(protocol), 2));
        let ids: BTreeSet<String> = described
            .members
            .iter()
            .map(|member| member.member_id.clone())
            .collect();
        let known = [
            one.membership().await.unwrap().member_id,
            two.membership().await.unwrap().member_id,
        ];
        assert_eq!(ids, BTreeSet::from(known));
        for member in &described.members {
            assert_eq!((member.assignment.len(), member.client_id.as_str()), (2, "klamm"));
            assert_eq!(member.topics, BTreeSet::from([topic.as_str().into()]));
        }
        let listed = listing(&client, &group).await.unwrap();
        assert_eq!((listed.group_type, listed.state), (kind(protocol), GroupState::Stable));
        let refused = admin.delete_group(&group).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::NonEmptyGroup));
        one.close().await.unwrap();
        two.close().await.unwrap();
        assert_eq!(admin.describe_group(&group).await.unwrap().state, GroupState::Empty);
        let outcome = admin.delete_groups(&[&group]).await;
        assert!(outcome[&group].is_ok(), "{outcome:?}");
        assert_eq!(listing(&client, &group).await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_read_set_and_deleted() {
    let client = client().await;
    let admin = client.admin();
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "offsets", 2).await, fresh_name("group"));
        let keys = [
            TopicPartition::new(topic.as_str(), 0),
            TopicPartition::new(topic.as_str(), 1),
        ];
        fill(&client, &topic, 2, 10).await;
        assert_eq!(admin.list_group_offsets(&group).await.unwrap(), BTreeMap::new());
        let wanted = BTreeMap::from([(keys[0].clone(), offset(4)), (keys[1].clone(), offset(7))]);
        assert_eq!(
            admin.alter_group_offsets(&group, &wanted).await.unwrap(),
            BTreeMap::new()
        );
        assert_eq!(admin.list_group_offsets(&group).await.unwrap(), wanted);
        let nowhere = TopicPartition::new(topic.as_str(), 9);
        let refused = admin
            .alter_group_offsets(&group, &BTreeMap::from([(nowhere.clone(), offset(1))]))
            .await
            .unwrap();
        assert_eq!(refused, BTreeMap::from([(nowhere, ErrorCode::UnknownTopicOrPartition)]));

        // A member begins where it was told to.
        let mut consumer = client.consumer(config(&group, protocol));
        consumer.subscribe([topic.as_str()]).unwrap();
        let records = read(&mut consumer, 9).await;
        let first = |number: i32| {
            records
                .iter()
                .find(|record| record.partition.0 == number)
                .map(|record| record.offset)
        };
        assert_eq!((first(0), first(1)), (Some(Offset(4)), Some(Offset(7))));
        let refused = admin.alter_group_offsets(&group, &wanted).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::UnknownMemberId));
        let refused = admin
            .delete_group_offsets(&group, &BTreeSet::from(keys.clone()))
            .await
            .unwrap();
        assert_eq!(refused.get(&keys[0]), Some(&ErrorCode::GroupSubscribedToTopic));
        consumer.close().await.unwrap();
        let none = admin
            .delete_group_offsets(&group, &BTreeSet::from([keys[0].clone()]))
            .await
            .unwrap();
        assert_eq!(none, BTreeMap::new());
        let left: Vec<_> = admin.list_group_offsets(&group).await.unwrap().into_keys().collect();
        assert_eq!(left, [keys[1].clone()]);
    }
}

/// Longer than a coordinator's clock may run late. What is due at once must not be taken for late by one that has been up
/// for longer.
const UP_FOR: Duration = Duration::from_millis(600);

/// Its coordinator forgets the offsets of a topic that is gone, and goes on with everything else.
#[tokio::test(flavor = "multi_thread")]
async fn a_group_outlives_a_topic_that_it_has_read() {
    let client = client().await;
    let up = Instant::now();
    let admin = client.admin();
    let (gone, kept) = (
        fresh_topic(&client, "gone", 1).await,
        fresh_topic(&client, "kept", 1).await,
    );
    let group = fresh_name("group");
    let of = |topic: &str| TopicPartition::new(topic, 0);
    let both = BTreeMap::from([(of(&gone), offset(5)), (of(&kept), offset(7))]);
    while up.elapsed() < UP_FOR {
        admin.alter_group_offsets(&group, &both).await.unwrap();
    }
    assert_eq!(admin.list_group_offsets(&group).await.unwrap(), both);
    admin.delete_topic(&gone).await.unwrap();
    let forgotten = async {
        loop {
            let left = admin.list_group_offsets(&group).await.unwrap();
            if !left.contains_key(&of(&gone)) {
                return left;
            }
        }
    };
    let left = tokio::time::timeout(WAIT, forgotten).await.expect("its offsets go");
    assert_eq!(left.into_keys().collect::<Vec<_>>(), [of(&kept)]);
    let later = BTreeMap::from([(of(&kept), offset(8))]);
    admin.alter_group_offsets(&group, &later).await.unwrap();
    assert_eq!(admin.list_group_offsets(&group).await.unwrap(), later);
}
