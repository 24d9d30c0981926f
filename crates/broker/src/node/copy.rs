//! A broker's own copy of the metadata on disk, for the day when every controller is lost: `klamm quorum recover` can
//! build a new quorum from it.
//!
//! A node with the controller role keeps none; its store has snapshots and the log after them. The copy is a help in need
//! and no more: nothing reads it while the cluster lives, and a broker that cannot write it goes on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klamm_controller::recover;
use klamm_metadata::Image;

use super::images::Shown;

/// How often the copy is renewed, if anything has changed; as often as controllers make their snapshots.
const INTERVAL: Duration = Duration::from_secs(60);

/// Where the copy lies, and what it is a copy of.
#[derive(Clone)]
pub(crate) struct MetadataCopy {
    folder: PathBuf,
    shown: Shown,
    /// One writes at a time: the file is replaced by way of another.
    writing: Arc<Mutex<()>>,
}

impl MetadataCopy {
    /// `folder`: where a controller on this node would keep its store.
    pub fn new(folder: PathBuf, shown: Shown) -> MetadataCopy {
        MetadataCopy {
            folder,
            shown,
            writing: Arc::default(),
        }
    }

    /// Renews the copy from time to time; ends when the node stops following.
    pub async fn keep(self) {
        let mut index = self.shown.watch();
        while index.changed().await.is_ok() {
            self.write().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Writes what is shown now, unless the copy is as new.
    pub async fn write(&self) {
        let (copy, image) = (self.clone(), self.shown.image());
        let work = move || {
            let _writing = copy.writing.lock().unwrap_or_else(PoisonError::into_inner);
            replace(&copy.folder, &image)
        };
        let written = tokio::task::spawn_blocking(work).await;
        if let Err(error) = written.map_err(io::Error::other).and_then(|written| written) {
            tracing::warn!(%error, folder = %self.folder.display(), "the metadata could not be copied");
        }
    }
}

/// After a start the first metadata may come from a controller that is behind: the copy never goes back.
fn replace(folder: &Path, image: &Image) -> io::Result<()> {
    let age = |image: &Image| (image.applied_term(), image.applied_index());
    // A copy that cannot be read is worth nothing.
    let old = recover::read_snapshot(folder).ok().flatten();
    if age(image) <= old.as_ref().map_or((0, 0), age) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    recover::write_snapshot(folder, image)
}

#[cfg(test)]
mod tests {
    use klamm_schema::metadata::MetadataBatch;

    use super::*;

    fn image(index: u64) -> Image {
        let mut image = Image::new();
        for index in 1..=index {
            image.apply_batch(index, 1, &MetadataBatch::default()).unwrap();
        }
        image
    }

    #[test]
    fn the_copy_only_grows() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("quorum");
        let kept = || {
            recover::read_snapshot(&folder)
                .unwrap()
                .map(|image| image.applied_index())
        };
        replace(&folder, &Image::new()).unwrap();
        assert_eq!(kept(), None);
        for (given, then) in [(3, 3), (2, 3), (5, 5)] {
            replace(&folder, &image(given)).unwrap();
            assert_eq!(kept(), Some(then));
        }
        std::fs::write(folder.join("metadata.snapshot"), b"torn").unwrap();
        replace(&folder, &image(4)).unwrap();
        assert_eq!(kept(), Some(4));
    }
}
