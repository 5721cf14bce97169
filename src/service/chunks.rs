//! Streams that give and take chunks: reference-counted bytes that nobody copies.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::TcpStream;

/// What a stream without chunks of its own copies at a time.
const COPIED: usize = 4 << 10;

/// A stream of bytes that moves chunks where it can. Others copy: the provided methods do it.
pub trait ChunkStream: AsyncRead + AsyncWrite + Unpin {
    /// The next bytes, at most `max` (> 0); `None` at EOF.
    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        let mut room = [0; COPIED];
        let mut buffer = ReadBuf::new(&mut room[..max.min(COPIED)]);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        let chunk = Bytes::copy_from_slice(buffer.filled());
        Poll::Ready(Ok(Some(chunk).filter(|chunk| !chunk.is_empty())))
    }

    /// The next chunks, from the front of `chunks` (not empty): how many; `None` at EOF.
    fn poll_read_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<Option<usize>>> {
        let chunk = ready!(self.poll_read_chunk(cx, COPIED))?;
        Poll::Ready(Ok(chunk.map(|chunk| {
            chunks[0] = chunk;
            1
        })))
    }

    /// Takes the front of `chunk`; how many bytes of it.
    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, chunk: &Bytes) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, chunk)
    }
}

impl ChunkStream for TcpStream {
    fn poll_read_chunk(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        Self::poll_read_chunk(self, cx, max)
    }

    fn poll_read_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<Option<usize>>> {
        Self::poll_read_chunks(self, cx, chunks)
    }

    fn poll_write_chunk(&mut self, cx: &mut Context<'_>, chunk: &Bytes) -> Poll<io::Result<usize>> {
        Self::poll_write_chunk(self, cx, chunk)
    }
}

impl ChunkStream for tokio::net::TcpStream {}

impl ChunkStream for DuplexStream {}
