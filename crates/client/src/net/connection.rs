//! One TCP connection to a broker: requests go out in order, answers come back in the same order.
//!
//! Two tasks serve it, one per direction. It ends as a whole: at the first fault, at the first deadline missed, or
//! when it is closed. Then every request learns whether it may have been written. It never reconnects by itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use klamm_wire::{ApiKey, Frame, Request, encode_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};

use super::address::HostPort;
use super::reply::Reply;
use super::segments::Segments;
use super::versions::BrokerVersions;
use crate::error::RequestError;

/// How many requests may wait to be written. Those who send more wait for a place.
const QUEUE_MAX: usize = 64;
/// The largest answer that is read. A fetch answer is bounded by what was asked for, plus one batch.
const ANSWER_SIZE_MAX: usize = 128 * 1024 * 1024;
/// Small answers are read together with their length.
const READ_BUFFER: usize = 16 * 1024;

/// A handle to a connection; clones share it. The connection closes when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
}

struct Shared {
    address: HostPort,
    client_id: String,
    versions: OnceLock<BrokerVersions>,
    state: Mutex<State>,
    /// True once the connection has ended or must end.
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    next_correlation: i32,
    /// Those written, or being written, and not answered; oldest first.
    pending: VecDeque<Pending>,
}

/// What became of a request that got no answer.
enum Ended {
    NotSent,
    Lost,
}

type AnswerSender = oneshot::Sender<Result<Bytes, Ended>>;

struct Pending {
    correlation: i32,
    answer: AnswerSender,
}

/// Whether the broker answers a request at all. Produce with acks 0 is the only one that it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Answer,
    Nothing,
}

struct Outgoing {
    frame: Frame,
    correlation: i32,
    expect: Expect,
    answer: AnswerSender,
}

/// The answer to come. Holds the connection open.
pub(crate) struct PendingReply {
    answer: oneshot::Receiver<Result<Bytes, Ended>>,
    api: ApiKey,
    version: i16,
    connection: Connection,
}

impl Connection {
    /// Takes over a fresh stream.
    pub fn start(stream: TcpStream, address: HostPort, client_id: &str) -> Connection {
        let (read, write) = stream.into_split();
        let (requests, outgoing) = mpsc::channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            address,
            client_id: client_id.to_owned(),
            versions: OnceLock::new(),
            state: Mutex::new(State::default()),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(write_requests(write, outgoing, Arc::clone(&shared)));
        tokio::spawn(read_answers(read, Arc::clone(&shared)));
        Connection { shared, requests }
    }

    pub fn address(&self) -> &HostPort {
        &self.shared.address
    }

    /// What the broker speaks; nothing before the handshake.
    pub fn versions(&self) -> &BrokerVersions {
        self.shared.versions.get_or_init(BrokerVersions::default)
    }

    /// Keeps what the handshake brought; only the first call counts.
    pub fn set_versions(&self, versions: BrokerVersions) {
        let _ = self.shared.versions.set(versions);
    }

    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Ends the connection; whatever waits for an answer is lost.
    pub fn close(&self) {
        self.shared.closed.send_replace(true);
    }

    /// Encodes a request and queues it. A full queue counts as a connection that is not there: for callers that bound what
    /// they send.
    pub fn submit_now<R: Request>(
        &self,
        request: &R,
        version: i16,
        expect: Expect,
    ) -> Result<PendingReply, RequestError> {
        let (outgoing, reply) = self.prepare(request, version, expect)?;
        self.requests.try_send(outgoing).map_err(|_| self.not_sent(R::KEY))?;
        Ok(reply)
    }

    /// Sends a request in the highest common version and waits for its answer.
    pub async fn call<R: Request>(&self, request: &R, timeout: Duration) -> Result<Reply, RequestError> {
        self.call_up_to(request, i16::MAX, timeout).await
    }

    /// As `call`, but in no version above `version_max`.
    pub async fn call_up_to<R: Request>(
        &self,
        request: &R,
        version_max: i16,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let version = self.version::<R>(version_max)?;
        self.call_in(request, version, timeout).await
    }

    /// Sends a request in exactly this version and waits for its answer.
    pub async fn call_in<R: Request>(
        &self,
        request: &R,
        version: i16,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let (outgoing, reply) = self.prepare(request, version, Expect::Answer)?;
        self.exchange(outgoing, reply, timeout).await
    }

    /// The version in which to send an `R`.
    pub fn version<R: Request>(&self, max: i16) -> Result<i16, RequestError> {
        let unsupported = || RequestError::Unsupported {
            address: self.shared.address.clone(),
            api: R::KEY,
        };
        self.versions().choose_up_to(R::KEY, max).ok_or_else(unsupported)
    }

    fn prepare<R: Request>(
        &self,
        request: &R,
        version: i16,
        expect: Expect,
    ) -> Result<(Outgoing, PendingReply), RequestError> {
        let correlation = self.shared.next_correlation();
        let frame = encode_request(request, version, correlation, Some(&self.shared.client_id))
            .map_err(|cause| RequestError::Encode { api: R::KEY, cause })?;
        let (sender, answer) = oneshot::channel();
        let outgoing = Outgoing {
            frame,
            correlation,
            expect,
            answer: sender,
        };
        Ok((
            outgoing,
            PendingReply {
                answer,
                api: R::KEY,
                version,
                connection: self.clone(),
            },
        ))
    }

