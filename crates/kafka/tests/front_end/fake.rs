//! A broker in memory: logs without replication, and answers that a test lays down beforehand.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};
use klamm_broker::api::{
    EpochEnd, EpochEndRequest, FetchRequest, FetchedData, FetchedPartition, ListOffsetRequest, ListedOffset,
    OffsetSpec, PartitionError, ProduceError, ProduceRequest, Produced,
};
use klamm_broker::backend::{
    Backend, DataDirectory, NodeSetting, ProduceTicket, QuorumDescription, RequestError, SettingKind, VoterChange,
};
use klamm_broker::group::call::ListGroups;
use klamm_broker::group::reply::ListedGroup;
use klamm_broker::group::{self, Call};
use klamm_broker::metadata::Image;
use klamm_broker::schema::requests::{controller_reply, controller_request};
use klamm_record::Batch;
use klamm_types::{
    ClusterId, ErrorCode, HighWatermark, LeaderEpoch, LogStartOffset, NodeId, Offset, ProducerId, Timestamp,
    TopicPartition,
};
use tokio::sync::{Notify, oneshot};

use crate::world::World;

type Acknowledge = oneshot::Sender<Result<Produced, ProduceError>>;

/// What the tests set and look at.
#[derive(Default)]
pub struct State {
    pub world: World,
    /// Every batch in the order in which it was handed over.
    pub handed: Vec<ProduceRequest>,
    /// If set, batches are appended but wait for the test to acknowledge them.
    pub manual: bool,
    pub waiting: VecDeque<Acknowledge>,
    pub logs: BTreeMap<TopicPartition, Vec<Bytes>>,
    pub fetches: Vec<FetchRequest>,
    pub errors: BTreeMap<TopicPartition, PartitionError>,
    pub listed: BTreeMap<TopicPartition, Result<ListedOffset, PartitionError>>,
    pub lookups: Vec<ListOffsetRequest>,
    pub epoch_ends: BTreeMap<TopicPartition, Result<EpochEnd, PartitionError>>,
    pub submitted: Vec<(controller_request::Request, Duration)>,
    pub replies: VecDeque<Result<controller_reply::Reply, RequestError>>,
    /// If set, a request without a reply laid down stays unanswered; else it is out of time.
    pub submits_hang: bool,
    pub producer_ids: VecDeque<Result<ProducerId, ErrorCode>>,
    pub quorum: Option<QuorumDescription>,
    pub data_directory: DataDirectory,
    pub voter_changes: Vec<VoterChange>,
    pub coordinators: BTreeMap<String, NodeId>,
    pub calls: Vec<Call>,
    pub group_replies: VecDeque<Result<group::Reply, ErrorCode>>,
}

impl State {
    fn append(&mut self, request: ProduceRequest) -> ProduceTicket {
        let refused = self.errors.get(&request.partition).cloned();
        self.handed.push(request.clone());
        if let Some(error) = refused {
            return std::future::ready(Err(error.into())).boxed();
        }
        let batch = match Batch::parse(request.records) {
            Ok(batch) => batch,
            Err(error) => return std::future::ready(Err(PartitionError::from(error.error_code()).into())).boxed(),
        };
        let batches = self.logs.entry(request.partition).or_default();
        let base_offset = end_of(batches);
        batches.push(batch.assigned(base_offset, LeaderEpoch(5)).into_bytes());
        let produced = Produced {
            base_offset,
            log_append_time: Timestamp::NONE,
            log_start_offset: LogStartOffset(0),
        };
        if !self.manual {
            return std::future::ready(Ok(produced)).boxed();
        }
        let (acknowledge, acknowledged) = oneshot::channel();
        self.waiting.push_back(acknowledge);
        async move {
            acknowledged
                .await
                .unwrap_or(Err(PartitionError::from(ErrorCode::NotLeaderOrFollower).into()))
        }
        .boxed()
    }
}

