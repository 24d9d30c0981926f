//! The HTTP side of a node: health, readiness and status as JSON; and the one-shot GET that the commands use.

use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Whether a node leads or follows all its partitions; false as well when it cannot be asked.
pub async fn is_ready(address: &str) -> bool {
    let asked = tokio::time::timeout(Duration::from_millis(500), get(address, "/readyz"));
    matches!(asked.await, Ok(Ok(_)))
}

/// The body of a GET; an answer other than 200 is an error, which tells the reason that came with it.
pub async fn get(address: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let (status, body) = ask(address, path).await?;
    let reason = String::from_utf8_lossy(&body);
    ensure!(status == 200, "{address}{path} answered {status}: {}", reason.trim());
    Ok(body)
}

/// Status and body of a GET. Only for our own nodes: it speaks HTTP/1.0 and no more.
pub async fn ask(address: &str, path: &str) -> anyhow::Result<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("connecting to {address}"))?;
        stream
            .write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange).await;
    let answer = answer.with_context(|| format!("{address} did not answer within {TIMEOUT:?}"))??;
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .context("the answer is not HTTP")?;
    let status = std::str::from_utf8(answer.get(9..12).unwrap_or_default());
    let status = status.ok().and_then(|status| status.parse().ok());
    let status = status.context("the answer has no HTTP status")?;
    Ok((status, answer[end + 4..].to_vec()))
}