    /// Waits for a place in the queue, then for the answer. The same for every kind of request, and so compiled once.
    async fn exchange(
        &self,
        outgoing: Outgoing,
        reply: PendingReply,
        timeout: Duration,
    ) -> Result<Reply, RequestError> {
        let api = reply.api;
        let exchange = async {
            match self.requests.send(outgoing).await {
                Ok(()) => reply.wait().await,
                Err(_) => Err(self.not_sent(api)),
            }
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(self.timed_out(api, timeout)),
        }
    }

    fn not_sent(&self, api: ApiKey) -> RequestError {
        RequestError::NotSent {
            address: self.shared.address.clone(),
            api,
        }
    }

    fn timed_out(&self, api: ApiKey, waited: Duration) -> RequestError {
        self.close();
        RequestError::TimedOut {
            address: self.shared.address.clone(),
            api,
            waited,
        }
    }
}

impl PendingReply {
    /// Waits for the answer, however long it takes. A request that is never answered is done when it is written.
    pub async fn wait(self) -> Result<Reply, RequestError> {
        let PendingReply {
            answer,
            api,
            version,
            connection,
        } = self;
        let address = || connection.shared.address.clone();
        match answer.await {
            Ok(Ok(frame)) => Ok(Reply { frame, version }),
            Ok(Err(Ended::NotSent)) => Err(RequestError::NotSent {
                address: address(),
                api,
            }),
            Ok(Err(Ended::Lost)) | Err(_) => Err(RequestError::Lost {
                address: address(),
                api,
            }),
        }
    }

    /// Waits for the answer; when `timeout` is over, the connection is closed.
    pub async fn wait_for(self, timeout: Duration) -> Result<Reply, RequestError> {
        let (api, connection) = (self.api, self.connection.clone());
        match tokio::time::timeout(timeout, self.wait()).await {
            Ok(result) => result,
            Err(_) => Err(connection.timed_out(api, timeout)),
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic halfway through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_correlation(&self) -> i32 {
        let mut state = self.state();
        state.next_correlation = state.next_correlation.wrapping_add(1) & i32::MAX;
        state.next_correlation
    }

    /// Ends the connection and tells those who wait. Nothing enters `pending` afterwards.
    fn end(&self) {
        self.closed.send_replace(true);
        for pending in std::mem::take(&mut self.state().pending) {
            let _ = pending.answer.send(Err(Ended::Lost));
        }
    }

    /// Gives an answer to the request it belongs to; false if it belongs to none.
    fn deliver(&self, frame: Bytes) -> bool {
        let Some(correlation) = frame.first_chunk::<4>().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return false;
        };
        let Some(pending) = self.state().pending.pop_front() else {
            return false;
        };
        if pending.correlation != correlation {
            let _ = pending.answer.send(Err(Ended::Lost));
            return false;
        }
        let _ = pending.answer.send(Ok(frame));
        true
    }
}

async fn write_requests(mut write: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Outgoing>, shared: Arc<Shared>) {
    let mut closed = shared.closed.subscribe();
    loop {
        let next = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => None,
            next = outgoing.recv() => next,
        };
        let Some(request) = next else { break };
        let mut segments = Segments::new(request.frame.into_segments());
        let done = match request.expect {
            Expect::Answer => {
                // Before the write, because the answer may come before the write call returns.
                let pending = Pending {
                    correlation: request.correlation,
                    answer: request.answer,
                };
                shared.state().pending.push_back(pending);
                None
            }
            Expect::Nothing => Some(request.answer),
        };
        let written = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            written = write.write_all_buf(&mut segments) => written,
        };
        if written.is_err() {
            break;
        }
        if let Some(answer) = done {
            let _ = answer.send(Ok(Bytes::new()));
        }
    }
    shared.end();
    outgoing.close();
    while let Ok(request) = outgoing.try_recv() {
        let _ = request.answer.send(Err(Ended::NotSent));
    }
}

async fn read_answers(read: OwnedReadHalf, shared: Arc<Shared>) {
    let mut read = BufReader::with_capacity(READ_BUFFER, read);
    let mut closed = shared.closed.subscribe();
    loop {
        let frame = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => break,
            frame = read_frame(&mut read) => frame,
        };
        let Ok(Some(frame)) = frame else { break };
        if !shared.deliver(frame) {
            break;
        }
    }
    shared.end();
}

/// Reads one answer; `None` if its length is impossible.
async fn read_frame(read: &mut BufReader<OwnedReadHalf>) -> std::io::Result<Option<Bytes>> {
    let length = read.read_i32().await?;
    let Ok(length @ 4..=ANSWER_SIZE_MAX) = usize::try_from(length) else {
        return Ok(None);
    };
    let mut frame = BytesMut::with_capacity(length);
    let mut limited = read.take(length as u64);
    while frame.len() < length {
        if limited.read_buf(&mut frame).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(Some(frame.freeze()))
}
