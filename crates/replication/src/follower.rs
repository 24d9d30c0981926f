//! A replica that follows: makes its log a beginning of the leader's, then appends what the leader pushes.
//!
//! ```text
//!              subscribe                accepted
//!   Waiting ──────────────► Subscribing ─────────► Streaming
//!      ▲                      │      ▲                │
//!      │ refused, stream lost │      │ cut            │
//!      ├──────────────────────┤      │                │
//!      │                      └───► Cutting           │
//!      │                     diverged, out of range   │
//!      └──────────────────────────────────────────────┘
//! ```
//!
//! The log is cut where the epochs of both logs say that they part, never by a high watermark, and durably before
//! anything is appended behind the cut. One value lasts as long as one leader epoch.

use klamm_record::Batch;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{HighWatermark, LeaderEpoch, LogStartOffset, Moment, NodeId, Offset};

use crate::catch_up::CatchUp;
use crate::context::Context;
use crate::effect::{Alarm, Effect, Lane, Role};
use crate::event::{ReplicaBatches, SubscribeAnswer, SubscriptionNumber};
use crate::log_state::{Cut, LogState, PendingAppend};
use crate::producers::{PRODUCERS_TOLD_MAX, ProducerTable};
use crate::view::{Durability, Limits};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No subscription; the next one at this moment.
    Waiting { retry_at: Moment },
    /// The leader has not answered yet.
    Subscribing,
    /// The log is being cut; after that the logs are compared again.
    Cutting,
    /// The logs agree.
    Streaming,
}

#[derive(Debug)]
pub(crate) struct Follower {
    pub leader: NodeId,
    pub epoch: LeaderEpoch,
    subscription: SubscriptionNumber,
    state: State,
    /// Written and flushed, as last acknowledged under this subscription.
    acknowledged: Option<(Offset, Offset)>,
    catch_up: CatchUp,
    /// Not granted yet, although nothing holds it back.
    credit_bytes: u64,
    /// The leader's, which may lie above what has been written here.
    leader_high_watermark: HighWatermark,
    /// Appends up to this one were given out under an older subscription: their bytes are no credit of this one.
    appends_before: Offset,
    /// Where the leader's log begins, and the log start that this log was last asked to take over.
    leader_log_start: LogStartOffset,
    log_start_asked: LogStartOffset,
}

impl Follower {
    pub fn new(ctx: &mut Context<'_>, leader: NodeId, epoch: LeaderEpoch) -> Follower {
        let high_watermark = Offset::from(ctx.log.high_watermark);
        let mut state = State::Waiting {
            retry_at: ctx.now.moment,
        };
        if is_planted(Bug::CutAtHighWatermark) && high_watermark < ctx.log.accepted {
            ctx.log.want_cut(Cut::To(high_watermark));
            state = State::Cutting;
        }
        Follower {
            leader,
            epoch,
            subscription: SubscriptionNumber(0),
            state,
            acknowledged: None,
            catch_up: CatchUp::default(),
            credit_bytes: 0,
            leader_high_watermark: HighWatermark(0),
            appends_before: Offset(0),
            leader_log_start: LogStartOffset(0),
            log_start_asked: LogStartOffset(0),
        }
    }

    pub fn role(&self) -> Role {
        Role::Follower {
            leader: self.leader,
            leader_epoch: self.epoch,
        }
    }

    /// Ends the role: the leader followed until now is told of the newest epoch.
    pub fn step_down(self, ctx: &mut Context<'_>, newest_epoch: LeaderEpoch) {
        ctx.log.forget_cut();
        if matches!(self.state, State::Subscribing | State::Streaming) {
            ctx.effects.push(Effect::UnsubscribeFrom {
                leader: self.leader,
                subscription: self.subscription,
                leader_epoch: newest_epoch,
            });
        }
    }

    pub fn on_answer(
        &mut self,
        ctx: &mut Context<'_>,
        (leader, subscription, leader_epoch): (NodeId, SubscriptionNumber, LeaderEpoch),
        answer: SubscribeAnswer,
    ) {
        if !self.is_newest(leader, subscription) || leader_epoch != self.epoch {
            return;
        }
        match answer {
            SubscribeAnswer::Refused { .. } => self.wait(ctx),
            _ if self.state != State::Subscribing => {}
            SubscribeAnswer::Accepted {
                high_watermark,
                log_start,
            } => {
                self.state = State::Streaming;
                self.take_news(high_watermark, log_start);
            }
            SubscribeAnswer::Diverged { epoch, end_offset } => {
                let cut = divergence(ctx, epoch, end_offset);
                self.cut(ctx, cut);
            }
            SubscribeAnswer::OutOfRange { log_start, producers } => self.restart(ctx, log_start.into(), producers),
        }
    }

