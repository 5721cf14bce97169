//! The options of a `TcpStream`, under the names they have on Linux.

use std::io;
use std::num::{NonZeroU8, NonZeroU64};
use std::time::Duration;

use bytes::Bytes;
use ustack_tcp::{CongestionAlgorithm, Info, Keepalive, SocketOptions};

use super::tcp_stream::TcpStream;

/// The least buffers that can be chosen, in bytes, as on Linux (`SOCK_MIN_RCVBUF`,
/// `SOCK_MIN_SNDBUF`): none at all would never move a byte.
pub(super) const MIN_RECV_BUFFER: u32 = 2_304;
pub(super) const MIN_SEND_BUFFER: u32 = 4_608;

/// The same with buffers of that size at least.
pub(crate) fn roomy(mut options: SocketOptions) -> SocketOptions {
    options.recv_buffer = options.recv_buffer.map(|bytes| bytes.max(MIN_RECV_BUFFER));
    options.send_buffer = options.send_buffer.map(|bytes| bytes.max(MIN_SEND_BUFFER));
    options
}

/// # Options
///
/// Getters and setters fail with [`io::ErrorKind::ConnectionAborted`] once the stack is gone. Once the
/// connection is over they may fail with [`io::ErrorKind::NotConnected`], or succeed without effect.
impl TcpStream {
    /// Whether small segments are sent at once (`TCP_NODELAY`).
    pub fn nodelay(&self) -> io::Result<bool> {
        Ok(self.conn.options()?.nodelay)
    }

