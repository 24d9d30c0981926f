//! A connection to one broker that sends any bytes and says what came back, even if it is nothing.
//!
//! Knows frames and correlation ids; what a request means is not known here.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;

/// How long an answer may take. Who waits longer is not going to answer.
const PATIENCE: Duration = Duration::from_secs(6);
const FRAME_MAX: usize = 64 * 1024 * 1024;

/// What came back.
pub enum Reply {
    /// A frame without its length.
    Frame(Bytes),
    Closed,
    Silence,
}

pub struct Connection {
    stream: TcpStream,
}

impl Connection {
    pub fn open(address: &str) -> std::io::Result<Connection> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Connection { stream })
    }

    /// Sends bytes as they are. A peer that has closed already is no failure: reading will tell.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Waits for one frame.
    pub fn receive(&mut self) -> Reply {
        let mut length = [0; 4];
        if let Some(end) = self.fill(&mut length) {
            return end;
        }
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Reply::Closed;
        }
        let mut frame = vec![0; length];
        match self.fill(&mut frame) {
            Some(end) => end,
            None => Reply::Frame(frame.into()),
        }
    }

    /// Fills the buffer, or says why it could not.
    fn fill(&mut self, buffer: &mut [u8]) -> Option<Reply> {
        match self.stream.read_exact(buffer) {
            Ok(()) => None,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Some(Reply::Silence),
            Err(_) => Some(Reply::Closed),
        }
    }
}