pub struct Fake {
    pub state: Mutex<State>,
    /// Told of every change.
    pub changed: Notify,
}

pub const CLUSTER: u128 = 0x1234;

impl Fake {
    pub fn new(world: World) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                world,
                ..State::default()
            }),
            changed: Notify::new(),
        })
    }

    pub fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let result = act(&mut self.state.lock().unwrap());
        self.changed.notify_waiters();
        result
    }

    /// Waits until the state is as the test needs it.
    pub async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if holds(&self.state.lock().unwrap()) {
                return;
            }
            changed.await;
        }
    }

    fn read(state: &State, request: &FetchRequest) -> (Vec<FetchedPartition>, bool) {
        let (mut bytes, mut failed) = (0, false);
        let read = |wanted: &klamm_broker::api::FetchPartition| {
            if let Some(error) = state.errors.get(&wanted.partition) {
                failed = true;
                return Err(error.clone());
            }
            let batches = state.logs.get(&wanted.partition).map_or(&[][..], Vec::as_slice);
            let end = end_of(batches);
            if wanted.fetch_offset < Offset(0) || wanted.fetch_offset > end {
                failed = true;
                return Err(ErrorCode::OffsetOutOfRange.into());
            }
            let mut records = Vec::new();
            for batch in batches {
                let header = Batch::parse(batch.clone()).unwrap();
                let first = bytes == 0;
                if header.next_offset() > wanted.fetch_offset && (first || bytes + batch.len() <= request.max_bytes) {
                    bytes += batch.len();
                    records.push(batch.clone());
                }
            }
            Ok(FetchedData {
                high_watermark: HighWatermark(end.0),
                last_stable_offset: end,
                log_start_offset: LogStartOffset(0),
                records,
                diverging: None,
            })
        };
        let results: Vec<_> = request.partitions.iter().map(read).collect();
        let answers = request.partitions.iter().zip(results);
        let answers = answers.map(|(wanted, result)| FetchedPartition {
            partition: wanted.partition,
            result,
        });
        let answers = answers.collect();
        (
            answers,
            failed || bytes >= request.min_bytes || request.partitions.is_empty(),
        )
    }
}

fn end_of(batches: &[Bytes]) -> Offset {
    batches
        .last()
        .map_or(Offset(0), |last| Batch::parse(last.clone()).unwrap().next_offset())
}

/// What tests run: `Arc<Fake>` as a backend, with the fake still at hand.
pub struct FakeBackend(pub Arc<Fake>);

impl Backend for FakeBackend {
    fn node_id(&self) -> NodeId {
        NodeId(1)
    }

    fn cluster_id(&self) -> ClusterId {
        ClusterId::from_u128(CLUSTER)
    }

    fn image(&self) -> Arc<Image> {
        self.0.with(|state| Arc::new(state.world.image.clone()))
    }

    fn node_settings(&self) -> Vec<NodeSetting> {
        let setting = |name: &str, value: &str, kind| NodeSetting {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            default: Some("0".to_owned()),
            kind,
            documentation: format!("What {name} means."),
        };
        vec![
            setting("node.id", "1", SettingKind::Int),
            setting("background.threads", "0", SettingKind::Int),
        ]
    }

