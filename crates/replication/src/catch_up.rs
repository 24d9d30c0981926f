//! A follower that catches up: what it lets its leader send, and which of its flushes can wait.
//!
//! What comes over the catch-up stream comes as fast as it can be read, and nobody waits for it, but everybody on the
//! same machines waits behind it. So its credit waits for its turn at the pace that the shell keeps for all replicas
//! together, its flushes are given the lane [`Lane::CatchUp`], on which the shell leaves time for others, and what it
//! holds unflushed is bounded: beyond `unflushed_bytes_max` credit is granted only for what is flushed. A replica that
//! would so fall further behind its leader is not held back.

use std::collections::VecDeque;
use std::time::Duration;

use klamm_types::{HighWatermark, Moment, Offset};

use crate::effect::Lane;
use crate::log_state::{LogState, PendingAppend};

/// How long a replica is watched before it is judged whether it comes nearer.
const WINDOW: Duration = Duration::from_secs(1);
/// It must come on so many times as fast as its leader, or it is not held back any more.
const GAIN_MIN: i64 = 2;
/// The part of what may be unflushed that no other flush has to wait long behind.
const LITTLE_PART: u64 = 16;

/// Lasts as long as one subscription.
#[derive(Debug, Default)]
pub(crate) struct CatchUp {
    /// Everything below came over the catch-up stream.
    up_to: Offset,
    window: Option<Window>,
    falls_behind: bool,
    /// Written, caught up and not flushed: where each append ends, and its bytes.
    unflushed: VecDeque<(Offset, u64)>,
    unflushed_bytes: u64,
    /// Bytes that have found their place and were not granted again.
    owed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    since: Moment,
    accepted: Offset,
    high_watermark: HighWatermark,
}

impl CatchUp {
    /// Batches came up to `accepted` from a leader whose high watermark is `high_watermark`.
    pub fn received(&mut self, now: Moment, lane: Lane, accepted: Offset, high_watermark: HighWatermark) {
        if lane == Lane::InSync {
            self.window = None;
            return;
        }
        self.up_to = accepted;
        let here = Window {
            since: now,
            accepted,
            high_watermark,
        };
        let begun = self.window.get_or_insert(here);
        if begun.since + WINDOW <= now {
            let own = accepted.0 - begun.accepted.0;
            let leaders = high_watermark.0 - begun.high_watermark.0;
            self.falls_behind = own < leaders.saturating_mul(GAIN_MIN);
            self.window = Some(here);
        }
    }

    pub fn written(&mut self, done: &PendingAppend) {
        self.owed += done.bytes;
        if done.next_offset <= self.up_to {
            self.unflushed.push_back((done.next_offset, done.bytes));
            self.unflushed_bytes += done.bytes;
        }
    }

    pub fn flushed(&mut self, flushed: Offset) {
        while let Some(&(next_offset, bytes)) = self.unflushed.front()
            && next_offset <= flushed
        {
            self.unflushed_bytes -= bytes;
            self.unflushed.pop_front();
        }
    }

    /// Credit that can be granted, taken out of what is owed.
    pub fn grant(&mut self, unflushed_bytes_max: u64) -> u64 {
        let withheld = self.unflushed_bytes.saturating_sub(unflushed_bytes_max);
        let grant = self.owed.saturating_sub(withheld);
        self.owed -= grant;
        grant
    }

    /// Whether credit waits for its turn among all that this process catches up.
    pub fn is_held_back(&self) -> bool {
        self.window.is_some() && !self.falls_behind
    }

    /// Whether what is written has to be flushed, whatever the topic's level: credit waits for it.
    pub fn needs_flush(&self, unflushed_bytes_max: u64) -> bool {
        self.unflushed_bytes > unflushed_bytes_max
    }

    /// On which lane a flush of all that is written belongs. Of thousands of replicas that each have a little to catch up
    /// none is put off.
    pub fn flush_lane(&self, log: &LogState, unflushed_bytes_max: u64) -> Lane {
        let much = self.unflushed_bytes > unflushed_bytes_max / LITTLE_PART;
        if much && log.written <= self.up_to && !self.falls_behind {
            Lane::CatchUp
        } else {
            Lane::InSync
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::AppendId;

    fn append(next_offset: i64, bytes: u64) -> PendingAppend {
        PendingAppend {
            append: AppendId(1),
            next_offset: Offset(next_offset),
            bytes,
            since: Moment(0),
        }
    }

    fn after(begin: Moment, windows: u32) -> Moment {
        begin + WINDOW * windows
    }

    #[test]
    fn what_is_unflushed_is_bounded_by_credit() {
        let mut catch_up = CatchUp::default();
        catch_up.received(Moment(0), Lane::CatchUp, Offset(40), HighWatermark(100));
        catch_up.written(&append(10, 30));
        catch_up.written(&append(20, 70));
        assert_eq!((catch_up.grant(100), catch_up.needs_flush(100)), (100, false));
        catch_up.written(&append(30, 5));
        catch_up.written(&append(40, 60));
        assert_eq!((catch_up.grant(100), catch_up.needs_flush(100)), (0, true));
        catch_up.flushed(Offset(19));
        assert_eq!((catch_up.grant(100), catch_up.grant(100)), (30, 0));
        catch_up.flushed(Offset(40));
        assert_eq!((catch_up.grant(100), catch_up.needs_flush(100)), (35, false));
    }

    #[test]
    fn what_is_new_is_granted_once_written() {
        let mut catch_up = CatchUp::default();
        catch_up.received(Moment(0), Lane::CatchUp, Offset(10), HighWatermark(10));
        catch_up.received(Moment(0), Lane::InSync, Offset(20), HighWatermark(10));
        catch_up.written(&append(20, 500));
        assert_eq!((catch_up.grant(100), catch_up.needs_flush(100)), (500, false));
    }

    #[test]
    fn who_falls_behind_is_not_held_back() {
        let log = |written| {
            let mut log = LogState::new(crate::OpenedLog::default(), 1);
            log.written = Offset(written);
            log
        };
        let mut catch_up = CatchUp::default();
        let begin = Moment(5);
        let mut at = |windows, accepted, high_watermark| {
            let now = after(begin, windows);
            catch_up.received(now, Lane::CatchUp, Offset(accepted), HighWatermark(high_watermark));
            catch_up.written(&append(accepted, 50));
            let lane = catch_up.flush_lane(&log(accepted), 160);
            assert_eq!(lane == Lane::CatchUp, catch_up.is_held_back());
            lane
        };
        assert_eq!(at(0, 10, 1_000), Lane::CatchUp);
        assert_eq!(at(1, 30, 1_010), Lane::CatchUp);
        assert_eq!(at(2, 49, 1_020), Lane::InSync);
        assert_eq!(at(3, 69, 1_030), Lane::CatchUp);
        assert_eq!(
            catch_up.flush_lane(&log(70), 160),
            Lane::InSync,
            "what came last came at the end of the log"
        );
        assert_eq!(catch_up.flush_lane(&log(69), 16 * 200), Lane::InSync, "it is little");
    }
}
