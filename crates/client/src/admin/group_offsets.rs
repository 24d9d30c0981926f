//! Offsets that a group has committed: reading, setting and deleting them from outside.

use std::collections::{BTreeMap, BTreeSet};

use klamm_types::ErrorCode;
use klamm_wire::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use klamm_wire::{ApiKey, OffsetDeleteRequest};

use super::{Admin, AdminError, Kind, accept, decode, refused};
use crate::consumer::group::{Identity, commit, committed};
use crate::consumer::{CommittedOffset, TopicPartition};

fn nobody() -> Identity {
    Identity {
        generation: -1,
        ..Identity::default()
    }
}

impl Admin {
    /// All offsets that a group has committed; none for a group that does not exist.
    ///
    /// How far a group lags behind follows from these and the ends of the partitions:
    ///
    /// ```
    /// # tokio::runtime::Runtime::new()?.block_on(async {
    /// # let cluster = klamm_testkit::Cluster::start().await?;
    /// # let client = klamm_client::Client::connect(klamm_client::ClientConfig::new(cluster.bootstrap())).await?;
    /// # let order = klamm_client::ProducerRecord::to("orders").header("unit", "kg").value("7");
    /// # client.producer(klamm_client::ProducerConfig::default())?.send(order).await?.await?;
    /// # let config = klamm_client::ConsumerConfig {
    /// #     group: Some(klamm_client::GroupConfig::new("billing")),
    /// #     offset_reset: klamm_client::OffsetReset::Earliest,
    /// #     ..klamm_client::ConsumerConfig::default()
    /// # };
    /// # let mut consumer = client.consumer(config);
    /// # consumer.subscribe(["orders"])?;
    /// # while consumer.poll(std::time::Duration::from_secs(1)).await?.is_empty() {}
    /// # consumer.commit().await?;
    /// use klamm_client::admin::OffsetSpec;
    ///
    /// let admin = client.admin();
    /// let offsets = admin.list_group_offsets("billing").await?;
    /// for (partition, committed) in &offsets {
    ///     let end = admin.list_offset(&partition.topic, partition.partition, OffsetSpec::Latest).await?;
    ///     let lag = end.map(|end| end.offset.0 - committed.offset.0);
    ///     println!("{partition}: {lag:?}");
    /// }
    /// # assert!(!offsets.is_empty());
    /// # consumer.close().await?;
    /// # cluster.stop().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// The coordinator refuses, or cannot be reached for longer than `api_timeout`; an offset whose transaction is open
    /// is waited for as long.
    pub async fn list_group_offsets(
        &self,
        group_id: &str,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let deadline = self.deadline();
        loop {
            match self.list_offsets_once(group_id).await {
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
                offsets => return offsets,
            }
        }
    }

    async fn list_offsets_once(&self, group_id: &str) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let what = format!("reading the offsets of group {group_id}");
        let connection = self.coordinator(group_id).await?;
        let timeout = self.client.config().request_timeout;
        let found = committed(&connection, group_id, &nobody(), None, timeout)
            .await
            .map_err(|cause| AdminError::Request {
                api: ApiKey::OffsetFetch,
                cause,
            })?;
        let codes = std::iter::once(found.code).chain(found.parts.iter().map(|(_, code, _)| *code));
        for code in codes {
            if code.is_error() {
                return Err(refused(&what, code, None));
            }
        }
        let offsets = found
            .parts
            .into_iter()
            .filter_map(|(key, _, offset)| Some((key, offset?)));
        Ok(offsets.collect())
    }

    /// Sets offsets of a group that has no members just now; a group that does not exist is made. Says what was refused,
    /// partition by partition; the others are set.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID` means that the group has members. Or the coordinator cannot be reached.
    pub async fn alter_group_offsets(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, AdminError> {
        let deadline = self.deadline();
        loop {
            // Setting the same offsets twice does no harm.
            match self.alter_offsets_once(group_id, offsets).await {
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
                outcome => return outcome,
            }
        }
    }

    async fn alter_offsets_once(
        &self,
        group_id: &str,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, AdminError> {
        let what = format!("setting offsets of group {group_id}");
        let connection = self.coordinator(group_id).await?;
        let timeout = self.client.config().request_timeout;
        let parts = commit(&connection, group_id, &nobody(), offsets, timeout)
            .await
            .map_err(|cause| AdminError::Request {
                api: ApiKey::OffsetCommit,
                cause,
            })?;
        let as_a_whole = |code: &ErrorCode| {
            let group = matches!(
                code,
                ErrorCode::UnknownMemberId | ErrorCode::GroupAuthorizationFailed | ErrorCode::InvalidGroupId
            );
            // An unknown partition stays unknown; what else passes is waited for.
            group || (code.is_retriable() && *code != ErrorCode::UnknownTopicOrPartition)
        };
        match parts.iter().map(|(_, code)| code).find(|code| as_a_whole(code)) {
            Some(&code) => Err(refused(&what, code, None)),
            None => Ok(parts.into_iter().filter(|(_, code)| code.is_error()).collect()),
        }
    }

    /// Deletes offsets of a group. Says what was refused, partition by partition: `GROUP_SUBSCRIBED_TO_TOPIC` if members
    /// read that topic.
    ///
    /// # Errors
    /// `GROUP_ID_NOT_FOUND`, `NON_EMPTY_GROUP`, or the coordinator cannot be reached.
    pub async fn delete_group_offsets(
        &self,
        group_id: &str,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, AdminError> {
        let deadline = self.deadline();
        loop {
            // Deleting twice does no harm.
            match self.delete_offsets_once(group_id, partitions).await {
                Err(failure) => self.again(failure, Kind::Read, deadline).await?,
                outcome => return outcome,
            }
        }
    }

    async fn delete_offsets_once(
        &self,
        group_id: &str,
        partitions: &BTreeSet<TopicPartition>,
    ) -> Result<BTreeMap<TopicPartition, ErrorCode>, AdminError> {
        let mut topics: Vec<OffsetDeleteRequestTopic<'_>> = Vec::new();
        for key in partitions {
            let partition = OffsetDeleteRequestPartition {
                partition_index: key.partition.0,
            };
            match topics.last_mut().filter(|last| *last.name == *key.topic) {
                Some(topic) => topic.partitions.push(partition),
                None => topics.push(OffsetDeleteRequestTopic {
                    name: &key.topic,
                    partitions: vec![partition],
                }),
            }
        }
        let request = OffsetDeleteRequest { group_id, topics };
        let reply = self.ask_coordinator(group_id, &request).await?;
        let answer = decode::<OffsetDeleteRequest<'_>>(&reply)?;
        accept(
            &format!("deleting offsets of group {group_id}"),
            answer.error_code,
            None,
        )?;
        let mut refusals = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                if let Err(code) = crate::client::check(partition.error_code) {
                    refusals.insert(TopicPartition::new(topic.name, partition.partition_index), code);
                }
            }
        }
        Ok(refusals)
    }
}
