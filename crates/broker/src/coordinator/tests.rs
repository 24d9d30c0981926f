//! The runtime over real partitions: what becomes of calls and of state when commits wait, or are refused.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use klamm_coordinator::call::{CommitOffsets, CommitPartition, CommitTopic, FetchOffsets, FetchTopic, Stability};
use klamm_log::SimDisk;
use klamm_log::disk::sim::{Effect, Fault, Operation};
use klamm_schema::requests::controller_request::Request;
use klamm_types::{TopicId, TopicPartition};

use super::*;
use crate::backend::RequestError;
use crate::controllers::Decided;
use crate::partitions::tests::harness::{Cluster, Meta, led, partition};

const OFFSETS: u128 = 1;
const ORDERS: u128 = 2;
const COMMIT_TIMEOUT: Duration = Duration::from_millis(50);

/// Nobody is there: no topic is created here.
struct NoControllers;

impl Controllers for NoControllers {
    fn submit(&self, _: Request, _: Duration) -> BoxFuture<'static, Result<Decided, RequestError>> {
        Box::pin(std::future::pending())
    }
}

/// The coordinators of node 0, and what they are shown of the metadata.
struct Bench {
    cluster: Cluster,
    coordinators: Coordinators,
    image: Arc<ArcSwap<Image>>,
    index: watch::Sender<u64>,
}

impl Bench {
    /// Two brokers keep the partition of offsets, and the first one leads.
    async fn new(cluster: Cluster) -> Bench {
        let create = |meta: &mut Meta| {
            meta.create_topic(OFFSETS, OFFSETS_TOPIC, &[0, 1], &[("min.insync.replicas", "1")]);
            meta.create_topic(ORDERS, "orders", &[0], &[]);
        };
        cluster.change(create).await;
        led(cluster.node(0), at()).await;
        let (coordinators, image, index) = start(&cluster);
        Bench {
            cluster,
            coordinators,
            image,
            index,
        }
    }

    async fn on_real_disks() -> Bench {
        Bench::new(Cluster::start(2).await).await
    }

    /// Other coordinators take over, in the same leader epoch.
    fn restart(&mut self) {
        self.coordinators.stop();
        (self.coordinators, self.image, self.index) = start(&self.cluster);
    }

    /// Changes the metadata of the brokers and what the coordinators are shown.
    async fn change(&self, change: impl FnOnce(&mut Meta)) {
        self.cluster.change(change).await;
        self.show();
    }

    fn show(&self) {
        let image = self.cluster.meta.lock().unwrap().image();
        let index = image.applied_index();
        self.image.store(image);
        self.index.send_replace(index);
    }

    /// Calls until the shard serves.
    async fn call(&self, call: Call) -> Result<Reply, ErrorCode> {
        loop {
            match self.coordinators.call(call.clone()).await {
                Err(ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator) => a_moment().await,
                outcome => return outcome,
            }
        }
    }

    async fn commit(&self, offset: i64) -> Result<(), ErrorCode> {
        match self.call(commit(offset)).await? {
            Reply::CommitOffsets(topics) => {
                assert_eq!(topics[0].partitions, [(0, ErrorCode::None)]);
                Ok(())
            }
            other => panic!("{other:?}"),
        }
    }

    /// However slow the machine is.
    async fn commit_surely(&self, offset: i64) {
        while let Err(code) = self.commit(offset).await {
            assert_eq!(code, ErrorCode::CoordinatorNotAvailable);
        }
    }

    async fn committed(&self) -> Result<i64, ErrorCode> {
        match self.call(fetch()).await? {
            Reply::FetchOffsets(fetched) => Ok(fetched.topics[0].partitions[0].offset),
            other => panic!("{other:?}"),
        }
    }

    fn drops(&self) -> u64 {
        self.coordinators.metrics().drops.get()
    }

    async fn stop(self) {
        self.coordinators.stop();
        self.cluster.stop().await;
    }
}

/// Between two looks at what nothing tells of.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn at() -> TopicPartition {
    partition(OFFSETS, 0)
}

fn start(cluster: &Cluster) -> (Coordinators, Arc<ArcSwap<Image>>, watch::Sender<u64>) {
    let image = cluster.meta.lock().unwrap().image();
    let (index, shown) = watch::channel(image.applied_index());
    let (shown, image) = Shown::new(image, shown);
    let coordinators = Coordinators::start(Parts {
        node: NodeId(0),
        config: CoordinatorConfig {
            groups: klamm_coordinator::Settings::default(),
            offsets_partitions: 1,
            offsets_replication_factor: 2,
            commit_timeout: COMMIT_TIMEOUT,
            history_entries: 16,
            history_retention: Duration::from_secs(3600),
            unowned_patience: Duration::from_secs(3600),
            brokers_expected: 2,
        },
        partitions: cluster.node(0).partitions.clone(),
        shown,
        controllers: Arc::new(NoControllers),
        data_runtime: Handle::current(),
    });
    (coordinators, image, index)
}

