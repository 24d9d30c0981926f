//! Carrying out the effects of one partition's core, in the order in which they came.
//!
//! An effect that is answered at once gives the event back; the others are answered through the worker's queue.

use klamm_log::Log;
use klamm_record::Batch;
use klamm_replication::{Alarm, AlterOutcome, AlterPartition, AppendId, Effect, Event, ReplaceReason, Role};
use klamm_types::{ErrorCode, LeaderEpoch, LogStartOffset, NodeId, Timestamp};

use super::command::AcceptedAt;
use super::context::Context;
use super::credit;
use super::flushes::FlushOrder;
use super::hosted::{CutOrder, Hosted};
use super::push::{self, PushOrder};
use super::requests::{Damage, ReplaceWish};
use super::steps;
use super::unflushed;
use crate::api::{ProduceError, Produced};
use crate::replica::convert::{self, Bounds, SubscriptionKey};
use crate::space::Level;

/// Carries out one effect. Gives the event that answers it, if it was answered at once.
pub(crate) fn carry_out(ctx: &mut Context, hosted: &mut Hosted, log: &mut Log, effect: Effect) -> Option<Event> {
    match effect {
        Effect::Append { append, batches } => return Some(self::append(ctx, hosted, log, append, &batches)),
        Effect::Flush { flush, lane, .. } => ctx.flushes.push(FlushOrder {
            partition: hosted.id,
            flush,
            lane,
        }),
        Effect::PaceCredit { subscription, bytes } => {
            credit::wait_for_turn(&ctx.shared, (hosted.id, subscription), bytes);
        }
        Effect::SetUnflushedMark => unflushed::change(ctx, hosted, unflushed::Change::Set),
        Effect::RemoveUnflushedMark => unflushed::change(ctx, hosted, unflushed::Change::Remove),
        Effect::Truncate { to } => hosted.cut = Some(CutOrder::To(to)),
        Effect::RestartLog { at, producers } => hosted.cut = Some(CutOrder::RestartAt(at, producers)),
        Effect::AdvanceLogStart { to } => return advance_log_start(hosted, log, to),
        Effect::ProduceAccepted {
            request,
            base_offset,
            next_offset,
        } => tell_place(
            hosted,
            request,
            AcceptedAt {
                base_offset,
                next_offset,
            },
        ),
        Effect::CompleteProduce { request, result } => complete_produce(ctx, hosted, request, result),
        Effect::WakeFetch { request } => {
            if let Some(wake) = hosted.fetches.remove(&request) {
                wake.notify_one();
            }
        }
        Effect::AnswerSubscribe { .. } | Effect::PushHighWatermark { .. } => tell_follower(hosted, effect),
        Effect::Push { .. } => return PushOrder::of(&effect).and_then(|order| push::start(ctx, hosted, log, order)),
        Effect::SubscribeTo { .. } => return subscribe(ctx, hosted, &effect),
        Effect::Acknowledge { .. } | Effect::UnsubscribeFrom { .. } => tell_leader(hosted, &effect),
        Effect::AlterPartition(alter) => return alter_partition(ctx, hosted, alter),
        Effect::AskToBeReplaced { leader_epoch, reason } => ask_to_be_replaced(ctx, hosted, leader_epoch, reason),
        Effect::ReportDamage { from } => ctx.shared.wishes.damage(hosted.id, Damage::From(from)),
        Effect::ReportDiskFailure => ctx.shared.wishes.damage(hosted.id, Damage::Disk),
        Effect::RoleChanged { role } => role_changed(ctx, hosted, role),
        Effect::Raise(alarm) => raise(ctx, hosted, alarm),
    }
    None
}

fn append(ctx: &mut Context, hosted: &mut Hosted, log: &mut Log, append: AppendId, batches: &[Batch]) -> Event {
    let mut appended = log.append(batches, ctx.now.wall);
    if let Err(error) = &appended
        && error.is_full()
    {
        tracing::error!(
            partition = &*hosted.name,
            error = chain(error),
            "the disk is full: nothing more is appended"
        );
        if let Err(error) = ctx.shared.space.ran_out() {
            tracing::error!(error = chain(&error), "giving the reserve back failed");
        }
        // The same bytes at the same offsets: nobody has seen them yet.
        appended = log.append_again(batches, ctx.now.wall);
    }
    match appended {
        Ok(appended) => {
            ctx.shared.metrics.appends.add(1);
            ctx.shared.metrics.appended_bytes.add(appended.bytes as u64);
            ctx.touch(hosted);
            Event::AppendWritten { append }
        }
        Err(error) => {
            tracing::error!(partition = &*hosted.name, error = chain(&error), "appending failed");
            Event::AppendFailed { append }
        }
    }
}

