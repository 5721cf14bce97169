//! The two halves of a `TcpStream`, borrowed and owned.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::conn::Conn;
use super::delegate::{async_read, async_write};
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
                self.conn.read_chunk(max).await
            }

            /// As [`TcpStream::read_chunks`]. Cancel-safe.
            pub async fn read_chunks(&mut self, chunks: &mut [Bytes]) -> io::Result<Option<usize>> {
                self.conn.read_chunks(chunks).await
            }
        }

        async_read!($half);
    };
}

macro_rules! writer {
    ($half:ty) => {
        impl $half {
            addresses!();

            /// As [`TcpStream::write_chunk`]. Cancel-safe: what was queued is gone from `chunk`.
            pub async fn write_chunk(&mut self, chunk: &mut Bytes) -> io::Result<()> {
                self.conn.write_chunk(chunk).await
            }
        }

        async_write!($half);
    };
}

reader!(ReadHalf<'_>);
reader!(OwnedReadHalf);
writer!(WriteHalf<'_>);
writer!(OwnedWriteHalf);
