use klamm_client::admin::NewTopic;
use klamm_client::*;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let client = Client::connect(ClientConfig::new("127.0.0.1:19092,127.0.0.1:19093,127.0.0.1:19094"))
        .await
        .unwrap();
    let topic = args[2].clone();
    if std::env::var("WATCH").is_ok() {
        let (mut w, t, b) = (client.watch_cluster(), topic.clone(), Instant::now());
        tokio::spawn(async move {
            let mut prev = None;
            while w.changed().await.is_ok() {
                let c = w.borrow_and_update().clone();
                let now = c.topic(&t).and_then(|t| {
                    t.partition(PartitionId(0))
                        .map(|p| (p.leader, p.leader_epoch, p.isr.clone()))
                });
                if prev != now {
                    eprintln!(
                        "{:?} {:?} brokers {:?}",
                        b.elapsed(),
                        now,
                        c.brokers.keys().collect::<Vec<_>>()
                    );
                    prev = now;
                }
            }
        });
    }
    match args[1].as_str() {
        "create" => {
            let t = Instant::now();
            println!(
                "{:?}",
                client
                    .admin()
                    .create_topic(
                        NewTopic::new(&topic)
                            .partitions(args[3].parse().unwrap())
                            .replication_factor(3)
                    )
                    .await
            );
            println!("{:?}", client.topic(&topic).await);
            println!("{:?}", t.elapsed());
        }
        "codecs" => {
            for c in Compression::ALL {
                let t = Instant::now();
                let p = client
                    .producer(ProducerConfig {
                        compression: c,
                        ..Default::default()
                    })
                    .unwrap();
                let mut ds = VecDeque::new();
                for i in 0..2000 {
                    ds.push_back(
                        p.send(
                            ProducerRecord::to(topic.as_str())
                                .key(format!("{i}"))
                                .value(format!("{c} {i} {}", "x".repeat(200)))
                                .header("a", "b"),
                        )
                        .await
                        .unwrap(),
                    );
                }
                let mut last = None;
                for d in ds {
                    last = Some(d.await.unwrap());
                }
                p.close().await;
                println!("{c} {:?} {:?}", last, t.elapsed());
            }
        }
        "stream" => {
            let secs: u64 = args[3].parse().unwrap();
            let p = client.producer(ProducerConfig::default()).unwrap();
            let begin = Instant::now();
            let mut ds = VecDeque::new();
            let (mut n, mut last, mut acked) = (0u64, Instant::now(), 0u64);
            let mut gaps: Vec<Duration> = vec![];
            while begin.elapsed() < Duration::from_secs(secs) {
                while ds.len() < 20 {
                    n += 1;
                    ds.push_back(
                        p.send(ProducerRecord::to(topic.as_str()).partition(0).value(format!("{n:09}")))
                            .await
                            .unwrap(),
                    );
                }
                let d = ds.pop_front().unwrap();
                if let Err(e) = d.await {
                    println!("FAILED {e:?}");
                } else {
                    acked += 1;
                }
                if last.elapsed() > Duration::from_millis(500) {
                    eprintln!("gap {:?} ended at {:?}", last.elapsed(), begin.elapsed());
                }
                gaps.push(last.elapsed());
                last = Instant::now();
            }
            while let Some(d) = ds.pop_front() {
                if d.await.is_ok() {
                    acked += 1;
                }
            }
            p.close().await;
            gaps.sort();
            println!(
                "acked {acked} of {n}, longest gaps {:?}",
                &gaps[gaps.len().saturating_sub(5)..]
            );
        }
        "leader" => {
            client.topic(&topic).await.unwrap();
            println!("{}", client.cluster().leader(&topic, PartitionId(0)).unwrap().id);
        }
        "perf" => {
            let (n, size): (u64, usize) = (args[3].parse().unwrap(), args[4].parse().unwrap());
            let p = client.producer(ProducerConfig::default()).unwrap();
            let payload = bytes::Bytes::from(vec![b'x'; size]);
            let t = Instant::now();
            for _ in 0..n {
                drop(
                    p.send(ProducerRecord::to(topic.as_str()).value(payload.clone()))
                        .await
                        .unwrap(),
                );
            }
            p.close().await;
            let s = t.elapsed().as_secs_f64();
            println!(
                "{:.0} records/s, {:.1} MB/s",
                n as f64 / s,
                (n as f64 * size as f64) / s / 1e6
            );
        }
        _ => {}
    }
}
