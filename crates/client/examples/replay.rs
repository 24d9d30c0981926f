//! A replay: reads a topic again from a moment on, up to where it ends now, beside whatever its groups do.
//!
//! ```text
//! cargo run --example replay -- 127.0.0.1:9092 orders 1700000000000
//! ```
//!
//! No group takes part, and nothing is committed. To set a whole group back instead, stop its members and use
//! `Admin::alter_group_offsets` with offsets from `Admin::list_offset`.

use std::time::Duration;

use anyhow::{Context, bail};
use klamm_client::{Client, ClientConfig, ConsumerConfig, Start, Timestamp};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, since] = arguments.as_slice() else {
        bail!("usage: replay BOOTSTRAP TOPIC MILLISECONDS_SINCE_1970");
    };
    let since = Timestamp(since.parse().context("the moment")?);
    let client = Client::connect(ClientConfig::new(bootstrap)).await?;
    let mut consumer = client.consumer(ConsumerConfig::default());
    consumer.assign_topic(topic, Start::Timestamp(since)).await?;
    let ends = consumer.end_offsets().await?;
    let mut count = 0;
    while !consumer.has_reached(&ends) {
        for record in consumer.poll(Duration::from_millis(500)).await? {
            count += 1;
            println!(
                "{}-{} at {}: {:?}",
                record.topic, record.partition, record.offset, record.value
            );
        }
    }
    println!("{count} records since {since}");
    Ok(())
}
