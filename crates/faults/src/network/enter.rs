//! Moves the whole program into namespaces of its own, so that nothing it does touches the machine's network, and what
//! it mounts goes with it.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use super::device;

/// Names the namespace that the program came from. Not `KLAMM_…`: a node would take that for a setting.
const LEFT: &str = "FAULTS_LEFT_NETWORK";
const NAMESPACE: &str = "/proc/self/ns/net";

/// Starts the program anew in a network namespace of its own, in which nothing but a loopback device is, and in a mount
/// namespace of its own, whose mounts nobody else sees. Call it
/// first thing in `main`, before there is any thread and before anything was done. It returns at once in the program
/// that was started anew; if the machine lacks something, it says what, and the program goes on where it was.
///
/// Without root the program gets a user namespace too, in which it is root.
pub fn enter_own_namespace() -> anyhow::Result<()> {
    let here = namespace()?;
    if let Some(left) = std::env::var_os(LEFT) {
        ensure!(left != here, "`unshare` did not make a network namespace");
        return device::loopback_up();
    }
    ensure_tools()?;
    let unshare = unshare_arguments();
    let probe = Command::new("unshare")
        .args(&unshare)
        .arg("true")
        .stdin(Stdio::null())
        .output()
        .context("starting `unshare`")?;
    let said = String::from_utf8_lossy(&probe.stderr);
    ensure!(
        probe.status.success(),
        "no network namespace may be made here: {}",
        said.trim()
    );
    let program = std::env::current_exe().context("finding this program")?;
    let failed = Command::new("unshare")
        .args(&unshare)
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(LEFT, here)
        .exec();
    Err(failed).context("starting this program anew by `unshare`")
}

/// Whether the program runs in a network namespace of its own.
pub fn is_inside() -> anyhow::Result<bool> {
    let here = namespace()?;
    Ok(std::env::var_os(LEFT).is_some_and(|left| left != here))
}

fn namespace() -> anyhow::Result<OsString> {
    let link = std::fs::read_link(NAMESPACE).context("reading which network namespace this is")?;
    Ok(link.into_os_string())
}

fn unshare_arguments() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() {
        vec!["--mount", "--net", "--"]
    } else {
        vec!["--user", "--map-root-user", "--mount", "--net", "--"]
    }
}

/// Names what is missing of the tools and the device.
fn ensure_tools() -> anyhow::Result<()> {
    let mut missing = Vec::new();
    for (tool, package) in [("unshare", "util-linux"), ("nsenter", "util-linux"), ("ip", "iproute2")] {
        let mut command = Command::new(tool);
        command
            .arg("-V")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if command.status().is_err() {
            missing.push(format!("`{tool}` ({package})"));
        }
    }
    if let Err(error) = std::fs::File::options().read(true).write(true).open(device::TUN) {
        missing.push(format!("{} ({error})", device::TUN));
    }
    if !missing.is_empty() {
        bail!("missing: {}", missing.join(", "));
    }
    Ok(())
}
