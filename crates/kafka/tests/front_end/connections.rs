//! Order of answers, what closes a connection, and how long it may be idle.

use std::time::Duration;

use bytes::Bytes;
use klamm_broker::api::Produced;
use klamm_kafka::Settings;
use klamm_types::{LogStartOffset, Offset, Timestamp};
use klamm_wire::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest, encode_request};

use crate::client::{Front, settings};
use crate::fake::Fake;
use crate::fetch::fetch_of;
use crate::produce::{batch, produce_of};
use crate::world::{Part, World};

fn world() -> World {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1]), Part::of(&[1])]);
    world
}

fn produced(base_offset: i64) -> Produced {
    Produced {
        base_offset: Offset(base_offset),
        log_append_time: Timestamp::NONE,
        log_start_offset: LogStartOffset(0),
    }
}

#[tokio::test]
async fn produces_are_appended_at_once_and_answered_in_order() {
    let front = Front::start(Fake::new(world())).await;
    front.fake.with(|state| state.manual = true);
    let mut client = front.client().await;
    let (one, two) = (batch(b"one"), batch(b"two"));
    let first = client.send(&produce_of("t", 0, one.clone(), -1), 9).await;
    let second = client.send(&produce_of("t", 0, two.clone(), -1), 9).await;
    front.fake.until(|state| state.waiting.len() == 2).await;
    let handed: Vec<Bytes> = front
        .fake
        .with(|state| state.handed.iter().map(|batch| batch.records.clone()).collect());
    assert_eq!(handed, [one, two]);
    // The second is acknowledged first; its answer waits for the first one's.
    front
        .fake
        .with(|state| state.waiting.pop_back())
        .unwrap()
        .send(Ok(produced(11)))
        .unwrap();
    front
        .fake
        .with(|state| state.waiting.pop_back())
        .unwrap()
        .send(Ok(produced(10)))
        .unwrap();
    for (sent, offset) in [(first, 10), (second, 11)] {
        let reply = client.receive(9).await.unwrap();
        assert_eq!(reply.correlation_id(), sent);
        let response = reply.read::<ProduceRequest<'_>>();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, offset);
    }
}

#[tokio::test]
async fn a_waiting_fetch_blocks_what_is_behind_it() {
    let front = Front::start(Fake::new(world())).await;
    let mut client = front.client().await;
    let mut fetch = fetch_of("t", 0, 0);
    fetch.max_wait_ms = 60_000;
    let first = client.send(&fetch, 11).await;
    let second = client
        .send(
            &MetadataRequest {
                topics: Some(vec![]),
                ..Default::default()
            },
            9,
        )
        .await;
    let third = client.send(&produce_of("t", 1, batch(b"behind"), -1), 9).await;
    front.fake.until(|state| state.fetches.len() == 1).await;
    let arrives = batch(b"arrives");
    front.call(&produce_of("t", 0, arrives.clone(), -1), 9).await;
    for (sent, version) in [(first, 11), (second, 9), (third, 9)] {
        assert_eq!(client.receive(version).await.unwrap().correlation_id(), sent);
    }
    let handed = front
        .fake
        .with(|state| (state.handed.len(), state.handed[0].records.clone()));
    assert_eq!(handed, (2, arrives), "the produce behind the fetch waited");
}

#[tokio::test]
async fn other_requests_wait_for_produces_before_them() {
    let front = Front::start(Fake::new(world())).await;
    front.fake.with(|state| state.manual = true);
    let mut client = front.client().await;
    let first = client.send(&produce_of("t", 0, batch(b"one"), -1), 9).await;
    let second = client.send(&fetch_of("t", 0, 0), 11).await;
    let third = client.send(&produce_of("t", 0, batch(b"two"), -1), 9).await;
    front.fake.until(|state| state.waiting.len() == 1).await;
    assert_eq!(
        front.fake.with(|state| (state.handed.len(), state.fetches.len())),
        (1, 0)
    );
    front
        .fake
        .with(|state| state.waiting.pop_front())
        .unwrap()
        .send(Ok(produced(0)))
        .unwrap();
    assert_eq!(client.receive(9).await.unwrap().correlation_id(), first);
    assert_eq!(client.receive(11).await.unwrap().correlation_id(), second);
    front.fake.until(|state| state.waiting.len() == 1).await;
    front
        .fake
        .with(|state| state.waiting.pop_front())
        .unwrap()
        .send(Ok(produced(1)))
        .unwrap();
    assert_eq!(client.receive(9).await.unwrap().correlation_id(), third);
}

