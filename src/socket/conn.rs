//! One handle of a connection: what `TcpStream` and its halves do. Reads and writes take the lock
//! for moving chunks only; bytes are copied outside.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use arrayvec::ArrayVec;
use bytes::{Buf, Bytes, BytesMut};
use tokio::io::ReadBuf;
use ustack_tcp::{CloseReason, ConnId, FlowKey, Info, Read, SocketError, SocketOptions};

use super::cooperate;
use crate::error;
use crate::host::{Host, Shared};
use crate::wakers::{Phase, Side};

/// The most bytes that one write takes, so that a chunk fits one super-segment.
const MAX_CHUNK: usize = 64 << 10;

/// A write up to this size is copied before anybody asks whether there is room: one lock, not two.
const SMALL_WRITE: usize = 4 << 10;

/// Chunks that one read takes out under the lock.
const READ_CHUNKS: usize = 32;

/// A connection of ours; dropping it closes.
#[derive(Debug)]
pub(crate) struct Conn {
    shared: Arc<Shared>,
    id: ConnId,
    ends: Ends,
    /// An abnormal end is told once, as a kernel socket does; then come EOF and `BrokenPipe`.
    is_end_told: AtomicBool,
    /// EOF was read: a reset after that is no more than a broken pipe, to the writer.
    is_eof_told: AtomicBool,
}

/// Both ends of a connection in less room than a [`FlowKey`].
#[derive(Debug)]
struct Ends {
    addresses: [IpAddr; 2],
    ports: [u16; 2],
}

impl Ends {
    const fn new(flow: &FlowKey) -> Self {
        Self {
            addresses: [flow.local.ip(), flow.remote.ip()],
            ports: [flow.local.port(), flow.remote.port()],
        }
    }

    const fn local(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[0], self.ports[0])
    }

    const fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.addresses[1], self.ports[1])
    }
}

const _: () = assert!(size_of::<Conn>() <= 56);

impl Conn {
    /// A handle on `id`; the caller has made its slot in the same hold of the lock.
    pub(crate) fn new(shared: &Arc<Shared>, id: ConnId, flow: FlowKey) -> Self {
        tracing::debug!(local = %flow.local, remote = %flow.remote, "connection");
        Self {
            shared: Arc::clone(shared),
            id,
            ends: Ends::new(&flow),
            is_end_told: AtomicBool::new(false),
            is_eof_told: AtomicBool::new(false),
        }
    }

    pub(crate) const fn local_addr(&self) -> SocketAddr {
        self.ends.local()
    }

    pub(crate) const fn peer_addr(&self) -> SocketAddr {
        self.ends.remote()
    }

    fn flow(&self) -> FlowKey {
        FlowKey::new(self.local_addr(), self.peer_addr())
    }

    /// Ready once the handshake is over, either way.
    pub(crate) fn poll_open(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        self.shared.call(|host, _| match host.phase(self.id) {
            Phase::Open => Poll::Ready(Ok(())),
            Phase::Closed(reason) => Poll::Ready(Err(error::closed(reason, &self.flow()))),
            Phase::Opening => self.wait(host, Side::Write, cx),
        })
    }

    /// At most `most` chunks as they lie in the receive queue, together at most `max` bytes, one by
    /// one to `put`. Ready without any means EOF.
    fn poll_chunks(
        &self,
        cx: &Context<'_>,
        max: usize,
        most: usize,
        put: impl FnMut(Bytes),
    ) -> Poll<io::Result<()>> {
        if max == 0 {
            return Poll::Ready(Ok(()));
        }
        let take = |host: &mut Host, now| {
            match host.tcp.read_chunks(now, self.id, max, most, put) {
                Ok(Read::Data(_)) => {}
                Ok(Read::Eof) => self.is_eof_told.store(true, Ordering::Relaxed),
                Ok(Read::Empty) => return self.wait(host, Side::Read, cx),
                Err(error) => return Poll::Ready(self.end(error, Ok(()))),
            }
            Poll::Ready(Ok(()))
        };
        cooperate(cx, || self.shared.call(take))
    }

    pub(crate) fn poll_read(
        &self,
        cx: &Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunks = ArrayVec::<Bytes, READ_CHUNKS>::new();
        let put = |chunk| chunks.push(chunk);
        let read = self.poll_chunks(cx, buf.remaining(), READ_CHUNKS, put);
        read.map_ok(|()| chunks.iter().for_each(|chunk| buf.put_slice(chunk))) // without the lock
    }

