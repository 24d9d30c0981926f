//! Network namespaces and the TUN device in each. All of it lives as long as its file handles: it ends with the
//! process that holds them, however that ends.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, ensure};
use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Where the kernel hands out TUN devices.
pub const TUN: &str = "/dev/net/tun";
const NAME: &str = "klamm0";
/// Large, so that a gigabyte is 110,000 packets, each of which costs two system calls.
pub const MTU: usize = 9000;
/// How many packets wait for the forwarder before the kernel drops some.
const QUEUE_PACKETS: usize = 5000;

/// The way out of a namespace: what its processes send is read from it, what is written to it arrives there.
pub struct Device {
    pub tun: File,
}

/// A network namespace, held open.
pub struct Namespace(OwnedFd);

impl Namespace {
    /// A path by which others enter it, for as long as this lives.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}

/// A new namespace, with a device that has this address.
pub fn in_new_namespace(address: Ipv4Addr) -> anyhow::Result<(Namespace, Device)> {
    // Only the thread moves; it ends, and the namespace is held by its handle.
    let work = move || -> anyhow::Result<(Namespace, Device)> {
        // SAFETY: only the network namespace is unshared; the table of file handles stays the one of all threads.
        #[allow(unsafe_code)]
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.context("making a network namespace")?;
        let held = File::open("/proc/thread-self/ns/net").context("holding the network namespace")?;
        Ok((Namespace(held.into()), here(address)?))
    };
    let thread = thread::Builder::new().name("namespace".to_owned()).spawn(work)?;
    thread
        .join()
        .map_err(|_| anyhow::anyhow!("the thread that makes namespaces panicked"))?
}

/// A device with this address in the namespace of the calling thread.
pub fn here(address: Ipv4Addr) -> anyhow::Result<Device> {
    let tun = open(NAME)?;
    let network = "link set lo up\n";
    let device =
        format!("address add {address}/24 dev {NAME}\nlink set {NAME} mtu {MTU} txqueuelen {QUEUE_PACKETS} up\n");
    ip(&[network, &device].concat())?;
    Ok(Device { tun })
}

/// Brings the loopback device of the calling thread's namespace up.
pub fn loopback_up() -> anyhow::Result<()> {
    ip("link set lo up\n")
}

/// Runs commands of `ip` in the namespace of the calling thread.
fn ip(commands: &str) -> anyhow::Result<()> {
    let mut child = Command::new("ip")
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting `ip` (of iproute2)")?;
    let mut stdin = child.stdin.take().context("`ip` has no standard input")?;
    stdin
        .write_all(commands.as_bytes())
        .context("telling `ip` what to do")?;
    drop(stdin);
    let output = child.wait_with_output().context("waiting for `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`ip` failed: {}", said.trim());
    Ok(())
}

/// What `TUNSETIFF` takes: `struct ifreq` with a name and flags.
#[repr(C)]
struct InterfaceRequest {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// IP packets, nothing before them.
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;
/// The number is made with `int`, although a `struct ifreq` is passed.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);

fn open(name: &str) -> anyhow::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let tun = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nonblocking)
        .open(TUN)
        .with_context(|| format!("opening {TUN}"))?;
    let mut request = InterfaceRequest {
        name: [0; 16],
        flags: IFF_TUN | IFF_NO_PI,
        rest: [0; 22],
    };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // SAFETY: TUNSETIFF reads (and writes back) a `struct ifreq` of 40 bytes, which `InterfaceRequest` is laid out as.
    #[allow(unsafe_code)]
    unsafe { ioctl(&tun, Setter::<TUNSETIFF, _>::new(request)) }.context("making a TUN device")?;
    Ok(tun)
}
