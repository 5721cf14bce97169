//! Echo (RFC 862): what comes in goes back.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::Stop;

const BUFFER: usize = 32 << 10;

/// Sends every byte back, and FIN after the peer's FIN. A peer that does not read is not read
/// from. On `stop` the bytes in hand still go out.
pub async fn echo<S: AsyncRead + AsyncWrite + Unpin>(stream: S, stop: Stop) -> io::Result<()> {
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
        stream.write_all(&buffer[..len]).await?;
    }
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::super::stop;
    use super::*;
    use tokio::io::duplex;

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
