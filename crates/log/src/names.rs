//! What the files of a partition directory are called: Kafka's names, so that its tools find them.

use std::path::{Path, PathBuf};

use klamm_types::Offset;

use crate::disk::TEMPORARY_SUFFIX;

pub(crate) const LOG: &str = ".log";
pub(crate) const INDEX: &str = ".index";
pub(crate) const TIME_INDEX: &str = ".timeindex";
pub(crate) const TXN_INDEX: &str = ".txnindex";
pub(crate) const SNAPSHOT: &str = ".snapshot";
pub(crate) const DELETED: &str = ".deleted";
/// What belongs to a segment and goes when it goes; the batches first, because they decide that it exists.
pub(crate) const SEGMENT_FILES: [&str; 4] = [LOG, INDEX, TIME_INDEX, TXN_INDEX];

/// The file that a segment's file is replaced by, until it is; see [`TEMPORARY_SUFFIX`].
pub(crate) fn replacement(dir: &Path, base: Offset, suffix: &str) -> PathBuf {
    path(dir, base, &format!("{suffix}{TEMPORARY_SUFFIX}"))
}

/// What a name says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Log(Offset),
    /// An index of the segment with this base offset.
    Index(Offset),
    Snapshot(Offset),
    /// Left over from something that did not end: of no use to anybody.
    Leftover,
    /// Not of our making, or not a segment's.
    Foreign,
}

pub(crate) fn path(dir: &Path, base: Offset, suffix: &str) -> PathBuf {
    dir.join(format!("{:020}{suffix}", base.0))
}

pub(crate) fn kind(name: &str) -> FileKind {
    if name.ends_with(DELETED) || name.ends_with(TEMPORARY_SUFFIX) {
        return FileKind::Leftover;
    }
    let Some((digits, _)) = name.split_once('.') else {
        return FileKind::Foreign;
    };
    let suffix = &name[digits.len()..];
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return FileKind::Foreign;
    }
    let Ok(base) = digits.parse().map(Offset) else {
        return FileKind::Foreign;
    };
    match suffix {
        LOG => FileKind::Log(base),
        INDEX | TIME_INDEX | TXN_INDEX => FileKind::Index(base),
        SNAPSHOT => FileKind::Snapshot(base),
        _ => FileKind::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_a_file_is() {
        assert_eq!(
            path(Path::new("/d"), Offset(42), LOG),
            Path::new("/d/00000000000000000042.log")
        );
        for (name, expected) in [
            ("00000000000000000042.log", FileKind::Log(Offset(42))),
            ("00000000000000000042.index", FileKind::Index(Offset(42))),
            ("00000000000000000042.timeindex", FileKind::Index(Offset(42))),
            ("00000000000000000042.snapshot", FileKind::Snapshot(Offset(42))),
            ("00000000000000000042.log.deleted", FileKind::Leftover),
            ("leader-epoch-checkpoint.tmp", FileKind::Leftover),
            ("leader-epoch-checkpoint", FileKind::Foreign),
            ("partition.metadata", FileKind::Foreign),
            ("42.log", FileKind::Foreign),
            ("99999999999999999999.log", FileKind::Foreign),
            ("0000000000000000004ü.log", FileKind::Foreign),
        ] {
            assert_eq!(kind(name), expected, "{name}");
        }
    }
}
