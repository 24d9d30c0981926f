//! `klamm top`: any cluster, live in a terminal; or once, as text or JSON.
//!
//! What every Kafka cluster tells comes from the SDK; what only Klamm's nodes count comes from their HTTP ports, where
//! they can be reached. `collect` asks, `model` computes, `render` writes lines, `live` shows them.

mod collect;
mod columns;
mod live;
mod model;
mod render;
mod sample;
mod scrape;
mod state;
mod table;
mod terminal;

use std::process::ExitCode;
use std::time::Duration;

use klamm_client::ClientConfig;

use super::{client_config, connect_with};
use crate::Common;
use crate::failure::Failure;
use crate::output;
use crate::why::Places;

/// How long a broker that is silent may hold up a look.
const REQUEST_MAX: Duration = Duration::from_millis(1500);

#[derive(clap::Args)]
pub struct Args {
    /// How long between two looks, in seconds; rates are of that time.
    #[arg(long, short, default_value_t = 2.0, value_name = "SECONDS", value_parser = seconds)]
    interval: f64,
    /// Look twice, print how it stands, and end; also when this is no terminal.
    #[arg(long)]
    once: bool,
    /// Rows of each table that --once prints.
    #[arg(long, short, default_value_t = 20)]
    max: usize,
    #[command(flatten)]
    places: Places,
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, from 0.1 to 3600".to_owned()),
    }
}

pub async fn run(common: &Common, args: Args) -> Result<ExitCode, Failure> {
    let pace = Duration::from_secs_f64(args.interval);
    let http = args.places.known(common)?;
    let config = client_config(common);
    let config = ClientConfig {
        request_timeout: config.request_timeout.min(REQUEST_MAX),
        connect_timeout: config.connect_timeout.min(REQUEST_MAX),
        ..config
    };
    let client = connect_with(common, config).await?;
    let mut collector = collect::Collector::new(client, http);
    let first = collector.look().await.map_err(super::admin_failure)?;
    if !args.once && common.output == output::Format::Table && terminal::is_there() {
        live::run(collector, first, pace).await?;
        return Ok(ExitCode::SUCCESS);
    }
    tokio::time::sleep(pace).await;
    let second = collector.look().await.map_err(super::admin_failure)?;
    let model = model::Model::between(Some(&first), &second);
    output::print(common.output, &model, |model| render::report(model, args.max))?;
    Ok(ExitCode::SUCCESS)
}
