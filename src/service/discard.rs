//! Discard (RFC 863): what comes in goes nowhere.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::AsyncWriteExt as _;

use super::{ChunkStream, Stop};

/// The most chunks that one read takes.
const CHUNKS: usize = 32;

/// Reads in a row before others have their turn.
const READS: usize = 16;

/// Reads and forgets until the peer's FIN, then sends FIN.
pub async fn discard<S: ChunkStream>(mut stream: S, mut stop: Stop) -> io::Result<()> {
    tokio::select! {
        () = stop.requested() => {}
        over = poll_fn(|cx| poll_forget(&mut stream, cx)) => over?,
    }
    stream.shutdown().await
}

/// Ready with the peer's FIN.
fn poll_forget(stream: &mut impl ChunkStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut chunks = [const { Bytes::new() }; CHUNKS];
    for _ in 0..READS {
        let Some(count) = ready!(stream.poll_read_chunks(cx, &mut chunks))? else {
            return Poll::Ready(Ok(()));
        };
        chunks[..count].fill(Bytes::new());
    }
    cx.waker().wake_by_ref();
    Poll::Pending
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
