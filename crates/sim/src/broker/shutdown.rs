//! A broker that is told to stop: it asks to be relieved, waits a little, closes its log and says goodbye.

use super::DiskState;
use super::life::End;
use crate::plan::{MS, Time};
use crate::world::{AtProcess, Happening, World};

/// So long does a stopping broker wait for the controller at most.
const RELIEF_TIME_MAX: Time = 150 * MS;

impl World {
    /// SIGTERM.
    pub fn stop_in_order(&mut self, index: usize, down: Time) {
        let broker = &self.brokers[index];
        let Some(process) = broker.process.as_ref().filter(|process| process.host.is_registered) else {
            return;
        };
        if broker.paused || broker.disk_state != DiskState::Whole {
            return;
        }
        let (life, epoch) = (broker.life, process.host.broker_epoch);
        self.say(format_args!("broker {}", index + 1), format_args!("is told to stop"));
        let delay = self.chance.delay(600, 60 * MS);
        self.after(
            delay,
            Happening::Relieve {
                broker: index,
                life,
                epoch,
                down,
            },
        );
        let at = self.now + self.chance.between(20 * MS, RELIEF_TIME_MAX);
        self.tell_process(index, at, AtProcess::Close { down });
    }

    /// The process ends in order: the log is flushed and closed, the mark of a clean stop written last.
    pub fn close(&mut self, index: usize, down: Time) {
        let Some(process) = self.brokers[index].process.take() else {
            return;
        };
        let mut all_closed = true;
        for (partition, own) in process.hosted {
            let high_watermark = own.replica.high_watermark();
            match own.log.close_clean() {
                Ok(end) => {
                    let files = self.brokers[index].files.entry(partition).or_default();
                    files.recovery_point = Some(end);
                    files.flushed = files.flushed.max(end);
                    files.high_watermark = high_watermark;
                }
                // A log that has failed cannot be closed in order.
                Err(_) => all_closed = false,
            }
        }
        if all_closed {
            self.brokers[index].clean_stop = true;
            self.counts.clean_stops += 1;
            self.end_process(index, End::InOrder);
        } else {
            self.end_process(index, End::Killed);
        }
        self.start_after(index, down);
    }
}
