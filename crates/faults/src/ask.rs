//! What is asked of the controller while it is being hurt, and whether it came true: on topics beside the load's.

use std::time::Duration;

use anyhow::{Context, ensure};
use klamm_client::admin::{AdminError, AlterConfig, ConfigResource, NewTopic, OffsetSpec, TopicDescription, Voter};
use klamm_client::{
    Client, ClientConfig, ConsumerConfig, OffsetReset, ProducerConfig, ProducerRecord, Start, TopicPartition,
};
use klamm_types::{DirectoryId, ErrorCode, NodeId, PartitionId};
use tokio::time::{Instant, sleep, timeout};

use crate::fault::{Ask, Step};

const PARTITIONS: i32 = 3;
/// Records of each partition, before and after it was created again.
const RECORDS: usize = 50;
const RETENTION_MS: &str = "3600000";
/// How long a topic may take to be read, or a controller to be reached.
const PATIENCE: Duration = Duration::from_secs(60);
/// A node that is paused answers nothing; another is asked then.
const ANSWER_MAX: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(100);

/// Topics of one run, and what was asked so far.
pub struct Asker {
    client: Client,
    /// Of all its topics.
    name: String,
    asked: Vec<Ask>,
}

impl Asker {
    /// Creates the topics that the steps will ask something of.
    pub async fn prepare(bootstrap: &str, name: &str, steps: &[Step]) -> anyhow::Result<Asker> {
        let config = ClientConfig {
            client_id: "klamm-faults".to_owned(),
            connect_timeout: Duration::from_secs(1),
            request_timeout: ANSWER_MAX,
            api_timeout: PATIENCE,
            ..ClientConfig::new(bootstrap)
        };
        let asker = Asker {
            client: Client::connect(config).await?,
            name: name.to_owned(),
            asked: Vec::new(),
        };
        for ask in [Ask::RecreatedTopic, Ask::ChangedTopic] {
            if steps.contains(&Step::Ask(ask)) {
                asker.create(&asker.topic(ask)).await?;
            }
        }
        if steps.contains(&Step::Ask(Ask::RecreatedTopic)) {
            asker.fill(&asker.topic(Ask::RecreatedTopic), "old").await?;
        }
        Ok(asker)
    }

    fn topic(&self, ask: Ask) -> String {
        let kind = match ask {
            Ask::NewTopic => "new",
            Ask::RecreatedTopic => "again",
            _ => "changed",
        };
        format!("{}-{kind}", self.name)
    }

    /// Asks; `victim` is whom the fault hits.
    pub async fn ask(&mut self, ask: Ask, victim: i32, address: Option<String>) -> anyhow::Result<()> {
        let (admin, topic) = (self.client.admin(), self.topic(ask));
        self.asked.push(ask);
        match ask {
            Ask::NewTopic => self.create(&topic).await,
            Ask::RecreatedTopic => {
                let mut deletion = Attempts::until(ErrorCode::UnknownTopicOrPartition);
                while !deletion
                    .are_over(admin.delete_topic(&topic).await)
                    .context("deleting a topic")?
                {
                    sleep(PAUSE).await;
                }
                self.create(&topic).await?;
                self.fill(&topic, "new").await
            }
            Ask::ChangedTopic => self.change(topic).await,
            Ask::UncleanElection => self.elect_unclean(NodeId(victim)).await,
            Ask::RemovedVoter => {
                let quorum = admin.describe_quorum().await?;
                let voter = quorum.voters.iter().find(|voter| voter.node.0 == victim);
                let voter = voter.with_context(|| format!("node {victim} is no voter"))?;
                admin
                    .remove_voter(voter.node, voter.directory)
                    .await
                    .context("removing a voter")
            }
            Ask::AddedVoter => {
                self.add_voter(victim, &address.context("an address to add a voter at")?)
                    .await
            }
        }
    }

