//! Where log lines go: standard error, as text or JSON. Standard output is for results.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

/// Sets the process's log up; once.
pub fn start(level: &str, format: &str) -> anyhow::Result<()> {
    // openraft tells of every step at INFO; what of it matters is told by the controller.
    let quiet = if level.contains('=') {
        level.to_owned()
    } else {
        format!("{level},openraft=error")
    };
    let filter = EnvFilter::try_new(quiet).with_context(|| format!("log_level {level:?} is no filter"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = match format {
        "json" => builder.json().flatten_event(true).try_init(),
        _ => builder
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}
