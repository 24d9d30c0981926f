//! Following the metadata: a task of its own keeps a stream to one controller and hands on what it says, in order and
//! never backwards. When the stream ends or falls behind it goes to another controller by itself.

use std::time::Duration;

use klamm_metadata::image::Image;
use klamm_proto::controller::v1::metadata_update::{Delta, Heartbeat, Update};
use klamm_proto::controller::v1::{FollowMetadataRequest, MetadataUpdate};
use klamm_schema::metadata::{MetadataBatch, MetadataSnapshot};
use klamm_types::NodeId;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tonic::Streaming;

use super::ControllerClient;
use crate::network::channel::MESSAGE_BYTES_MAX;

/// Events that may wait for the broker; the stream waits then.
const QUEUE_MAX: usize = 64;
/// A source that says nothing for so long, or is behind for so long, is left.
const SOURCE_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Parts of one snapshot that are taken: far more than any cluster needs.
const SNAPSHOT_PARTS_MAX: u32 = 1 << 16;

/// What the stream of metadata says. Indexes only grow.
#[derive(Clone, Debug, PartialEq)]
pub enum MetadataEvent {
    /// Replaces the image; effects come from comparing the two.
    Snapshot(Image),
    /// One applied entry; the quorum's own entries have no records.
    Batch {
        index: u64,
        term: u64,
        batch: MetadataBatch,
    },
    /// The quorum is known to have committed up to here; `source` is the controller that said so.
    Committed { index: u64, source: NodeId },
}

/// The receiving end. The task behind it ends when this is dropped.
pub struct MetadataFollower {
    events: mpsc::Receiver<MetadataEvent>,
}

impl MetadataFollower {
    /// The next event; waits as long as no controller is there. May be dropped while waiting.
    /// `None`: the node met another cluster, or a message that it cannot read, and follows no more.
    pub async fn next(&mut self) -> Option<MetadataEvent> {
        self.events.recv().await
    }
}

impl ControllerClient {
    /// Follows the metadata from what the caller's image holds (0: nothing). Call it inside a runtime.
    pub fn follow_metadata(&self, applied_index: u64) -> MetadataFollower {
        let (sender, events) = mpsc::channel(QUEUE_MAX);
        let task = Follow {
            client: self.clone(),
            applied: applied_index,
            committed: 0,
            events: sender,
        };
        tokio::spawn(task.run());
        MetadataFollower { events }
    }
}

struct Follow {
    client: ControllerClient,
    applied: u64,
    /// The highest committed index heard from anyone.
    committed: u64,
    events: mpsc::Sender<MetadataEvent>,
}

/// Why a source is left.
enum Left {
    /// Try the next one.
    Source(String),
    /// Nobody listens any more, or going on would be wrong.
    Over,
}

impl Follow {
    async fn run(mut self) {
        loop {
            for node in self.client.candidates() {
                match self.follow(node).await {
                    Left::Over => return,
                    Left::Source(reason) => tracing::debug!(%node, reason, "left a source of metadata"),
                }
                if self.events.is_closed() {
                    return;
                }
            }
            sleep(RETRY_PAUSE).await;
        }
    }

    async fn follow(&mut self, node: NodeId) -> Left {
        let opened = tokio::select! {
            () = self.events.closed() => return Left::Over,
            opened = timeout(CONNECT_TIMEOUT, self.open(node)) => opened,
        };
        let mut stream = match opened {
            Ok(Ok(stream)) => stream,
            Ok(Err(reason)) => return Left::Source(reason),
            Err(_) => return Left::Source("no answer".into()),
        };
        let mut parts: Vec<MetadataSnapshot> = Vec::new();
        // When the source last sent an entry, or was known to have them all.
        let mut progress = Instant::now();
        loop {
            let before = self.applied;
            let message = tokio::select! {
                () = self.events.closed() => return Left::Over,
                message = timeout(SOURCE_TIMEOUT, stream.message()) => message,
            };
            let update = match message {
                Err(_) => return Left::Source("it is silent".into()),
                Ok(Err(status)) => return Left::Source(status.to_string()),
                Ok(Ok(None)) => return Left::Source("it ended the stream".into()),
                Ok(Ok(Some(message))) => message.update,
            };
            let taken = match update {
                None => Ok(()),
                Some(Update::Snapshot(part)) => self.snapshot(&mut parts, part).await,
                Some(Update::Delta(delta)) => self.delta(delta).await,
                Some(Update::Heartbeat(heartbeat)) => self.heartbeat(node, heartbeat).await,
            };
            if let Err(left) = taken {
                return left;
            }
            if self.applied >= self.committed || self.applied > before || !parts.is_empty() {
                progress = Instant::now();
            } else if progress.elapsed() > SOURCE_TIMEOUT {
                return Left::Source("it is behind the quorum".into());
            }
        }
    }

    async fn open(&self, node: NodeId) -> Result<Streaming<MetadataUpdate>, String> {
        let client = self.client.connect(node).await?;
        let request = FollowMetadataRequest {
            cluster_id: self.client.identity().cluster_bytes(),
            node_id: self.client.identity().node_id().0,
            applied_index: self.applied,
        };
        let stream = client
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .follow_metadata(request)
            .await;
        stream
            .map(tonic::Response::into_inner)
            .map_err(|status| status.to_string())
    }

    async fn snapshot(&mut self, parts: &mut Vec<MetadataSnapshot>, part: MetadataSnapshot) -> Result<(), Left> {
        if part.part == 0 {
            parts.clear();
        }
        if part.parts > SNAPSHOT_PARTS_MAX || part.part as usize != parts.len() {
            return Err(Left::Source("its snapshot has parts missing".into()));
        }
        let last = part.part + 1 == part.parts;
        parts.push(part);
        if !last {
            return Ok(());
        }
        let image = Image::from_snapshot(parts.iter()).map_err(|error| {
            tracing::error!(%error, "the snapshot of the metadata cannot be read; this node follows no more");
            Left::Over
        })?;
        parts.clear();
        if image.applied_index() <= self.applied {
            return Err(Left::Source("its snapshot is older than what this node has".into()));
        }
        self.applied = image.applied_index();
        self.hand_on(MetadataEvent::Snapshot(image)).await
    }

    async fn delta(&mut self, delta: Delta) -> Result<(), Left> {
        if delta.index != self.applied + 1 {
            return Err(Left::Source(format!(
                "it sent entry {} after entry {}",
                delta.index, self.applied
            )));
        }
        let batch = MetadataBatch::decode(delta.batch).map_err(|error| {
            tracing::error!(%error, index = delta.index, "an entry cannot be read; this node follows no more");
            Left::Over
        })?;
        self.applied = delta.index;
        self.hand_on(MetadataEvent::Batch {
            index: delta.index,
            term: delta.term,
            batch,
        })
        .await
    }

    async fn heartbeat(&mut self, source: NodeId, heartbeat: Heartbeat) -> Result<(), Left> {
        if let Err(error) = self.client.identity().agree_bytes(&heartbeat.cluster_id) {
            tracing::error!(%error, "this node does not follow the metadata of another cluster");
            return Err(Left::Over);
        }
        self.client
            .heard_active(heartbeat.controller, &heartbeat.controller_address);
        self.committed = self.committed.max(heartbeat.committed_index);
        self.hand_on(MetadataEvent::Committed {
            index: self.committed,
            source,
        })
        .await
    }

    async fn hand_on(&self, event: MetadataEvent) -> Result<(), Left> {
        self.events.send(event).await.map_err(|_| Left::Over)
    }
}