    /// Asks again where the node that was asked is paused or dead. What it did all the same counts.
    async fn change(&self, topic: String) -> anyhow::Result<()> {
        let (admin, until) = (self.client.admin(), Instant::now() + PATIENCE);
        while let Err(error) = admin.create_partitions(&topic, PARTITIONS * 2).await {
            let now = admin.describe_topic(&topic).await;
            if now.is_ok_and(|now| now.partitions.len() == PARTITIONS as usize * 2) {
                break;
            }
            if Instant::now() > until {
                return Err(anyhow::Error::new(error).context("adding partitions"));
            }
        }
        let retention = [AlterConfig::Set {
            name: "retention.ms".to_owned(),
            value: RETENTION_MS.to_owned(),
        }];
        let resource = ConfigResource::Topic(topic);
        while let Err(error) = admin.alter_configs(&resource, &retention).await {
            if Instant::now() > until {
                return Err(anyhow::Error::new(error).context("changing a topic's settings"));
            }
        }
        Ok(())
    }

    /// An operator's word for the load's topic, given and taken back, as the pages on operation say.
    async fn elect_unclean(&self, victim: NodeId) -> anyhow::Result<()> {
        let admin = self.client.admin();
        let resource = ConfigResource::Topic(self.name.clone());
        let name = || "unclean.leader.election.enable".to_owned();
        // The victim may be back before the controller has noticed that the others died.
        let bereft = self.until(|topic| topic.partitions.iter().all(|one| one.leader.is_none()));
        bereft
            .await
            .context("some partitions have a leader: nobody has to be chosen")?;
        let value = "true".to_owned();
        admin
            .alter_configs(&resource, &[AlterConfig::Set { name: name(), value }])
            .await
            .context("allowing an unclean election")?;
        let elected = self.until(|topic| topic.partitions.iter().all(|one| one.leader == Some(victim)));
        elected.await.context("the victim was not elected")?;
        admin
            .alter_configs(&resource, &[AlterConfig::Delete { name: name() }])
            .await
            .context("taking it back")?;
        Ok(())
    }

