//! One TCP connection to a broker: requests go out in order, answers come back in the same order.
//!
//! Two tasks serve it, one per direction. It ends as a whole: at the first fault, at the first deadline missed, or
//! when it is closed. Then every request learns whether it had been written. It never reconnects by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_wire::{ApiKey, Frame, Request, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::address::HostPort;
use super::reply::Reply;
use super::segments::Segments;
use super::versions::BrokerVersions;
use crate::error::RequestError;

/// How many requests may wait to be written. Those who send many at once wait for a place.
const QUEUE_MAX: usize = 64;
/// The largest answer that is read. A fetch answer is bounded by what was asked for, plus one batch.
const ANSWER_SIZE_MAX: usize = 128 * 1024 * 1024;

/// A handle to a connection; clones share it. The connection closes when the last handle is dropped and all answers
/// have come.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
}

struct Shared {
    address: HostPort,
    client_id: String,
    versions: BrokerVersions,
    state: Mutex<State>,
    /// True once the connection has ended or must end.
    closed: watch::Sender<bool>,
}

struct State {
    next_correlation: i32,
    /// Those written and not answered, oldest first.
    pending: VecDeque<Pending>,
}

struct Pending {
    correlation: i32,
    answer: oneshot::Sender<Bytes>,
}

struct Outgoing {
    frame: Frame,
    correlation: i32,
    /// None for requests that are never answered.
    answer: Option<oneshot::Sender<Bytes>>,
    written: oneshot::Sender<()>,
}

/// The answer to come.
pub(crate) struct PendingReply {
    answer: Option<oneshot::Receiver<Bytes>>,
    written: oneshot::Receiver<()>,
    api: ApiKey,
    version: i16,
    connection: Arc<Shared>,
}

impl Connection {
    /// Takes over a fresh stream. `versions` are empty until the broker has told them; see [`Connection::learned`].
    pub fn start(stream: TcpStream, address: HostPort, client_id: &str) -> Connection {
        let (read, write) = stream.into_split();
        let (requests, outgoing) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            address,
            client_id: client_id.to_owned(),
            versions: BrokerVersions::default(),
            state: Mutex::new(State { next_correlation: 0, pending: VecDeque::new() }),
            closed: watch::Sender::new(false),
        });
        let state = Arc::new(Wire { shared: Arc::clone(&shared) });
        tokio::spawn(write_requests(write, outgoing, Arc::clone(&state)));
        tokio::spawn(read_answers(read, state));
        Connection { shared, requests }
    }
}
