//! The metrics of the data path.

crate::metrics! {
    "klamm_broker_";
    /// Batches given to partitions by producers.
    produced_batches: Counter, "batches";
    /// Bytes of batches given to partitions by producers.
    produced_bytes: Counter, "bytes";
    /// Produce requests, by partition, that were answered with an error.
    produce_errors: Counter, "requests";
    /// Bytes of batches appended, as leader and as follower.
    appended_bytes: Counter, "bytes";
    /// Write calls that appended batches.
    appends: Counter, "calls";
    /// Bytes of batches handed to consumers.
    fetched_bytes: Counter, "bytes";
    /// Fetches that found nothing and waited.
    fetches_parked: Counter, "requests";
    /// Bytes of batches handed to follower streams.
    pushed_bytes: Counter, "bytes";
    /// Reads that had to go to the disk.
    cold_reads: Counter, "reads";
    /// How long each flush of a partition took.
    flush_seconds: Histogram, "seconds";
    /// Bytes that leaders were let send to catch up with, at the bound for that.
    catch_up_bytes: Counter, "bytes";
    /// How long each pause in flushing what is caught up lasts, in which the disk has time for others.
    catch_up_pause_seconds: Histogram, "seconds";
    /// Logs that were cut because they had left their leader's.
    truncations: Counter, "truncations";
    /// Proposals of a new ISR.
    isr_proposals: Counter, "requests";
    /// Changes by which the ISR of a partition led here lost a member.
    isr_shrinks: Counter, "changes";
    /// Changes by which the ISR of a partition led here won a member.
    isr_expands: Counter, "changes";
    /// Leaderships that this broker has taken up; over all brokers, the changes of leaders.
    leaderships: Counter, "leaderships";
    /// Times at which something was found that a person must look at.
    alarms: Counter, "alarms";
    /// Replicas that have stopped because their disk failed.
    disk_failures: Counter, "replicas";
    /// Segments deleted by retention.
    segments_deleted: Counter, "segments";
    /// Runs of compaction that have ended well.
    compactions: Counter, "runs";
    /// Runs of compaction that could not be carried out.
    compaction_failures: Counter, "runs";
    /// Segments whose files compaction has replaced.
    compacted_segments: Counter, "segments";
    /// Bytes that compaction has read.
    compaction_read_bytes: Counter, "bytes";
    /// Bytes that compaction has freed.
    compaction_freed_bytes: Counter, "bytes";
}
