//! The metadata as a file, for whoever asks the running node: what `klamm quorum backup` keeps.

use klamm_controller::backup;
use klamm_schema::Bytes;

use super::Node;

impl Node {
    /// All metadata that this node knows; `None` before it knows any. May take a while: not for an async thread.
    pub fn backup(&self) -> Option<Bytes> {
        let image = self.shown.image();
        // Without a cluster it could not be restored.
        image.cluster_id()?;
        Some(backup::of_image(&image))
    }
}
