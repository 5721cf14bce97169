//! The two halves of a `TcpStream`, borrowed and owned.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::conn::Conn;
use super::tcp_stream::TcpStream;

/// The read half of a [`TcpStream`], borrowed by [`TcpStream::split`].
#[derive(Debug)]
pub struct ReadHalf<'a> {
    conn: &'a Conn,
}

/// The write half of a [`TcpStream`], borrowed by [`TcpStream::split`].
#[derive(Debug)]
pub struct WriteHalf<'a> {
    conn: &'a Conn,
}

/// The read half of a [`TcpStream`], from [`TcpStream::into_split`].
#[derive(Debug)]
pub struct OwnedReadHalf {
    conn: Arc<Conn>,
}

/// The write half of a [`TcpStream`], from [`TcpStream::into_split`]. Dropping it says FIN after
/// what is queued; [`OwnedWriteHalf::forget`] does not.
#[derive(Debug)]
pub struct OwnedWriteHalf {
    conn: Arc<Conn>,
    says_fin: bool,
}

pub(super) fn split(stream: &mut TcpStream) -> (ReadHalf<'_>, WriteHalf<'_>) {
    let conn = &*stream.conn;
    (ReadHalf { conn }, WriteHalf { conn })
}

pub(super) fn split_owned(stream: TcpStream) -> (OwnedReadHalf, OwnedWriteHalf) {
    let reader = OwnedReadHalf {
        conn: Arc::clone(&stream.conn),
    };
    let writer = OwnedWriteHalf {
        conn: stream.conn,
        says_fin: true,
    };
    (reader, writer)
}

impl OwnedReadHalf {
    /// The stream again, if `writer` is the other half of it.
    pub fn reunite(self, mut writer: OwnedWriteHalf) -> Result<TcpStream, ReuniteError> {
        if !Arc::ptr_eq(&self.conn, &writer.conn) {
            return Err(ReuniteError(self, writer));
        }
        writer.says_fin = false;
        Ok(TcpStream { conn: self.conn })
    }
}

impl OwnedWriteHalf {
    /// Drops the half without saying FIN; the connection closes when the read half is dropped.
    pub fn forget(mut self) {
        self.says_fin = false;
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        if self.says_fin {
            let _ = self.conn.shutdown(); // fails only when the stack is gone
        }
    }
}

/// The two halves are of different streams; here they are.
#[derive(Debug)]
pub struct ReuniteError(pub OwnedReadHalf, pub OwnedWriteHalf);

impl fmt::Display for ReuniteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the halves are of different streams")
    }
}

impl Error for ReuniteError {}

macro_rules! addresses {
    () => {
        /// This end's address.
        pub fn local_addr(&self) -> SocketAddr {
            self.conn.local_addr()
        }

        /// The peer's address.
        pub fn peer_addr(&self) -> SocketAddr {
            self.conn.peer_addr()
        }
    };
}

macro_rules! reader {
    ($half:ty) => {
        impl $half {
            addresses!();

            /// As [`TcpStream::read_chunk`]. Cancel-safe.
            pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
                poll_fn(|cx| self.conn.poll_read_chunk(cx, max)).await
            }
        }

        impl AsyncRead for $half {
            fn poll_read(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &mut ReadBuf<'_>,
            ) -> Poll<io::Result<()>> {
                self.conn.poll_read(cx, buf)
            }
        }
    };
}

macro_rules! writer {
    ($half:ty) => {
        impl $half {
            addresses!();

            /// As [`TcpStream::write_chunk`]. Cancel-safe: what was queued is gone from `chunk`.
            pub async fn write_chunk(&mut self, chunk: &mut Bytes) -> io::Result<()> {
                while !chunk.is_empty() {
                    let taken = poll_fn(|cx| self.conn.poll_write_chunk(cx, chunk)).await?;
                    chunk.advance(taken);
                }
                Ok(())
            }
        }

        impl AsyncWrite for $half {
            fn poll_write(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                buf: &[u8],
            ) -> Poll<io::Result<usize>> {
                self.conn.poll_write(cx, buf)
            }

            fn poll_write_vectored(
                self: Pin<&mut Self>,
                cx: &mut Context<'_>,
                bufs: &[IoSlice<'_>],
            ) -> Poll<io::Result<usize>> {
                self.conn.poll_write_vectored(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(Ok(()))
            }

            fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
                Poll::Ready(self.conn.shutdown())
            }
        }
    };
}

reader!(ReadHalf<'_>);
reader!(OwnedReadHalf);
writer!(WriteHalf<'_>);
writer!(OwnedWriteHalf);
