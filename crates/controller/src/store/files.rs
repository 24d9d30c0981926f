//! Small files replaced whole: written beside, synced, renamed, directory synced. Reading them is the caller's matter.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Replaces `path` by `bytes`; after a crash the file is the old one or the new one, never a mixture.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    #[cfg(test)]
    crate::simulated::replacing(path);
    // The whole name and more: two files of one folder may be replaced at once.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes creations, renames and deletions in `folder` durable.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Does what may block away from the runtime's threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    #[cfg(test)]
    if crate::simulated::is_running() {
        crate::simulated::disk_time().await;
        return work();
    }
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files whose names differed in their endings alone were written through the same one beside them.
    #[test]
    fn two_files_are_replaced_at_once() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for name in ["quorum.identity", "quorum.ages"] {
                let path = folder.path().join(name);
                scope.spawn(move || {
                    for _ in 0..200 {
                        replace_file(&path, name.as_bytes()).unwrap();
                        assert_eq!(fs::read(&path).unwrap(), name.as_bytes());
                    }
                });
            }
        });
    }
}
