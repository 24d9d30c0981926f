//! Connections over turmoil's network, which can also be reset.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, stream};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

use crate::network::channel::CONNECT_TIMEOUT;

pub const PORT: u16 = 9190;

thread_local! {
    /// How often the connections between two hosts were reset.
    static RESETS: RefCell<BTreeMap<(IpAddr, IpAddr), u64>> = const { RefCell::new(BTreeMap::new()) };
    static DIALS: Cell<u64> = const { Cell::new(0) };
}

/// How many connections were dialled since this was last asked.
pub fn dials() -> u64 {
    DIALS.take()
}

fn resets(a: IpAddr, b: IpAddr) -> u64 {
    let found = RESETS.try_with(|resets| resets.borrow().get(&(a.min(b), a.max(b))).copied());
    found.ok().flatten().unwrap_or(0)
}

/// Breaks every connection between the two when it is next used.
pub fn reset(a: IpAddr, b: IpAddr) {
    RESETS.with(|resets| *resets.borrow_mut().entry((a.min(b), a.max(b))).or_default() += 1);
}

/// A connection that ends when its hosts' connections are reset.
pub struct Connection {
    stream: TcpStream,
    ends: (IpAddr, IpAddr),
    resets: u64,
}

impl Connection {
    fn new(stream: TcpStream) -> io::Result<Connection> {
        let ends = (stream.local_addr()?.ip(), stream.peer_addr()?.ip());
        let resets = resets(ends.0, ends.1);
        Ok(Connection { stream, ends, resets })
    }

    fn check(&self) -> io::Result<()> {
        match resets(self.ends.0, self.ends.1) == self.resets {
            true => Ok(()),
            false => Err(io::ErrorKind::ConnectionReset.into()),
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Dials for tonic.
pub fn connector() -> impl tower::Service<
    Uri,
    Response = TokioIo<Connection>,
    Error = io::Error,
    Future: Future<Output = io::Result<TokioIo<Connection>>> + Send + 'static,
> + Clone
+ Send
+ 'static {
    tower::service_fn(|uri: Uri| async move {
        DIALS.set(DIALS.get() + 1);
        let host = uri.host().unwrap_or_default().to_owned();
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, PORT))).await;
        let stream = dialled.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        Connection::new(stream).map(TokioIo::new)
    })
}

/// The connections that other hosts open to this one.
pub async fn incoming() -> io::Result<impl Stream<Item = io::Result<Connection>>> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    Ok(stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.and_then(|(stream, _)| Connection::new(stream));
        Some((accepted, listener))
    }))
}
