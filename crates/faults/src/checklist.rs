//! The checklist: what may happen to a cluster, and what must hold then. The record has a line for each, run or not.

/// One line of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    pub number: u32,
    pub happens: &'static str,
    pub holds: &'static str,
}

const fn line(number: u32, happens: &'static str, holds: &'static str) -> Line {
    Line { number, happens, holds }
}

/// In every line besides: nothing acknowledged is lost, doubled or reordered. The first is the yardstick of the others.
#[rustfmt::skip]
pub const CHECKLIST: &[Line] = &[
    line(0, "nothing happens", "no produce fails; the gaps are the load's own, and part of all others"),
    line(1, "a partition leader is killed", "writes go on at other replicas"),
    line(2, "a leader gets SIGTERM", "its leaderships move first; no produce fails"),
    line(3, "a follower is killed", "writes go on; it leaves the ISR"),
    line(4, "the active controller is killed", "produce and consume go on; the next metadata change within a second"),
    line(5, "the node that leads, decides and coordinates is killed", "writes, metadata and groups go on"),
    line(6, "two of three nodes are killed", "nothing is acknowledged meanwhile; heals by itself"),
    line(7, "all nodes are killed and started", "every acknowledged record is there"),
    line(8, "all machines lose power at once, and unsynced writes", "`fsync`: nothing is lost; `replicated`: a loss is bounded and reported"),
    line(9, "the last member of the ISR loses power", "it is not elected before cleaner replicas"),
    line(10, "a broker crashes again and again", "the others keep four fifths of their throughput"),
    line(11, "a leader is paused, and goes on", "its late acknowledgements count for nothing"),
    line(12, "the active controller is paused, and goes on", "its late decisions count for nothing"),
    line(13, "a client is paused between sending and the answer", "no duplicate when it goes on"),
    line(14, "a leader is cut from its followers, not from its clients", "it acknowledges nothing; afterwards it cuts its own tail"),
    line(15, "a leader is cut from the controllers only", "never two leaders that acknowledge"),
    line(16, "clients are cut from one broker", "only that way fails"),
    line(17, "packets pass in one direction only", "one leader, no split"),
    line(18, "two nodes do not reach each other, a third reaches both", "writes go on, no endless elections"),
    line(19, "the network breaks and heals every 3 s", "elections stay bounded, the high watermark never goes back"),
    line(20, "packets are lost, late, doubled, reordered, damaged", "damage is noticed; order stays"),
    line(21, "1 Mbit/s to one follower", "it leaves the ISR and comes back; producers do not wait for it"),
    line(22, "every connection is reset once", "clients notice nothing but a delay"),
    line(23, "a leader's disk is full", "produce is refused retriably, reads go on; resumes without a restart"),
    line(24, "a follower's disk is full", "it leaves the ISR; comes back when there is room"),
    line(25, "the disk of the active controller is full", "the others decide"),
    line(26, "EIO on write; on fsync, once", "the replica stops; nothing is served that could not be synced"),
    line(27, "a disk stands still for 10 s", "it counts as slow, leadership moves"),
    line(28, "a bit flips in a closed segment of one replica", "found, reported, fetched anew; not elected with it"),
    line(29, "a log's end, a page of it, its indexes or epochs are gone at a start", "repaired or fetched anew, no gap"),
    line(30, "a broker's data directory is deleted", "it is a new replica, and counts when it has caught up"),
    line(31, "a broker comes back with an old backup of its disk", "known by its identity, and counts when it has caught up"),
    line(32, "a clock jumps by an hour, or to and fro", "no elections, no new data deleted"),
    line(33, "a broker comes back 10 GB behind, under load", "producers keep four fifths; it catches up"),
    line(34, "replicas are reassigned while nodes are killed", "done or undone, never fewer replicas than one less"),
    line(35, "a topic is deleted and created again meanwhile", "old records never appear"),
    line(36, "partitions are added and settings changed while a leader is killed", "each change counts once"),
    line(37, "an operator forces an unclean election", "clients see the cut; exactly the lost tail is missing"),
    line(38, "all brokers are restarted in turn, under load", "no produce fails; each step is short"),
    line(39, "a dead voter is taken out and a new one taken in", "the quorum decides all the time"),
    line(40, "a member of a group is killed, paused, or appears twice", "its partitions have one owner; the group becomes stable"),
    line(41, "the coordinator moves in the middle of a rebalance", "members keep or regain their partitions"),
    line(42, "a commit is lost, or its coordinator dies before the answer", "records may come again, none is skipped"),
    line(43, "a transactional producer is killed, an old one returns", "all or nothing for readers of committed records"),
    line(44, "logs are compacted while leaders change", "the latest value of each key stays, offsets do too"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_there_once() {
        let numbers: Vec<u32> = CHECKLIST.iter().map(|line| line.number).collect();
        assert_eq!(numbers, (0..=44).collect::<Vec<_>>());
    }
}
