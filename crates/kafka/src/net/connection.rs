//! One connection: requests in, answers out, in order.
//!
//! The rules, Kafka's:
//! * Answers leave in the order of their requests, always.
//! * Requests are carried out one at a time, so a Fetch that waits blocks what is behind it.
//! * Except that a Produce behind Produces that wait for their acknowledgement is handed to the broker at once, in
//!   the order of arrival: producers keep several requests in flight and expect no round trip between them.
//!
//! ```text
//!   socket ─► frames ─► held (one, waits until it is alone) ─┐
//!                 └──── Produce behind Produces ─────────────┴► in flight, in order ─► socket
//! ```
//!
//! An idle connection holds no buffer. Nothing here knows what a request means.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesOrdered, StreamExt};
use klamm_wire::ApiKey;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use crate::context::Client;
use crate::dispatch;

use super::frame::{Filled, FrameReader, ReadError};
use super::memory::Exhausted;
use super::outgoing::{Outgoing, WriteError};
use super::request::{Answer, Reply, Request, RequestError, Served};

/// What may be read ahead while the next request may not start: enough to notice that the peer has gone.
const READ_AHEAD_BYTES: usize = 4096;
/// A request larger than this that is no Produce takes more memory than its bytes when it is read.
const PLAIN_REQUEST_BYTES: usize = 64 * 1024;
const DECODED_PER_BYTE: usize = 16;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Closed {
    #[error("the peer closed it")]
    ByPeer,
    #[error("it was idle")]
    Idle,
    #[error("half a request had arrived and nothing followed")]
    Stalled,
    #[error("the node stops")]
    Stopping,
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<Exhausted> for Closed {
    fn from(exhausted: Exhausted) -> Self {
        Closed::Read(ReadError::Memory(exhausted))
    }
}

/// What happened while the connection waited.
enum Event {
    Answered(Answer),
    Filled(Result<Filled, ReadError>),
    Timer,
    Stop,
}

pub(crate) struct Connection {
    stream: TcpStream,
    client: Arc<Client>,
    reader: FrameReader,
    outgoing: Outgoing,
    /// Answers to come, in the order of their requests.
    in_flight: FuturesOrdered<BoxFuture<'static, Answer>>,
    /// Set while the request in flight is one behind which nothing may start.
    alone: Option<ApiKey>,
    /// A request that waits until nothing is in flight.
    held: Option<(Request, Served)>,
    /// Why no more requests are taken: the connection ends when what is in flight has been answered.
    ending: Option<Closed>,
    last_active: Instant,
}

impl Connection {
    pub fn new(stream: TcpStream, client: Arc<Client>) -> Self {
        let reader = FrameReader::new(client.shared.budget.clone(), client.shared.settings.request_bytes_max);
        Self {
            stream,
            client,
            reader,
            outgoing: Outgoing::default(),
            in_flight: FuturesOrdered::new(),
            alone: None,
            held: None,
            ending: None,
            last_active: Instant::now(),
        }
    }

    /// Serves until the connection ends; says why it did.
    pub async fn run(mut self, stop: CancellationToken) -> Closed {
        match self.serve(stop).await {
            Ok(never) => match never {},
            Err(closed) => closed,
        }
    }

    async fn serve(&mut self, stop: CancellationToken) -> Result<std::convert::Infallible, Closed> {
        let mut stop = pin!(stop.cancelled_owned());
        let mut timer = pin!(tokio::time::sleep_until(self.last_active + self.patience()));
        loop {
            self.start_what_may_start().await;
            if self.in_flight.is_empty()
                && let Some(closed) = self.ending.take()
            {
                return Err(closed);
            }
            if self.reader.holds_memory() && timer.deadline() > self.last_active + self.patience() {
                timer.as_mut().reset(self.last_active + self.patience());
            }
            match self.wait(timer.as_mut(), stop.as_mut()).await {
                Event::Answered(answer) => self.send(answer).await?,
                Event::Filled(Ok(Filled::More)) => self.last_active = Instant::now(),
                Event::Filled(Ok(Filled::End)) => self.peer_ended(),
                Event::Filled(Err(error)) => self.ending = Some(error.into()),
                Event::Timer => self.check_patience(timer.as_mut())?,
                Event::Stop => return Err(self.stop().await),
            }
        }
    }

    async fn wait(&mut self, timer: Pin<&mut Sleep>, stop: Pin<&mut impl Future<Output = ()>>) -> Event {
        let may_read = self.ending.is_none() && (self.may_start() || self.reader.buffered() < READ_AHEAD_BYTES);
        tokio::select! {
            biased;
            Some(answer) = self.in_flight.next(), if !self.in_flight.is_empty() => Event::Answered(answer),
            filled = self.reader.fill(&self.stream), if may_read => Event::Filled(filled),
            () = timer => Event::Timer,
            () = stop => Event::Stop,
        }
    }

    /// Whether a Produce that has arrived may start.
    fn may_start(&self) -> bool {
        let in_flight_max = self.client.shared.settings.produce_in_flight_max;
        self.held.is_none() && self.alone.is_none() && self.in_flight.len() < in_flight_max
    }

    async fn start_what_may_start(&mut self) {
        loop {
            if self.in_flight.is_empty()
                && let Some((request, served)) = self.held.take()
            {
                self.start_alone(request, served);
            }
            if !self.may_start() {
                return;
            }
            match self.take_request().await {
                Ok(Some(())) => {}
                Ok(None) => return,
                Err(closed) => {
                    self.ending = Some(closed);
                    return;
                }
            }
        }
    }

    /// Takes one request off the buffer: a Produce is started, another is held. `None`: there is none.
    async fn take_request(&mut self) -> Result<Option<()>, Closed> {
        if !matches!(self.ending, None | Some(Closed::ByPeer)) {
            return Ok(None);
        }
        let Some(mut frame) = self.reader.next_frame()? else {
            return Ok(None);
        };
        self.client.shared.metrics.received_bytes.add(frame.bytes.len() as u64);
        if is_large_plain(&frame.bytes) {
            let wanted = frame.bytes.len().saturating_mul(DECODED_PER_BYTE);
            let most = self.client.shared.settings.request_memory_bytes_max / 4;
            frame.hold.grow_to(wanted.min(most)).await?;
        }
        let (request, served) = Request::parse(frame.bytes, frame.hold)?;
        if request.key == ApiKey::Produce {
            let answer = dispatch::start_produce(self.client.clone(), request).await?;
            self.in_flight.push_back(answer);
        } else {
            self.held = Some((request, served));
        }
        Ok(Some(()))
    }

    fn start_alone(&mut self, request: Request, served: Served) {
        self.alone = Some(request.key);
        let client = self.client.clone();
        self.in_flight.push_back(dispatch::answer(client, request, served));
    }

    /// Sends an answer and with it those that are ready behind it.
    async fn send(&mut self, answer: Answer) -> Result<(), Closed> {
        let mut next = Some(answer);
        while let Some(answer) = next {
            self.alone = None;
            match answer {
                Ok(Reply::Frame(chunks, _)) => self.queue(chunks),
                Ok(Reply::Nothing) => {}
                Err(error) => {
                    // What was answered before the failure still reaches the client.
                    self.flush().await?;
                    return Err(error.into());
                }
            }
            next = ready(&mut self.in_flight).await;
        }
        self.flush().await?;
        self.last_active = Instant::now();
        Ok(())
    }

    fn queue(&mut self, chunks: Vec<Bytes>) {
        let bytes: usize = chunks.iter().map(Bytes::len).sum();
        self.client.shared.metrics.sent_bytes.add(bytes as u64);
        self.outgoing.push(chunks);
    }

    async fn flush(&mut self) -> Result<(), WriteError> {
        self.outgoing
            .send(&self.stream, self.client.shared.settings.idle_max)
            .await
    }

    /// Nothing more comes. Nobody waits for a Fetch any more; a Produce is carried out, answered or not.
    fn peer_ended(&mut self) {
        self.ending.get_or_insert(Closed::ByPeer);
        if self.alone == Some(ApiKey::Fetch) {
            self.in_flight = FuturesOrdered::new();
            self.alone = None;
        }
    }

    fn patience(&self) -> Duration {
        let settings = &self.client.shared.settings;
        if self.reader.holds_memory() {
            settings.stalled_max.min(settings.idle_max)
        } else {
            settings.idle_max
        }
    }

    /// The timer says only when to look; it is not moved with every request.
    fn check_patience(&mut self, timer: Pin<&mut Sleep>) -> Result<(), Closed> {
        let deadline = self.last_active + self.patience();
        if !self.in_flight.is_empty() {
            timer.reset(Instant::now() + self.patience());
        } else if deadline > Instant::now() {
            timer.reset(deadline);
        } else if self.reader.holds_memory() {
            return Err(Closed::Stalled);
        } else {
            return Err(Closed::Idle);
        }
        Ok(())
    }

    /// The node stops: what is under way is answered if that takes no longer than a moment, nothing new is begun.
    async fn stop(&mut self) -> Closed {
        let wait_max = self.client.shared.settings.stop_wait_max;
        let drain = async {
            while let Some(answer) = self.in_flight.next().await {
                let Ok(Reply::Frame(chunks, _)) = answer else { continue };
                self.queue(chunks);
                if self.outgoing.send(&self.stream, wait_max).await.is_err() {
                    return;
                }
            }
        };
        // Over time means that the peer learns nothing: for a Produce "possibly persisted", as after any reset.
        let _ = tokio::time::timeout(wait_max, drain).await;
        Closed::Stopping
    }
}

/// The next answer, if it is there already.
async fn ready(in_flight: &mut FuturesOrdered<BoxFuture<'static, Answer>>) -> Option<Answer> {
    if in_flight.is_empty() {
        return None;
    }
    tokio::select! {
        biased;
        answer = in_flight.next() => answer,
        () = std::future::ready(()) => None,
    }
}

/// Requests other than Produce become structs many times the size of their bytes.
fn is_large_plain(frame: &[u8]) -> bool {
    frame.len() > PLAIN_REQUEST_BYTES && frame.first_chunk::<2>() != Some(&ApiKey::Produce.code().to_be_bytes())
}
