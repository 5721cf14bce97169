//! The stream services of peers whose streams are tokio's.

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Discards on port 9, sends on 19, echoes elsewhere.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, port: u16) {
    let mut buffer = vec![0; 64 << 10];
    match port {
        9 => while matches!(stream.read(&mut buffer).await, Ok(1..)) {},
        19 => while stream.write_all(&buffer).await.is_ok() {},
        _ => {
            while let Ok(len @ 1..) = stream.read(&mut buffer).await {
                if stream.write_all(&buffer[..len]).await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = stream.shutdown().await;
}