#[tokio::test]
async fn produces_in_flight_are_bounded() {
    let front = Front::start_with(
        Fake::new(world()),
        Settings {
            produce_in_flight_max: 2,
            ..settings()
        },
    )
    .await;
    front.fake.with(|state| state.manual = true);
    let mut client = front.client().await;
    for _ in 0..3 {
        client.send(&produce_of("t", 0, batch(b"x"), -1), 9).await;
    }
    front.fake.until(|state| state.waiting.len() == 2).await;
    front
        .fake
        .with(|state| state.waiting.pop_front())
        .unwrap()
        .send(Ok(produced(0)))
        .unwrap();
    front.fake.until(|state| state.handed.len() == 3).await;
}

#[tokio::test]
async fn what_is_not_served_closes_the_connection() {
    let front = Front::start(Fake::new(world())).await;
    let header = |key: i16, version: i16| {
        let mut frame = vec![0, 0, 0, 10];
        frame.extend_from_slice(&key.to_be_bytes());
        frame.extend_from_slice(&version.to_be_bytes());
        frame.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
        frame
    };
    // An unknown key, a known one that is not listed (FindCoordinator), versions above and below, and Produce 2,
    // which is listed for the sake of old clients but was never served.
    for (key, version) in [(1000, 0), (-1, 0), (10, 0), (3, 14), (3, -1), (1, 3), (0, 2)] {
        let mut client = front.client().await;
        client.send_bytes(&header(key, version)).await;
        assert!(client.is_closed().await, "{key} {version}");
    }
}

#[tokio::test]
async fn what_cannot_be_read_closes_the_connection_after_earlier_answers() {
    let front = Front::start(Fake::new(world())).await;
    front.fake.with(|state| state.manual = true);
    let mut client = front.client().await;
    let first = client.send(&produce_of("t", 0, batch(b"one"), -1), 9).await;
    // A Metadata request that announces a topic and ends.
    client
        .send_bytes(&[0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 9, 0xff, 0xff, 0, 0, 0, 1])
        .await;
    front.fake.until(|state| state.waiting.len() == 1).await;
    front
        .fake
        .with(|state| state.waiting.pop_front())
        .unwrap()
        .send(Ok(produced(0)))
        .unwrap();
    assert_eq!(client.receive(9).await.unwrap().correlation_id(), first);
    assert!(client.is_closed().await);
}

#[tokio::test]
async fn surplus_bytes_are_ignored() {
    // librdkafka asks for all topics with three bytes too many.
    let front = Front::start(Fake::new(world())).await;
    let mut client = front.client().await;
    let header = [
        0, 3, 0, 13, 0, 0, 0, 7, 0, 7, b'r', b'd', b'k', b'a', b'f', b'k', b'a', 0,
    ];
    let body = [0, 0, 0, 0, 1, 0, 0];
    let mut frame = u32::try_from(header.len() + body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&header);
    frame.extend_from_slice(&body);
    client.send_bytes(&frame).await;
    let reply = client.receive(13).await.unwrap();
    let response = reply.read::<MetadataRequest<'_>>();
    assert_eq!(
        (reply.correlation_id(), response.topics.len(), response.topics[0].name),
        (7, 1, Some("t"))
    );
}