    pub fn on_batches(&mut self, ctx: &mut Context<'_>, message: ReplicaBatches) {
        if !self.is_newest(message.leader, message.subscription) {
            if message.leader_epoch < self.epoch {
                // A leader that was deposed and does not know it.
                ctx.effects.push(Effect::UnsubscribeFrom {
                    leader: message.leader,
                    subscription: message.subscription,
                    leader_epoch: self.epoch,
                });
            }
            return;
        }
        if message.leader_epoch != self.epoch || self.state != State::Streaming {
            return;
        }
        let mut batches = message.batches;
        // A message repeated by the network: the log holds its beginning already.
        batches.retain(|batch| batch.next_offset() > ctx.log.accepted);
        if let Some(at) = cannot_begin_with(ctx, batches.first()) {
            let producers = ctx.log.producers.below(at, PRODUCERS_TOLD_MAX);
            self.restart(ctx, at, producers);
            return;
        }
        if !batches.is_empty() && (message.from > ctx.log.accepted || !self.continues(ctx, &batches)) {
            self.unsubscribe(ctx);
            return;
        }
        if !batches.is_empty() {
            let now = (ctx.now.moment, ctx.now.wall);
            ctx.log.append(batches, now, ctx.effects);
            self.catch_up
                .received(now.0, message.lane, ctx.log.accepted, message.high_watermark);
        }
        self.take_news(message.high_watermark, message.log_start);
    }

    pub fn append_written(&mut self, done: &PendingAppend) {
        if done.next_offset > self.appends_before {
            self.catch_up.written(done);
        }
    }

    pub fn truncated(&mut self, ctx: &mut Context<'_>) {
        if self.state == State::Cutting {
            self.subscribe(ctx);
        }
    }

    pub fn on_stream_lost(&mut self, ctx: &Context<'_>, leader: NodeId, subscription: SubscriptionNumber) {
        if self.is_newest(leader, subscription) {
            self.wait(ctx);
        }
    }

    /// Restores what must hold after every step.
    pub fn settle(&mut self, ctx: &mut Context<'_>) {
        if let State::Waiting { retry_at } = self.state
            && retry_at <= ctx.now.moment
        {
            self.subscribe(ctx);
        }
        if self.state != State::Streaming {
            return;
        }
        let reached = self.leader_high_watermark.min(HighWatermark::from(ctx.log.written));
        ctx.log.raise_high_watermark(reached);
        self.follow_log_start(ctx);
        // A leader that counts by what is written may know of another level than this replica: it is told of nothing
        // unflushed that no mark stands for.
        let written = ctx.log.counted(Durability::Replicated);
        let now = (written, ctx.log.flushed);
        self.catch_up.flushed(ctx.log.flushed);
        self.give_credit(ctx);
        if self.acknowledged != Some(now) || self.credit_bytes > 0 {
            self.acknowledged = Some(now);
            ctx.effects.push(Effect::Acknowledge {
                leader: self.leader,
                subscription: self.subscription,
                leader_epoch: self.epoch,
                written: now.0,
                flushed: now.1,
                credit_bytes: std::mem::take(&mut self.credit_bytes),
            });
        }
    }

    /// The turn of credit has come.
    pub fn credit_paced(&mut self, subscription: SubscriptionNumber, bytes: u64) {
        if subscription == self.subscription {
            self.credit_bytes += bytes;
        }
    }

    /// Whether credit waits for a flush.
    pub fn needs_flush(&self, limits: &Limits) -> bool {
        self.catch_up.needs_flush(limits.unflushed_bytes_max)
    }

    pub fn flush_lane(&self, log: &LogState, limits: &Limits) -> Lane {
        self.catch_up.flush_lane(log, limits.unflushed_bytes_max)
    }

    pub fn next_deadline(&self) -> Option<Moment> {
        match self.state {
            State::Waiting { retry_at } => Some(retry_at),
            _ => None,
        }
    }

    pub fn validate(&self, log: &LogState) -> Result<(), String> {
        let orders = [
            ("the log's last epoch <= the leader's", log.last_epoch() <= self.epoch),
            (
                "acknowledged <= written",
                self.state != State::Streaming
                    || self.acknowledged.is_none_or(|(written, flushed)| {
                        written <= log.written && flushed <= log.flushed && flushed <= written
                    }),
            ),
        ];
        match orders.iter().find(|(_, holds)| !holds) {
            Some((order, _)) => Err(format!("follower: {order}: {self:?} {:?}", log)),
            None => Ok(()),
        }
    }

    /// Offsets rise (compaction leaves gaps), and epochs do not fall.
    fn continues(&self, ctx: &Context<'_>, batches: &[Batch]) -> bool {
        let mut next = ctx.log.accepted;
        let mut epoch = ctx.log.last_epoch();
        for batch in batches {
            if batch.base_offset() < next || batch.leader_epoch() < epoch || batch.leader_epoch() > self.epoch {
                return false;
            }
            next = batch.next_offset();
            epoch = batch.leader_epoch();
        }
        true
    }

