//! Discard (RFC 863): what comes in goes nowhere.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Stop;

const BUFFER: usize = 64 << 10;

/// Reads and forgets until the peer's FIN, then sends FIN.
pub async fn discard<S: AsyncRead + AsyncWrite + Unpin>(stream: S, stop: Stop) -> io::Result<()> {
    let (mut stream, mut stop) = (stream, stop);
    let mut buffer = vec![0; BUFFER];
    loop {
        let len = tokio::select! {
            () = stop.requested() => break,
            len = stream.read(&mut buffer) => len?,
        };
        if len == 0 {
            break;
        }
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::stop;
    use super::*;
    use tokio::io::duplex;

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