    fn describe_data_directory(&self) -> BoxFuture<'static, DataDirectory> {
        let directory = self.0.with(|state| state.data_directory.clone());
        std::future::ready(directory).boxed()
    }

    fn produce(&self, request: ProduceRequest) -> BoxFuture<'static, ProduceTicket> {
        let ticket = self.0.with(|state| state.append(request));
        std::future::ready(ticket).boxed()
    }

    fn fetch(&self, request: FetchRequest) -> BoxFuture<'static, Vec<FetchedPartition>> {
        let fake = self.0.clone();
        fake.with(|state| state.fetches.push(request.clone()));
        async move {
            let deadline = tokio::time::Instant::now() + request.max_wait;
            loop {
                let changed = fake.changed.notified();
                let mut changed = std::pin::pin!(changed);
                changed.as_mut().enable();
                let (answers, enough) = Fake::read(&fake.state.lock().unwrap(), &request);
                if enough || tokio::time::timeout_at(deadline, changed).await.is_err() {
                    return answers;
                }
            }
        }
        .boxed()
    }

    fn list_offset(&self, request: ListOffsetRequest) -> BoxFuture<'static, Result<ListedOffset, PartitionError>> {
        let listed = self.0.with(|state| {
            state.lookups.push(request);
            let batches = state.logs.get(&request.partition).map_or(&[][..], Vec::as_slice);
            let offset = match request.spec {
                OffsetSpec::Earliest => Offset(0),
                _ => end_of(batches),
            };
            let plain = ListedOffset {
                offset,
                timestamp: Timestamp::NONE,
                leader_epoch: LeaderEpoch(5),
            };
            state.listed.get(&request.partition).cloned().unwrap_or(Ok(plain))
        });
        std::future::ready(listed).boxed()
    }

    fn epoch_end(&self, request: EpochEndRequest) -> BoxFuture<'static, Result<EpochEnd, PartitionError>> {
        let unknown = EpochEnd {
            leader_epoch: LeaderEpoch::NONE,
            end_offset: Offset::NONE,
        };
        let end = self
            .0
            .with(|state| state.epoch_ends.get(&request.partition).cloned().unwrap_or(Ok(unknown)));
        std::future::ready(end).boxed()
    }

    fn locate_group(&self, group: &str) -> Result<NodeId, ErrorCode> {
        self.0
            .with(|state| state.coordinators.get(group).copied())
            .ok_or(ErrorCode::CoordinatorNotAvailable)
    }

    fn coordinate(&self, call: Call) -> BoxFuture<'static, Result<group::Reply, ErrorCode>> {
        let reply = self.0.with(|state| {
            state.calls.push(call);
            state
                .group_replies
                .pop_front()
                .unwrap_or(Err(ErrorCode::NotCoordinator))
        });
        std::future::ready(reply).boxed()
    }

    fn list_groups(&self, filter: ListGroups) -> BoxFuture<'static, Result<Vec<ListedGroup>, ErrorCode>> {
        let answer = self.0.with(|state| {
            state.calls.push(Call::ListGroups(filter));
            match state.group_replies.pop_front() {
                Some(Ok(group::Reply::ListGroups(groups))) => Ok(groups),
                Some(Err(code)) => Err(code),
                _ => Ok(Vec::new()),
            }
        });
        std::future::ready(answer).boxed()
    }

    fn submit(
        &self,
        request: controller_request::Request,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<controller_reply::Reply, RequestError>> {
        let (reply, hang) = self.0.with(|state| {
            state.submitted.push((request, timeout));
            (state.replies.pop_front(), state.submits_hang)
        });
        match reply {
            Some(reply) => std::future::ready(reply).boxed(),
            None if hang => std::future::pending().boxed(),
            None => std::future::ready(Err(ErrorCode::RequestTimedOut.into())).boxed(),
        }
    }

    fn allocate_producer_id(&self) -> BoxFuture<'static, Result<ProducerId, ErrorCode>> {
        let id = self.0.with(|state| state.producer_ids.pop_front());
        std::future::ready(id.unwrap_or(Err(ErrorCode::CoordinatorLoadInProgress))).boxed()
    }

    fn describe_quorum(&self) -> BoxFuture<'static, Result<QuorumDescription, RequestError>> {
        let quorum = self.0.with(|state| state.quorum.clone());
        std::future::ready(quorum.ok_or(ErrorCode::RequestTimedOut.into())).boxed()
    }

    fn change_voters(&self, change: VoterChange) -> BoxFuture<'static, Result<(), RequestError>> {
        self.0.with(|state| state.voter_changes.push(change));
        std::future::ready(Ok(())).boxed()
    }
}
