//! Following the metadata: applies what the stream brings, has the partitions take it up, and then shows it.
//!
//! ```text
//!   stream ─► apply ─► partitions take it up ─► shown to clients, and reported in heartbeats
//! ```
//! An image is shown only after this broker's partitions have taken it up, so that nobody is sent to a leader that
//! does not know it leads. Leaders of a newer image do not wait for an older one: only the showing is in order.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use klamm_controller::{ControllerClient, MetadataEvent};
use klamm_metadata::Image;
use tokio::sync::{mpsc, oneshot, watch};

use crate::partitions::{Applied, ImageSource, Partitions};

/// Images that may wait to be taken up.
const WAITING_MAX: usize = 256;
/// An image is shown after so long even if some partition has not come up: the others must not wait for it.
const TAKE_UP_MAX: Duration = Duration::from_secs(5);

/// The newest image that is shown, and how far it is.
#[derive(Clone)]
pub(crate) struct Shown {
    image: Arc<ArcSwap<Image>>,
    index: watch::Receiver<u64>,
}

impl Shown {
    #[cfg(test)]
    pub fn new(image: Arc<Image>, index: watch::Receiver<u64>) -> (Shown, Arc<ArcSwap<Image>>) {
        let image = Arc::new(ArcSwap::new(image));
        let shown = Shown {
            image: image.clone(),
            index,
        };
        (shown, image)
    }

    pub fn image(&self) -> Arc<Image> {
        self.image.load_full()
    }

    pub fn watch(&self) -> watch::Receiver<u64> {
        self.index.clone()
    }

    /// Waits until the shown image contains an entry.
    pub async fn wait_for(&self, index: u64) {
        let mut shown = self.index.clone();
        // An error means that the node stops; whoever waits is answered by its own time-out.
        if shown.wait_for(|&shown| shown >= index).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a node learns about its following.
pub(crate) struct Following {
    pub shown: Shown,
    /// The highest index that the quorum is known to have committed.
    pub committed: watch::Receiver<u64>,
    /// Resolves when nothing can be followed any more.
    pub ended: oneshot::Receiver<String>,
}

/// Starts following, on the current runtime. `partitions` is `None` on a node without the broker role.
pub(crate) fn start(client: &ControllerClient, partitions: Option<Partitions>) -> Following {
    let (showing, index) = watch::channel(0);
    let (committed, committed_index) = watch::channel(0);
    let (end, ended) = oneshot::channel();
    let image = Arc::new(ArcSwap::from_pointee(Image::new()));
    let shown = Shown {
        image: image.clone(),
        index,
    };
    let (waiting, queue) = mpsc::channel(WAITING_MAX);
    tokio::spawn(show(queue, image, showing));
    let follow = Follow {
        follower: client.follow_metadata(0),
        partitions,
        waiting,
        committed,
        image: Image::new(),
    };
    tokio::spawn(async move {
        let reason = follow.run().await;
        let _ = end.send(reason);
    });
    Following {
        shown,
        committed: committed_index,
        ended,
    }
}

struct Waiting {
    image: Arc<Image>,
    taken_up: Option<Applied>,
}

struct Follow {
    follower: klamm_controller::MetadataFollower,
    partitions: Option<Partitions>,
    waiting: mpsc::Sender<Waiting>,
    committed: watch::Sender<u64>,
    image: Image,
}

impl Follow {
    /// Returns why it ended.
    async fn run(mut self) -> String {
        while let Some(event) = self.follower.next().await {
            let source = match event {
                MetadataEvent::Snapshot(image) => {
                    self.image = image;
                    ImageSource::Snapshot
                }
                MetadataEvent::Batch { index, term, batch } => {
                    if let Err(error) = self.image.apply_batch(index, term, &batch) {
                        return format!("applying entry {index} of the metadata: {error}");
                    }
                    ImageSource::Records
                }
                MetadataEvent::Committed { index, .. } => {
                    self.committed.send_if_modified(|known| {
                        let news = index > *known;
                        *known = index.max(*known);
                        news
                    });
                    continue;
                }
            };
            let image = Arc::new(self.image.clone());
            let taken_up = self
                .partitions
                .as_ref()
                .map(|partitions| partitions.apply(image.clone(), source));
            if self.waiting.send(Waiting { image, taken_up }).await.is_err() {
                return "the node stops".to_owned();
            }
        }
        "the metadata stream can be followed no more".to_owned()
    }
}

async fn show(mut queue: mpsc::Receiver<Waiting>, image: Arc<ArcSwap<Image>>, index: watch::Sender<u64>) {
    while let Some(waiting) = queue.recv().await {
        if let Some(taken_up) = waiting.taken_up
            && tokio::time::timeout(TAKE_UP_MAX, taken_up.wait()).await.is_err()
        {
            let index = waiting.image.applied_index();
            tracing::warn!(
                index,
                "some partitions have not taken up the metadata within {TAKE_UP_MAX:?}"
            );
        }
        let applied = waiting.image.applied_index();
        image.store(waiting.image);
        index.send_replace(applied);
    }
}