    /// Waits until the load's topic looks like this.
    async fn until(&self, holds: impl Fn(&TopicDescription) -> bool) -> anyhow::Result<()> {
        let looking = async {
            while !holds(&self.client.admin().describe_topic(&self.name).await?) {
                sleep(PAUSE).await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, looking).await?
    }

    async fn add_voter(&self, node: i32, address: &str) -> anyhow::Result<()> {
        let (host, port) = address.rsplit_once(':').context("an address is HOST:PORT")?;
        let voter = Voter {
            node: NodeId(node),
            directory: DirectoryId::default(),
            host: host.to_owned(),
            port: port.parse()?,
        };
        self.client.admin().add_voter(&voter).await.context("adding a voter")
    }

    /// Whether everything that was asked for is there, and nothing else. Removes the topics.
    pub async fn check(self) -> anyhow::Result<()> {
        for ask in [Ask::NewTopic, Ask::RecreatedTopic, Ask::ChangedTopic] {
            if !self.asked.contains(&ask) {
                continue;
            }
            let topic = self.topic(ask);
            match ask {
                Ask::RecreatedTopic => self.only_new_records(&topic).await?,
                Ask::ChangedTopic => self.changed_once(&topic).await?,
                _ => {}
            }
            self.client.admin().delete_topic(&topic).await?;
        }
        let voters = self.asked.iter().filter(|ask| matches!(ask, Ask::AddedVoter)).count();
        if voters > 0 {
            let quorum = self.client.admin().describe_quorum().await?;
            ensure!(
                quorum.voters.len() == 3,
                "the quorum has {} voters",
                quorum.voters.len()
            );
        }
        Ok(())
    }

    async fn create(&self, topic: &str) -> anyhow::Result<()> {
        let new = NewTopic::new(topic).partitions(PARTITIONS).replication_factor(3);
        let admin = self.client.admin();
        let mut creation = Attempts::until(ErrorCode::TopicAlreadyExists);
        while !creation
            .are_over(admin.create_topic(new.clone()).await.map(drop))
            .with_context(|| format!("creating {topic}"))?
        {
            sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn fill(&self, topic: &str, word: &str) -> anyhow::Result<()> {
        let producer = self.client.producer(ProducerConfig::default())?;
        let mut deliveries = Vec::new();
        for number in 0..RECORDS * PARTITIONS as usize {
            let partition = i32::try_from(number)? % PARTITIONS;
            let record = ProducerRecord::to(topic)
                .partition(partition)
                .value(format!("{word} {number}"));
            deliveries.push(producer.send(record).await?);
        }
        for delivery in deliveries {
            delivery.await.with_context(|| format!("producing to {topic}"))?;
        }
        producer.close().await;
        Ok(())
    }

    async fn only_new_records(&self, topic: &str) -> anyhow::Result<()> {
        for partition in 0..PARTITIONS {
            let values = timeout(PATIENCE, self.read(topic, partition)).await;
            let values = values.with_context(|| format!("reading {topic}/{partition} to its end"))??;
            let new = values.iter().filter(|value| value.starts_with("new ")).count();
            ensure!(
                new == RECORDS && values.len() == RECORDS,
                "{topic}/{partition} holds {new} new records of {RECORDS}, and {} others",
                values.len() - new
            );
        }
        Ok(())
    }

    async fn read(&self, topic: &str, partition: i32) -> anyhow::Result<Vec<String>> {
        let end = self
            .client
            .admin()
            .list_offset(topic, PartitionId(partition), OffsetSpec::Latest)
            .await?;
        let end = end.map_or(0, |end| end.offset.0);
        let mut consumer = self.client.consumer(ConsumerConfig {
            offset_reset: OffsetReset::Earliest,
            ..ConsumerConfig::default()
        });
        consumer.assign([(TopicPartition::new(topic, partition), Start::Earliest)]);
        let (mut values, mut next) = (Vec::new(), 0);
        while next < end {
            for record in consumer.poll(PAUSE).await? {
                next = record.offset.0 + 1;
                let value = record.value.as_deref().unwrap_or_default();
                values.push(String::from_utf8_lossy(value).into_owned());
            }
        }
        Ok(values)
    }

    async fn changed_once(&self, topic: &str) -> anyhow::Result<()> {
        let look = async {
            loop {
                let partitions = self.client.admin().describe_topic(topic).await?.partitions.len();
                let configs = self
                    .client
                    .admin()
                    .describe_configs(&ConfigResource::Topic(topic.to_owned()))
                    .await?;
                let retention = configs.into_iter().find(|entry| entry.name == "retention.ms");
                let retention = retention.and_then(|entry| entry.value);
                let wanted = (PARTITIONS as usize * 2, Some(RETENTION_MS.to_owned()));
                if (partitions, retention) == wanted {
                    return anyhow::Ok(());
                }
                sleep(PAUSE).await;
            }
        };
        timeout(PATIENCE, look)
            .await
            .with_context(|| format!("{topic} was not changed as asked"))?
    }
}

/// Of a request that is made again where the node that was asked died before it answered. What it did all the same counts.
struct Attempts {
    /// The refusal that tells of that.
    done: ErrorCode,
    may_be_done: bool,
    until: Instant,
}

impl Attempts {
    fn until(done: ErrorCode) -> Attempts {
        Attempts {
            done,
            may_be_done: false,
            until: Instant::now() + PATIENCE,
        }
    }

    fn are_over(&mut self, answer: Result<(), AdminError>) -> Result<bool, AdminError> {
        match answer {
            Ok(()) => Ok(true),
            Err(refused) if self.may_be_done && refused.code() == Some(self.done) => Ok(true),
            Err(lost) if lost.may_have_had_effect() && Instant::now() < self.until => {
                self.may_be_done = true;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: ErrorCode) -> Result<(), AdminError> {
        Err(AdminError::Refused {
            what: "deleting a topic".to_owned(),
            code,
            message: String::new(),
        })
    }

    #[test]
    fn what_an_unanswered_request_did_counts_and_nothing_else_does() {
        let mut attempts = Attempts::until(ErrorCode::UnknownTopicOrPartition);
        let unknown = || refused(ErrorCode::UnknownTopicOrPartition);
        assert!(attempts.are_over(unknown()).is_err(), "nothing was asked before");
        assert!(!attempts.are_over(refused(ErrorCode::RequestTimedOut)).unwrap());
        assert!(
            attempts
                .are_over(refused(ErrorCode::ClusterAuthorizationFailed))
                .is_err()
        );
        assert!(attempts.are_over(unknown()).unwrap());
        assert!(attempts.are_over(Ok(())).unwrap());
    }
}
