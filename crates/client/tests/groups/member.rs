//! A member of a group in a task of its own, told what to do by the test; and the book of who owns what, which fails
//! when two own the same partition at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use klamm_client::{
    Assigned, Client, CommitError, ConsumeError, Consumer, ConsumerConfig, ConsumerRecord, GroupConfig, GroupProtocol,
    Offset, OffsetReset, PartitionId, ProducerConfig, ProducerRecord, RebalanceListener, Revoked, TopicPartition,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

pub const WAIT: Duration = Duration::from_secs(60);

/// The protocols that the cluster speaks.
pub async fn protocols(client: &Client) -> Vec<GroupProtocol> {
    let node = *client.cluster().brokers.keys().next().unwrap();
    let versions = client.admin().api_versions(node).await.unwrap();
    let speaks = |name: &str| versions.iter().any(|api| api.name == Some(name) && api.used.is_some());
    let mut protocols = Vec::new();
    if speaks("JoinGroup") && speaks("FindCoordinator") {
        protocols.push(GroupProtocol::Classic);
    }
    if speaks("ConsumerGroupHeartbeat") && speaks("FindCoordinator") {
        protocols.push(GroupProtocol::Consumer);
    }
    if protocols.len() < 2 {
        println!("passed over: this cluster speaks only {protocols:?}");
    }
    protocols
}

/// Settings of a test: all from the start, and quick.
pub fn config(group_id: &str, group_protocol: GroupProtocol) -> ConsumerConfig {
    ConsumerConfig {
        offset_reset: OffsetReset::Earliest,
        group: Some(GroupConfig {
            group_protocol,
            heartbeat_interval: Duration::from_millis(200),
            session_timeout: Duration::from_secs(6),
            ..GroupConfig::new(group_id)
        }),
        ..ConsumerConfig::default()
    }
}

/// The same with something changed.
pub fn with(config: ConsumerConfig, change: impl FnOnce(&mut GroupConfig)) -> ConsumerConfig {
    let mut config = config;
    change(config.group.as_mut().unwrap());
    config
}

/// Puts `count` records into each partition, with their offsets as values.
pub async fn fill(client: &Client, topic: &str, partitions: i32, count: i64) {
    let producer = client.producer(ProducerConfig::default()).unwrap();
    for number in 0..count {
        for partition in 0..partitions {
            let record = ProducerRecord::to(topic).partition(partition).value(number.to_string());
            drop(producer.send(record).await.unwrap());
        }
    }
    producer.close().await;
}

/// Records of a consumer until there are `count`.
pub async fn read(consumer: &mut Consumer, count: usize) -> Vec<ConsumerRecord> {
    let mut records = Vec::new();
    let reading = async {
        while records.len() < count {
            records.extend(consumer.poll(Duration::from_secs(1)).await.unwrap());
        }
    };
    let done = tokio::time::timeout(WAIT, reading).await;
    assert!(done.is_ok(), "only {} of {count} records came", records.len());
    records
}

/// Who owns what, and what happened to each member.
#[derive(Clone, Default)]
pub struct Book {
    owners: Arc<Mutex<BTreeMap<TopicPartition, String>>>,
    /// Lines as `a + t-0 t-1`, `a - t-0`, `a ! t-1`.
    lines: Arc<Mutex<Vec<String>>>,
    pub changed: Arc<watch::Sender<u64>>,
}

impl Book {
    pub fn owners(&self) -> BTreeMap<TopicPartition, String> {
        self.owners.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub fn forget_lines(&self) {
        self.lines.lock().unwrap().clear();
    }

    /// How many partitions each owner has.
    pub fn loads(&self) -> BTreeMap<String, usize> {
        let mut loads = BTreeMap::new();
        for owner in self.owners().into_values() {
            *loads.entry(owner).or_default() += 1;
        }
        loads
    }

    /// Waits until the owners are as wished.
    pub async fn until(&self, what: &str, wished: impl Fn(&Book) -> bool) {
        let mut changes = self.changed.subscribe();
        let waiting = async {
            while !wished(self) {
                changes.changed().await.unwrap();
            }
        };
        let done = tokio::time::timeout(WAIT, waiting).await;
        assert!(done.is_ok(), "{what}: {:?} after {:#?}", self.owners(), self.lines());
    }

    fn note(&self, name: &str, sign: char, partitions: &[TopicPartition]) {
        let list: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        self.lines
            .lock()
            .unwrap()
            .push(format!("{name} {sign} {}", list.join(" ")));
        {
            let mut owners = self.owners.lock().unwrap();
            for key in partitions {
                let before = match sign {
                    '+' => owners.insert(key.clone(), name.to_owned()),
                    _ => owners.remove(key).filter(|owner| owner != name),
                };
                // One that was lost may have a new owner already.
                if sign == '!' {
                    if let Some(other) = before {
                        owners.insert(key.clone(), other);
                    }
                    continue;
                }
                assert_eq!(before, None, "{key}: {sign} {name}, but another owns it");
            }
        }
        self.changed.send_modify(|count| *count += 1);
    }

    /// A member died: nobody will say so.
    pub fn strike(&self, name: &str) {
        self.owners.lock().unwrap().retain(|_, owner| owner != name);
    }
}

pub struct Scribe {
    pub name: String,
    pub book: Book,
}

impl RebalanceListener for Scribe {
    async fn assigned(&mut self, assigned: &mut Assigned) {
        self.book.note(&self.name, '+', assigned.partitions());
    }

    async fn revoked(&mut self, revoked: &mut Revoked) {
        let partitions: Vec<_> = revoked.partitions().cloned().collect();
        self.book.note(&self.name, '-', &partitions);
    }

