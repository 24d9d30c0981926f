//! What a leader does with a batch to append: accept it, recognise it, or refuse it before it touches the log.

use klamm_record::TimestampType;
use klamm_types::planted::{Bug, is_planted};
use klamm_types::{ErrorCode, LogStartOffset, Offset, Timestamp};

use super::Leader;
use super::waiting::Bar;
use crate::context::Context;
use crate::effect::{Effect, ProduceError, Produced};
use crate::event::{Acks, Origin, Produce, RequestId};
use crate::producers::Verdict;

impl Leader {
    pub fn on_produce(&mut self, ctx: &mut Context<'_>, produce: Produce) {
        if let Err(error) = self.may_append(ctx, &produce) {
            ctx.refused.note(produce.batch.header(), ctx.now.moment);
            ctx.effects.push(Effect::CompleteProduce {
                request: produce.request,
                result: Err(error),
            });
            return;
        }
        let settings = self.view.settings;
        ctx.log.producers.expire(ctx.now.wall, settings.producer_id_expiration);
        let deadline = ctx.now.moment + produce.timeout;
        match self.verdict(ctx, &produce) {
            Verdict::Refuse(code) => {
                let result = Err(refusal(code, ctx.log.log_start));
                ctx.effects.push(Effect::CompleteProduce {
                    request: produce.request,
                    result,
                });
            }
            Verdict::Duplicate(original) => {
                // Answered only once the original is committed: until then it may still be cut off.
                let produced = Produced {
                    base_offset: original.base_offset,
                    next_offset: Offset(original.last_offset.0 + 1),
                    leader_epoch: original.leader_epoch,
                    log_append_time: original.max_timestamp,
                    log_start: ctx.log.log_start,
                };
                let bar = match is_planted(Bug::AnswerDuplicateEarly) {
                    true => Bar::Written,
                    false => Bar::HighWatermark,
                };
                self.waiting.insert(bar, produce.request, deadline, produced);
            }
            Verdict::Append => {
                let bar = match produce.acks {
                    Acks::None => Bar::Written,
                    Acks::Leader => Bar::OwnLevel,
                    Acks::All => Bar::HighWatermark,
                };
                let (request, produced) = self.accept(ctx, produce);
                self.waiting.insert(bar, request, deadline, produced);
            }
        }
    }

    /// A time-out of nothing is over at once, after everything else the step has done.
    pub fn expire_waiting(&mut self, ctx: &mut Context<'_>) {
        self.waiting.expire(ctx.now.moment, ctx.effects);
    }

    fn may_append(&self, ctx: &Context<'_>, produce: &Produce) -> Result<(), ProduceError> {
        if let Origin::Coordinator { leader_epoch } = produce.origin
            && leader_epoch != self.epoch
        {
            return Err(refusal(ErrorCode::NotLeaderOrFollower, LogStartOffset(-1)));
        }
        if produce.disk_full {
            return Err(refusal(ErrorCode::KafkaStorageError, ctx.log.log_start));
        }
        let too_few = self.view.isr.len() < self.view.min_insync_effective();
        if produce.acks == Acks::All && too_few {
            return Err(refusal(ErrorCode::NotEnoughReplicas, ctx.log.log_start));
        }
        if self.waiting.len() >= ctx.limits.waiting_produces_max {
            return Err(refusal(ErrorCode::ThrottlingQuotaExceeded, LogStartOffset(-1)));
        }
        Ok(())
    }

    fn verdict(&self, ctx: &Context<'_>, produce: &Produce) -> Verdict {
        let header = produce.batch.header();
        if let Origin::Coordinator { .. } = produce.origin {
            return Verdict::Append;
        }
        let verdict = ctx.log.producers.check(header);
        let unknown = header.has_producer_id() && ctx.log.producers.get(header.producer_id).is_none();
        if verdict == Verdict::Append && unknown && ctx.refused.follows_refused(header, ctx.now.moment) {
            return Verdict::Refuse(ErrorCode::OutOfOrderSequenceNumber);
        }
        verdict
    }

    fn accept(&mut self, ctx: &mut Context<'_>, produce: Produce) -> (RequestId, Produced) {
        let batch = produce.batch.assigned(ctx.log.accepted, self.epoch);
        let produced = Produced {
            base_offset: batch.base_offset(),
            next_offset: batch.next_offset(),
            leader_epoch: self.epoch,
            log_append_time: match batch.header().attributes.timestamp_type() {
                TimestampType::LogAppendTime => batch.header().max_timestamp,
                TimestampType::CreateTime => Timestamp::NONE,
            },
            log_start: ctx.log.log_start,
        };
        let now = (ctx.now.moment, ctx.now.wall);
        if batch.header().has_producer_id() {
            ctx.refused.forget(batch.header().producer_id);
        }
        ctx.log.append(vec![batch], now, ctx.effects);
        if let Origin::Coordinator { .. } = produce.origin {
            ctx.effects.push(Effect::ProduceAccepted {
                request: produce.request,
                base_offset: produced.base_offset,
                next_offset: produced.next_offset,
            });
        }
        (produce.request, produced)
    }
}

/// An error for a batch that was not appended.
pub(crate) fn refusal(code: ErrorCode, log_start: LogStartOffset) -> ProduceError {
    ProduceError {
        code,
        base_offset: Offset::NONE,
        log_start,
    }
}
