//! SIGINT and SIGTERM as one event.

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Waits for the wish to stop.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

/// Takes both signals over from their default, which ends the process.
pub fn stop_signals() -> anyhow::Result<StopSignals> {
    Ok(StopSignals {
        interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
        terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
    })
}

impl StopSignals {
    pub async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
