//! A disk that can be broken, and a machine around it that can lose power: its node is told another boot id then.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::disk::{self, Disk, Survivors};
use crate::fault::Trouble;

/// Where the kernel tells by which boot of the machine it runs.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// In a mount namespace of its own: puts a file ($1) in its place, and lets go of the disks of others ($2 is the node's own),
/// which would not end as long as it held them.
const ENTER: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id || exit 1
while read -r what at rest; do
  if [ "$what" = klamm-faults ] && [ "$at" != "$2" ]; then umount --lazy "$at"; fi
done </proc/self/mounts
shift 2
exec "$@""#;

pub struct BreakableDisk {
    disk: Disk,
    boot_id: PathBuf,
}

impl BreakableDisk {
    /// Mounts it where a node's data are to be; what it holds lies beside.
    pub fn mount(at: &Path) -> anyhow::Result<BreakableDisk> {
        std::fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
        let backing = at.with_extension("disk");
        std::fs::create_dir_all(&backing).with_context(|| format!("creating {}", backing.display()))?;
        let disk = Disk::mount(&backing, at)?;
        let boot_id = at.with_extension("boot-id");
        std::fs::copy(BOOT_ID, &boot_id).context("copying the boot id")?;
        Ok(BreakableDisk { disk, boot_id })
    }

    /// What stands before the node's command line.
    pub fn prefix(&self) -> Vec<OsString> {
        let words = ["unshare", "--mount", "--", "sh", "-c", ENTER, "-"];
        let words = words.into_iter().map(OsString::from);
        words
            .chain([self.boot_id.clone().into(), self.disk.at().into()])
            .collect()
    }

    /// Something is wrong with it from now on, as far as segments of a topic are concerned where it concerns files.
    pub fn set(&self, trouble: Trouble, topic: &str) {
        let segments = format!("*{topic}-*.log");
        self.disk.set(match trouble {
            Trouble::FailedWrite => disk::Trouble::fail_writes().only(&segments),
            Trouble::FailedSync => disk::Trouble::fail_syncs().only(&segments),
            Trouble::Stall(length) => disk::Trouble::stall(Some(length)),
            Trouble::StalledSync(length) => disk::Trouble::stall_syncs(Some(length)),
        });
    }

    pub fn mend(&self) {
        self.disk.heal();
    }

    /// How often it has failed or stood still.
    pub fn hits(&self) -> u64 {
        let counters = self.disk.counters();
        counters.failed_writes + counters.failed_syncs + counters.stalled
    }

    /// Takes back what was not synced, but for single pages that chance has written; the machine starts anew.
    pub fn lose_power(&mut self) -> anyhow::Result<()> {
        self.disk
            .power_loss(Survivors::SomePages { seed: rand::random() })
            .context("losing power")?;
        let random: u128 = rand::random();
        let hex = format!("{random:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        std::fs::write(&self.boot_id, parts.join("-") + "\n").context("writing another boot id")
    }
}
