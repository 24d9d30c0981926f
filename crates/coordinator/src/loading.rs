//! How far a shard must read before it serves.
//!
//! In its own leader epoch only this broker's coordinator writes to the partition, so once the high watermark has
//! reached the end that the log had when loading began, everything below it is all there is. That end, not the epoch's
//! start: an earlier shard of the same epoch may have left records that are committed later.

use klamm_types::Offset;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loading {
    position: Offset,
    log_end: Offset,
    /// Where reading may end, once that is known.
    end: Option<Offset>,
}

impl Loading {
    /// From the start of the log; `log_end` is where it ended when loading began, committed or not.
    pub fn new(log_start: Offset, log_end: Offset) -> Loading {
        Loading {
            position: log_start,
            log_end,
            end: None,
        }
    }

    /// What is to be read next.
    pub fn position(&self) -> Offset {
        self.position
    }

    /// Everything below has been read.
    pub fn read_to(&mut self, position: Offset) {
        self.position = position;
    }

    /// Whether it is still open where reading ends: the leader's latest offset has to be asked for.
    pub fn asks_for_end(&self) -> bool {
        self.end.is_none()
    }

    /// The leader's answer.
    pub fn committed_to(&mut self, end: Offset) {
        if self.end.is_none() && end >= self.log_end {
            self.end = Some(end);
        }
    }

    /// Whether everything has been read.
    pub fn is_complete(&self) -> bool {
        self.end.is_some_and(|end| self.position >= end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loading_ends_where_the_log_ended_once_that_is_committed() {
        let mut loading = Loading::new(Offset(2), Offset(9));
        assert_eq!(loading.position(), Offset(2));
        loading.committed_to(Offset(7));
        assert!(loading.asks_for_end(), "an earlier shard left more than that");
        loading.read_to(Offset(7));
        assert!(!loading.is_complete());
        loading.committed_to(Offset(11));
        assert!(!loading.asks_for_end() && !loading.is_complete());
        loading.read_to(Offset(11));
        assert!(loading.is_complete());
    }

    #[test]
    fn an_empty_log_is_loaded_at_once() {
        let mut loading = Loading::new(Offset(0), Offset(0));
        assert!(!loading.is_complete(), "nobody has said what is committed");
        loading.committed_to(Offset(0));
        assert!(loading.is_complete());
    }
}
