//! Ping: echo requests for other hosts go out through an unprivileged ICMP socket (`icmp(7)`), and
//! nobody answers them but who was asked.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};
use std::sync::Arc;

use bytes::Bytes;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, ipproto, sendto, socket_with,
};
use tokio::net::UdpSocket as DatagramSocket;
use tracing::{debug, warn};

use super::Rules;
use super::counters::ForwardCounters;
use crate::Stack;
use crate::ip::Echo;
use crate::service::Stop;

/// Type, code, checksum, identifier, sequence number (RFC 792, RFC 4443 §4.1).
const HEADER_LEN: usize = 8;

/// Requests that wait for their reply, per IP version; a power of two. Older ones are forgotten.
const MAX_PENDING: usize = 1024;

/// Relays echo requests and replies until `stop`.
pub(super) async fn forward(
    stack: Stack,
    rules: Rules,
    counters: Arc<ForwardCounters>,
    mut stop: Stop,
) {
    let mut v4 = Pinger::open(true);
    let mut v6 = Pinger::open(false);
    loop {
        tokio::select! {
            () = stop.requested() => return,
            echo = stack.foreign_echo() => match echo {
                Err(_) => return,
                Ok(echo) => {
                    let pinger = if echo.target.is_ipv4() { &mut v4 } else { &mut v6 };
                    match rules.check(echo.target) {
                        Ok(()) => pinger.send(echo, &counters),
                        Err(refusal) => {
                            debug!(target = %echo.target, %refusal, "ping prohibited");
                            counters.prohibited.inc();
                        }
                    }
                }
            },
            reply = v4.reply() => pass(&stack, reply, &counters),
            reply = v6.reply() => pass(&stack, reply, &counters),
        }
    }
}

fn pass(stack: &Stack, reply: Option<Echo>, counters: &ForwardCounters) {
    if let Some(echo) = reply {
        counters.icmp_down.inc();
        stack.send_echo_reply(&echo);
    }
}

/// The host's ICMP socket of one IP version, and what was asked through it.
struct Pinger {
    is_v4: bool,
    socket: Result<DatagramSocket, io::Error>,
    has_warned: bool,
    pending: Pending,
    buffer: Vec<u8>,
}

impl Pinger {
    fn open(is_v4: bool) -> Self {
        Self {
            is_v4,
            socket: open(is_v4),
            has_warned: false,
            pending: Pending::default(),
            buffer: vec![0; 65_536],
        }
    }

    fn send(&mut self, echo: Echo, counters: &ForwardCounters) {
        let socket = match &self.socket {
            Ok(socket) => socket,
            Err(error) => {
                if !std::mem::replace(&mut self.has_warned, true) {
                    warn!(
                        %error,
                        "pings of other hosts stay unanswered: the host gives us no ICMP socket; \
                         allow it with: sudo sysctl net.ipv4.ping_group_range=\"0 2147483647\""
                    );
                }
                return;
            }
        };
        let target = SocketAddr::new(echo.target, 0);
        let kind = if self.is_v4 { 8 } else { 128 };
        let data = echo.data.clone();
        let [high, low] = self.pending.insert(echo).to_be_bytes();
        // The kernel fills in checksum and identifier.
        let mut message = vec![kind, 0, 0, 0, 0, 0, high, low];
        message.extend_from_slice(&data);
        // Not tokio's, which fails until the socket has been polled once.
        match sendto(socket, &message, SendFlags::DONTWAIT, &target) {
            Ok(_) => counters.icmp_up.inc(),
            Err(error) => debug!(%target, %error, "ping not sent"),
        }
    }

    /// The next answer to something asked; never ends without a socket. `None` for other messages.
    async fn reply(&mut self) -> Option<Echo> {
        let Ok(socket) = &self.socket else {
            return std::future::pending().await;
        };
        let (len, from) = socket.recv_from(&mut self.buffer).await.ok()?;
        self.pending
            .take(from.ip(), &self.buffer[..len], self.is_v4)
    }
}

fn open(is_v4: bool) -> io::Result<DatagramSocket> {
    let (family, protocol) = if is_v4 {
        (AddressFamily::INET, ipproto::ICMP)
    } else {
        (AddressFamily::INET6, ipproto::ICMPV6)
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::DGRAM, flags, Some(protocol))?;
    // Datagrams to and from addresses without a port: the same calls as UDP.
    DatagramSocket::from_std(StdSocket::from(socket))
}

/// Requests by the sequence number that they went out with.
#[derive(Debug, Default)]
struct Pending {
    slots: Vec<Option<(u16, Echo)>>,
    next: u16,
}

impl Pending {
    /// Remembers a request; returns its sequence number outside.
    fn insert(&mut self, echo: Echo) -> u16 {
        if self.slots.is_empty() {
            self.slots.resize(MAX_PENDING, None);
        }
        let seq = self.next;
        self.next = self.next.wrapping_add(1);
        self.slots[usize::from(seq) % MAX_PENDING] = Some((seq, echo));
        seq
    }

    /// The answer to the request that this message replies to.
    fn take(&mut self, from: IpAddr, message: &[u8], is_v4: bool) -> Option<Echo> {
        let (header, data) = message.split_at_checked(HEADER_LEN)?;
        let reply = if is_v4 { 0 } else { 129 };
        if header[0] != reply {
            return None;
        }
        let seq = u16::from_be_bytes([header[6], header[7]]);
        let slot = self.slots.get_mut(usize::from(seq) % MAX_PENDING)?;
        let (_, request) = slot.take_if(|(asked, echo)| *asked == seq && echo.target == from)?;
        Some(Echo {
            data: Bytes::copy_from_slice(data),
            ..request
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(target: [u8; 4], seq: u16) -> Echo {
        Echo {
            client: [10, 77, 0, 1].into(),
            target: target.into(),
            ident: 7,
            seq,
            dscp: 0,
            data: Bytes::from_static(b"ping"),
        }
    }

    fn reply(seq: u16) -> Vec<u8> {
        let [high, low] = seq.to_be_bytes();
        [&[0, 0, 0, 0, 0x12, 0x34, high, low][..], b"pong"].concat()
    }

    #[test]
    fn a_reply_finds_its_request_once() {
        let mut pending = Pending::default();
        let first = pending.insert(echo([192, 0, 2, 1], 40));
        let second = pending.insert(echo([192, 0, 2, 2], 41));
        let from = IpAddr::from([192, 0, 2, 2]);
        let answer = pending.take(from, &reply(second), true).unwrap();
        assert_eq!(
            (answer.ident, answer.seq, &*answer.data),
            (7, 41, &b"pong"[..])
        );
        assert_eq!(
            pending.take(from, &reply(second), true),
            None,
            "a duplicate"
        );
        assert_eq!(
            pending.take(from, &reply(first), true),
            None,
            "from somebody else"
        );
        assert_eq!(pending.take(from, &[0, 0, 0], true), None, "cut short");
        assert_eq!(pending.take(from, &reply(999), true), None, "never asked");
    }

    #[test]
    fn the_oldest_requests_are_forgotten() {
        let mut pending = Pending::default();
        let first = pending.insert(echo([192, 0, 2, 1], 0));
        for seq in 0..MAX_PENDING {
            pending.insert(echo([192, 0, 2, 1], seq as u16));
        }
        assert_eq!(
            pending.take([192, 0, 2, 1].into(), &reply(first), true),
            None
        );
        assert_eq!(pending.slots.len(), MAX_PENDING);
    }
}
