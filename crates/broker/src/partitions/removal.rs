//! Removing what is deleted, on a thread that does nothing else: nobody waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::carry::chain;
use super::directory;
use super::shared::Shared;

impl Shared {
    /// Removes a directory that was marked deleted. After each piece of a large file it rests as long as the piece took,
    /// so that the syncs of others do not wait behind it. What the end of the broker leaves, the next start removes.
    pub(super) fn remove_directory(&self, path: &Path) {
        let ends = || self.ending.load(Ordering::Relaxed);
        if ends() {
            return;
        }
        let mut since = Instant::now();
        let mut rest = || {
            if !ends() {
                std::thread::sleep(since.elapsed());
            }
            since = Instant::now();
        };
        if let Err(error) = directory::remove(self.disk.as_ref(), path, &mut rest) {
            tracing::warn!(error = chain(&error), "removing a deleted partition failed");
        }
    }

    /// At a start: removes what an earlier run has left.
    pub(super) fn remove_leftover(self: &Arc<Self>, name: &str) {
        let (path, shared) = (self.config.data_dir.join(name), Arc::clone(self));
        self.removals.submit_owed(move || shared.remove_directory(&path));
    }
}
