//! A consumer that resumes exactly: it keeps its offsets with its results, in one file that is replaced as a whole, and
//! begins where that file says. The group shares the partitions out; its committed offsets serve only for watching lag.
//!
//! ```text
//! cargo run --example resume -- 127.0.0.1:9092 orders counting counts.txt
//! ```
//!
//! Kill it at any moment and start it again: the counts stay right, because a result and the offset it rests on are
//! stored together or not at all.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use klamm_client::{
    Assigned, Client, ClientConfig, ConsumerConfig, GroupConfig, Offset, OffsetReset, RebalanceListener, Start,
};

/// Per partition, the next offset and how many records there were; a line each in the file.
#[derive(Clone, Default)]
struct Counts {
    by_partition: Arc<Mutex<BTreeMap<String, (i64, u64)>>>,
}

impl Counts {
    fn load(path: &PathBuf) -> anyhow::Result<Counts> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(failure) if failure.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(failure) => return Err(failure).context("reading the counts"),
        };
        let counts = Counts::default();
        for line in text.lines() {
            let [partition, next, count] = line.split(' ').collect::<Vec<_>>()[..] else {
                bail!("no line of counts: {line}");
            };
            counts.change(|all| {
                all.insert(partition.to_owned(), (next.parse()?, count.parse()?));
                anyhow::Ok(())
            })?;
        }
        Ok(counts)
    }

    /// A file beside the old one, then renamed over it: either is whole.
    fn save(&self, path: &PathBuf) -> anyhow::Result<()> {
        let text = self.change(|all| {
            let line = |(partition, (next, count)): (&String, &(i64, u64))| format!("{partition} {next} {count}\n");
            all.iter().map(line).collect::<String>()
        });
        let fresh = path.with_extension("new");
        let mut file = std::fs::File::create(&fresh).context("making the new file")?;
        std::io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&fresh, path).context("replacing the counts")
    }

    fn change<T>(&self, change: impl FnOnce(&mut BTreeMap<String, (i64, u64)>) -> T) -> T {
        change(&mut self.by_partition.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Says where to begin: where the file says, else where the group has committed.
struct FromCounts(Counts);

impl RebalanceListener for FromCounts {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        for partition in assigned.partitions().to_vec() {
            let known = self.0.change(|all| all.get(&partition.to_string()).copied());
            if let Some((next, _)) = known {
                assigned.start_at(&partition, Start::Offset(Offset(next)));
            }
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group, path] = arguments.as_slice() else {
        bail!("usage: resume BOOTSTRAP TOPIC GROUP FILE");
    };
    let path = PathBuf::from(path);
    let counts = Counts::load(&path)?;
    let client = Client::connect(ClientConfig::new(bootstrap)).await?;
    let mut consumer = client.consumer(ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        group: Some(GroupConfig::new(group)),
        ..ConsumerConfig::default()
    });
    consumer.on_rebalance(FromCounts(counts.clone()));
    consumer.subscribe([topic.as_str()])?;
    loop {
        let records = tokio::select! {
            stop = tokio::signal::ctrl_c() => break stop?,
            records = consumer.poll(Duration::from_secs(1)) => records?,
        };
        if records.is_empty() {
            continue;
        }
        counts.change(|all| {
            for record in &records {
                let key = format!("{}-{}", record.topic, record.partition);
                let (next, count) = all.entry(key).or_default();
                (*next, *count) = (record.offset.0 + 1, *count + 1);
            }
        });
        counts.save(&path)?;
        println!("{} records more", records.len());
    }
    consumer.close().await?;
    Ok(())
}
