//! Echo (RFC 862): what comes in goes back.

use std::future::poll_fn;
use std::io;

use bytes::Buf as _;
use tokio::io::AsyncWriteExt as _;

use super::{ChunkStream, Stop};

/// The most bytes in hand.
const CHUNK: usize = 64 << 10;

/// Sends every byte back, and FIN after the peer's FIN. A peer that does not read is not read
/// from. On `stop` the bytes in hand still go out. Holds no buffer while nothing comes.
pub async fn echo<S: ChunkStream>(mut stream: S, mut stop: Stop) -> io::Result<()> {
    loop {
        let chunk = tokio::select! {
            () = stop.requested() => break,
            chunk = poll_fn(|cx| stream.poll_read_chunk(cx, CHUNK)) => chunk?,
        };
        let Some(mut chunk) = chunk else { break };
        while !chunk.is_empty() {
            let taken = poll_fn(|cx| stream.poll_write_chunk(cx, &chunk)).await?;
            chunk.advance(taken);
        }
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::stop;
    use super::*;
    use tokio::io::{AsyncReadExt as _, duplex};

    #[tokio::test]
    async fn a_half_closed_peer_still_gets_everything_back() {
        let (ours, theirs) = duplex(1000);
        let (_stopper, stop) = stop();
        let serving = tokio::spawn(echo(ours, stop));
        let sent: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
        let (mut reader, mut writer) = tokio::io::split(theirs);
        let payload = sent.clone();
        let sending = tokio::spawn(async move {
            writer.write_all(&payload).await.unwrap();
            writer.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        reader.read_to_end(&mut got).await.unwrap();
        assert!(got == sent);
        sending.await.unwrap();
        serving.await.unwrap().unwrap();
    }
}
