//! What is done to the files of a node that does not run.
//!
//! Segments and what stands beside them have Kafka's names, so it does the same to Apache Kafka's.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

const PAGE: u64 = 4096;
/// Bytes taken off the end of a log: in the middle of a batch.
const TAIL: u64 = 777;

/// One kind of harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    /// Everything is gone.
    Empty,
    /// A copy is put aside.
    Keep,
    /// The copy that was put aside takes the place of what is there.
    Restore,
    /// One bit in the middle of the first segment of each partition.
    FlipBit,
    /// The end of each partition's last segment is missing.
    CutTail,
    /// The last page of each partition's last segment holds zeros.
    ZeroPage,
    /// The indexes, of offsets and of times, are gone.
    DropIndexes,
    /// The files in which leader epochs begin are gone.
    DropEpochs,
}

/// Does it to a node's data directory, as far as partitions of `topic` are concerned where it concerns partitions.
pub fn harm(what: Harm, data: &Path, topic: &str) -> anyhow::Result<()> {
    let aside = data.with_extension("kept");
    match what {
        Harm::Empty => empty(data),
        Harm::Keep => copy(data, &aside),
        Harm::Restore => empty(data).and_then(|()| copy(&aside, data)),
        Harm::FlipBit => logs(data, topic)?.iter().try_for_each(|log| flip_bit(log.first()?)),
        Harm::CutTail => logs(data, topic)?.iter().try_for_each(|log| cut_tail(log.last()?)),
        Harm::ZeroPage => logs(data, topic)?.iter().try_for_each(|log| zero_page(log.last()?)),
        Harm::DropIndexes => drop_files(data, topic, &|name| name.ends_with("index")),
        Harm::DropEpochs => drop_files(data, topic, &|name| name == "leader-epoch-checkpoint"),
    }
}

fn empty(folder: &Path) -> anyhow::Result<()> {
    for entry in entries(folder)? {
        let removed = if entry.is_dir() {
            fs::remove_dir_all(&entry)
        } else {
            fs::remove_file(&entry)
        };
        removed.with_context(|| format!("removing {}", entry.display()))?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in entries(from)? {
        let target = to.join(entry.file_name().context("an entry without a name")?);
        if entry.is_dir() {
            copy(&entry, &target)?;
        } else {
            fs::copy(&entry, &target).with_context(|| format!("copying {}", entry.display()))?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut entries = read
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<_>>>()?;
    entries.sort();
    Ok(entries)
}

/// The folders of a topic's partitions.
fn partitions(data: &Path, topic: &str) -> anyhow::Result<Vec<PathBuf>> {
    let of_topic = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        let split = name.and_then(|name| name.rsplit_once('-'));
        split.is_some_and(|(name, number)| name == topic && number.parse::<u32>().is_ok())
    };
    let found: Vec<PathBuf> = entries(data)?.into_iter().filter(of_topic).collect();
    ensure!(!found.is_empty(), "no partition of {topic} is in {}", data.display());
    Ok(found)
}

/// The segments of one partition that hold records, in the order of their offsets.
struct Log(Vec<PathBuf>);

impl Log {
    fn first(&self) -> anyhow::Result<&Path> {
        Ok(self.0.first().context("a log without records")?)
    }

    fn last(&self) -> anyhow::Result<&Path> {
        Ok(self.0.last().context("a log without records")?)
    }
}

/// The segments of a partition that hold records.
fn segments(partition: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
    let has_records = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > 0);
    let found = entries(partition)?.into_iter().filter(is_segment).filter(has_records);
    Ok(found.collect())
}

fn logs(data: &Path, topic: &str) -> anyhow::Result<Vec<Log>> {
    let mut logs = partitions(data, topic)?
        .iter()
        .map(|partition| segments(partition).map(Log))
        .collect::<anyhow::Result<Vec<_>>>()?;
    logs.retain(|log| !log.0.is_empty());
    ensure!(!logs.is_empty(), "no partition of {topic} holds a record");
    Ok(logs)
}

fn open(path: &Path) -> anyhow::Result<(File, u64)> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.with_context(|| format!("opening {}", path.display()))?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// Where the log of each partition of a topic ends, as its files say: the last whole batch.
pub fn log_ends(data: &Path, topic: &str) -> anyhow::Result<BTreeMap<i32, i64>> {
    let mut ends = BTreeMap::new();
    for folder in partitions(data, topic)? {
        let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.rsplit_once('-').and_then(|(_, number)| number.parse().ok());
        let number: i32 = number.with_context(|| format!("a number in {name}"))?;
        let segments = segments(&folder)?;
        let end = segments.last().map_or(Ok(0), |last| segment_end(last))?;
        ends.insert(number, end);
    }
    Ok(ends)
}

/// The offset after the last record of a segment, by the headers of its batches.
fn segment_end(path: &Path) -> anyhow::Result<i64> {
    const HEADER: usize = 27;
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let (mut at, mut end) = (0, None);
    while let Some(header) = bytes.get(at..at + HEADER) {
        let base = i64::from_be_bytes(header[..8].try_into()?);
        let length = usize::try_from(i32::from_be_bytes(header[8..12].try_into()?))?;
        let last_offset_delta = i64::from(i32::from_be_bytes(header[23..27].try_into()?));
        at += 12 + length;
        if length == 0 || at > bytes.len() {
            break;
        }
        end = Some(base + last_offset_delta + 1);
    }
    end.with_context(|| format!("{} holds no whole batch", path.display()))
}

fn flip_bit(path: &Path) -> anyhow::Result<()> {
    let (file, length) = open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, length / 2)?;
    byte[0] ^= 0x10;
    Ok(file.write_all_at(&byte, length / 2)?)
}

