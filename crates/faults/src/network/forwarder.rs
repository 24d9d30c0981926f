//! The thread that carries packets: reads them from the hosts' devices, asks the sky, writes what arrives.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tracing::{debug, warn};

use super::device::{Device, MTU};
use super::sky::{Delivery, Sky};
use super::{host_of, packet};

/// How many packets are read from one device before the others have their turn.
const TURN_PACKETS: usize = 32;

/// How many packets may be under way; what comes beyond is dropped. It is 900 MB at most.
const UNDER_WAY_MAX: usize = 100_000;

/// What the thread shares with the network that it belongs to.
pub struct Shared {
    pub sky: Mutex<Sky>,
    /// Devices that the thread has not taken over yet, and whether it is to end.
    orders: Mutex<Orders>,
    wake: OwnedFd,
}

#[derive(Default)]
struct Orders {
    joined: Vec<(i32, Arc<Device>)>,
    end: bool,
}

impl Shared {
    pub fn new(sky: Sky) -> anyhow::Result<Shared> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Shared {
            sky: Mutex::new(sky),
            orders: Mutex::default(),
            wake: eventfd(0, flags).context("making an eventfd")?,
        })
    }

    pub fn join(&self, id: i32, device: Device) {
        self.order(|orders| orders.joined.push((id, Arc::new(device))));
    }

    pub fn end(&self) {
        self.order(|orders| orders.end = true);
    }

    fn order(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.orders.lock().unwrap_or_else(PoisonError::into_inner));
        // It cannot block, and fails only when the counter is full, which wakes as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// Runs until it is told to end.
pub struct Forwarder {
    shared: Arc<Shared>,
    start: Instant,
    devices: Vec<(i32, Arc<Device>)>,
    /// What is under way, the earliest first; of the same time, in the order in which it was sent.
    under_way: BinaryHeap<Reverse<Waiting>>,
    sent: u64,
    buffer: Vec<u8>,
}

struct Waiting {
    number: u64,
    delivery: Delivery,
}

impl Forwarder {
    pub fn new(shared: Arc<Shared>) -> Forwarder {
        Forwarder {
            shared,
            start: Instant::now(),
            devices: Vec::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
            buffer: vec![0; MTU],
        }
    }

    pub fn run(mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    warn!(%error, "the network stands still: waiting for packets failed");
                    return;
                }
            };
            for index in ready {
                self.take(index);
            }
            self.deliver();
            if !self.obey() {
                return;
            }
        }
    }

    /// Waits for packets, orders or the time of the next delivery; returns which devices have packets.
    fn wait(&self) -> std::io::Result<Vec<usize>> {
        let next = self.under_way.peek().map(|Reverse(waiting)| waiting.delivery.at);
        let wait = next.map(|at| at.saturating_sub(self.start.elapsed()));
        let wait = wait.and_then(|wait| Timespec::try_from(wait).ok());
        let mut handles = vec![PollFd::new(&self.shared.wake, PollFlags::IN)];
        for (_, device) in &self.devices {
            handles.push(PollFd::from_borrowed_fd(device.tun.as_fd(), PollFlags::IN));
        }
        match poll(&mut handles, wait.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let has_packets = |index: &usize| handles[index + 1].revents().contains(PollFlags::IN);
        Ok((0..self.devices.len()).filter(has_packets).collect())
    }

    /// Reads packets of one host and lets the sky judge them.
    fn take(&mut self, index: usize) {
        let (from, device) = self.devices[index].clone();
        for _ in 0..TURN_PACKETS {
            let bytes = match (&device.tun).read(&mut self.buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    debug!(%error, from, "a packet could not be read");
                    return;
                }
            };
            // IPv6 looks for neighbours, programs for the Internet: neither is here.
            let packet = &self.buffer[..bytes];
            let Some(to) = packet::destination(packet).and_then(host_of) else {
                continue;
            };
            if self.under_way.len() >= UNDER_WAY_MAX {
                self.sky().overflow(from, to);
                continue;
            }
            let now = self.start.elapsed();
            let deliveries = self.sky().judge(now, from, to, packet.to_vec());
            for delivery in deliveries {
                self.sent += 1;
                let number = self.sent;
                self.under_way.push(Reverse(Waiting { number, delivery }));
            }
        }
    }

    /// Gives the receiving kernels what is due.
    fn deliver(&mut self) {
        let now = self.start.elapsed();
        while let Some(Reverse(first)) = self.under_way.peek()
            && first.delivery.at <= now
        {
            let Some(Reverse(Waiting { delivery, .. })) = self.under_way.pop() else {
                return;
            };
            let Some((_, device)) = self.devices.iter().find(|(id, _)| *id == delivery.to) else {
                continue;
            };
            let device = device.clone();
            if !self.sky().arrives(&delivery) {
                continue;
            }
            if let Err(error) = (&device.tun).write(&delivery.packet) {
                debug!(%error, to = delivery.to, "a packet was refused");
            }
        }
    }

    /// Takes new devices over; false, if it is time to end.
    fn obey(&mut self) -> bool {
        // What is read is how often it was woken, which does not matter.
        let _ = rustix::io::read(&self.shared.wake, &mut [0; 8]);
        let mut orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
        self.devices.append(&mut orders.joined);
        !orders.end
    }

    fn sky(&self) -> std::sync::MutexGuard<'_, Sky> {
        self.shared.sky.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn place(&self) -> (Duration, u64) {
        (self.delivery.at, self.number)
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> std::cmp::Ordering {
        self.place().cmp(&other.place())
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Waiting {}
