//! Discard (RFC 863): what comes in goes nowhere.

use std::future::poll_fn;
use std::io;

use tokio::io::AsyncWriteExt as _;

use super::{ChunkStream, Stop};

/// The most bytes that one read takes.
const CHUNK: usize = 1 << 20;

/// Reads and forgets until the peer's FIN, then sends FIN.
pub async fn discard<S: ChunkStream>(mut stream: S, mut stop: Stop) -> io::Result<()> {
    loop {
        let chunk = tokio::select! {
            () = stop.requested() => break,
            chunk = poll_fn(|cx| stream.poll_read_chunk(cx, CHUNK)) => chunk?,
        };
        if chunk.is_none() {
            break;
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
    async fn swallows_all_and_says_nothing() {
        let (ours, mut theirs) = duplex(1000);
        let (_stopper, stop) = stop();
        let serving = tokio::spawn(discard(ours, stop));
        theirs.write_all(&vec![7; 100_000]).await.unwrap();
        theirs.shutdown().await.unwrap();
        assert_eq!(theirs.read(&mut [0; 1]).await.unwrap(), 0);
        serving.await.unwrap().unwrap();
    }
}
