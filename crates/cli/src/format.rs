//! `klamm format`: gives a data directory its cluster before the first start, for those who do not want it agreed.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use klamm_broker::lifecycle::directory::{DataDirectory, kernel_boot_id};
use klamm_types::{ClusterId, DirectoryId, NodeId};
use serde_json::json;

use crate::Common;
use crate::failure::Failure;
use crate::output;

#[derive(clap::Args)]
pub struct Args {
    /// The directory of the node that is to be.
    #[arg(long)]
    data_dir: PathBuf,
    /// The node's number.
    #[arg(long)]
    node: i32,
    /// The cluster's id, 22 characters of URL-safe base64 [default: a new one, to be given to the other nodes].
    #[arg(long)]
    cluster_id: Option<ClusterId>,
}

pub fn run(common: &Common, args: &Args) -> Result<ExitCode, Failure> {
    let cluster = args.cluster_id.unwrap_or_else(|| ClusterId::from_u128(rand::random()));
    let fresh = DirectoryId::from_u128(rand::random());
    let directory = DataDirectory::open(&args.data_dir, NodeId(args.node), fresh, &kernel_boot_id());
    let mut directory = directory.context("opening the data directory")?;
    // A directory that belongs to a cluster already is refused unless it is this one.
    directory
        .join(cluster)
        .map_err(|error| Failure::new(Failure::REFUSED, error.into()))?;
    let value = json!({"cluster_id": cluster.to_string(), "directory_id": directory.id.to_string()});
    output::print(common.output, &value, |_| cluster.to_string())?;
    Ok(ExitCode::SUCCESS)
}