/// After the writes of a step: where segments were closed, the producers are kept beside them.
pub(crate) fn keep_producers(hosted: &Hosted, log: &mut Log) {
    let producers = hosted.replica.producers();
    if !log.needs_producer_snapshot() || producers.end() != log.log_end_offset() {
        return;
    }
    if let Err(error) = log.write_producer_snapshot(producers.end(), &producers.encode()) {
        // A snapshot is a cache: recovery replays more without it.
        tracing::warn!(
            partition = &*hosted.name,
            error = chain(&error),
            "writing a producer snapshot failed"
        );
    }
}

fn advance_log_start(hosted: &Hosted, log: &mut Log, to: LogStartOffset) -> Option<Event> {
    match log.advance_log_start(to.into()) {
        Ok(()) => Some(Event::LogStartAdvanced {
            log_start: LogStartOffset::from(log.log_start_offset()),
        }),
        Err(error) => {
            tracing::warn!(
                partition = &*hosted.name,
                error = chain(&error),
                "advancing the log start failed"
            );
            None
        }
    }
}

fn tell_place(hosted: &mut Hosted, request: klamm_replication::RequestId, place: AcceptedAt) {
    let produce = hosted.produces.get_mut(&request);
    if let Some(accepted) = produce.and_then(|produce| produce.reply.accepted.take()) {
        // A coordinator that has gone needs no answer.
        let _ = accepted.send(place);
    }
}

fn complete_produce(
    ctx: &Context,
    hosted: &mut Hosted,
    request: klamm_replication::RequestId,
    result: Result<klamm_replication::Produced, klamm_replication::ProduceError>,
) {
    let Some(pending) = hosted.produces.remove(&request) else {
        return;
    };
    if !hosted.traced.is_empty() {
        steps::completed(
            &mut hosted.traced,
            request,
            result.as_ref().err().map(|error| error.code),
        );
    }
    let answer = match result {
        Ok(produced) => Ok(Produced {
            base_offset: produced.base_offset,
            log_append_time: match produced.log_append_time {
                Timestamp::NONE => pending.log_append_time,
                time => time,
            },
            log_start_offset: produced.log_start,
        }),
        Err(error) => {
            ctx.shared.metrics.produce_errors.add(1);
            let mut told = hosted.error(error.code);
            if error.code == ErrorCode::KafkaStorageError && ctx.shared.space.level() >= Level::Full {
                told.message = Some("the disk is full; records are taken again when there is room".to_owned());
            }
            Err(ProduceError {
                error: told,
                base_offset: error.base_offset,
                log_start_offset: error.log_start,
            })
        }
    };
    // A client that has gone needs no answer.
    let _ = pending.reply.done.send(answer);
}

/// Answers to subscriptions go on both streams, so that they come before the batches on either.
fn tell_follower(hosted: &mut Hosted, effect: Effect) {
    let partition = hosted.id;
    let pair_of = |follower: NodeId, number| {
        let pair = hosted.followers.get(&follower).filter(|(newest, _)| *newest == number);
        pair.map(|(_, pair)| pair)
    };
    match effect {
        Effect::AnswerSubscribe {
            follower,
            subscription,
            leader_epoch,
            answer,
        } => {
            let Some(pair) = pair_of(follower, subscription) else {
                return;
            };
            let key = SubscriptionKey {
                partition,
                number: subscription,
                leader_epoch,
            };
            let message = convert::to_answer(key, &answer);
            for lane in [klamm_replication::Lane::InSync, klamm_replication::Lane::CatchUp] {
                let message = message.clone();
                pair.outbox(lane).put(|queue| queue.push_answer(partition, message));
            }
            if !matches!(answer, klamm_replication::SubscribeAnswer::Accepted { .. }) {
                pair.unsubscribed(partition, subscription);
                hosted.followers.remove(&follower);
            }
        }
        Effect::PushHighWatermark {
            follower,
            subscription,
            leader_epoch,
            lane,
            high_watermark,
            log_start,
        } => {
            if let Some(pair) = pair_of(follower, subscription) {
                let key = SubscriptionKey {
                    partition,
                    number: subscription,
                    leader_epoch,
                };
                let message = convert::to_high_watermark(
                    key,
                    Bounds {
                        high_watermark,
                        log_start,
                    },
                );
                pair.outbox(lane)
                    .put(|queue| queue.push_high_watermark(partition, message));
            }
        }
        _ => {}
    }
}

