//! The loop of the live picture: looks, keys, sizes and signals come in; after each the screen is drawn anew.

use std::io::Read;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context, anyhow};
use klamm_client::admin::AdminError;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};

use super::collect::Collector;
use super::model::Model;
use super::render::{Size, rows_in, screen};
use super::sample::Sample;
use super::state::{Key, Keys, State};
use super::table::Line;
use super::terminal::Terminal;
use crate::failure::Failure;
use crate::signals::stop_signals;

/// Keys that wait to be taken over.
const KEYS_MAX: usize = 64;

/// What is shown, and of what.
struct Live {
    state: State,
    model: Model,
    last: Option<Sample>,
    /// Why the last look failed.
    failed: Option<String>,
}

impl Live {
    fn new(first: Sample) -> Live {
        Live {
            state: State::default(),
            model: Model::between(None, &first),
            last: Some(first),
            failed: None,
        }
    }

    fn take(&mut self, looked: Result<Sample, AdminError>) {
        match looked {
            Ok(sample) => {
                let model = Model::between(self.last.as_ref(), &sample);
                // A picture that stands still; rates are right when it goes on.
                if !self.state.paused {
                    self.model = model;
                }
                (self.last, self.failed) = (Some(sample), None);
            }
            Err(error) => self.failed = Some(format!("{:#}", anyhow!(error))),
        }
    }

    /// False ends it.
    fn press(&mut self, key: Key) -> bool {
        let rows = rows_in(&self.model, self.state.view);
        self.state.press(key, rows)
    }

    fn lines(&self, size: Size, pace: Duration) -> Vec<Line> {
        match &self.failed {
            None => screen(&self.model, &self.state, size, pace),
            Some(reason) => {
                let mut model = self.model.clone();
                model
                    .troubles
                    .insert(0, format!("the cluster does not answer, this is how it was: {reason}"));
                screen(&model, &self.state, size, pace)
            }
        }
    }
}

/// Shows the picture until a key or a signal ends it.
pub async fn run(collector: Collector, first: Sample, pace: Duration) -> Result<(), Failure> {
    let mut stop = stop_signals()?;
    let mut resized = signal(SignalKind::window_change()).context("listening for SIGWINCH")?;
    let terminal = Terminal::take()?;
    let mut keys = read_keys();
    let (sender, mut looks) = mpsc::channel(1);
    let mut looking = pin!(keep_looking(collector, pace, sender));
    let mut live = Live::new(first);
    loop {
        terminal.draw(&live.lines(terminal.size(), pace)).context("drawing")?;
        tokio::select! {
            () = stop.recv() => return Ok(()),
            _ = resized.recv() => {}
            key = keys.recv() => match key {
                Some(key) if live.press(key) => {}
                // The terminal has gone, or the person has seen enough.
                _ => return Ok(()),
            },
            () = &mut looking => return Err(Failure::from(anyhow!("looking at the cluster has ended"))),
            Some(looked) = looks.recv() => live.take(looked),
        }
    }
}

/// Looks at this pace; slower if looks take longer.
async fn keep_looking(mut collector: Collector, pace: Duration, looks: mpsc::Sender<Result<Sample, AdminError>>) {
    let mut due = interval(pace);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first look was before.
    due.tick().await;
    loop {
        due.tick().await;
        if looks.send(collector.look().await).await.is_err() {
            return;
        }
    }
}

/// A thread of its own: reading a terminal cannot be given up.
fn read_keys() -> mpsc::Receiver<Key> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        let mut keys = Keys::default();
        let mut bytes = [0; 64];
        let mut input = std::io::stdin().lock();
        while let Ok(count @ 1..) = input.read(&mut bytes) {
            for key in keys.read(&bytes[..count]) {
                if sender.blocking_send(key).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}