    async fn lost(&mut self, partitions: &[TopicPartition]) {
        self.book.note(&self.name, '!', partitions);
    }
}

enum Order {
    Close(oneshot::Sender<Result<(), CommitError>>),
    /// Poll no more until told otherwise.
    Rest(oneshot::Sender<()>),
    Wake,
    Membership(oneshot::Sender<Option<klamm_client::GroupMembership>>),
}

pub struct Member {
    name: String,
    book: Book,
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<Option<ConsumeError>>,
}

/// What a member read.
pub type Sightings = mpsc::UnboundedReceiver<(String, ConsumerRecord)>;

/// Several members of one group, the book, and what they read.
pub struct Troupe {
    pub client: Client,
    pub topic: String,
    pub book: Book,
    seen: mpsc::UnboundedSender<(String, ConsumerRecord)>,
    pub sightings: Sightings,
}

impl Troupe {
    pub fn new(client: &Client, topic: &str) -> Troupe {
        let (seen, sightings) = mpsc::unbounded_channel();
        Troupe {
            client: client.clone(),
            topic: topic.to_owned(),
            book: Book::default(),
            seen,
            sightings,
        }
    }

    pub fn join(&self, name: &str, config: ConsumerConfig) -> Member {
        let mut consumer = self.client.consumer(config);
        consumer.on_rebalance(Scribe {
            name: name.to_owned(),
            book: self.book.clone(),
        });
        consumer.subscribe([self.topic.as_str()]).unwrap();
        let (orders, ordered) = mpsc::unbounded_channel();
        let task = tokio::spawn(act(name.to_owned(), consumer, ordered, self.seen.clone()));
        Member {
            name: name.to_owned(),
            book: self.book.clone(),
            orders,
            task,
        }
    }

    /// Takes in what the members read until each of `partitions` partitions was read up to `end`; fails if anything
    /// was left out on the way.
    pub async fn until_read(&mut self, seen: &mut Seen, partitions: i32, end: i64) {
        let reading = async {
            while !seen.reached(partitions, end) {
                let (name, record) = self.sightings.recv().await.unwrap();
                seen.note(&name, &record);
            }
        };
        let done = tokio::time::timeout(WAIT, reading).await;
        assert!(done.is_ok(), "read only {:?}; {:#?}", seen.next, self.book.lines());
    }
}

/// Which offsets were seen. By one reader after the other, they may repeat, but not skip.
#[derive(Default)]
pub struct Seen {
    next: BTreeMap<PartitionId, i64>,
    pub repeated: usize,
    pub by: BTreeMap<String, BTreeSet<PartitionId>>,
}

impl Seen {
    pub fn note(&mut self, name: &str, record: &ConsumerRecord) {
        let next = self.next.entry(record.partition).or_default();
        assert!(
            record.offset.0 <= *next,
            "{}: {} skips {next}",
            record.partition,
            record.offset
        );
        if record.offset.0 < *next {
            self.repeated += 1;
        }
        *next = (*next).max(record.offset.0 + 1);
        self.by.entry(name.to_owned()).or_default().insert(record.partition);
    }

    pub fn reached(&self, partitions: i32, end: i64) -> bool {
        (0..partitions).all(|number| self.next.get(&PartitionId(number)).is_some_and(|next| *next >= end))
    }
}

impl Member {
    pub async fn close(self) -> Result<(), CommitError> {
        let (tell, told) = oneshot::channel();
        self.orders.send(Order::Close(tell)).unwrap();
        tokio::time::timeout(WAIT, told).await.unwrap().unwrap()
    }

    /// Dies without a word.
    pub async fn die(self) {
        self.task.abort();
        let _ = self.task.await;
        self.book.strike(&self.name);
    }

    pub async fn rest(&self) {
        let (tell, told) = oneshot::channel();
        self.orders.send(Order::Rest(tell)).unwrap();
        told.await.unwrap();
    }

    pub fn wake(&self) {
        self.orders.send(Order::Wake).unwrap();
    }

    pub async fn membership(&self) -> Option<klamm_client::GroupMembership> {
        let (tell, told) = oneshot::channel();
        self.orders.send(Order::Membership(tell)).unwrap();
        told.await.unwrap()
    }

    /// The error that ended it.
    pub async fn failure(self) -> ConsumeError {
        tokio::time::timeout(WAIT, self.task)
            .await
            .unwrap()
            .unwrap()
            .expect("it ended by itself")
    }
}

async fn act(
    name: String,
    mut consumer: Consumer,
    mut orders: mpsc::UnboundedReceiver<Order>,
    seen: mpsc::UnboundedSender<(String, ConsumerRecord)>,
) -> Option<ConsumeError> {
    let mut resting = false;
    loop {
        tokio::select! {
            // Orders first; a poll that is dropped loses nothing.
            biased;
            order = orders.recv() => match order {
                Some(Order::Close(tell)) => {
                    let _ = tell.send(consumer.close().await);
                    return None;
                }
                Some(Order::Rest(tell)) => {
                    resting = true;
                    let _ = tell.send(());
                }
                Some(Order::Wake) => resting = false,
                Some(Order::Membership(tell)) => {
                    let _ = tell.send(consumer.group_membership());
                }
                None => return None,
            },
            polled = consumer.poll(Duration::from_secs(5)), if !resting => match polled {
                Ok(records) => {
                    for record in records {
                        let _ = seen.send((name.clone(), record));
                    }
                }
                Err(failure) if failure.is_retriable() => {}
                Err(failure) => return Some(failure),
            },
        }
    }
}

pub fn offset(offset: i64) -> klamm_client::CommittedOffset {
    klamm_client::CommittedOffset::new(Offset(offset))
}
