//! Members that come, go, die and rest; both protocols, all assignors.

use std::time::Duration;

use klamm_client::{Assignor, Client, GroupProtocol, Start, TopicPartition};

use crate::member::{Member, Seen, Troupe, WAIT, config, fill, protocols, read, with};
use crate::support::{client, fresh_name, fresh_topic, read_all};

const PARTITIONS: i32 = 6;

/// Three come one after another, one goes in order, one dies; all is read, nothing is left out.
async fn come_and_go(protocol: GroupProtocol, assignors: &[Assignor]) {
    let client = client().await;
    let (topic, group) = (fresh_topic(&client, "comego", PARTITIONS).await, fresh_name("group"));
    let settings = with(config(&group, protocol), |group| group.assignors = assignors.to_vec());
    let mut troupe = Troupe::new(&client, &topic);
    let (mut seen, book) = (Seen::default(), troupe.book.clone());
    let balanced = |loads: &'static [usize]| {
        move |book: &crate::member::Book| {
            let mut found: Vec<usize> = book.loads().into_values().collect();
            found.sort_unstable();
            found == loads
        }
    };
    fill(&client, &topic, PARTITIONS, 50).await;
    let one = troupe.join("one", settings.clone());
    book.until("one has all", balanced(&[6])).await;
    let two = troupe.join("two", settings.clone());
    book.until("two share", balanced(&[3, 3])).await;
    let three = troupe.join("three", settings);
    book.until("three share", balanced(&[2, 2, 2])).await;
    fill(&client, &topic, PARTITIONS, 50).await;
    troupe.until_read(&mut seen, PARTITIONS, 100).await;
    assert_eq!(
        seen.repeated,
        0,
        "all revoked partitions were committed: {:#?}",
        book.lines()
    );
    two.close().await.unwrap();
    book.until("two go on", balanced(&[3, 3])).await;
    fill(&client, &topic, PARTITIONS, 50).await;
    troupe.until_read(&mut seen, PARTITIONS, 150).await;
    assert_eq!(seen.repeated, 0, "closing commits");
    one.die().await;
    book.until("one is left", balanced(&[6])).await;
    fill(&client, &topic, PARTITIONS, 50).await;
    troupe.until_read(&mut seen, PARTITIONS, 200).await;
    three.close().await.unwrap();
    assert_eq!(book.loads().len(), 0);
    let stored: Vec<usize> = read_all(&client, &topic).await.values().map(Vec::len).collect();
    assert_eq!(
        stored, [200; PARTITIONS as usize],
        "so nothing was written that was not read"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go() {
    for protocol in protocols(&client().await).await {
        come_and_go(protocol, &[Assignor::Range, Assignor::CooperativeSticky]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_come_and_go_by_other_assignors() {
    if protocols(&client().await).await.contains(&GroupProtocol::Classic) {
        come_and_go(GroupProtocol::Classic, &[Assignor::RoundRobin]).await;
        come_and_go(GroupProtocol::Classic, &[Assignor::CooperativeSticky]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_keeps_is_never_taken_from_it() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "keep", 4).await, fresh_name("group"));
        let sticky = with(config(&group, protocol), |group| {
            group.assignors = vec![Assignor::CooperativeSticky]
        });
        let troupe = Troupe::new(&client, &topic);
        let one = troupe.join("one", sticky.clone());
        troupe.book.until("one has all", |book| book.owners().len() == 4).await;
        let two = troupe.join("two", sticky);
        let share = |book: &crate::member::Book| book.loads().into_values().collect::<Vec<_>>() == [2, 2];
        troupe.book.until("two share", share).await;
        let taken: Vec<String> = troupe
            .book
            .lines()
            .into_iter()
            .filter(|line| line.starts_with("one -"))
            .collect();
        assert_eq!(taken.len(), 1, "{:#?}", troupe.book.lines());
        assert_eq!(taken[0].split(' ').count(), 4, "two of four: {taken:?}");
        assert!(!troupe.book.lines().iter().any(|line| line.contains('!')));
        two.close().await.unwrap();
        one.close().await.unwrap();
    }
}

/// Member one has read ten records of two partitions each, and rests until member two has both.
async fn one_rests_too_long(client: &Client, protocol: GroupProtocol) -> (Troupe, Seen, Member, Member) {
    let (topic, group) = (fresh_topic(client, "rest", 2).await, fresh_name("group"));
    let hasty = with(config(&group, protocol), |group| {
        group.max_poll_interval = Duration::from_secs(2)
    });
    fill(client, &topic, 2, 10).await;
    let (mut troupe, mut seen) = (Troupe::new(client, &topic), Seen::default());
    let one = troupe.join("one", hasty.clone());
    troupe.until_read(&mut seen, 2, 10).await;
    one.rest().await;
    troupe.book.strike("one");
    let two = troupe.join("two", hasty);
    let all_two = |book: &crate::member::Book| book.loads() == [("two".to_owned(), 2)].into();
    troupe.book.until("two has all", all_two).await;
    (troupe, seen, one, two)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_rests_too_long_loses_its_partitions_and_comes_back() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (mut troupe, mut seen, one, two) = one_rests_too_long(&client, protocol).await;
        let topic = troupe.topic.clone();
        fill(&client, &topic, 2, 10).await;
        troupe.until_read(&mut seen, 2, 20).await;
        one.wake();
        troupe
            .book
            .until("both share", |book| {
                book.loads().into_values().collect::<Vec<_>>() == [1, 1]
            })
            .await;
        assert!(
            troupe.book.lines().iter().any(|line| line.starts_with("one !")),
            "{:#?}",
            troupe.book.lines()
        );
        one.close().await.unwrap();
        two.close().await.unwrap();
    }
}

/// Others read on long ago: nothing is revoked, and nothing is left to commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_rests_too_long_and_ends_is_told_that_its_partitions_are_lost() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (troupe, _, one, two) = one_rests_too_long(&client, protocol).await;
        let topic = &troupe.topic;
        troupe.book.forget_lines();
        one.close().await.unwrap();
        assert_eq!(troupe.book.lines(), [format!("one ! {topic}-0 {topic}-1")]);
        two.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_partitions_stay_paused_over_a_rebalance() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "paused", 2).await, fresh_name("group"));
        fill(&client, &topic, 2, 10).await;
        let mut consumer = client.consumer(config(&group, protocol));
        consumer.subscribe([topic.as_str()]).unwrap();
        read(&mut consumer, 20).await;
        let keys = [
            TopicPartition::new(topic.as_str(), 0),
            TopicPartition::new(topic.as_str(), 1),
        ];
        keys.iter().for_each(|key| consumer.pause(key).unwrap());
        // Another comes: one of the two is given up, the other stays, or goes and comes back.
        let troupe = Troupe::new(&client, &topic);
        let other = troupe.join("other", config(&group, protocol));
        let shared = async {
            while consumer.assignment().len() != 1 || troupe.book.owners().len() != 1 {
                assert!(consumer.poll(Duration::from_millis(50)).await.unwrap().is_empty());
            }
        };
        tokio::time::timeout(WAIT, shared).await.unwrap();
        assert_eq!(consumer.paused(), consumer.assignment());
        consumer.resume(&consumer.assignment()[0]).unwrap();
        fill(&client, &topic, 2, 10).await;
        assert_eq!(read(&mut consumer, 10).await[0].offset.0, 10);
        other.close().await.unwrap();
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_finds_topics_that_come_later() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (prefix, group) = (fresh_name("pattern"), fresh_name("group"));
        let first = fresh_topic(&client, &format!("{prefix}-a"), 1).await;
        fill(&client, &first, 1, 5).await;
        let config = klamm_client::ClientConfig {
            metadata_max_age: Duration::from_millis(500),
            ..client.config().clone()
        };
        let watchful = klamm_client::Client::connect(config).await.unwrap();
        let mut consumer = watchful.consumer(crate::member::config(&group, protocol));
        assert!(consumer.subscribe_pattern("(").is_err());
        consumer.subscribe_pattern(&format!("{prefix}-[ab].*")).unwrap();
        read(&mut consumer, 5).await;
        let second = fresh_topic(&client, &format!("{prefix}-b"), 1).await;
        let other = fresh_topic(&client, &format!("{prefix}-c"), 1).await;
        fill(&client, &other, 1, 5).await;
        fill(&client, &second, 1, 5).await;
        let records = read(&mut consumer, 5).await;
        assert!(records.iter().all(|record| *record.topic == *second), "{records:?}");
        consumer.unsubscribe().await.unwrap();
        assert_eq!(consumer.assignment(), []);
        consumer.subscribe([other.as_str()]).unwrap();
        assert_eq!(read(&mut consumer, 5).await[0].offset.0, 0);
        consumer.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_that_are_added_are_read() {
    let client = client().await;
    for protocol in protocols(&client).await {
        let (topic, group) = (fresh_topic(&client, "grow", 1).await, fresh_name("group"));
        let config = klamm_client::ClientConfig {
            metadata_max_age: Duration::from_millis(500),
            ..client.config().clone()
        };
        let watchful = klamm_client::Client::connect(config).await.unwrap();
        let mut consumer = watchful.consumer(crate::member::config(&group, protocol));
        consumer.subscribe([topic.as_str()]).unwrap();
        fill(&client, &topic, 1, 5).await;
        read(&mut consumer, 5).await;
        client.admin().create_partitions(&topic, 2).await.unwrap();
        let grown = async {
            while consumer.assignment().len() < 2 {
                consumer.poll(Duration::from_millis(50)).await.unwrap();
            }
        };
        tokio::time::timeout(WAIT, grown).await.unwrap();
        // The other kind of start: where the program says.
        let key = TopicPartition::new(topic.as_str(), 0);
        consumer.seek(&key, Start::Earliest).unwrap();
        assert_eq!(read(&mut consumer, 5).await[0].offset.0, 0);
        consumer.close().await.unwrap();
    }
}