fn subscribe(ctx: &Context, hosted: &mut Hosted, effect: &Effect) -> Option<Event> {
    let &Effect::SubscribeTo {
        leader,
        subscription,
        leader_epoch,
        next_offset,
        last_epoch,
        credit_bytes,
    } = effect
    else {
        return None;
    };
    let key = SubscriptionKey {
        partition: hosted.id,
        number: subscription,
        leader_epoch,
    };
    // What is written is granted again, so the first grant bounds what is under way for as long as the stream lives.
    let credit = credit_bytes.min(ctx.shared.credit_share());
    let message = convert::to_subscription(key, next_offset, last_epoch, credit);
    let target = ctx.shared.target(leader);
    // Without room for what it would bring, there is no link.
    let target = target.filter(|_| ctx.shared.space.level() < Level::ReadOnly);
    let link = target.and_then(|target| ctx.shared.links.link(&target, &ctx.shared));
    let lost = Event::StreamLost { leader, subscription };
    let Some(link) = link else {
        return Some(lost);
    };
    if !link.subscribe(hosted.id, subscription, message) {
        return Some(lost);
    }
    hosted.link = Some((subscription, link));
    None
}

fn tell_leader(hosted: &mut Hosted, effect: &Effect) {
    let link_of = |number| {
        hosted
            .link
            .as_ref()
            .filter(|(newest, _)| *newest == number)
            .map(|(_, link)| link)
    };
    match *effect {
        Effect::Acknowledge {
            subscription,
            leader_epoch,
            written,
            flushed,
            credit_bytes,
            ..
        } => {
            if let Some(link) = link_of(subscription) {
                let key = SubscriptionKey {
                    partition: hosted.id,
                    number: subscription,
                    leader_epoch,
                };
                let message = convert::to_acknowledgement(key, written, flushed, credit_bytes);
                link.acknowledge(hosted.id, message);
            }
        }
        Effect::UnsubscribeFrom {
            subscription,
            leader_epoch,
            ..
        } => {
            if let Some(link) = link_of(subscription) {
                let key = SubscriptionKey {
                    partition: hosted.id,
                    number: subscription,
                    leader_epoch,
                };
                link.unsubscribe(hosted.id, convert::to_unsubscription(key));
            }
        }
        _ => {}
    }
}

fn alter_partition(ctx: &Context, hosted: &Hosted, alter: AlterPartition) -> Option<Event> {
    ctx.shared.metrics.isr_proposals.add(1);
    tracing::info!(partition = &*hosted.name, isr = ?alter.isr, "asking for another ISR");
    let replaced = ctx.shared.wishes.alter(hosted.id, alter)?;
    let outcome = AlterOutcome::NotDecided;
    Some(Event::AlterPartitionAnswered {
        attempt: replaced.attempt,
        outcome,
    })
}

fn ask_to_be_replaced(ctx: &Context, hosted: &Hosted, leader_epoch: LeaderEpoch, reason: ReplaceReason) {
    let Some(view) = hosted.replica.partition_view() else {
        return;
    };
    let Some(isr) = view.isr_without(ctx.shared.config.node) else {
        tracing::warn!(
            partition = &*hosted.name,
            ?reason,
            "nobody else could lead in this broker's place"
        );
        return;
    };
    tracing::warn!(partition = &*hosted.name, ?reason, "asking to be replaced as leader");
    let wish = ReplaceWish {
        leader_epoch,
        partition_epoch: view.partition_epoch,
        isr,
        reason,
    };
    ctx.shared.wishes.replace(hosted.id, wish);
}

fn role_changed(ctx: &Context, hosted: &Hosted, role: Role) {
    tracing::debug!(partition = &*hosted.name, ?role, "the role has changed");
    ctx.shared.board.set(hosted.id, role);
}

fn raise(ctx: &Context, hosted: &Hosted, alarm: Alarm) {
    ctx.shared.metrics.alarms.add(1);
    if alarm == Alarm::DiskFailed {
        ctx.shared.metrics.disk_failures.add(1);
    }
    tracing::error!(partition = &*hosted.name, ?alarm, "a replica needs attention");
}

/// An error with all its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
