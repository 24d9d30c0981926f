//! CreateTopics and DeleteTopics: what reaches the controller, and what comes back.

use std::time::Duration;

use klamm_broker::backend::RequestError;
use klamm_broker::schema::id_bytes;
use klamm_broker::schema::requests::{self, controller_reply as reply, controller_request as request};
use klamm_types::{ErrorCode, Uuid};
use klamm_wire::create_topics_request::{CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig};
use klamm_wire::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use klamm_wire::delete_topics_request::DeleteTopicState;
use klamm_wire::delete_topics_response::DeletableTopicResult;
use klamm_wire::{CreateTopicsRequest, DeleteTopicsRequest};

use crate::client::Front;
use crate::fake::Fake;
use crate::world::{Part, World};

pub async fn front(replies: Vec<Result<reply::Reply, RequestError>>) -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1]), Part::of(&[1])]);
    let fake = Fake::new(world);
    fake.with(|state| state.replies.extend(replies));
    Front::start(fake).await
}

pub fn not_controller() -> RequestError {
    ErrorCode::NotController.into()
}

/// What the controller answers to the creation of `new` and `t`.
fn creation_answered() -> requests::CreateTopicsReply {
    let in_effect = requests::TopicSettingInEffect {
        name: "retention.ms".into(),
        value: "5".into(),
        source: 1,
    };
    let created = requests::CreatableTopicResult {
        name: "new".into(),
        topic_id: id_bytes(&[7; 16]),
        num_partitions: 2,
        replication_factor: 1,
        configs: vec![in_effect],
        ..Default::default()
    };
    let refused = requests::CreatableTopicResult {
        name: "t".into(),
        error_code: 36,
        error_message: "it exists".into(),
        topic_id: id_bytes(&[0; 16]),
        num_partitions: -1,
        replication_factor: -1,
        configs: vec![],
    };
    requests::CreateTopicsReply {
        topics: vec![created, refused],
    }
}

fn creation_asked() -> CreateTopicsRequest<'static> {
    let topic = CreatableTopic {
        name: "new",
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment {
            partition_index: 0,
            broker_ids: vec![2, 3],
        }],
        configs: vec![
            CreatableTopicConfig {
                name: "retention.ms",
                value: Some("5"),
            },
            CreatableTopicConfig {
                name: "null",
                value: None,
            },
        ],
    };
    let other = CreatableTopic {
        name: "t",
        num_partitions: 3,
        replication_factor: 2,
        ..Default::default()
    };
    CreateTopicsRequest {
        topics: vec![topic, other],
        timeout_ms: 1234,
        validate_only: true,
    }
}