/// Of a client without membership.
fn commit(offset: i64) -> Call {
    Call::CommitOffsets(Box::new(CommitOffsets {
        group: "readers".to_owned(),
        generation: -1,
        member: String::new(),
        instance: None,
        retention_ms: -1,
        version: 8,
        topics: vec![CommitTopic {
            name: "orders".to_owned(),
            id: TopicId::from_u128(ORDERS),
            partitions: vec![CommitPartition {
                partition: 0,
                offset,
                leader_epoch: -1,
                metadata: None,
            }],
        }],
    }))
}

fn fetch() -> Call {
    Call::FetchOffsets(FetchOffsets {
        group: "readers".to_owned(),
        member: None,
        member_epoch: -1,
        topics: Some(vec![FetchTopic {
            name: "orders".to_owned(),
            id: TopicId::ZERO,
            partitions: vec![0],
        }]),
        stability: Stability::Any,
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_takes_long_is_unknown_and_counts_in_the_end() {
    let mut bench = Bench::on_real_disks().await;
    bench.commit_surely(1).await;
    bench.cluster.take(1).stop().await;
    assert_eq!(bench.commit(2).await, Err(ErrorCode::CoordinatorNotAvailable));
    // An answer that rests on it is not given either.
    assert_eq!(bench.committed().await, Err(ErrorCode::CoordinatorNotAvailable));
    bench.change(|meta| meta.change(at(), None, &[0])).await;
    let committed = loop {
        match bench.committed().await {
            Err(ErrorCode::CoordinatorNotAvailable) => {}
            answer => break answer,
        }
    };
    assert_eq!(committed, Ok(2));
    assert_eq!(bench.drops(), 0);
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_its_commit_is_loaded_by_the_next_shard_of_the_epoch() {
    let mut bench = Bench::on_real_disks().await;
    bench.commit_surely(1).await;
    bench.cluster.take(1).stop().await;
    assert_eq!(bench.commit(2).await, Err(ErrorCode::CoordinatorNotAvailable));
    bench.restart();
    // What is committed has been read, and it still loads.
    let loaded = &bench.coordinators.metrics().loaded_records;
    while loaded.get() == 0 {
        a_moment().await;
    }
    for _ in 0..20 {
        a_moment().await;
        let refused = bench.coordinators.call(fetch()).await.unwrap_err();
        assert_eq!(refused, ErrorCode::CoordinatorLoadInProgress);
    }
    bench.change(|meta| meta.change(at(), None, &[0])).await;
    assert_eq!(bench.committed().await, Ok(2));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_append_leaves_nothing_behind() {
    let bench = Bench::on_real_disks().await;
    bench.commit_surely(1).await;
    let too_few = |meta: &mut Meta| {
        meta.set_config(OFFSETS_TOPIC, "min.insync.replicas", "2");
        meta.change(at(), None, &[0]);
    };
    bench.change(too_few).await;
    assert_eq!(bench.commit(2).await, Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(bench.committed().await, Ok(1));
    assert_eq!(bench.drops(), 1);
    let enough = |meta: &mut Meta| meta.change(at(), None, &[0, 1]);
    bench.change(enough).await;
    bench.commit_surely(3).await;
    assert_eq!(bench.committed().await, Ok(3));
    bench.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fails_ends_the_coordination() {
    let disks = [Arc::new(SimDisk::new()), Arc::new(SimDisk::new())];
    let bench = Bench::new(Cluster::simulated(&disks).await).await;
    bench.commit_surely(1).await;
    disks[0].inject(Fault::next(Operation::Write, OFFSETS_TOPIC, Effect::Io));
    let refused = bench.coordinators.call(commit(2)).await.unwrap_err();
    assert_eq!(refused, ErrorCode::NotCoordinator);
    // Somebody else leads now, and nobody is told what this broker knows.
    bench.change(|meta| meta.change(at(), Some(1), &[1])).await;
    let refused = bench.coordinators.call(fetch()).await.unwrap_err();
    assert_eq!(refused, ErrorCode::NotCoordinator);
    bench.stop().await;
}

/// A broker may learn that it leads before it shows the image that says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_an_older_image_no_offset_is_deleted() {
    let bench = Bench::on_real_disks().await;
    bench.commit_surely(1).await;
    let without = |meta: &mut Meta| meta.remove_topic(ORDERS);
    bench.cluster.change(without).await;
    let older = bench.cluster.meta.lock().unwrap().image();
    let again = |meta: &mut Meta| {
        meta.create_topic(ORDERS, "orders", &[0], &[]);
        meta.change(at(), Some(1), &[0, 1]);
        meta.change(at(), Some(0), &[0, 1]);
    };
    bench.cluster.change(again).await;
    led(bench.cluster.node(0), at()).await;
    bench.index.send_replace(older.applied_index());
    bench.image.store(older);
    bench.index.send_modify(|index| *index += 1);
    while bench.coordinators.metrics().loads.get() < 2 {
        a_moment().await;
    }
    assert_eq!(bench.committed().await, Ok(1));
    bench.show();
    assert_eq!(bench.committed().await, Ok(1));
    bench.change(without).await;
    while bench.committed().await != Ok(-1) {
        a_moment().await;
    }
    bench.stop().await;
}
