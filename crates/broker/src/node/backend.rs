//! [`Backend`] for a real node: the front end's wishes go to the partitions, or to the active controller.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use klamm_controller::{ControllerClient, NodeIdentity, spans};
use klamm_coordinator::call::ListGroups;
use klamm_coordinator::reply::ListedGroup;
use klamm_coordinator::{Call, Reply};
use klamm_metadata::Image;
use klamm_schema::requests::{controller_reply, controller_request};
use klamm_trace::{Kind, Span, Tracer, current, within};
use klamm_types::{ClusterId, ErrorCode, NodeId, ProducerId};
use tokio::time::Instant;

use super::images::Shown;
use crate::api::{
    EpochEnd, EpochEndRequest, FetchRequest, FetchedPartition, ListOffsetRequest, ListedOffset, PartitionError,
    ProduceRequest,
};
use crate::backend::{
    Backend, DataDirectory, NodeSetting, ProduceTicket, QuorumDescription, RequestError, SettingKind, StoredReplica,
    VoterChange,
};
use crate::config::{NodeConfig, SETTINGS};
use crate::controllers::Controllers;
use crate::coordinator::Coordinators;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;

pub(crate) struct NodeBackend {
    pub identity: NodeIdentity,
    pub config: NodeConfig,
    pub partitions: Partitions,
    pub controllers: Arc<dyn Controllers>,
    pub client: ControllerClient,
    pub shown: Shown,
    pub producer_ids: ProducerIds,
    pub coordinators: Coordinators,
    pub tracer: Tracer,
}

impl Backend for NodeBackend {
    fn node_id(&self) -> NodeId {
        self.identity.node_id()
    }

    fn cluster_id(&self) -> ClusterId {
        // Until the node has met its cluster it is registered with nobody, and no client is sent to it.
        self.identity.cluster_id().unwrap_or_default()
    }

    fn image(&self) -> Arc<Image> {
        self.shown.image()
    }

    fn tracer(&self) -> Tracer {
        self.tracer.clone()
    }

    fn node_settings(&self) -> Vec<NodeSetting> {
        let values = self.config.values();
        SETTINGS
            .iter()
            .zip(values)
            .map(|(setting, (name, value))| NodeSetting {
                name: name.replace('_', "."),
                value: Some(value),
                default: Some((setting.default)()),
                kind: match (setting.kind)() {
                    "integer" => SettingKind::Long,
                    "number" => SettingKind::Double,
                    "list" => SettingKind::List,
                    _ => SettingKind::String,
                },
                documentation: setting.text.trim().to_owned(),
            })
            .collect()
    }

    fn describe_data_directory(&self) -> BoxFuture<'static, DataDirectory> {
        let partitions = self.partitions.clone();
        let path = &self.config.data_dir;
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        async move {
            let statuses = partitions.statuses().await;
            let replicas = statuses.iter().map(|status| StoredReplica {
                partition: status.partition,
                size_bytes: status.size_bytes,
            });
            let room = partitions.room();
            DataDirectory {
                path: path.display().to_string(),
                total_bytes: Some(room.capacity),
                usable_bytes: Some(room.available),
                replicas: replicas.collect(),
            }
        }
        .boxed()
    }

    fn produce(&self, request: ProduceRequest) -> BoxFuture<'static, ProduceTicket> {
        let partitions = self.partitions.clone();
        let handed = async move { partitions.produce(request).await };
        handed.map(|ticket| async move { ticket.wait().await }.boxed()).boxed()
    }

    fn fetch(&self, request: FetchRequest) -> BoxFuture<'static, Vec<FetchedPartition>> {
        let partitions = self.partitions.clone();
        async move { partitions.fetch(request).await }.boxed()
    }

    fn list_offset(&self, request: ListOffsetRequest) -> BoxFuture<'static, Result<ListedOffset, PartitionError>> {
        let partitions = self.partitions.clone();
        async move { partitions.list_offset(request).await }.boxed()
    }

    fn epoch_end(&self, request: EpochEndRequest) -> BoxFuture<'static, Result<EpochEnd, PartitionError>> {
        let partitions = self.partitions.clone();
        async move { partitions.epoch_end(request).await }.boxed()
    }

    fn submit(
        &self,
        request: controller_request::Request,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<controller_reply::Reply, RequestError>> {
        let mut span = current().map(|parent| parent.child("ask the controller", Kind::Client));
        if let Some(span) = &mut span {
            span.set("klamm.request", spans::request_name(&request));
        }
        let until = Instant::now() + timeout;
        let decided = self.controllers.submit(request, timeout);
        let shown = self.shown.clone();
        let asked = async move {
            let decided = decided.await?;
            // Done, but whoever asks here next would not see it: as good as unknown.
            let seen = tokio::time::timeout_at(until, shown.wait_for(decided.applied_index)).await;
            seen.map_err(|_| RequestError::from(ErrorCode::RequestTimedOut))?;
            Ok(decided.reply)
        };
        in_span(span, asked)
    }

    fn allocate_producer_id(&self) -> BoxFuture<'static, Result<ProducerId, ErrorCode>> {
        let ids = self.producer_ids.clone();
        async move { ids.allocate().await }.boxed()
    }

    fn locate_group(&self, group: &str) -> Result<NodeId, ErrorCode> {
        self.coordinators.locate(group)
    }

    fn coordinate(&self, call: Call) -> BoxFuture<'static, Result<Reply, ErrorCode>> {
        let coordinators = self.coordinators.clone();
        let span = current().map(|parent| parent.child("coordinate", Kind::Internal));
        in_span(span, async move { coordinators.call(call).await })
    }

    fn list_groups(&self, filter: ListGroups) -> BoxFuture<'static, Result<Vec<ListedGroup>, ErrorCode>> {
        let coordinators = self.coordinators.clone();
        async move { coordinators.list(filter).await }.boxed()
    }

    fn describe_quorum(&self) -> BoxFuture<'static, Result<QuorumDescription, RequestError>> {
        let client = self.client.clone();
        async move { super::quorum::describe(&client).await }.boxed()
    }

    fn change_voters(&self, change: VoterChange) -> BoxFuture<'static, Result<(), RequestError>> {
        let client = self.client.clone();
        async move { super::quorum::change_voters(&client, change).await }.boxed()
    }
}

/// What a span stands for, if there is one. Without a span the future is as it was.
fn in_span<T: 'static>(span: Option<Span>, asked: impl Future<Output = T> + Send + 'static) -> BoxFuture<'static, T> {
    match span {
        None => asked.boxed(),
        Some(span) => async move {
            let answer = within(span.parent(), asked).await;
            drop(span);
            answer
        }
        .boxed(),
    }
}
