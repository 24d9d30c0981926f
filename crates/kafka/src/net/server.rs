//! Listeners: bind, accept, and stop. Which requests there are is not known here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use klamm_broker::backend::Backend;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::context::{Client, Listener, Shared};
use crate::metrics::Metrics;
use crate::settings::{ListenerSettings, Settings};

use super::connection::{Closed, Connection};

/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;
/// After a failed accept (out of file descriptors, mostly) nothing is gained by trying at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Trouble that a stranger can cause is logged at most so often.
const LOG_INTERVAL_MS: u64 = 1000;

/// Why the front end does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("looking up {host:?}, the address of the listener {listener}")]
    Lookup {
        listener: String,
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the host {host:?} of the listener {listener} has no address")]
    NoAddress { listener: String, host: String },
    #[error("binding the listener {listener} to {address}")]
    Bind {
        listener: String,
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("no listener is set")]
    NoListener,
}

/// Where a listener listens, known before anything is served: a broker registers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundListener {
    pub name: String,
    pub address: SocketAddr,
    /// `None`: clients are told the address at which their connection arrived.
    pub advertised_host: Option<String>,
    pub advertised_port: u16,
}

/// Sockets that are bound but not yet served. Clients that connect wait.
pub struct Bound {
    sockets: Vec<(Arc<Listener>, TcpListener)>,
    listeners: Vec<BoundListener>,
    settings: Settings,
    metrics: Arc<Metrics>,
}

impl Bound {
    /// Binds every listener, or none.
    pub async fn bind(settings: Settings) -> Result<Bound, BindError> {
        if settings.listeners.is_empty() {
            return Err(BindError::NoListener);
        }
        let (mut sockets, mut listeners) = (Vec::new(), Vec::new());
        for listener in &settings.listeners {
            let (socket, address) = bind(listener).await?;
            let advertised_port = listener
                .advertised_port
                .filter(|&port| port != 0)
                .unwrap_or(address.port());
            let info = Listener {
                name: listener.name.clone(),
                advertised_host: listener.advertised_host.clone(),
                advertised_port,
            };
            sockets.push((Arc::new(info), socket));
            listeners.push(BoundListener {
                name: listener.name.clone(),
                address,
                advertised_host: listener.advertised_host.clone(),
                advertised_port,
            });
        }
        Ok(Bound {
            sockets,
            listeners,
            settings,
            metrics: Arc::default(),
        })
    }

    /// Every listener in the order of the settings.
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// What is counted once it serves.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.metrics.clone()
    }

    /// Begins to serve, on the runtime that this is called in.
    pub fn serve(self, backend: Arc<dyn Backend>) -> Server {
        let connections = Arc::new(Semaphore::new(
            self.settings.connections_max.min(Semaphore::MAX_PERMITS),
        ));
        let shared = Arc::new(Shared::new(backend, self.settings, self.metrics));
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for (listener, socket) in self.sockets {
            let acceptor = Acceptor {
                shared: shared.clone(),
                listener,
                connections: connections.clone(),
                stop: stop.clone(),
                tasks: tasks.clone(),
                log: LogLimit::default(),
            };
            tasks.spawn(Arc::new(acceptor).accept(socket));
        }
        Server {
            listeners: self.listeners,
            stop,
            tasks,
        }
    }
}

/// A front end that serves. Dropping it does not stop it.
pub struct Server {
    listeners: Vec<BoundListener>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    pub fn listeners(&self) -> &[BoundListener] {
        &self.listeners
    }

    /// Takes no more connections and no more requests, answers what is under way for a moment, closes everything.
    /// The broker moves its leaderships away before it calls this.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

struct Acceptor {
    shared: Arc<Shared>,
    listener: Arc<Listener>,
    connections: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
    log: LogLimit,
}

impl Acceptor {
    async fn accept(self: Arc<Self>, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.begin(stream, peer),
                Err(error) => {
                    if let Some(missed) = self.log.may_log() {
                        tracing::warn!(listener = self.listener.name, %error, missed, "accepting a connection failed");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn begin(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr) {
        let Ok(place) = self.connections.clone().try_acquire_owned() else {
            self.shared.metrics.refused.add(1);
            if let Some(missed) = self.log.may_log() {
                tracing::warn!(listener = self.listener.name, %peer, missed, "too many connections, one is refused");
            }
            return;
        };
        let Ok(local) = prepare(&stream) else { return };
        let acceptor = self.clone();
        let client = Client {
            shared: self.shared.clone(),
            listener: self.listener.clone(),
            local,
            peer,
        };
        let connection = Connection::new(stream, Arc::new(client));
        let stop = self.stop.clone();
        self.shared.metrics.connections.add(1);
        self.tasks.spawn(async move {
            let closed = connection.run(stop).await;
            drop(place);
            acceptor.shared.metrics.closed.add(1);
            acceptor.log_close(peer, &closed);
        });
    }

    fn log_close(&self, peer: SocketAddr, closed: &Closed) {
        match closed {
            Closed::ByPeer | Closed::Idle | Closed::Stopping | Closed::Write(_) => {
                tracing::debug!(listener = self.listener.name, %peer, reason = %closed, "connection closed");
            }
            Closed::Stalled | Closed::Read(_) | Closed::Request(_) => {
                self.shared.metrics.broken.add(1);
                if let Some(missed) = self.log.may_log() {
                    let cause = std::error::Error::source(closed).map(ToString::to_string);
                    tracing::info!(listener = self.listener.name, %peer, reason = %closed, cause, missed,
                        "connection closed");
                }
            }
        }
    }
}

async fn bind(listener: &ListenerSettings) -> Result<(TcpListener, SocketAddr), BindError> {
    let (name, host) = (listener.name.clone(), listener.bind_host.clone());
    let found = tokio::net::lookup_host((listener.bind_host.as_str(), listener.bind_port)).await;
    let address = match found.map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => address,
        Ok(None) => return Err(BindError::NoAddress { listener: name, host }),
        Err(source) => {
            return Err(BindError::Lookup {
                listener: name,
                host,
                source,
            });
        }
    };
    let open = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A node that is started again takes its port back although old connections linger.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let socket = socket.listen(BACKLOG)?;
        let address = socket.local_addr()?;
        Ok((socket, address))
    };
    open().map_err(|source| BindError::Bind {
        listener: name,
        address,
        source,
    })
}

/// Sets a new connection up; gives the address at which it arrived.
fn prepare(stream: &TcpStream) -> std::io::Result<SocketAddr> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.local_addr()
}

/// Lets one line through per interval and counts the others.
#[derive(Debug)]
struct LogLimit {
    since: std::time::Instant,
    next_ms: AtomicU64,
    missed: AtomicU64,
}

impl Default for LogLimit {
    fn default() -> Self {
        Self {
            since: std::time::Instant::now(),
            next_ms: AtomicU64::new(0),
            missed: AtomicU64::new(0),
        }
    }
}

impl LogLimit {
    /// How many lines were left out before this one; `None`: leave this one out too.
    fn may_log(&self) -> Option<u64> {
        let now = u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        let next = self.next_ms.load(Ordering::Relaxed);
        let taken = now >= next
            && self
                .next_ms
                .compare_exchange(
                    next,
                    now.saturating_add(LOG_INTERVAL_MS),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok();
        if taken {
            return Some(self.missed.swap(0, Ordering::Relaxed));
        }
        self.missed.fetch_add(1, Ordering::Relaxed);
        None
    }
}
