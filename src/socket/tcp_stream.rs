//! `TcpStream`: a connection for applications.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use ustack_tcp::time::Instant;
use ustack_tcp::{ConnId, ConnectError, FlowKey, SocketOptions};

use super::conn::Conn;
use super::delegate::{async_read, async_write};
use super::roomy;
use super::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, split, split_owned};
use crate::error;
use crate::host::{Host, Shared};
use crate::stack::Stack;
use crate::wakers::Phase;

/// How to open a connection.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ConnectOptions {
    /// Where from; an unspecified address or port 0 leave the choice to the stack. On a
    /// transparent stack any address will do.
    pub local: Option<SocketAddr>,
    /// What the connection starts with; `None`: what the stack's configuration says.
    pub socket: Option<SocketOptions>,
    /// Data to begin with, in the SYN where Fast Open lets it (RFC 7413); see
    /// [`ConnectOptions::fast_open`].
    pub fast_open: Option<Bytes>,
}

impl ConnectOptions {
    /// Everything left to the stack.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where from.
    pub fn local(mut self, local: SocketAddr) -> Self {
        self.local = Some(local);
        self
    }

    /// Sends `data` first, with the SYN if the server gave a Fast Open cookie before (RFC 7413,
    /// `TCP_FASTOPEN_CONNECT`). The server may see it twice, so that must do no harm (§2.1).
    ///
    /// Fails the attempt with `InvalidInput` if it is more than the send buffer holds at the start. Where
    /// memory is short ([`Config::memory`](crate::Config::memory)) the attempt lasts until there has been room
    /// for all of it.
    pub fn fast_open(mut self, data: Bytes) -> Self {
        self.fast_open = Some(data);
        self
    }

    /// What the connection starts with.
    pub fn socket(mut self, options: SocketOptions) -> Self {
        self.socket = Some(options);
        self
    }
}

/// A TCP connection, as [`tokio::net::TcpStream`] is one.
///
/// Dropping it closes: what is queued and a FIN still go out, unless there are unread bytes, which
/// make it a RST (RFC 2525 §2.17). That takes a driver that runs: a program that ends at once loses
/// what has not left, see [`Stack::shutdown`]. As tokio's own sockets, those of ustack let other tasks
/// have their turn after some operations ([`tokio::task::coop`]): pending may mean just that.
///
/// Errors have the [`io::ErrorKind`]s of kernel sockets:
/// `ConnectionReset`, `TimedOut`, `BrokenPipe` … An abnormal end is reported once; later reads
/// give EOF and later writes `BrokenPipe`.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use ustack::{Config, Stack, TcpListener, TcpStream, device};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let caps = device::Caps::plain(1500);
/// let (left, right) = device::memory::pair(caps);
/// let (client, driver) = Stack::new(Config::new().address([10, 77, 0, 1], 24), left)?;
/// tokio::spawn(driver);
/// let (server, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), right)?;
/// tokio::spawn(driver);
///
/// let listener = TcpListener::bind(&server, ([10, 77, 0, 2], 7).into())?;
/// let echo = tokio::spawn(async move {
///     let (mut stream, _peer) = listener.accept().await?;
///     let (mut reader, mut writer) = stream.split();
///     tokio::io::copy(&mut reader, &mut writer).await
/// });
///
/// let mut stream = TcpStream::connect(&client, ([10, 77, 0, 2], 7).into()).await?;
/// stream.write_all(b"hello").await?;
/// stream.shutdown().await?;
/// let mut answer = String::new();
/// stream.read_to_string(&mut answer).await?;
/// assert_eq!(answer, "hello");
/// assert_eq!(echo.await??, 5);
/// # Ok(())
/// # }
/// ```
pub struct TcpStream {
    pub(super) conn: Arc<Conn>,
}

impl TcpStream {
    /// Opens a connection.
    ///
    /// Fails with `ConnectionRefused` when nobody listens there, `HostUnreachable` when ICMP says
    /// so, `TimedOut` when nobody answers. Cancel-safe: dropping the future gives the attempt up.
    pub async fn connect(stack: &Stack, remote: SocketAddr) -> io::Result<Self> {
        Self::connect_with(stack, remote, ConnectOptions::default()).await
    }

    /// Opens a connection with options. Cancel-safe, as [`TcpStream::connect`].
    pub async fn connect_with(
        stack: &Stack,
        remote: SocketAddr,
        options: ConnectOptions,
    ) -> io::Result<Self> {
        let port = options.local.map_or(0, |local| local.port());
        let try_open = |shared: &Arc<Shared>| {
            let opened = shared.call(|host, now| open(host, now, remote, &options));
            opened.map(|(id, flow, rest)| (Conn::new(shared, id, flow), rest))
        };
        let mut conn = try_open(stack.owner(port));
        if port == 0 {
            // Each shard has a part of the ephemeral ports.
            for shared in stack.reached() {
                match &conn {
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                    _ => break,
                }
                conn = try_open(shared);
            }
        }
        let (conn, rest) = conn?;
        let conn = Arc::new(conn);
        poll_fn(|cx| conn.poll_open(cx)).await?;
        let mut beginning = Beginning { conn: &conn, rest };
        conn.write_chunk(&mut beginning.rest).await?;
        drop(beginning);
        Ok(Self { conn })
    }

