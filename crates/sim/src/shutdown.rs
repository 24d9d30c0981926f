//! A broker that is told to stop: it asks to be relieved, waits a little, closes its log and says goodbye.

use crate::plan::{MS, Time};
use crate::process::End;
use crate::world::{AtProcess, Happening, World};

/// So long does a stopping broker wait for the controller at most.
const RELIEF_TIME_MAX: Time = 150 * MS;

impl World {
    /// SIGTERM.
    pub fn stop_in_order(&mut self, index: usize) {
        let broker = &self.brokers[index];
        let Some(process) = broker.process.as_ref().filter(|process| process.is_registered) else {
            return;
        };
        if broker.paused || broker.disk_failed {
            return;
        }
        let (life, epoch) = (broker.life, process.broker_epoch);
        self.say(format_args!("broker {}", index + 1), format_args!("is told to stop"));
        let delay = self.chance.delay(600, 60 * MS);
        self.after(
            delay,
            Happening::Relieve {
                broker: index,
                life,
                epoch,
            },
        );
        let at = self.now + self.chance.between(20 * MS, RELIEF_TIME_MAX);
        self.tell_process(index, at, AtProcess::Close);
    }

    /// At the controller.
    pub fn relieve(&mut self, broker: usize, life: u32, epoch: klamm_types::BrokerEpoch) {
        if !self.hears(broker) {
            return;
        }
        let node = self.brokers[broker].node;
        let relieved = self.controller.controlled_shutdown(node, epoch);
        self.hold(relieved);
        self.say(format_args!("controller"), format_args!("relieves broker {node}"));
        self.reply(broker, life, AtProcess::Close);
    }

    /// The process ends in order: the log is flushed and closed, the mark of a clean stop written last.
    pub fn close(&mut self, index: usize) {
        let Some(process) = self.brokers[index].process.take() else {
            return;
        };
        let high_watermark = process.replica.high_watermark();
        match process.log.close_clean() {
            Ok(end) => {
                let broker = &mut self.brokers[index];
                broker.recovery_point = Some(end);
                broker.flushed = broker.flushed.max(end);
                broker.high_watermark = high_watermark;
                broker.clean_stop = true;
                self.counts.clean_stops += 1;
                self.end_process(index, End::InOrder);
            }
            // A log that has failed cannot be closed in order.
            Err(_) => self.end_process(index, End::Killed),
        }
        let down = self.chance.delay(30 * MS, 300 * MS);
        self.start_after(index, down);
    }
}
