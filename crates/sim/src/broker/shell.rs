//! Carries out a replica's effects, as a broker's shell does: it decides nothing.

use std::collections::VecDeque;

use klamm_invariants::core_orderings;
use klamm_replication::{Effect, Event, Now, ProducerTable};
use klamm_types::Offset;

use super::describe;
use super::hosted::{Asked, Here};
use crate::plan::MS;
use crate::world::{AtReplica, World};

impl World {
    /// Gives an event to the replica, and everything that follows from it at once.
    pub fn feed(&mut self, here: &mut Here<'_>, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = Now {
                moment: here.host.moment(self.now),
                wall: self.wall(here.broker),
            };
            if self.trace.is_on() {
                let line = describe::event(&event);
                self.trace
                    .line(self.now, format_args!("{}", here.place()), format_args!("<- {line}"));
            }
            let mut effects = Vec::new();
            here.own.replica.step(now, event, &mut effects);
            let valid = here.own.replica.validate().map_err(core_orderings);
            self.hold(valid);
            for effect in effects {
                if self.trace.is_on() {
                    let line = describe::effect(&effect);
                    self.trace
                        .line(self.now, format_args!("{}", here.place()), format_args!("   -> {line}"));
                }
                self.carry_out(here, effect, &mut events);
            }
            self.check_replica(here);
            if self.violation.is_some() {
                return;
            }
        }
        self.set_tick(here);
    }

    fn carry_out(&mut self, here: &mut Here<'_>, effect: Effect, events: &mut VecDeque<Event>) {
        match effect {
            Effect::Append { append, batches } => {
                for batch in &batches {
                    let given = self.ledgers[here.partition].given(batch);
                    self.hold(given);
                }
                here.own.appends.push_back((append, batches));
                self.start_append(here);
            }
            Effect::Flush { flush, .. } => match here.own.log.start_flush() {
                Some(job) => {
                    here.own.flush = Some((flush, job));
                    let at = self.now + self.disk_delay(here.broker, 900, 30 * MS);
                    self.tell_replica(here.place(), at, AtReplica::FlushDone);
                }
                None => {
                    let offset = here.own.log.flushed_offset();
                    events.push_back(Event::FlushedTo { flush, offset });
                }
            },
            Effect::PaceCredit { subscription, bytes } => {
                let at = self.now + self.chance.delay(900, 30 * MS);
                let paced = Event::CreditPaced { subscription, bytes };
                self.tell_replica(here.place(), at, AtReplica::Event(Box::new(paced)));
            }
            Effect::SetUnflushedMark => {
                self.files(here.place()).unflushed_mark = true;
                events.push_back(Event::UnflushedMarkSet);
            }
            Effect::RemoveUnflushedMark => {
                self.files(here.place()).unflushed_mark = false;
                events.push_back(Event::UnflushedMarkRemoved);
            }
            Effect::Truncate { to } => self.start_cut(here, to, None),
            Effect::RestartLog { at, producers } => self.start_cut(here, at, Some(Box::new(producers))),
            Effect::AdvanceLogStart { to } => {
                let advanced = here.own.log.advance_log_start(to.into());
                if advanced.is_ok() {
                    self.files(here.place()).log_start = to.into();
                    events.push_back(Event::LogStartAdvanced { log_start: to });
                }
            }
            Effect::ProduceAccepted { .. } => {}
            to_client @ (Effect::CompleteProduce { .. } | Effect::WakeFetch { .. }) => {
                self.answer_client(here, to_client);
            }
            Effect::RoleChanged { role } => {
                self.role_changed(here, role);
                self.coordinate(here, role);
            }
            Effect::Raise(alarm) => self.raised(here, alarm),
            to_peer @ (Effect::AnswerSubscribe { .. }
            | Effect::Push { .. }
            | Effect::PushHighWatermark { .. }
            | Effect::SubscribeTo { .. }
            | Effect::Acknowledge { .. }
            | Effect::UnsubscribeFrom { .. }) => self.tell_peer(here, to_peer, events),
            to_controller => self.ask_controller(here, to_controller),
        }
    }

    fn answer_client(&mut self, here: &mut Here<'_>, effect: Effect) {
        match effect {
            Effect::CompleteProduce { request, result } => {
                let result = result.map(|produced| produced.base_offset).map_err(|error| error.code);
                match here.own.requests.remove(&request) {
                    Some(Asked::Produce { client, attempt }) => self.produce_answered((client, attempt), result),
                    Some(Asked::Round) => self.round_done(here, request, result.map(|_| ())),
                    Some(Asked::Fetch(_)) | None => {}
                }
            }
            Effect::WakeFetch { request } => {
                let asked = here.own.requests.remove(&request);
                if let Some(Asked::Fetch(fetch)) = asked {
                    self.tell_replica(here.place(), self.now, AtReplica::Fetch(fetch));
                }
            }
            _ => {}
        }
    }

    fn start_cut(&mut self, here: &mut Here<'_>, to: Offset, restart: Option<Box<ProducerTable>>) {
        self.counts.truncations += u64::from(to < here.own.log.log_end_offset());
        let at = self.now + self.disk_delay(here.broker, MS, 10 * MS);
        self.tell_replica(here.place(), at, AtReplica::CutDone { to, restart });
    }

    fn set_tick(&mut self, here: &mut Here<'_>) {
        let Some(due) = here.own.replica.next_deadline() else {
            return;
        };
        let at = here.host.time_of(due).max(self.now + 50);
        if here.own.tick_at.is_none_or(|set| at < set) {
            here.own.tick_at = Some(at);
            self.tell_replica(here.place(), at, AtReplica::Tick);
        }
    }
}