    /// This end's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.conn.local_addr()
    }

    /// The peer's address.
    pub fn peer_addr(&self) -> SocketAddr {
        self.conn.peer_addr()
    }

    /// The next received bytes as a slice of the buffer they came in, at most `max` (> 0): no copy
    /// at all. `None` at EOF. Cancel-safe.
    pub async fn read_chunk(&mut self, max: usize) -> io::Result<Option<Bytes>> {
        self.conn.read_chunk(max).await
    }

    /// As [`TcpStream::read_chunk`], for as many chunks as are there and fit into `chunks`, at most 32:
    /// their number, which is 0 only if `chunks` is empty, and `None` at EOF. It takes the lock and the
    /// time once for all of them. Cancel-safe.
    pub async fn read_chunks(&mut self, chunks: &mut [Bytes]) -> io::Result<Option<usize>> {
        self.conn.read_chunks(chunks).await
    }

    /// Queues all of `chunk` without copying it.
    ///
    /// Cancel-safe: what was queued is gone from the front of `chunk`, so that calling again goes
    /// on where it stopped. The stack drops it under its lock, once it is acknowledged: the destructor of
    /// an owner ([`Bytes::from_owner`]) must not call the stack.
    pub async fn write_chunk(&mut self, chunk: &mut Bytes) -> io::Result<()> {
        self.conn.write_chunk(chunk).await
    }

    /// As [`TcpStream::read_chunk`], for tasks that poll.
    pub fn poll_read_chunk(
        &mut self,
        cx: &Context<'_>,
        max: usize,
    ) -> Poll<io::Result<Option<Bytes>>> {
        self.conn.poll_read_chunk(cx, max)
    }

    /// As [`TcpStream::read_chunks`], for tasks that poll.
    pub fn poll_read_chunks(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut [Bytes],
    ) -> Poll<io::Result<Option<usize>>> {
        self.conn.poll_read_chunks(cx, chunks)
    }

    /// Queues the front of `chunk` without copying it; how many bytes of it. For tasks that poll.
    pub fn poll_write_chunk(&mut self, cx: &Context<'_>, chunk: &Bytes) -> Poll<io::Result<usize>> {
        self.conn.poll_write_chunk(cx, chunk)
    }

    /// Ends the connection with a RST; nothing queued is sent any more.
    pub fn abort(&self) {
        self.conn.abort();
    }

    /// Two halves that borrow the stream.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        split(self)
    }

    /// Two halves that go their own ways: dropping the write half says FIN, dropping both closes.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        split_owned(self)
    }
}

/// What a connection opens with, as far as it is not queued yet. Dropped before all is, it resets: a FIN
/// would tell the peer that the part it has is all there is.
struct Beginning<'a> {
    conn: &'a Conn,
    rest: Bytes,
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if !self.rest.is_empty() {
            self.conn.abort();
        }
    }
}

/// Sends the SYN. Of the data to open with, the rest is what memory has no room for now.
fn open(
    host: &mut Host,
    now: Instant,
    remote: SocketAddr,
    options: &ConnectOptions,
) -> io::Result<(ConnId, FlowKey, Bytes)> {
    host.check_running()?;
    if !host.ip.is_host(remote.ip()) {
        return Err(error::connect(ConnectError::InvalidRemote, remote)); // MUST-46
    }
    let local = host.source_for(remote, options.local)?;
    let flow = FlowKey { local, remote };
    let socket = options.socket.map_or(host.options, roomy);
    let opened = match &options.fast_open {
        None => {
            let opened = host.tcp.connect(now, flow, socket);
            opened.map(|(id, flow)| (id, flow, Bytes::new()))
        }
        Some(data) => {
            let room = socket.send_buffer.unwrap_or(host.send_buffer_initial);
            if data.len() > room as usize {
                return Err(error::too_much_to_open_with(room));
            }
            let opened = host.tcp.connect_with_data(now, flow, socket, data);
            opened.map(|(id, flow, taken)| (id, flow, data.slice(taken..)))
        }
    };
    let (id, flow, rest) = opened.map_err(|error| error::connect(error, remote))?;
    host.sockets.insert(id, Phase::Opening);
    Ok((id, flow, rest))
}

impl fmt::Debug for TcpStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpStream")
            .field("local", &self.local_addr())
            .field("remote", &self.peer_addr())
            .finish()
    }
}

async_read!(TcpStream);
async_write!(TcpStream);
