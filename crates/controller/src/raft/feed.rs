//! What was applied, for those who follow: the image, and the last entries in a bounded ring.
//!
//! A reader keeps its own position and asks for what follows it, so a slow reader costs nothing: if the ring has moved
//! on, it gets the image instead.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use klamm_metadata::image::Image;
use tokio::sync::watch;

const ENTRIES_MAX: usize = 4096;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// One applied entry. Entries of the quorum's own have no records.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    pub index: u64,
    pub term: u64,
    /// An encoded `MetadataBatch`.
    pub batch: Bytes,
}

/// What follows a reader's position.
#[derive(Debug)]
pub enum Next {
    Nothing,
    Entries(Vec<FeedEntry>),
    /// The entries are gone; the image as it stands.
    Snapshot(Image),
}

pub struct Feed {
    state: Mutex<State>,
    applied: watch::Sender<u64>,
}

struct State {
    image: Image,
    /// Consecutive entries, the last one being the image's.
    recent: VecDeque<FeedEntry>,
    bytes: usize,
}

impl Default for Feed {
    fn default() -> Feed {
        let state = State {
            image: Image::new(),
            recent: VecDeque::new(),
            bytes: 0,
        };
        Feed {
            state: Mutex::new(state),
            applied: watch::Sender::new(0),
        }
    }
}

impl Feed {
    /// Follows the index of the last applied entry.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    pub fn image(&self) -> Image {
        self.state().image.clone()
    }

    /// At most `bytes_max` bytes of entries after `index`, but at least one if there is one.
    pub fn after(&self, index: u64, bytes_max: usize) -> Next {
        let state = self.state();
        if state.image.applied_index() <= index {
            return Next::Nothing;
        }
        match state.recent.front() {
            Some(first) if first.index <= index + 1 => {}
            _ => return Next::Snapshot(state.image.clone()),
        }
        let mut entries = Vec::new();
        let mut bytes = 0;
        for entry in state.recent.iter().filter(|entry| entry.index > index) {
            bytes += entry.batch.len();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry.clone());
        }
        Next::Entries(entries)
    }

    /// `image` is the state after `entry`.
    pub(super) fn publish(&self, entry: FeedEntry, image: Image) {
        let index = entry.index;
        {
            let mut state = self.state();
            state.bytes += entry.batch.len();
            state.recent.push_back(entry);
            state.image = image;
            while state.recent.len() > ENTRIES_MAX || (state.bytes > BYTES_MAX && state.recent.len() > 1) {
                let Some(oldest) = state.recent.pop_front() else { break };
                state.bytes -= oldest.batch.len();
            }
        }
        self.applied.send_replace(index);
    }

    /// A snapshot has replaced the state.
    pub(super) fn replace(&self, image: Image) {
        let index = image.applied_index();
        {
            let mut state = self.state();
            state.recent.clear();
            state.bytes = 0;
            state.image = image;
        }
        self.applied.send_replace(index);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use klamm_schema::metadata::MetadataBatch;

    use super::*;

    fn feed(entries: u64) -> Feed {
        let feed = Feed::default();
        let mut image = Image::new();
        for index in 1..=entries {
            image.apply_batch(index, 1, &MetadataBatch::default()).unwrap();
            feed.publish(
                FeedEntry {
                    index,
                    term: 1,
                    batch: Bytes::from(vec![0; 10]),
                },
                image.clone(),
            );
        }
        feed
    }

    #[test]
    fn readers_get_what_follows_their_position() {
        let feed = feed(5);
        assert!(matches!(feed.after(5, 100), Next::Nothing));
        let Next::Entries(entries) = feed.after(2, 20) else {
            panic!("entries 3 and 4 are in the ring")
        };
        assert_eq!(entries.iter().map(|entry| entry.index).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn a_reader_too_far_behind_gets_the_image() {
        let feed = feed(ENTRIES_MAX as u64 + 10);
        assert!(matches!(feed.after(3, 100), Next::Snapshot(image) if image.applied_index() == 4106));
        assert!(matches!(feed.after(10, 100), Next::Entries(_)));
        feed.replace(feed.image());
        assert!(matches!(feed.after(20, 100), Next::Snapshot(_)));
    }
}
