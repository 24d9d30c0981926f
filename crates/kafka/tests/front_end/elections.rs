//! ElectLeaders: what reaches the controller, and what comes back.

use std::time::Duration;

use klamm_broker::schema::id_bytes;
use klamm_broker::schema::requests::{self, controller_reply as reply, controller_request as request};
use klamm_types::TopicId;
use klamm_wire::ElectLeadersRequest;
use klamm_wire::elect_leaders_request::TopicPartitions;
use klamm_wire::elect_leaders_response::{ElectLeadersResponse, PartitionResult, ReplicaElectionResult};

use crate::admin::{front, not_controller};

fn asked(election_type: i8, topics: &[(&'static str, &[i32])]) -> ElectLeadersRequest<'static> {
    let topics = topics.iter().map(|(topic, partitions)| TopicPartitions {
        topic,
        partitions: partitions.to_vec(),
    });
    ElectLeadersRequest {
        election_type,
        topic_partitions: Some(topics.collect()),
        timeout_ms: 77,
    }
}

/// Of topic `t`.
fn decided(results: &[(i32, i32, &str)]) -> Vec<requests::PartitionResult> {
    let result = |&(partition, error_code, text): &(i32, i32, &str)| requests::PartitionResult {
        topic_id: topic_id(),
        partition,
        error_code,
        error_message: text.to_owned(),
    };
    results.iter().map(result).collect()
}

fn preferred(results: &[(i32, i32, &str)]) -> reply::Reply {
    reply::Reply::ElectLeaders(requests::ElectLeadersReply {
        partitions: decided(results),
    })
}

fn topic_id() -> klamm_broker::schema::Bytes {
    id_bytes(TopicId::from_u128(1).as_bytes())
}

fn topic(topic: &'static str, results: &[(i32, i16, Option<&'static str>)]) -> ReplicaElectionResult<'static> {
    let results = results.iter().map(|&(partition_id, error_code, text)| PartitionResult {
        partition_id,
        error_code,
        error_message: text,
    });
    ReplicaElectionResult {
        topic,
        partition_result: results.collect(),
    }
}

fn answered(
    error_code: i16,
    replica_election_results: Vec<ReplicaElectionResult<'static>>,
) -> ElectLeadersResponse<'static> {
    ElectLeadersResponse {
        error_code,
        replica_election_results,
        ..Default::default()
    }
}

#[tokio::test]
async fn each_partition_is_answered_in_the_order_asked() {
    let unknown = "this server knows no such topic or partition";
    for version in 0..=2 {
        let front = front(vec![Ok(preferred(&[(1, 0, ""), (0, 84, "not needed")]))]).await;
        let asked = asked(0, &[("u", &[0]), ("t", &[1, 7, 0])]);
        let answer = front.call(&asked, version).await;
        let answer = answer.read::<ElectLeadersRequest<'_>>();
        let of_t = topic("t", &[(1, 0, None), (7, 3, Some(unknown)), (0, 84, Some("not needed"))]);
        let expected = answered(0, vec![topic("u", &[(0, 3, Some(unknown))]), of_t]);
        assert_eq!(answer, expected, "version {version}");
        let place = |partition| requests::TopicPartition {
            topic_id: topic_id(),
            partition,
        };
        let expected = request::Request::ElectLeaders(requests::ElectLeadersRequest {
            all: false,
            partitions: vec![place(1), place(0)],
        });
        let submitted = front.fake.with(|state| state.submitted.clone());
        assert_eq!(submitted, [(expected, Duration::from_millis(77))]);
    }
}

#[tokio::test]
async fn of_everything_only_what_changed_is_told() {
    let front = front(vec![Ok(preferred(&[(0, 84, "not needed"), (1, 80, "not in sync")]))]).await;
    let everything = ElectLeadersRequest {
        topic_partitions: None,
        ..asked(0, &[])
    };
    let answer = front.call(&everything, 2).await;
    let expected = answered(0, vec![topic("t", &[(1, 80, Some("not in sync"))])]);
    assert_eq!(answer.read::<ElectLeadersRequest<'_>>(), expected);
}

#[tokio::test]
async fn an_unclean_election_is_an_operators() {
    let reply = requests::OperatorElectReply {
        partitions: decided(&[(0, 83, "nobody lives")]),
    };
    let front = front(vec![Ok(reply::Reply::OperatorElect(reply))]).await;
    let answer = front.call(&asked(1, &[("t", &[0])]), 2).await;
    let expected = answered(0, vec![topic("t", &[(0, 83, Some("nobody lives"))])]);
    assert_eq!(answer.read::<ElectLeadersRequest<'_>>(), expected);
    let expected = request::Request::OperatorElect(requests::OperatorElectRequest {
        elections: vec![requests::OperatorElection {
            topic_id: topic_id(),
            partition: 0,
            leader: -1,
        }],
    });
    let submitted = front.fake.with(|state| state.submitted.clone());
    assert_eq!(submitted, [(expected, Duration::from_millis(77))]);
}

#[tokio::test]
async fn what_fails_as_a_whole_fails_for_every_partition() {
    let front = front(vec![Err(not_controller())]).await;
    let no_controller = "no controller has answered";
    let answer = front.call(&asked(0, &[("t", &[0])]), 1).await;
    let expected = answered(7, vec![topic("t", &[(0, 7, Some(no_controller))])]);
    assert_eq!(answer.read::<ElectLeadersRequest<'_>>(), expected);

    let answer = front.call(&asked(2, &[("t", &[0])]), 1).await;
    let no_type = "there is no election of type 2";
    let expected = answered(42, vec![topic("t", &[(0, 42, Some(no_type))])]);
    assert_eq!(answer.read::<ElectLeadersRequest<'_>>(), expected);
}
