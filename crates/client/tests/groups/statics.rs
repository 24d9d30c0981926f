//! Static members: restarting without a rebalance, and two under one name.

use std::time::Duration;

use klamm_client::{ConsumeError, GroupError};

use crate::member::{Troupe, config, protocols, with};
use crate::support::{client, fresh_name, fresh_topic};

#[tokio::test(flavor = "multi_thread")]
async fn a_static_member_comes_back_without_a_rebalance() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "static", 4).await, fresh_name("group"));
        let named = |name: &str| {
            with(config(&group, protocol), |group| {
                group.group_instance_id = Some(name.to_owned());
                group.session_timeout = Duration::from_secs(20);
            })
        };
        let troupe = Troupe::new(&client, &topic);
        let one = troupe.join("one", named("one"));
        let two = troupe.join("two", named("two"));
        troupe
            .book
            .until("two share", |book| {
                book.loads().into_values().collect::<Vec<_>>() == [2, 2]
            })
            .await;
        let before = (troupe.book.owners(), two.membership().await);
        assert!(before.1.is_some());
        troupe.book.forget_lines();
        one.close().await.unwrap();
        let one = troupe.join("one", named("one"));
        troupe
            .book
            .until("it has its partitions again", |book| book.owners() == before.0)
            .await;
        assert!(
            !troupe.book.lines().iter().any(|line| line.starts_with("two")),
            "{:#?}",
            troupe.book.lines()
        );
        assert_eq!(two.membership().await, before.1, "the same generation");
        one.close().await.unwrap();
        two.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_under_a_name_fences_the_first_or_is_refused() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "fence", 1).await, fresh_name("group"));
        let named = with(config(&group, protocol), |group| {
            group.group_instance_id = Some("me".to_owned())
        });
        let troupe = Troupe::new(&client, &topic);
        let one = troupe.join("one", named.clone());
        troupe
            .book
            .until("it is a member", |book| book.owners().len() == 1)
            .await;
        let second = Troupe::new(&client, &topic);
        let two = second.join("two", named);
        // A classic group lets the newcomer in, KIP-848 lets nobody in while the name is in use.
        let (failure, left) = match protocol {
            klamm_client::GroupProtocol::Classic => (one.failure().await, two),
            klamm_client::GroupProtocol::Consumer => (two.failure().await, one),
        };
        match (protocol, failure) {
            (
                klamm_client::GroupProtocol::Classic,
                ConsumeError::Group(GroupError::FencedInstance { group_instance_id }),
            ) => {
                assert_eq!(group_instance_id, "me");
                assert!(
                    troupe.book.lines().contains(&format!("one ! {topic}-0")),
                    "{:?}",
                    troupe.book.lines()
                );
            }
            (klamm_client::GroupProtocol::Consumer, ConsumeError::Group(GroupError::Refused { code, .. })) => {
                assert_eq!(code, klamm_client::ErrorCode::UnreleasedInstanceId);
            }
            (_, failure) => panic!("{failure:?}"),
        }
        left.close().await.unwrap();
    }
}