    /// One chunk without a copy, `None` at EOF.
    pub(crate) fn poll_read_chunk(
        &self,
        cx: &Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        let mut chunk = None;
        let read = self.poll_chunks(cx, max, 1, |next| chunk = Some(next));
        read.map_ok(|()| chunk)
    }

    /// As many chunks as are there and fit into `chunks`, at most [`READ_CHUNKS`]: their number, `None`
    /// at EOF.
    pub(crate) fn poll_read_chunks(
        &self,
        cx: &Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<Option<usize>>> {
        if chunks.is_empty() {
            return Poll::Ready(Ok(Some(0)));
        }
        let mut taken = ArrayVec::<Bytes, READ_CHUNKS>::new();
        let most = chunks.len().min(READ_CHUNKS);
        let read = self.poll_chunks(cx, usize::MAX, most, |chunk| taken.push(chunk));
        read.map_ok(|()| {
            let count = taken.len();
            // Without the lock: what is in their place may end by somebody else's code.
            let places = chunks.iter_mut().zip(taken);
            places.for_each(|(place, chunk)| *place = chunk);
            (count > 0).then_some(count)
        })
    }

    pub(crate) fn poll_write(&self, cx: &Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    /// All slices as one chunk, as far as there is room.
    pub(crate) fn poll_write_vectored(
        &self,
        cx: &Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let len = bufs
            .iter()
            .map(|buf| buf.len())
            .sum::<usize>()
            .min(MAX_CHUNK);
        let room = if len <= SMALL_WRITE {
            len
        } else {
            match self.poll_room(cx)? {
                Poll::Ready(room) => len.min(room),
                Poll::Pending => return Poll::Pending,
            }
        };
        let buffer = self.shared.pool.lock().buffer(room);
        self.poll_write_chunk(cx, &gather(bufs, room, buffer))
    }

    /// The front of `chunk`, without a copy; how much of it was taken.
    pub(crate) fn poll_write_chunk(
        &self,
        cx: &Context<'_>,
        chunk: &Bytes,
    ) -> Poll<io::Result<usize>> {
        let put = |host: &mut Host, now| {
            host.check_alive()?;
            match host.tcp.write(now, self.id, chunk) {
                Ok(0) if !chunk.is_empty() => self.wait(host, Side::Write, cx),
                Ok(taken) => Poll::Ready(Ok(taken)),
                Err(error) => Poll::Ready(self.end(error, Err(error::broken_pipe())).map(|()| 0)),
            }
        };
        cooperate(cx, || self.shared.call(put))
    }

    /// The next received bytes, at most `max`; `None` at EOF.
    pub(crate) async fn read_chunk(&self, max: usize) -> io::Result<Option<Bytes>> {
        poll_fn(|cx| self.poll_read_chunk(cx, max)).await
    }

    pub(crate) async fn read_chunks(&self, chunks: &mut [Bytes]) -> io::Result<Option<usize>> {
        poll_fn(|cx| self.poll_read_chunks(cx, chunks)).await
    }

    /// Queues all of `chunk`; what was queued is gone from its front when the future is dropped.
    pub(crate) async fn write_chunk(&self, chunk: &mut Bytes) -> io::Result<()> {
        while !chunk.is_empty() {
            let taken = poll_fn(|cx| self.poll_write_chunk(cx, chunk)).await?;
            chunk.advance(taken);
        }
        Ok(())
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<io::Result<usize>> {
        self.shared.call(|host, _| {
            host.check_alive()?;
            match host.tcp.write_room(self.id) {
                Ok(0) => self.wait(host, Side::Write, cx),
                Ok(room) => Poll::Ready(Ok(room)),
                Err(error) => Poll::Ready(self.end(error, Err(error::broken_pipe())).map(|()| 0)),
            }
        })
    }

    /// `shutdown(SHUT_WR)`: FIN after what is queued. As in the kernel's sockets under tokio, a
    /// connection that is over already has nothing to complain of.
    pub(crate) fn shutdown(&self) -> io::Result<()> {
        self.shared.call(|host, now| {
            host.check_alive()?;
            let _ = host.tcp.shutdown(now, self.id);
            Ok(())
        })
    }

    pub(crate) fn abort(&self) {
        tracing::debug!(local = %self.local_addr(), remote = %self.peer_addr(), "abort");
        self.shared.call(|host, now| host.tcp.abort(now, self.id));
    }

    pub(crate) fn options(&self) -> io::Result<SocketOptions> {
        self.shared.call(|host, _| {
            host.check_alive()?;
            host.tcp
                .options(self.id)
                .map_err(|error| error::socket(error, &self.flow()))
        })
    }

    pub(crate) fn set_options(&self, change: impl FnOnce(&mut SocketOptions)) -> io::Result<()> {
        self.shared.call(|host, now| {
            host.check_alive()?;
            host.tcp
                .set_options(now, self.id, change)
                .map_err(|error| error::socket(error, &self.flow()))
        })
    }

    pub(crate) fn info(&self) -> io::Result<Info> {
        self.shared.call(|host, now| {
            host.check_alive()?;
            let info = host.tcp.info(now, self.id);
            info.map_err(|error| error::socket(error, &self.flow()))
        })
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.shared.call(|host, _| {
            host.check_alive()?;
            let taken = host.tcp.take_error(self.id);
            if let Some(SocketError::Closed(_)) = taken
                && self.is_end_told.swap(true, Ordering::Relaxed)
            {
                return Ok(None); // a read or a write has told it
            }
            Ok(taken.map(|error| error::socket(error, &self.flow())))
        })
    }

    /// Queues all of `data` as urgent.
    pub(crate) async fn write_urgent(&self, data: &mut Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let taken = poll_fn(|cx| self.poll_write_urgent(cx, data)).await?;
            data.advance(taken);
        }
        Ok(())
    }

    fn poll_write_urgent(&self, cx: &Context<'_>, data: &Bytes) -> Poll<io::Result<usize>> {
        self.shared.call(|host, now| {
            host.check_alive()?;
            match host.tcp.write_urgent(now, self.id, data) {
                Ok(0) => self.wait(host, Side::Write, cx),
                Ok(taken) => Poll::Ready(Ok(taken)),
                Err(error) => Poll::Ready(self.end(error, Err(error::broken_pipe())).map(|()| 0)),
            }
        })
    }

    /// Waits for urgent data; bytes up to its end.
    pub(crate) async fn urgent(&self) -> io::Result<u32> {
        poll_fn(|cx| {
            self.shared
                .call(|host, _| match host.tcp.urgent_left(self.id) {
                    Ok(Some(left @ 1..)) => Poll::Ready(Ok(left)),
                    Ok(_) if matches!(host.phase(self.id), Phase::Closed(_)) => {
                        Poll::Ready(Err(error::broken_pipe()))
                    }
                    Ok(_) => self.wait(host, Side::Read, cx),
                    Err(error) => Poll::Ready(Err(error::socket(error, &self.flow()))),
                })
        })
        .await
    }

    /// Bytes up to the end of urgent data.
    pub(crate) fn urgent_left(&self) -> io::Result<Option<u32>> {
        self.shared.call(|host, _| {
            host.check_alive()?;
            let left = host.tcp.urgent_left(self.id);
            left.map_err(|error| error::socket(error, &self.flow()))
        })
    }

    /// Registers the task, unless nobody is left to wake it.
    fn wait<T>(&self, host: &mut Host, side: Side, cx: &Context<'_>) -> Poll<io::Result<T>> {
        host.check_alive()?;
        host.sockets.wait(self.id, side, cx);
        Poll::Pending
    }

    /// The error of an abnormal end, the first time; `later` from then on.
    fn end(&self, error: SocketError, later: io::Result<()>) -> io::Result<()> {
        let is_told = match error {
            SocketError::Closed(reason) => {
                self.is_end_told.swap(true, Ordering::Relaxed)
                    || reason == CloseReason::Reset && self.is_eof_told.load(Ordering::Relaxed)
            }
            _ => false,
        };
        if is_told {
            return later;
        }
        tracing::debug!(local = %self.local_addr(), remote = %self.peer_addr(), ?error, "over");
        Err(error::socket(error, &self.flow()))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        tracing::debug!(local = %self.local_addr(), remote = %self.peer_addr(), "close");
        self.shared.call(|host, now| {
            host.tcp.release(now, self.id);
            host.sockets.remove(self.id);
        });
    }
}

/// The first `len` bytes of `bufs`, copied to `chunk`.
fn gather(bufs: &[IoSlice<'_>], len: usize, mut chunk: BytesMut) -> Bytes {
    for buf in bufs {
        chunk.extend_from_slice(&buf[..buf.len().min(len - chunk.len())]);
    }
    chunk.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_joined_up_to_the_room_there_is() {
        let bufs = [
            IoSlice::new(b"head"),
            IoSlice::new(b""),
            IoSlice::new(b"body"),
        ];
        for len in 0..=8 {
            assert_eq!(gather(&bufs, len, BytesMut::new()), b"headbody"[..len]);
        }
        assert!(gather(&[], 0, BytesMut::new()).is_empty());
    }
}
