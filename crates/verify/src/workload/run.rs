//! The tasks of a run: started together, stopped in order.

use std::sync::Arc;
use std::time::Duration;

use klamm_client::admin::{NewTopic, OffsetSpec};
use klamm_client::{Client, ClientConfig, MetadataError};
use klamm_types::PartitionId;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::member::{self, Frontier};
use super::{Load, Progress, Recorder, WorkloadError, producer, reader};
use crate::judge::Event;

/// What all tasks of a run share.
#[derive(Clone)]
pub(super) struct Shared {
    pub load: Load,
    pub recorder: Arc<dyn Recorder>,
    pub started: Instant,
}

impl Shared {
    pub fn note(&self, partition: i32, event: Event) {
        self.recorder.note(self.started.elapsed(), partition, event);
    }
}

/// The end of every partition, once nothing is produced any more.
pub(super) type Ends = watch::Receiver<Option<Arc<Vec<i64>>>>;

/// A load that runs. Dropping it stops it.
pub struct Run {
    shared: Shared,
    client: Client,
    progress: Progress,
    stop_producing: watch::Sender<bool>,
    read_until: watch::Sender<Option<Arc<Vec<i64>>>>,
    producers: JoinSet<()>,
    readers: JoinSet<Result<(), WorkloadError>>,
}

impl Run {
    /// Creates the topic and starts.
    pub async fn start(load: Load, recorder: Arc<dyn Recorder>) -> Result<Run, WorkloadError> {
        let client = connect(&load).await?;
        create_topic(&client, &load).await?;
        let shared = Shared {
            load,
            recorder,
            started: Instant::now(),
        };
        let progress = Progress::new(shared.load.partitions);
        let (stop_producing, stop) = watch::channel(false);
        let (read_until, until) = watch::channel(None);
        let mut run = Run {
            shared,
            client,
            progress,
            stop_producing,
            read_until,
            producers: JoinSet::new(),
            readers: JoinSet::new(),
        };
        run.start_readers(&until).await?;
        run.start_producers(&stop).await?;
        Ok(run)
    }

    async fn start_producers(&mut self, stop: &watch::Receiver<bool>) -> Result<(), WorkloadError> {
        for number in 0..self.shared.load.producers {
            let task = producer::Task {
                shared: self.shared.clone(),
                number,
                client: connect(&self.shared.load).await?,
                progress: self.progress.clone(),
                stop: stop.clone(),
            };
            self.producers.spawn(task.start()?);
        }
        Ok(())
    }

    async fn start_readers(&mut self, until: &Ends) -> Result<(), WorkloadError> {
        let load = &self.shared.load;
        let reading = connect(load).await?;
        for partition in 0..load.partitions {
            let task = reader::Task {
                shared: self.shared.clone(),
                client: reading.clone(),
                partition: PartitionId(partition),
                until: until.clone(),
            };
            self.readers.spawn(task.run());
        }
        let frontier = Frontier::new(load.partitions);
        for number in 0..load.group_members {
            let task = member::Task {
                shared: self.shared.clone(),
                client: connect(load).await?,
                number,
                frontier: frontier.clone(),
                until: until.clone(),
            };
            self.readers.spawn(task.run());
        }
        Ok(())
    }

    pub fn load(&self) -> &Load {
        &self.shared.load
    }

    /// A client of the same cluster.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the recorder's times count from.
    pub fn started(&self) -> Instant {
        self.shared.started
    }

    /// How long it runs.
    pub fn elapsed(&self) -> Duration {
        self.shared.started.elapsed()
    }

    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Stops the producers and waits for what is under way, `delivery_timeout` at most.
    pub async fn stop_producing(&mut self) -> Result<(), WorkloadError> {
        let _ = self.stop_producing.send(true);
        while let Some(ended) = self.producers.join_next().await {
            ended?;
        }
        Ok(())
    }

    /// Has everybody read up to the ends that the partitions have now. What could not be read is told, one by one.
    pub async fn read_to_end(&mut self) -> Result<Vec<WorkloadError>, WorkloadError> {
        let mut ends = Vec::new();
        for partition in 0..self.shared.load.partitions {
            let (topic, partition) = (&self.shared.load.topic, PartitionId(partition));
            let end = self
                .client
                .admin()
                .list_offset(topic, partition, OffsetSpec::Latest)
                .await?;
            ends.push(end.map_or(0, |end| end.offset.0));
        }
        let _ = self.read_until.send(Some(Arc::new(ends)));
        let mut unread = Vec::new();
        while let Some(ended) = self.readers.join_next().await {
            unread.extend(ended?.err());
        }
        Ok(unread)
    }
}

async fn create_topic(client: &Client, load: &Load) -> Result<(), WorkloadError> {
    let mut topic = NewTopic::new(&load.topic)
        .partitions(load.partitions)
        .replication_factor(load.replication_factor)
        .assignments(load.assignments.clone());
    for (name, value) in &load.configs {
        topic = topic.config(name, value);
    }
    client.admin().create_topic(topic).await?;
    Ok(())
}

/// A client that notices failures at once, as a program that cares would configure it.
async fn connect(load: &Load) -> Result<Client, MetadataError> {
    let config = ClientConfig {
        client_id: "klamm-verify".to_owned(),
        auto_create_topics: false,
        connect_timeout: Duration::from_secs(1),
        api_timeout: load.api_timeout,
        request_timeout: load.request_timeout,
        ..ClientConfig::new(&load.bootstrap)
    };
    Client::connect(config).await
}
