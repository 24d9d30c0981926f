//! I14: records are deleted from the front only as far as somebody asked for it.

use klamm_types::Offset;

use crate::{Broken, Invariant, broken};

/// Of one partition.
#[derive(Clone, Debug, Default)]
pub struct FrontKept {
    deletable: Offset,
}

impl FrontKept {
    /// Somebody asks for the deletion of records below `to`.
    pub fn may_delete(&mut self, to: Offset) {
        self.deletable = self.deletable.max(to);
    }

    /// Records below it may be gone.
    pub fn deletable(&self) -> Offset {
        self.deletable
    }

    /// A log begins here.
    ///
    /// # Errors
    /// Nobody asked for so much.
    pub fn begins(&self, log_start: Offset) -> Result<(), Broken> {
        if log_start <= self.deletable {
            return Ok(());
        }
        let what = format!(
            "a log begins at {log_start}, but only records below {} were deleted",
            self.deletable
        );
        broken(Invariant::FrontKept, what)
    }
}