    /// Sends small segments at once (`TCP_NODELAY`), or holds them back while others are not
    /// acknowledged (Nagle, RFC 9293 §3.7.4), which is the default.
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.conn.set_options(|options| options.nodelay = on)
    }

    /// Whether the connection is corked (`TCP_CORK`).
    pub fn cork(&self) -> io::Result<bool> {
        Ok(self.conn.options()?.cork)
    }

    /// Sends full segments only (`TCP_CORK`): what is less waits for more, for the end of the cork,
    /// or for 200 ms.
    pub fn set_cork(&self, on: bool) -> io::Result<()> {
        self.conn.set_options(|options| options.cork = on)
    }

    /// Whether every data segment is acknowledged at once (`TCP_QUICKACK`).
    pub fn quickack(&self) -> io::Result<bool> {
        Ok(self.conn.options()?.quickack)
    }

    /// Acknowledges every data segment at once (`TCP_QUICKACK`), also what waits now; off: delayed
    /// ACKs (RFC 5681 §4.2), the default. Unlike Linux's, it stays as it was set.
    pub fn set_quickack(&self, on: bool) -> io::Result<()> {
        self.conn.set_options(|options| options.quickack = on)
    }

    /// Bytes of payload in a full segment, as of now (`TCP_MAXSEG`).
    pub fn max_segment(&self) -> io::Result<u32> {
        Ok(self.conn.info()?.snd_mss)
    }

    /// Sends no larger segments than this, headers and options not counted (`TCP_MAXSEG`). What is
    /// offered to the peer was settled by the handshake: see
    /// [`SocketOptions::max_segment`](ustack_tcp::SocketOptions::max_segment) for that.
    pub fn set_max_segment(&self, bytes: Option<u16>) -> io::Result<()> {
        self.conn.set_options(|options| options.max_segment = bytes)
    }

    /// Keep-alive probing, `None` when off.
    pub fn keepalive(&self) -> io::Result<Option<Keepalive>> {
        Ok(self.conn.options()?.keepalive)
    }

    /// Probes the connection when it is idle: `SO_KEEPALIVE` together with `TCP_KEEPIDLE`,
    /// `TCP_KEEPINTVL` and `TCP_KEEPCNT`. Off by default (RFC 9293 §3.8.4).
    pub fn set_keepalive(&self, keepalive: Option<Keepalive>) -> io::Result<()> {
        self.conn
            .set_options(|options| options.keepalive = keepalive)
    }

    /// How long data may stay unacknowledged (`TCP_USER_TIMEOUT`); `None`: the stack's limit.
    pub fn user_timeout(&self) -> io::Result<Option<Duration>> {
        Ok(self.conn.options()?.user_timeout)
    }

    /// Gives up when data stays unacknowledged this long (`TCP_USER_TIMEOUT`, RFC 5482 §2).
    pub fn set_user_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        self.conn
            .set_options(|options| options.user_timeout = timeout)
    }

    /// The congestion control chosen for this connection (`TCP_CONGESTION`), `None` for the
    /// stack's.
    pub fn congestion(&self) -> io::Result<Option<CongestionAlgorithm>> {
        Ok(self.conn.options()?.congestion)
    }

    /// Chooses the congestion control (`TCP_CONGESTION`); it goes on with the window there is.
    pub fn set_congestion(&self, algorithm: CongestionAlgorithm) -> io::Result<()> {
        self.conn
            .set_options(|options| options.congestion = Some(algorithm))
    }

    /// Bytes per second at which data leaves at most (`SO_MAX_PACING_RATE`), `None` for no limit.
    pub fn max_pacing_rate(&self) -> io::Result<Option<NonZeroU64>> {
        Ok(self.conn.options()?.max_pacing_rate)
    }

    /// Limits the bytes per second at which data leaves (`SO_MAX_PACING_RATE`), spread evenly;
    /// `None` for no limit. Headers do not count.
    pub fn set_max_pacing_rate(&self, rate: Option<NonZeroU64>) -> io::Result<()> {
        self.conn
            .set_options(|options| options.max_pacing_rate = rate)
    }

    /// Bytes queued and not sent from which on a writer waits (`TCP_NOTSENT_LOWAT`).
    pub fn notsent_lowat(&self) -> io::Result<Option<u32>> {
        Ok(self.conn.options()?.notsent_lowat)
    }

    /// Has writers wait while this many bytes are queued and not sent (`TCP_NOTSENT_LOWAT`), so
    /// that what is written later is written late; `None`: while the send buffer is full.
    pub fn set_notsent_lowat(&self, bytes: Option<u32>) -> io::Result<()> {
        self.conn
            .set_options(|options| options.notsent_lowat = bytes)
    }

    /// What dropping the stream does (`SO_LINGER`).
    pub fn linger(&self) -> io::Result<Option<Duration>> {
        Ok(self.conn.options()?.linger)
    }

    /// `SO_LINGER`. Zero: dropping the stream resets the connection and forgets what is queued.
    /// Any other time does what `None` does, since a drop cannot wait: what is queued and a FIN go
    /// out behind it. Who wants to know that they arrived calls
    /// [`shutdown`](tokio::io::AsyncWriteExt::shutdown) and reads up to EOF.
    pub fn set_linger(&self, linger: Option<Duration>) -> io::Result<()> {
        self.conn.set_options(|options| options.linger = linger)
    }

    /// Bytes of the receive buffer, as of now (`SO_RCVBUF`).
    pub fn recv_buffer_size(&self) -> io::Result<u32> {
        Ok(self.conn.info()?.rcv_ssthresh)
    }

    /// A receive buffer of this many bytes instead of one that grows with need (`SO_RCVBUF`; not
    /// doubled, as Linux does; 2,304 at least). A smaller one takes back nothing that the peer was promised.
    pub fn set_recv_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.conn
            .set_options(|options| options.recv_buffer = Some(bytes.max(MIN_RECV_BUFFER)))
    }

    /// Bytes of the send buffer if it was chosen (`SO_SNDBUF`); `None`: it grows with need.
    pub fn send_buffer_size(&self) -> io::Result<Option<u32>> {
        Ok(self.conn.options()?.send_buffer)
    }

    /// A send buffer of this many bytes instead of one that grows with need (`SO_SNDBUF`; not
    /// doubled, as Linux does; 4,608 at least).
    pub fn set_send_buffer_size(&self, bytes: u32) -> io::Result<()> {
        self.conn
            .set_options(|options| options.send_buffer = Some(bytes.max(MIN_SEND_BUFFER)))
    }

    /// TTL or hop limit of what is sent (`IP_TTL`, `IPV6_UNICAST_HOPS`), `None` for the stack's.
    pub fn ttl(&self) -> io::Result<Option<NonZeroU8>> {
        Ok(self.conn.options()?.ttl)
    }

    /// Sets the TTL or hop limit of what is sent (`IP_TTL`, `IPV6_UNICAST_HOPS`).
    pub fn set_ttl(&self, ttl: Option<NonZeroU8>) -> io::Result<()> {
        self.conn.set_options(|options| options.ttl = ttl)
    }

    /// The TOS or traffic class of what is sent, ECN bits left out (`IP_TOS`, `IPV6_TCLASS`).
    pub fn tos(&self) -> io::Result<u8> {
        Ok(self.conn.options()?.dscp << 2)
    }

    /// Sets TOS or traffic class (`IP_TOS`, `IPV6_TCLASS`): its upper six bits, which are the
    /// DSCP. The two ECN bits are TCP's own (RFC 9293 §3.9.2, MUST-48).
    pub fn set_tos(&self, tos: u8) -> io::Result<()> {
        self.conn.set_options(|options| options.dscp = tos >> 2)
    }

    /// The connection from inside (`TCP_INFO`): round trip, windows, counts of segments.
    ///
    /// ```
    /// # use ustack::{Config, Stack, TcpListener, TcpStream, device};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> std::io::Result<()> {
    /// # let caps = device::Caps::plain(1500);
    /// # let (left, right) = device::memory::pair(caps);
    /// # let (client, driver) = Stack::new(Config::new().address([10, 77, 0, 1], 24), left)?;
    /// # tokio::spawn(driver);
    /// # let (server, driver) = Stack::new(Config::new().address([10, 77, 0, 2], 24), right)?;
    /// # tokio::spawn(driver);
    /// # let listener = TcpListener::bind(&server, ([10, 77, 0, 2], 7).into())?;
    /// let stream = TcpStream::connect(&client, ([10, 77, 0, 2], 7).into()).await?;
    /// let info = stream.info()?;
    /// assert_eq!((info.snd_mss, info.snd_cwnd), (1448, 10 * 1448));
    /// # Ok(())
    /// # }
    /// ```
    pub fn info(&self) -> io::Result<Info> {
        self.conn.info()
    }

    /// What `SO_ERROR` tells, each once: how the connection ended, if that was abnormal, or else
    /// the last trouble that ICMP reported and that did not end it, such as `HostUnreachable`
    /// (RFC 9293 §3.9.2.2). Who does not ask is not bothered.
    pub fn take_error(&self) -> io::Result<Option<io::Error>> {
        self.conn.take_error()
    }

    /// Writes all of `data` as urgent (`MSG_OOB`): the peer is pointed to the byte after it.
    ///
    /// Not for new protocols: stacks differ about where the pointer points to, and middleboxes
    /// clear it (RFC 6093 §5). Cancel-safe: what was queued is gone from the front of `data`.
    pub async fn write_urgent(&mut self, data: &mut Bytes) -> io::Result<()> {
        self.conn.write_urgent(data).await
    }

    /// Waits until the peer has said that urgent data is on its way, and returns how many bytes are
    /// to be read up to its end. It is read in line with all other, and a read stops at its end.
    /// Cancel-safe.
    pub async fn urgent(&mut self) -> io::Result<u32> {
        self.conn.urgent().await
    }

    /// Whether the reader stands right behind urgent data (`sockatmark`).
    pub fn at_mark(&self) -> io::Result<bool> {
        Ok(self.conn.urgent_left()? == Some(0))
    }
}
