//! From a request to the file of its API.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use klamm_trace::within;
use klamm_wire::ApiKey;

use crate::api;
use crate::context::Client;
use crate::net::request::{Answer, Reply, Request, RequestError, Served};
use crate::spans;

/// Hands the batches of a Produce over; they have their place in the order of their partitions when this resolves.
/// What is returned resolves when they are acknowledged.
pub(crate) async fn start_produce(
    client: Arc<Client>,
    request: Request,
) -> Result<BoxFuture<'static, Answer>, RequestError> {
    let (key, began) = (request.key, Instant::now());
    let Some(mut span) = spans::begin(&client, &request) else {
        let answer = api::produce::start(client.clone(), request).await?;
        return Ok(Box::pin(async move {
            let answer = answer.await;
            count(&client, key, began, &answer);
            answer
        }));
    };
    let started = Box::pin(within(span.parent(), api::produce::start(client.clone(), request))).await;
    let answer = started.inspect_err(|error| span.fail(error.to_string()))?;
    Ok(Box::pin(async move {
        let answer = answer.await;
        count(&client, key, began, &answer);
        spans::end(span, &answer);
        answer
    }))
}

/// Carries out a request that is none of Produce.
pub(crate) fn answer(client: Arc<Client>, request: Request, served: Served) -> BoxFuture<'static, Answer> {
    let Some(span) = spans::begin(&client, &request) else {
        return carry_out(client, request, served);
    };
    let answer = within(span.parent(), carry_out(client, request, served));
    Box::pin(async move {
        let answer = answer.await;
        spans::end(span, &answer);
        answer
    })
}

fn carry_out(client: Arc<Client>, request: Request, served: Served) -> BoxFuture<'static, Answer> {
    Box::pin(async move {
        let (client, request, began) = (client.as_ref(), &request, Instant::now());
        let answer = match request.key {
            ApiKey::ApiVersions => api::api_versions::answer(client, request, served),
            ApiKey::Metadata => api::metadata::answer(client, request),
            ApiKey::DescribeCluster => api::describe_cluster::answer(client, request),
            ApiKey::DescribeTopicPartitions => api::describe_topic_partitions::answer(client, request),
            ApiKey::DescribeConfigs => api::describe_configs::answer(client, request),
            ApiKey::DescribeLogDirs => api::describe_log_dirs::answer(client, request).await,
            ApiKey::ListConfigResources => api::list_config_resources::answer(client, request),
            ApiKey::Fetch => api::fetch::answer(client, request).await,
            ApiKey::ListOffsets => api::list_offsets::answer(client, request).await,
            ApiKey::OffsetForLeaderEpoch => api::offset_for_leader_epoch::answer(client, request).await,
            ApiKey::CreateTopics => api::create_topics::answer(client, request).await,
            ApiKey::DeleteTopics => api::delete_topics::answer(client, request).await,
            ApiKey::CreatePartitions => api::create_partitions::answer(client, request).await,
            ApiKey::IncrementalAlterConfigs => api::incremental_alter_configs::answer(client, request).await,
            ApiKey::ElectLeaders => api::elect_leaders::answer(client, request).await,
            ApiKey::ListPartitionReassignments => api::list_partition_reassignments::answer(request),
            ApiKey::InitProducerId => api::init_producer_id::answer(client, request).await,
            ApiKey::FindCoordinator => api::find_coordinator::answer(client, request),
            ApiKey::JoinGroup => api::join_group::answer(client, request).await,
            ApiKey::SyncGroup => api::sync_group::answer(client, request).await,
            ApiKey::Heartbeat => api::heartbeat::answer(client, request).await,
            ApiKey::LeaveGroup => api::leave_group::answer(client, request).await,
            ApiKey::OffsetCommit => api::offset_commit::answer(client, request).await,
            ApiKey::OffsetFetch => api::offset_fetch::answer(client, request).await,
            ApiKey::OffsetDelete => api::offset_delete::answer(client, request).await,
            ApiKey::DescribeGroups => api::describe_groups::answer(client, request).await,
            ApiKey::ListGroups => api::list_groups::answer(client, request).await,
            ApiKey::DeleteGroups => api::delete_groups::answer(client, request).await,
            ApiKey::ConsumerGroupHeartbeat => api::consumer_group_heartbeat::answer(client, request).await,
            ApiKey::ConsumerGroupDescribe => api::consumer_group_describe::answer(client, request).await,
            ApiKey::DescribeQuorum => api::describe_quorum::answer(client, request).await,
            ApiKey::AddRaftVoter => api::raft_voters::add(client, request).await,
            ApiKey::RemoveRaftVoter => api::raft_voters::remove(client, request).await,
            key => Err(RequestError::NotServed(key)),
        };
        count(client, request.key, began, &answer);
        answer
    })
}

fn count(client: &Client, key: ApiKey, began: Instant, answer: &Answer) {
    let errors = match answer {
        Ok(Reply::Frame(_, errors)) => Some(errors),
        Ok(Reply::Nothing) | Err(_) => None,
    };
    client.shared.metrics.answered(key, began.elapsed(), errors);
}
