//! `klamm quorum recover`: a new quorum from what is left of the old one. Works on files alone.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use klamm_broker::lifecycle::directory::{DataDirectory, kernel_boot_id, stored_cluster};
use klamm_types::{DirectoryId, NodeId};

use crate::failure::Failure;
use crate::output;

#[derive(clap::Args)]
pub struct Args {
    /// The data directory of the node that becomes the only voter.
    #[arg(long)]
    data_dir: PathBuf,
    /// This node's number.
    #[arg(long)]
    node: i32,
    /// This node's gRPC address, HOST:PORT.
    #[arg(long)]
    address: String,
    /// Take the metadata from this file, which `klamm quorum backup` wrote, and from nothing else.
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let (folder, node) = (args.data_dir.join("quorum"), NodeId(args.node));
    let plan = match &args.from {
        Some(backup) => klamm_controller::recover::plan_from(backup, &folder, node, &args.address),
        None => klamm_controller::recover::plan(&folder, node, &args.address),
    };
    let plan = plan.context("reading the metadata")?;
    let owner = stored_cluster(&args.data_dir).context("reading whose the data directory is")?;
    if let Some(owner) = owner.filter(|owner| *owner != plan.cluster_id) {
        let error = anyhow!(
            "the metadata is cluster {}'s, and the data directory belongs to cluster {owner}",
            plan.cluster_id
        );
        return Err(Failure::new(Failure::REFUSED, error));
    }
    output::print_out(&plan.to_string())?;
    if !args.dry_run {
        // Held to the end: nobody may run on it. An empty directory is given its owner.
        let fresh = DirectoryId::from_u128(rand::random());
        let directory = DataDirectory::open(&args.data_dir, node, fresh, &kernel_boot_id());
        let mut directory = directory.context("opening the data directory")?;
        directory
            .join(plan.cluster_id)
            .context("giving the data directory its cluster")?;
        plan.carry_out().context("building the new quorum")?;
    }
    Ok(())
}