fn cut_tail(path: &Path) -> anyhow::Result<()> {
    let (file, length) = open(path)?;
    Ok(file.set_len(length.saturating_sub(TAIL))?)
}

fn zero_page(path: &Path) -> anyhow::Result<()> {
    let (file, length) = open(path)?;
    let from = length.saturating_sub(1) / PAGE * PAGE;
    let zeros = vec![0; usize::try_from(length - from)?];
    Ok(file.write_all_at(&zeros, from)?)
}

fn drop_files(data: &Path, topic: &str, is_meant: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    let mut dropped = 0;
    for partition in partitions(data, topic)? {
        for path in entries(&partition)? {
            if path.file_name().and_then(|name| name.to_str()).is_some_and(is_meant) {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
                dropped += 1;
            }
        }
    }
    ensure!(dropped > 0, "there was no such file to remove");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two partitions of `t`, one of another topic; two segments each.
    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for partition in ["t-0", "t-1", "t-other-0"] {
            let partition = folder.path().join(partition);
            fs::create_dir(&partition).unwrap();
            for base in ["00000000000000000000", "00000000000000000100"] {
                fs::write(partition.join(format!("{base}.log")), vec![7; 10_000]).unwrap();
                fs::write(partition.join(format!("{base}.index")), "i").unwrap();
                fs::write(partition.join(format!("{base}.timeindex")), "t").unwrap();
            }
            fs::write(partition.join("leader-epoch-checkpoint"), "e").unwrap();
        }
        folder
    }

    fn read(folder: &tempfile::TempDir, path: &str) -> Vec<u8> {
        fs::read(folder.path().join(path)).unwrap()
    }

    #[test]
    fn only_the_named_topic_is_harmed() {
        let folder = folder();
        let data = folder.path();
        let (first, last) = ("00000000000000000000.log", "00000000000000000100.log");
        let whole = vec![7; 10_000];
        harm(Harm::FlipBit, data, "t").unwrap();
        let flipped = read(&folder, &format!("t-1/{first}"));
        assert_eq!(flipped.iter().filter(|byte| **byte != 7).count(), 1);
        assert_eq!(flipped[5000], 7 ^ 0x10);
        assert_eq!(read(&folder, &format!("t-1/{last}")), whole);
        harm(Harm::CutTail, data, "t").unwrap();
        assert_eq!(read(&folder, &format!("t-0/{last}")).len(), 10_000 - 777);
        harm(Harm::ZeroPage, data, "t").unwrap();
        let zeroed = read(&folder, &format!("t-0/{last}"));
        assert_eq!(zeroed.iter().position(|byte| *byte == 0), Some(8192));
        harm(Harm::DropIndexes, data, "t").unwrap();
        harm(Harm::DropEpochs, data, "t").unwrap();
        assert_eq!(entries(&data.join("t-0")).unwrap().len(), 2);
        assert_eq!(entries(&data.join("t-other-0")).unwrap().len(), 7);
        assert_eq!(read(&folder, &format!("t-other-0/{first}")), whole);
    }

    #[test]
    fn a_log_ends_after_its_last_whole_batch() {
        let folder = folder();
        let batch = |base: i64, records: i32| {
            let mut bytes = base.to_be_bytes().to_vec();
            bytes.extend(100_i32.to_be_bytes());
            bytes.resize(23, 0);
            bytes.extend((records - 1).to_be_bytes());
            bytes.resize(112, 0);
            bytes
        };
        let torn = batch(109, 5)[..60].to_vec();
        let whole = [batch(100, 1), batch(101, 8)].concat();
        fs::write(
            folder.path().join("t-0/00000000000000000100.log"),
            [whole.clone(), torn].concat(),
        )
        .unwrap();
        fs::write(folder.path().join("t-1/00000000000000000100.log"), whole).unwrap();
        assert_eq!(log_ends(folder.path(), "t").unwrap(), [(0, 109), (1, 109)].into());
        assert!(
            log_ends(folder.path(), "t-other").is_err(),
            "what is no batch is no end"
        );
    }

    #[test]
    fn a_copy_is_put_aside_and_comes_back() {
        let folder = folder();
        let data = folder.path().join("t-0");
        harm(Harm::Keep, &data, "").unwrap();
        harm(Harm::Empty, &data, "").unwrap();
        assert!(entries(&data).unwrap().is_empty());
        harm(Harm::Restore, &data, "").unwrap();
        assert_eq!(entries(&data).unwrap().len(), 7);
    }

    #[test]
    fn harm_that_finds_nothing_is_an_error() {
        let folder = folder();
        assert!(harm(Harm::CutTail, folder.path(), "unknown").is_err());
        harm(Harm::DropEpochs, folder.path(), "t").unwrap();
        assert!(harm(Harm::DropEpochs, folder.path(), "t").is_err());
    }
}
