//! `klamm healthcheck`: asks the node on this machine whether it serves, or only whether it is alive. An image without
//! a shell has no other way to ask; it reads the same settings as the node that it stands beside.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use klamm_broker::config;

use crate::failure::Failure;
use crate::{http, output};

#[derive(clap::Args)]
pub struct Args {
    /// Ask only whether the node's parts answer, not whether it is registered, in session and serves its partitions.
    #[arg(long)]
    live: bool,
    /// Ask also whether every replica on the node is in sync, so that another node may be stopped.
    #[arg(long, conflicts_with = "live")]
    in_sync: bool,
    /// Where the node serves HTTP [default: this machine, at the port of http_bind].
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// The file with the node's settings, if they are not all in KLAMM_* variables.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub async fn run(args: Args) -> Result<ExitCode, Failure> {
    let address = match args.address {
        Some(address) => address,
        None => {
            let environment: BTreeMap<_, _> = std::env::vars().collect();
            let config = config::read(args.config.as_deref(), &environment, &[]).map_err(anyhow::Error::new)?;
            reached_from_here(&config.http_bind)
        }
    };
    let (path, quality) = if args.live {
        ("/healthz", "alive")
    } else if args.in_sync {
        ("/in-sync", "in sync")
    } else {
        ("/readyz", "ready")
    };
    http::get(&address, path)
        .await
        .with_context(|| format!("the node is not {quality}"))?;
    output::print_out(&format!("{address} is {quality}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Where this machine reaches what is bound to `bound`.
fn reached_from_here(bound: &str) -> String {
    match bound.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(address)) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv4Addr::LOCALHOST, address.port())).to_string()
        }
        Ok(SocketAddr::V6(address)) if address.ip().is_unspecified() => {
            SocketAddr::from((Ipv6Addr::LOCALHOST, address.port())).to_string()
        }
        _ => bound.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_asked_on_its_own_machine() {
        for (bound, expected) in [
            ("0.0.0.0:7080", "127.0.0.1:7080"),
            ("[::]:7080", "[::1]:7080"),
            ("10.1.2.3:7081", "10.1.2.3:7081"),
            ("node-1:7080", "node-1:7080"),
        ] {
            assert_eq!(reached_from_here(bound), expected);
        }
    }
}
