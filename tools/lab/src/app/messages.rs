//! Messages at a fixed pace, each with its number and the time it was due: through TCP, where one
//! that is lost delays those behind it, and through UDP, where it does not.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{ConnId, ListenerId, Read};
use ustack_udp::{BindOptions, Datagram, SocketId};

use super::{App, Context, READ, Socket, filler, read, seconds, write};
use crate::recording::Message;

/// What carries the messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One connection, in order.
    Tcp,
    /// A datagram each.
    Udp,
}

/// A pace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Messages {
    /// What carries them.
    pub transport: Transport,
    /// Bytes of each, [`Messages::HEADER`] at least.
    pub size: usize,
    /// From one to the next.
    pub every: Duration,
    /// How many; `None`: until [`Messages::stop`].
    pub number: Option<u64>,
    /// No message is sent any more.
    pub stop: Option<Instant>,
}

impl Messages {
    /// Bytes that a message needs for itself.
    pub const HEADER: usize = 8;

    pub(super) fn sender(self, socket: Socket) -> Box<dyn App> {
        Box::new(Sender {
            pace: self,
            socket,
            channel: None,
            sent: 0,
            pending: VecDeque::new(),
        })
    }

    pub(super) fn receiver(self, socket: Socket) -> Box<dyn App> {
        match self.transport {
            Transport::Tcp => Box::new(StreamReceiver {
                size: self.size,
                socket,
                listener: None,
                conn: None,
                partial: BytesMut::new(),
            }),
            Transport::Udp => Box::new(DatagramReceiver { socket, id: None }),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Channel {
    Tcp(ConnId),
    Udp(SocketId),
}

#[derive(Debug)]
struct Sender {
    pace: Messages,
    socket: Socket,
    channel: Option<Channel>,
    sent: u64,
    /// What the send buffer had no room for yet.
    pending: VecDeque<Bytes>,
}

impl Sender {
    fn due(&self) -> Option<Instant> {
        let ended = self.pace.number.is_some_and(|number| self.sent >= number);
        let nanos = (self.pace.every.as_nanos() as u64).saturating_mul(self.sent);
        let due = self.socket.start + Duration::from_nanos(nanos);
        let stopped = self.pace.stop.is_some_and(|stop| due >= stop);
        (!ended && !stopped).then_some(due)
    }

    fn open(&mut self, cx: &mut Context<'_>) {
        cx.log.began = Some(cx.now);
        self.channel = match self.pace.transport {
            Transport::Tcp => self.socket.connect(cx).map(Channel::Tcp),
            Transport::Udp => {
                let local = SocketAddr::new(self.socket.local.ip(), 0);
                match cx.host.udp_mut().bind(BindOptions::new(local)) {
                    Ok(id) => Some(Channel::Udp(id)),
                    Err(error) => {
                        cx.log.fail(error);
                        None
                    }
                }
            }
        };
    }

    fn message(&self) -> Bytes {
        let mut message = BytesMut::with_capacity(self.pace.size);
        message.put_u64(self.sent);
        let rest = self.pace.size - Messages::HEADER;
        message.put(filler(rest));
        message.put_bytes(0, self.pace.size - message.len());
        message.freeze()
    }

    fn flush(&mut self, cx: &mut Context<'_>, channel: Channel) {
        while let Some(message) = self.pending.front_mut() {
            match channel {
                Channel::Tcp(id) => {
                    let taken = write(cx, id, message);
                    message.advance(taken);
                    if message.has_remaining() {
                        return;
                    }
                }
                Channel::Udp(id) => {
                    let data = message.clone();
                    let to = Some(self.socket.remote);
                    // What the host's queue has no room for is lost, as on any host.
                    let mtu = cx.host.ip().path_mtu(self.socket.remote.ip());
                    let _ = cx.host.udp_mut().send(id, None, to, data, |_| mtu);
                }
            }
            self.pending.pop_front();
        }
    }
}

impl App for Sender {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        if cx.now < self.socket.start {
            return;
        }
        if cx.log.began.is_none() {
            self.open(cx);
        }
        while let Some(due) = self.due().filter(|due| *due <= cx.now) {
            self.pending.push_back(self.message());
            self.sent += 1;
            cx.log.messages.push(Message {
                sent: due.as_nanos() as f64 / 1e9,
                received: None,
            });
        }
        if let Some(channel) = self.channel {
            self.flush(cx, channel);
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due()
    }

    fn watched(&self) -> Option<ConnId> {
        match self.channel {
            Some(Channel::Tcp(id)) => Some(id),
            _ => None,
        }
    }
}

/// A message has come, for the first time or again.
fn on_message(cx: &mut Context<'_>, mut header: &[u8], len: usize) {
    if header.len() < Messages::HEADER {
        return;
    }
    let number = header.get_u64();
    let now = seconds(cx.now.saturating_since(Instant::ZERO));
    if let Some(message) = cx.log.messages.get_mut(number as usize)
        && message.received.is_none()
    {
        message.received = Some(now);
        cx.log.received += len as u64;
    }
}

#[derive(Debug)]
struct StreamReceiver {
    size: usize,
    socket: Socket,
    listener: Option<ListenerId>,
    conn: Option<ConnId>,
    partial: BytesMut,
}

impl App for StreamReceiver {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        let Some(listener) = self.socket.listen(&mut self.listener, cx) else {
            return;
        };
        if self.conn.is_none() {
            self.conn = cx.tcp().accept(listener).map(|(id, _)| id);
        }
        let Some(id) = self.conn else { return };
        while let Some(Read::Data(data)) = read(cx, id, READ) {
            self.partial.extend_from_slice(&data);
            while self.partial.len() >= self.size {
                let message = self.partial.split_to(self.size);
                on_message(cx, &message, self.size);
            }
        }
    }
}

#[derive(Debug)]
struct DatagramReceiver {
    socket: Socket,
    id: Option<SocketId>,
}

impl App for DatagramReceiver {
    fn on_wake(&mut self, cx: &mut Context<'_>) {
        if self.id.is_none() {
            let bound = cx.host.udp_mut().bind(BindOptions::new(self.socket.local));
            self.id = bound.map_err(|error| cx.log.fail(error)).ok();
        }
        let Some(id) = self.id else { return };
        while let Ok(Some(Datagram { data, .. })) = cx.host.udp_mut().recv(id) {
            on_message(cx, &data, data.len());
        }
    }
}
