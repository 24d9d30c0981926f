//! Writes answers: a list of chunks per frame, sent with vectored writes, so that fetched records are never copied
//! to stand beside their header.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::net::TcpStream;

/// Chunks per system call; Linux takes 1024, few answers have more than a dozen.
const SLICES_MAX: usize = 64;

/// Why an answer was not sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    #[error("writing to the connection")]
    Io(#[from] std::io::Error),
    #[error("the peer took no answer for {0:?}")]
    Stalled(Duration),
}

/// What is still to be sent, in order.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    chunks: VecDeque<Bytes>,
}

impl Outgoing {
    /// Queues one whole answer.
    pub fn push(&mut self, chunks: Vec<Bytes>) {
        self.chunks.extend(chunks.into_iter().filter(|chunk| !chunk.is_empty()));
    }

    /// Sends everything. A peer that takes nothing for `patience` is given up.
    pub async fn send(&mut self, stream: &TcpStream, patience: Duration) -> Result<(), WriteError> {
        while !self.chunks.is_empty() {
            match self.try_send(stream) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::time::timeout(patience, stream.writable())
                        .await
                        .map_err(|_| WriteError::Stalled(patience))??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        // A burst must not pin memory on a connection that is idle from now on.
        self.chunks = VecDeque::new();
        Ok(())
    }

    fn try_send(&mut self, stream: &TcpStream) -> std::io::Result<()> {
        let sent = {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.chunks.len().min(SLICES_MAX);
            for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
                *slice = IoSlice::new(chunk);
            }
            stream.try_write_vectored(&slices[..count])?
        };
        self.advance(sent);
        Ok(())
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(chunk) = self.chunks.front_mut() {
            if sent < chunk.len() {
                chunk.advance(sent);
                return;
            }
            sent -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn many_chunks_arrive_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        let chunks: Vec<Bytes> = (0..500u32)
            .map(|n| Bytes::from(vec![n as u8; (n * 37 % 9000) as usize]))
            .collect();
        let expected: Vec<u8> = chunks.iter().flatten().copied().collect();
        let sender = tokio::spawn(async move {
            let mut outgoing = Outgoing::default();
            outgoing.push(chunks);
            outgoing.send(&server, Duration::from_secs(60)).await.unwrap();
        });
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        sender.await.unwrap();
        assert!(received == expected);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let server = listener.accept().await.unwrap().0;
        let mut outgoing = Outgoing::default();
        outgoing.push(vec![Bytes::from(vec![0; 64 << 20])]);
        let patience = Duration::from_secs(5);
        assert!(
            matches!(outgoing.send(&server, patience).await, Err(WriteError::Stalled(waited)) if waited == patience)
        );
    }
}