    fn is_newest(&self, leader: NodeId, subscription: SubscriptionNumber) -> bool {
        let subscribed = matches!(self.state, State::Subscribing | State::Streaming);
        subscribed && leader == self.leader && subscription == self.subscription
    }

    fn subscribe(&mut self, ctx: &mut Context<'_>) {
        // Numbers grow over the process's life, even if this replica is closed and opened again: the clock does.
        let number = (*ctx.subscriptions + 1).max(ctx.now.moment.0);
        *ctx.subscriptions = number;
        self.subscription = SubscriptionNumber(number);
        self.state = State::Subscribing;
        self.acknowledged = None;
        self.catch_up = CatchUp::default();
        self.credit_bytes = 0;
        self.appends_before = ctx.log.accepted;
        ctx.effects.push(Effect::SubscribeTo {
            leader: self.leader,
            subscription: self.subscription,
            leader_epoch: self.epoch,
            next_offset: ctx.log.accepted,
            last_epoch: ctx.log.last_epoch(),
            credit_bytes: ctx.limits.credit_bytes,
        });
    }

    /// Credit of what is caught up waits for its turn.
    fn give_credit(&mut self, ctx: &mut Context<'_>) {
        let bytes = self.catch_up.grant(ctx.limits.unflushed_bytes_max);
        if bytes > 0 && self.catch_up.is_held_back() {
            ctx.effects.push(Effect::PaceCredit {
                subscription: self.subscription,
                bytes,
            });
        } else {
            self.credit_bytes += bytes;
        }
    }

    fn unsubscribe(&mut self, ctx: &mut Context<'_>) {
        ctx.effects.push(Effect::UnsubscribeFrom {
            leader: self.leader,
            subscription: self.subscription,
            leader_epoch: self.epoch,
        });
        self.wait(ctx);
    }

    fn wait(&mut self, ctx: &Context<'_>) {
        self.state = State::Waiting {
            retry_at: ctx.now.moment + ctx.limits.subscribe_retry,
        };
    }

    fn cut(&mut self, ctx: &mut Context<'_>, cut: Cut) {
        let (Cut::To(to) | Cut::RestartAt(to)) = cut;
        self.begin_cutting(ctx, to);
        ctx.log.want_cut(cut);
    }

    fn restart(&mut self, ctx: &mut Context<'_>, at: Offset, producers: ProducerTable) {
        self.begin_cutting(ctx, at);
        ctx.log.want_restart(at, producers);
    }

    fn begin_cutting(&mut self, ctx: &mut Context<'_>, to: Offset) {
        let high_watermark = ctx.log.high_watermark;
        if to < high_watermark.into() {
            ctx.effects
                .push(Effect::Raise(Alarm::CutBelowHighWatermark { to, high_watermark }));
        }
        self.state = State::Cutting;
    }

    fn take_news(&mut self, high_watermark: HighWatermark, log_start: LogStartOffset) {
        self.leader_high_watermark = self.leader_high_watermark.max(high_watermark);
        self.leader_log_start = self.leader_log_start.max(log_start);
    }

    /// The log start follows the leader's, as soon as this log reaches that far.
    fn follow_log_start(&mut self, ctx: &mut Context<'_>) {
        let to = self.leader_log_start;
        let news = to > ctx.log.log_start && to > self.log_start_asked;
        if news && Offset::from(to) <= ctx.log.written {
            self.log_start_asked = to;
            ctx.effects.push(Effect::AdvanceLogStart { to });
        }
    }
}

/// Where to cut: the leader's log holds `epoch` up to `end_offset`; this log may hold less of it, or none.
fn divergence(ctx: &Context<'_>, epoch: LeaderEpoch, end_offset: Offset) -> Cut {
    let start = Offset::from(ctx.log.log_start);
    let own_end = ctx
        .log
        .epochs
        .end_of(epoch, ctx.log.accepted)
        .map_or(start, |end| end.end_offset);
    let to = own_end.min(end_offset).min(ctx.log.accepted);
    // A cut at the log start or below would keep nothing but deleted records, whose epochs the leader may not know.
    if to <= start { Cut::RestartAt(to) } else { Cut::To(to) }
}

/// Where an empty log has to begin to take what the leader has here. `None`: it can take that as it is.
///
/// Elections with loss give an offset to several batches. So an empty log may begin inside one of the leader's, or
/// behind deleted records of a newer epoch.
fn cannot_begin_with(ctx: &Context<'_>, first: Option<&Batch>) -> Option<Offset> {
    let first = first.filter(|_| ctx.log.is_empty())?;
    let (inside, deleted) = (first.base_offset() < ctx.log.accepted, ctx.log.epochs.deleted());
    (inside || first.leader_epoch() < deleted).then(|| first.base_offset())
}