#[tokio::test]
async fn the_answer_to_a_creation_in_every_version() {
    for version in 2..=7 {
        let front = front(vec![Ok(reply::Reply::CreateTopics(creation_answered()))]).await;
        let echo = version >= 5;
        let setting = CreatableTopicConfigs {
            name: "retention.ms",
            value: Some("5"),
            read_only: false,
            config_source: 1,
            is_sensitive: false,
        };
        let created = CreatableTopicResult {
            name: "new",
            topic_id: if version >= 7 { Uuid([7; 16]) } else { Uuid::ZERO },
            num_partitions: if echo { 2 } else { -1 },
            replication_factor: if echo { 1 } else { -1 },
            configs: Some(if echo { vec![setting] } else { vec![] }),
            error_message: None,
            ..Default::default()
        };
        let refused = CreatableTopicResult {
            name: "t",
            error_code: 36,
            error_message: Some("it exists"),
            configs: Some(vec![]),
            ..Default::default()
        };
        let answer = front.call(&creation_asked(), version).await;
        assert_eq!(
            answer.read::<CreateTopicsRequest<'_>>().topics,
            [created, refused],
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_creation_goes_to_the_controller_whole() {
    let front = front(vec![Ok(reply::Reply::CreateTopics(creation_answered()))]).await;
    front.call(&creation_asked(), 7).await;
    let setting = |name: &str, value: Option<&str>| requests::TopicSetting {
        name: name.into(),
        value: value.map(Into::into),
    };
    let topic = requests::CreatableTopic {
        name: "new".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![requests::ReplicaAssignment {
            partition: 0,
            replicas: vec![2, 3],
        }],
        configs: vec![setting("retention.ms", Some("5")), setting("null", None)],
        ..requests::CreatableTopic::default()
    };
    let other = requests::CreatableTopic {
        name: "t".into(),
        num_partitions: 3,
        replication_factor: 2,
        ..Default::default()
    };
    let expected = requests::CreateTopicsRequest {
        topics: vec![topic, other],
        validate_only: true,
    };
    let submitted = front.fake.with(|state| state.submitted.pop()).unwrap();
    assert_eq!(
        submitted,
        (request::Request::CreateTopics(expected), Duration::from_millis(1234))
    );
}

#[tokio::test]
async fn trouble_on_the_way_is_told_for_each_topic_and_never_as_not_controller() {
    let lost = RequestError {
        code: ErrorCode::RequestTimedOut,
        message: "unknown, ask again".into(),
    };
    let front = front(vec![Err(lost), Err(not_controller())]).await;
    let topic = |name| CreatableTopic {
        name,
        num_partitions: 1,
        replication_factor: 1,
        ..Default::default()
    };
    let asked = CreateTopicsRequest {
        topics: vec![topic("a"), topic("b")],
        timeout_ms: 1,
        validate_only: false,
    };
    let failed = |name, text| CreatableTopicResult {
        name,
        error_code: 7,
        error_message: Some(text),
        configs: Some(vec![]),
        ..Default::default()
    };
    for text in ["unknown, ask again", "no controller has answered"] {
        let answer = front.call(&asked, 7).await;
        assert_eq!(
            answer.read::<CreateTopicsRequest<'_>>().topics,
            [failed("a", text), failed("b", text)]
        );
    }
}

#[tokio::test]
async fn a_request_without_time_is_out_of_time_and_does_nothing() {
    let front = front(vec![]).await;
    for timeout_ms in [0, -1, i32::MIN] {
        let topics = vec![CreatableTopic {
            name: "a",
            ..Default::default()
        }];
        let answer = front
            .call(
                &CreateTopicsRequest {
                    topics,
                    timeout_ms,
                    validate_only: false,
                },
                7,
            )
            .await;
        assert_eq!(answer.read::<CreateTopicsRequest<'_>>().topics[0].error_code, 7);
        let asked = DeleteTopicsRequest {
            topic_names: vec!["t"],
            timeout_ms,
            ..Default::default()
        };
        assert_eq!(
            front.call(&asked, 5).await.read::<DeleteTopicsRequest<'_>>().responses[0].error_code,
            7
        );
    }
    assert!(front.fake.with(|state| state.submitted.is_empty()));
}

#[tokio::test]
async fn topics_are_deleted_by_name() {
    let deleted = requests::DeletableTopicResult {
        name: Some("t".into()),
        topic_id: id_bytes(&[1; 16]),
        ..Default::default()
    };
    let refused = requests::DeletableTopicResult {
        name: Some("u".into()),
        topic_id: id_bytes(&[0; 16]),
        error_code: 73,
        error_message: "deletion is off".into(),
    };
    let answered = requests::DeleteTopicsReply {
        topics: vec![deleted, refused],
    };
    for version in 1..=5 {
        let front = front(vec![Ok(reply::Reply::DeleteTopics(answered.clone()))]).await;
        let asked = DeleteTopicsRequest {
            topic_names: vec!["t", "u"],
            timeout_ms: 9,
            ..Default::default()
        };
        let result = |name, error_code, text: Option<&'static str>| DeletableTopicResult {
            name: Some(name),
            topic_id: Uuid::ZERO,
            error_code,
            error_message: text.filter(|_| version >= 5),
        };
        let disabled = if version >= 3 { 73 } else { 42 };
        let expected = [result("t", 0, None), result("u", disabled, Some("deletion is off"))];
        let answer = front.call(&asked, version).await;
        assert_eq!(
            answer.read::<DeleteTopicsRequest<'_>>().responses,
            expected,
            "version {version}"
        );
        let topic = |name: &str| requests::DeletableTopic {
            name: Some(name.into()),
            topic_id: None,
        };
        let expected = requests::DeleteTopicsRequest {
            topics: vec![topic("t"), topic("u")],
            again: false,
        };
        let submitted = front.fake.with(|state| state.submitted.pop()).unwrap();
        assert_eq!(
            submitted,
            (request::Request::DeleteTopics(expected), Duration::from_millis(9))
        );
    }
}

#[tokio::test]
async fn topics_are_deleted_by_name_or_id_but_not_both() {
    let deleted = requests::DeletableTopicResult {
        name: Some("t".into()),
        topic_id: id_bytes(&[1; 16]),
        ..Default::default()
    };
    let unknown = requests::DeletableTopicResult {
        topic_id: id_bytes(&[2; 16]),
        error_code: 100,
        ..Default::default()
    };
    let answered = requests::DeleteTopicsReply {
        topics: vec![deleted, unknown],
    };
    let front = front(vec![Ok(reply::Reply::DeleteTopics(answered))]).await;
    let state = |name, id: u8| DeleteTopicState {
        name,
        topic_id: Uuid([id; 16]),
    };
    let topics = vec![state(Some("both"), 3), state(None, 0), state(None, 1), state(None, 2)];
    let answer = front
        .call(
            &DeleteTopicsRequest {
                topics,
                timeout_ms: 9,
                ..Default::default()
            },
            6,
        )
        .await;
    let results: Vec<_> = answer
        .read::<DeleteTopicsRequest<'_>>()
        .responses
        .iter()
        .map(|one| (one.name.map(str::to_owned), one.topic_id.0[0], one.error_code))
        .collect();
    let named = |name: &str| Some(name.to_owned());
    assert_eq!(
        results,
        [
            (named("both"), 3, 42),
            (None, 0, 42),
            (named("t"), 1, 0),
            (None, 2, 100)
        ]
    );
    let by_id = |id: u8| requests::DeletableTopic {
        name: None,
        topic_id: Some(id_bytes(&[id; 16])),
    };
    let expected = requests::DeleteTopicsRequest {
        topics: vec![by_id(1), by_id(2)],
        again: false,
    };
    let submitted = front.fake.with(|state| state.submitted.pop()).unwrap().0;
    assert_eq!(submitted, request::Request::DeleteTopics(expected));
}