#[tokio::test]
async fn requests_arrive_in_any_pieces() {
    let front = Front::start(Fake::new(world())).await;
    let mut client = front.client().await;
    let request = ApiVersionsRequest {
        client_software_name: "a",
        client_software_version: "1",
    };
    let mut bytes = Vec::new();
    for id in 1..=3 {
        bytes.extend_from_slice(&encode_request(&request, 3, id, None).unwrap().into_bytes());
    }
    for piece in bytes.chunks(5) {
        client.send_bytes(piece).await;
    }
    for id in 1..=3 {
        assert_eq!(client.receive(3).await.unwrap().correlation_id(), id);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_and_stalled_connections_are_closed() {
    let front = Front::start(Fake::new(world())).await;
    let started = tokio::time::Instant::now();
    let mut idle = front.client().await;
    assert!(idle.is_closed().await);
    assert_eq!(started.elapsed().as_secs(), 600);
    // Half of a large request holds memory.
    let mut stalled = front.client().await;
    let mut half = vec![0, 0x10, 0, 0];
    half.resize(200_000, 1);
    let started = tokio::time::Instant::now();
    stalled.send_bytes(&half).await;
    assert!(stalled.is_closed().await);
    assert_eq!(started.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn connections_are_bounded() {
    let front = Front::start_with(
        Fake::new(world()),
        Settings {
            connections_max: 2,
            ..settings()
        },
    )
    .await;
    let request = MetadataRequest {
        topics: Some(vec![]),
        ..Default::default()
    };
    let (mut one, mut two) = (front.client().await, front.client().await);
    one.call(&request, 9).await;
    two.call(&request, 9).await;
    assert!(front.client().await.is_closed().await);
    one.call(&request, 9).await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_memory_wait_and_are_given_up() {
    let settings = Settings {
        request_bytes_max: 1 << 20,
        request_memory_bytes_max: 1 << 20,
        request_memory_wait_max: Duration::from_secs(3),
        ..settings()
    };
    let front = Front::start_with(Fake::new(world()), settings).await;
    front.fake.with(|state| state.manual = true);
    let mut holder = front.client().await;
    let large = batch(&vec![1; 900_000]);
    holder.send(&produce_of("t", 0, large.clone(), -1), 9).await;
    front.fake.until(|state| state.waiting.len() == 1).await;
    // There is no room for another of this size; a small one needs none.
    let mut other = front.client().await;
    let frame = encode_request(&produce_of("t", 0, large, -1), 9, 1, None)
        .unwrap()
        .into_bytes();
    // The server closes in the middle of it, so that sending may fail.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut other.stream, &frame).await;
    assert!(other.is_closed().await);
    front
        .call(
            &MetadataRequest {
                topics: Some(vec![]),
                ..Default::default()
            },
            9,
        )
        .await;
    front
        .fake
        .with(|state| state.waiting.pop_front())
        .unwrap()
        .send(Ok(produced(0)))
        .unwrap();
    holder.receive(9).await.unwrap();
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way() {
    let front = Front::start(Fake::new(world())).await;
    front.fake.with(|state| state.manual = true);
    let (mut busy, mut idle) = (front.client().await, front.client().await);
    let sent = busy.send(&produce_of("t", 0, batch(b"one"), -1), 9).await;
    front.fake.until(|state| state.waiting.len() == 1).await;
    let stop = async { front.server.stop().await };
    let finish = async {
        assert!(idle.is_closed().await);
        front
            .fake
            .with(|state| state.waiting.pop_front())
            .unwrap()
            .send(Ok(produced(0)))
            .unwrap();
        assert_eq!(busy.receive(9).await.unwrap().correlation_id(), sent);
        assert!(busy.is_closed().await);
    };
    tokio::join!(stop, finish);
    assert!(tokio::net::TcpStream::connect(front.address).await.is_err());
}

#[tokio::test]
async fn a_peer_that_leaves_ends_its_fetch_but_not_its_produce() {
    let front = Front::start(Fake::new(world())).await;
    let mut client = front.client().await;
    let mut fetch = fetch_of("t", 0, 0);
    fetch.max_wait_ms = 600_000;
    client.send(&fetch, 11).await;
    client.send(&produce_of("t", 1, batch(b"last words"), 0), 9).await;
    front.fake.until(|state| state.fetches.len() == 1).await;
    drop(client);
    front.fake.until(|state| state.handed.len() == 1).await;
}

#[tokio::test]
async fn a_request_of_fetch_type_keeps_its_version() {
    // The same connection may use several versions; each answer is in its request's own.
    let front = Front::start(Fake::new(world())).await;
    let mut client = front.client().await;
    for version in [4, 11, 12] {
        let reply = client.call(&fetch_of("t", 0, 0), version).await;
        assert_eq!(reply.read::<FetchRequest<'_>>().responses.len(), 1, "{version}");
    }
}
