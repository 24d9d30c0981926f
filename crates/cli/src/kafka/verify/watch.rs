//! What is looked at beside the records: leaders and in-sync replicas, and the file in which others leave marks.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use klamm_client::admin::Admin;
use klamm_verify::{Change, Changes, Mark};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// A change that does not last this long may be missed; the leader epochs tell of it.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A broker that hangs must not end the looking.
const LOOK_MAX: Duration = Duration::from_secs(2);
const MARKS_MAX: usize = 1000;
/// Bytes of the file that one look takes.
const MARK_BYTES_MAX: u64 = 1 << 20;

/// Asks for the topic's partitions again and again.
pub struct Watch {
    changes: Arc<Mutex<Changes>>,
    task: JoinHandle<()>,
}

impl Watch {
    pub fn start(admin: Admin, topic: &str, started: Instant) -> Watch {
        let changes = Arc::new(Mutex::new(Changes::default()));
        let (seen, topic) = (changes.clone(), topic.to_owned());
        let task = tokio::spawn(async move {
            loop {
                if let Ok(Ok(described)) = timeout(LOOK_MAX, admin.describe_topic(&topic)).await {
                    let at = started.elapsed();
                    let mut changes = seen.lock().unwrap_or_else(PoisonError::into_inner);
                    changes.look(at, &described.partitions);
                }
                sleep(LOOK_INTERVAL).await;
            }
        });
        Watch { changes, task }
    }

    pub async fn end(self) -> Changes {
        self.task.abort();
        let _ = self.task.await;
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads a file as it grows.
pub struct Marks {
    path: Option<PathBuf>,
    started_ms: i64,
    read: u64,
    /// The beginning of a line whose end is not written yet.
    rest: Vec<u8>,
    marks: Vec<Mark>,
    troubles: Vec<String>,
}

impl Marks {
    pub fn new(path: Option<PathBuf>, started_ms: i64) -> Marks {
        Marks {
            path,
            started_ms,
            read: 0,
            rest: Vec::new(),
            marks: Vec::new(),
            troubles: Vec::new(),
        }
    }

    /// Takes the lines that came. A file that does not exist yet has none; how much was read.
    pub fn look(&mut self) -> usize {
        let Some(path) = &self.path else { return 0 };
        let mut new = Vec::new();
        let read = File::open(path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.take(MARK_BYTES_MAX).read_to_end(&mut new)
        });
        let Ok(read) = read else { return 0 };
        self.read += read as u64;
        self.rest.extend(new);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.take(&line);
        }
        read
    }

    fn take(&mut self, line: &[u8]) {
        if self.marks.len() >= MARKS_MAX || self.troubles.len() >= MARKS_MAX {
            return;
        }
        match Mark::parse(&String::from_utf8_lossy(line), self.started_ms) {
            Ok(mark) => self.marks.extend(mark),
            Err(error) => self.troubles.push(error.to_string()),
        }
    }

    /// All marks in the order of time, and the lines that were none.
    pub fn end(mut self) -> (Vec<Mark>, Vec<String>) {
        while self.look() > 0 {}
        let rest = std::mem::take(&mut self.rest);
        self.take(&rest);
        self.marks.sort_by_key(|mark| mark.at);
        (self.marks, self.troubles)
    }
}

/// Changes that are no first look, as a person counts them: of leaders, and of in-sync replicas alone.
pub fn counted(changes: &[Change]) -> (usize, usize) {
    let differ = |change: &&Change| {
        change
            .before
            .as_ref()
            .is_some_and(|one| one.leader_epoch != change.after.leader_epoch)
    };
    let leaders = changes.iter().filter(differ).count();
    let all = changes.iter().filter(|change| change.before.is_some()).count();
    (leaders, all - leaders)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_growing_file_is_read_line_by_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("marks");
        let mut marks = Marks::new(Some(path.clone()), 1000);
        marks.look();
        let mut file = File::create(&path).unwrap();
        write!(file, "500 before it began\n3000 second\n2000 fir").unwrap();
        marks.look();
        assert_eq!(marks.marks.len(), 1);
        write!(file, "st\nnonsense\n4000 last, without an end of line").unwrap();
        let (marks, troubles) = marks.end();
        let seen: Vec<_> = marks
            .iter()
            .map(|mark| (mark.at.as_millis(), mark.text.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                (1000, "first"),
                (2000, "second"),
                (3000, "last, without an end of line")
            ]
        );
        assert_eq!(troubles.len(), 1, "{troubles:?}");
        assert!(troubles[0].contains("nonsense"));
    }
}
