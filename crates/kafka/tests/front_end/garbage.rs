//! What strangers may send: nothing of it may panic, allocate without a bound, or disturb others.

use std::time::Duration;

use klamm_kafka::{Settings, advertised};
use klamm_wire::MetadataRequest;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Front, settings};
use crate::fake::Fake;
use crate::world::{Part, World};

async fn front() -> Front {
    let mut world = World::three();
    world.topic("t", 1, &[Part::of(&[1])]);
    // A connection that waits in the middle of a frame is not what is tried here.
    let settings = Settings {
        stalled_max: Duration::from_secs(600),
        ..settings()
    };
    Front::start_with(Fake::new(world), settings).await
}

/// Sends, ends its side, and reads until the server has ended its own.
async fn exchange(front: &Front, bytes: &[u8]) {
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    // The server may close in the middle.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut Vec::new()).await;
}

async fn assert_serves(front: &Front) {
    let request = MetadataRequest {
        topics: Some(vec![]),
        ..Default::default()
    };
    front.call(&request, 9).await;
}

/// Resident memory of this process.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(body);
    frame
}

#[tokio::test]
async fn random_bytes() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let front = front().await;
    for _ in 0..200 {
        let length = random.random_range(0..300);
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        exchange(&front, &bytes).await;
    }
    assert_serves(&front).await;
}

/// Frames with a header that is served and a random body, for every API and version.
#[tokio::test]
async fn random_bodies_behind_good_headers() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let front = front().await;
    for row in advertised::table() {
        for version in row.served.min..=row.served.max {
            for _ in 0..4 {
                let mut body = row.key.code().to_be_bytes().to_vec();
                body.extend_from_slice(&version.to_be_bytes());
                body.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0]);
                let small = random.random_bool(0.5);
                for _ in 0..random.random_range(0..80) {
                    body.push(if small {
                        random.random_range(0..3)
                    } else {
                        random.random()
                    });
                }
                exchange(&front, &framed(&body)).await;
            }
        }
    }
    assert_serves(&front).await;
}

#[tokio::test]
async fn arrays_that_announce_more_than_there_is() {
    let front = front().await;
    let before = resident_bytes();
    for row in advertised::table() {
        for version in row.served.min..=row.served.max {
            // 2^31 - 1, 2^31 as a negative number, and the same as unsigned varints.
            for count in [
                &[0x7f, 0xff, 0xff, 0xff][..],
                &[0x80, 0, 0, 0],
                &[0xff, 0xff, 0xff, 0xff, 0x0f],
            ] {
                for lead in 0..6 {
                    let mut body = row.key.code().to_be_bytes().to_vec();
                    body.extend_from_slice(&version.to_be_bytes());
                    body.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff]);
                    body.extend(std::iter::repeat_n(0, lead));
                    body.extend_from_slice(count);
                    exchange(&front, &framed(&body)).await;
                }
            }
        }
    }
    assert!(resident_bytes() < before + (32 << 20), "{before} {}", resident_bytes());
    assert_serves(&front).await;
}

#[tokio::test]
async fn lengths_that_lie() {
    let front = front().await;
    let before = resident_bytes();
    let mut open = Vec::new();
    for length in [i32::MAX, i32::MIN, -1, 104_857_601] {
        exchange(&front, &length.to_be_bytes()).await;
    }
    // The largest allowed, announced by many who send nothing more.
    for _ in 0..500 {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        stream.write_all(&104_857_600i32.to_be_bytes()).await.unwrap();
        stream.write_all(b"half").await.unwrap();
        open.push(stream);
    }
    assert_serves(&front).await;
    assert!(resident_bytes() < before + (32 << 20), "{before} {}", resident_bytes());
}

#[tokio::test]
async fn a_thousand_idle_connections() {
    let front = front().await;
    let before = resident_bytes();
    let mut clients = Vec::new();
    for _ in 0..1000 {
        clients.push(front.client().await);
    }
    let request = MetadataRequest {
        topics: Some(vec![]),
        ..Default::default()
    };
    for client in &mut clients {
        client.call(&request, 9).await;
    }
    // Both ends live in this process.
    assert!(resident_bytes() < before + (24 << 20), "{before} {}", resident_bytes());
    assert_serves(&front).await;
}
