//! Removing what is deleted, on a thread that does nothing else: nobody waits for it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use klamm_log::RemoveJob;

use super::carry::chain;
use super::directory;
use super::shared::Shared;

impl Shared {
    /// Removes a directory that was marked deleted. What the end of the broker leaves, the next start removes.
    pub(super) fn remove_directory(&self, path: &Path) {
        if !self.ends()
            && let Err(error) = directory::remove(self.disk.as_ref(), path, &mut self.rests())
        {
            tracing::warn!(error = chain(&error), "removing a deleted partition failed");
        }
    }

    /// Removes the files of segments that retention has taken out of a log; likewise.
    pub(super) fn remove_segments(&self, remove: RemoveJob) {
        if !self.ends()
            && let Err(error) = remove.run(&mut self.rests())
        {
            tracing::warn!(error = chain(&error), "removing deleted segments failed");
        }
    }

    fn ends(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    /// After each piece of a large file a rest as long as the piece took, so that the syncs of others do not wait behind it.
    fn rests(&self) -> impl FnMut() {
        let mut since = Instant::now();
        move || {
            if !self.ends() {
                std::thread::sleep(since.elapsed());
            }
            since = Instant::now();
        }
    }

    /// At a start: removes what an earlier run has left.
    pub(super) fn remove_leftover(self: &Arc<Self>, name: &str) {
        let (path, shared) = (self.config.data_dir.join(name), Arc::clone(self));
        self.removals.submit_owed(move || shared.remove_directory(&path));
    }
}
