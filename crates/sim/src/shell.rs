//! Carries out a replica's effects, as a broker's shell does: it decides nothing.

use std::collections::VecDeque;

use klamm_replication::{Effect, Event};
use klamm_types::Offset;

use crate::broker::{Asked, Process};
use crate::plan::MS;
use crate::world::{AtProcess, World};

impl World {
    /// Gives an event to the replica, and everything that follows from it at once.
    pub fn feed(&mut self, index: usize, process: &mut Process, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = process.now(self.now);
            let replica = &mut process.replica;
            if self.trace.is_on() {
                let line = crate::describe::event(&event);
                self.trace.line(
                    self.now,
                    format_args!("broker {}", index + 1),
                    format_args!("<- {line}"),
                );
            }
            let mut effects = Vec::new();
            replica.step(now, event, &mut effects);
            let valid = replica.validate();
            self.hold(valid);
            for effect in effects {
                if self.trace.is_on() {
                    let line = crate::describe::effect(&effect);
                    self.trace.line(
                        self.now,
                        format_args!("broker {}", index + 1),
                        format_args!("   -> {line}"),
                    );
                }
                self.carry_out(index, process, effect, &mut events);
            }
            self.check_replica(index, process);
            if self.violation.is_some() {
                return;
            }
        }
        self.set_tick(index, process);
    }

    fn carry_out(&mut self, index: usize, process: &mut Process, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Append { append, batches } => {
                for batch in &batches {
                    let given = self.checker.given(batch);
                    self.hold(given);
                }
                process.appends.push_back((append, batches));
                self.start_append(index, process);
            }
            Effect::Flush { flush, .. } => match process.log.start_flush() {
                Some(job) => {
                    process.flush = Some((flush, job));
                    let at = self.now + self.disk_delay(index, 900, 30 * MS);
                    self.tell_process(index, at, AtProcess::FlushDone);
                }
                None => {
                    let offset = process.log.flushed_offset();
                    events.push_back(Event::FlushedTo { flush, offset });
                }
            },
            Effect::SetUnflushedMark => {
                self.brokers[index].unflushed_mark = true;
                events.push_back(Event::UnflushedMarkSet);
            }
            Effect::RemoveUnflushedMark => {
                self.brokers[index].unflushed_mark = false;
                events.push_back(Event::UnflushedMarkRemoved);
            }
            Effect::Truncate { to } => self.start_cut(index, process, to, false),
            Effect::RestartLog { at } => self.start_cut(index, process, at, true),
            Effect::AdvanceLogStart { to } => {
                let advanced = process.log.advance_log_start(to.into());
                if advanced.is_ok() {
                    self.brokers[index].log_start = to.into();
                    events.push_back(Event::LogStartAdvanced { log_start: to });
                }
            }
            Effect::ProduceAccepted { .. } => {}
            to_client @ (Effect::CompleteProduce { .. } | Effect::WakeFetch { .. }) => {
                self.answer_client(index, process, to_client);
            }
            Effect::RoleChanged { role } => self.role_changed(process, role),
            Effect::Raise(alarm) => self.raised(index, alarm),
            to_peer @ (Effect::AnswerSubscribe { .. }
            | Effect::Push { .. }
            | Effect::PushHighWatermark { .. }
            | Effect::SubscribeTo { .. }
            | Effect::Acknowledge { .. }
            | Effect::UnsubscribeFrom { .. }) => self.tell_peer(index, process, to_peer, events),
            to_controller => self.ask_controller(index, process, to_controller),
        }
    }

    fn answer_client(&mut self, index: usize, process: &mut Process, effect: Effect) {
        match effect {
            Effect::CompleteProduce { request, result } => {
                if let Some(Asked::Produce { client, attempt }) = process.requests.remove(&request) {
                    let result = result.map(|produced| produced.base_offset).map_err(|error| error.code);
                    self.produce_answered((client, attempt), result);
                }
            }
            Effect::WakeFetch { request } => {
                let asked = process.requests.remove(&request);
                if let Some(Asked::Fetch(fetch)) = asked {
                    self.tell_process(index, self.now, AtProcess::Fetch(fetch));
                }
            }
            _ => {}
        }
    }

    fn start_cut(&mut self, index: usize, process: &mut Process, to: Offset, restart: bool) {
        self.counts.truncations += u64::from(to < process.log.log_end_offset());
        let at = self.now + self.disk_delay(index, MS, 10 * MS);
        self.tell_process(index, at, AtProcess::CutDone { to, restart });
    }

    fn set_tick(&mut self, index: usize, process: &mut Process) {
        let Some(due) = process.replica.next_deadline() else {
            return;
        };
        let at = due.0.saturating_sub(process.clock_offset).max(self.now + 50);
        if process.tick_at.is_none_or(|set| at < set) {
            process.tick_at = Some(at);
            self.tell_process(index, at, AtProcess::Tick);
        }
    }
}
