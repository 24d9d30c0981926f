//! One gRPC port, two runtimes: what keeps the cluster together never waits behind data.
//!
//! ```text
//!                        ┌ first byte 'P' (HTTP/2's own preface) ► control runtime: Raft, sessions, metadata, Identify
//!   node's gRPC port ────┤
//!                        └ first bytes "KDATA\n", then HTTP/2    ► data runtime: replica streams
//! ```
//! A dialler of replica streams sends the five letters before HTTP/2 begins ([`dial_data`]). The services themselves
//! know nothing of this.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server, Uri};

const DATA_PREFACE: &[u8; 6] = b"KDATA\n";
/// A connection that has not said which it is by then is closed.
const PREFACE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections that were accepted and not yet taken by their server.
const WAITING_CONNECTIONS_MAX: usize = 64;
/// The sender obeys the receiver's frame size, and traffic goes both ways: both sides set it.
pub const FRAME_BYTES_MAX: u32 = 256 * 1024;
const WINDOW_BYTES: u32 = 4 << 20;

type Incoming = mpsc::Sender<io::Result<TcpStream>>;

/// What a node serves by gRPC, by runtime.
pub struct Services {
    pub control: Routes,
    pub data: Option<Routes>,
    pub data_runtime: Handle,
}

/// Serves until `stop` changes; runs on the control runtime. Accepted connections end with it.
pub async fn serve(listener: TcpListener, services: Services, stop: watch::Receiver<bool>) {
    let (control, control_incoming) = mpsc::channel(WAITING_CONNECTIONS_MAX);
    let (data, data_incoming) = mpsc::channel(WAITING_CONNECTIONS_MAX);
    if let Some(routes) = services.data {
        services
            .data_runtime
            .spawn(run_server(routes, data_incoming, stop.clone()));
    }
    tokio::spawn(run_server(services.control, control_incoming, stop.clone()));
    let mut stop = stop;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                let runtime = services.data_runtime.clone();
                tokio::spawn(sort(stream, peer, control.clone(), data.clone(), runtime));
            }
            // Out of file descriptors, most likely: give others the time to close some.
            Err(error) => {
                tracing::warn!(%error, "accepting a gRPC connection failed");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn run_server(routes: Routes, incoming: mpsc::Receiver<io::Result<TcpStream>>, mut stop: watch::Receiver<bool>) {
    let stopped = async move {
        let _ = stop.changed().await;
    };
    let server = Server::builder()
        .max_frame_size(FRAME_BYTES_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .add_routes(routes)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), stopped);
    if let Err(error) = server.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

/// Hands a connection to the runtime that it asked for.
async fn sort(stream: TcpStream, peer: SocketAddr, control: Incoming, data: Incoming, data_runtime: Handle) {
    let sorted = tokio::time::timeout(PREFACE_TIMEOUT, read_preface(stream)).await;
    match sorted {
        Ok(Ok((stream, Lane::Control))) => {
            let _ = control.send(Ok(stream)).await;
        }
        Ok(Ok((stream, Lane::Data))) => {
            // A socket is watched by the runtime it was made in; this one changes over.
            let Ok(stream) = stream.into_std() else { return };
            let _guard = data_runtime.enter();
            if let Ok(stream) = TcpStream::from_std(stream) {
                data_runtime.spawn(async move { data.send(Ok(stream)).await });
            }
        }
        Ok(Err(error)) => tracing::debug!(%peer, %error, "a gRPC connection ended before it began"),
        Err(_) => tracing::debug!(%peer, "a gRPC connection said nothing"),
    }
}

enum Lane {
    Control,
    Data,
}

async fn read_preface(mut stream: TcpStream) -> io::Result<(TcpStream, Lane)> {
    stream.set_nodelay(true)?;
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if first[0] != DATA_PREFACE[0] {
        return Ok((stream, Lane::Control));
    }
    let mut preface = [0; DATA_PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    if &preface != DATA_PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "an unknown preface"));
    }
    Ok((stream, Lane::Data))
}

/// Dials a broker's gRPC port for replica streams. The name is resolved at each dial.
pub async fn dial_data(address: &str, timeout: Duration) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(timeout)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX);
    let connect = tower::service_fn(|uri: Uri| async move {
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(authority).await?;
        stream.set_nodelay(true)?;
        stream.write_all(DATA_PREFACE).await?;
        io::Result::Ok(TokioIo::new(stream))
    });
    endpoint.connect_with_connector(connect).await
}
