//! ICMP (RFC 792, RFC 1122 §3.2.2) and ICMPv6 (RFC 4443): what leaves.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use etherparse::IpNumber;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::time::Instant;
use ustack_tcp::{FlowKey, IcmpError};

use super::limit::Verdict;
use super::v6::Parameter;
use super::{Ip, v4, v6};

mod input;
mod ping;
mod quote;

pub(super) use self::ping::Pings;
pub use self::ping::{PingError, PingId, Pong};

/// Bytes of an ICMP header, of every kind used here.
pub(super) const HEADER_LEN: usize = 8;

/// An error's whole packet: RFC 1812 §4.3.2.3 (IC-4), RFC 4443 §2.4 (c) (C6-3).
const MAX_ERROR_V4: usize = 576;
const MAX_ERROR_V6: usize = 1280;

pub(super) const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
pub(super) const V4_ECHO: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_PARAMETER_PROBLEM: u8 = 12;
const V6_UNREACHABLE: u8 = 1;
const V6_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_PARAMETER_PROBLEM: u8 = 4;
/// Types up to here are errors (RFC 4443 §2.1).
const V6_LAST_ERROR: u8 = 127;
const V6_ECHO: u8 = 128;
pub(super) const V6_ECHO_REPLY: u8 = 129;
/// Neighbour discovery: router solicitation to redirect (RFC 4861 §4).
const ND_FIRST: u8 = 133;
const ND_LAST: u8 = 137;

/// Why a packet cannot be delivered, for [`Ip::send_unreachable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// Nobody listens at that port.
    Port,
    /// The host does not answer.
    Host,
    /// There is no route to its network.
    Net,
    /// Policy forbids it.
    Prohibited,
}

/// An echo request and what its answer must repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Who asks.
    pub client: IpAddr,
    /// Who is asked; the reply comes from there.
    pub target: IpAddr,
    /// Identifier.
    pub ident: u16,
    /// Sequence number.
    pub seq: u16,
    /// DSCP of the request's packet, which the reply's repeats (RFC 1349 §5.1).
    pub dscp: u8,
    /// Data.
    pub data: Bytes,
}

/// Payload of a datagram that an error about it repeats where the packet is gone, in bytes.
const MAX_QUOTED_DATA: usize = 512;

/// A packet as it may have come in, built again for an error to quote.
fn quoted(source: IpAddr, destination: IpAddr, protocol: IpNumber, rest: &[u8]) -> Option<Vec<u8>> {
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let df = v4::Fragmentation::Never;
            v4::emit(source, destination, protocol.0, 0, 64, rest.len(), df).to_vec()
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            v6::emit(source, destination, protocol.0, 0, 0, 64, rest.len()).to_vec()
        }
        _ => return None,
    };
    packet.extend_from_slice(rest);
    Some(packet)
}

/// A message ready to send but for IP header and checksum.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) dscp: u8,
    /// The checksum field is zero.
    pub(super) header: [u8; HEADER_LEN],
    pub(super) payload: Bytes,
}

impl Message {
    pub(super) const fn is_v4(&self) -> bool {
        self.source.is_ipv4()
    }

    /// Identifier of an echo reply, for what [`super::pmtu::SentFlows`] remembers.
    pub(super) const fn ident(&self) -> u16 {
        u16::from_be_bytes([self.header[4], self.header[5]])
    }
}

/// An error in both families' terms; `None` where one has no such error.
#[derive(Clone, Copy, Debug)]
struct Report {
    v4: Option<(u8, u8)>,
    v6: Option<(u8, u8)>,
    /// The second word of the header: a pointer, or zero.
    rest: u32,
    /// Said by the destination itself, not by a router on the way.
    by_destination: bool,
    even_multicast: bool,
    even_later_fragment: bool,
}

/// The same error in the UDP layer's words.
pub const fn to_udp_error(error: IcmpError) -> ustack_udp::IcmpError {
    use ustack_udp::IcmpError as Udp;
    match error {
        IcmpError::PacketTooBig { mtu } => Udp::PacketTooBig { mtu },
        IcmpError::PortUnreachable | IcmpError::ProtocolUnreachable => Udp::PortUnreachable,
        IcmpError::HostUnreachable | IcmpError::Prohibited => Udp::HostUnreachable,
        IcmpError::NetUnreachable => Udp::NetUnreachable,
        _ => Udp::Transient,
    }
}

/// Whether a message of this type is the answer to a request for echo.
pub(super) const fn is_echo_reply(kind: u8, is_v4: bool) -> bool {
    kind == if is_v4 { V4_ECHO_REPLY } else { V6_ECHO_REPLY }
}

/// Whether a message of this type quotes a packet.
pub(super) const fn is_error(kind: u8, is_v4: bool) -> bool {
    if is_v4 {
        matches!(
            kind,
            V4_UNREACHABLE | V4_TIME_EXCEEDED | V4_PARAMETER_PROBLEM
        )
    } else {
        kind <= V6_LAST_ERROR
    }
}

/// Protocol and flow of the packet that an error quotes, as whoever sent it sees them.
pub(super) fn reported(quotation: &[u8], is_v4: bool) -> Option<(u8, FlowKey)> {
    let quoted = quote::quoted(quotation, is_v4)?;
    let (local, remote) = quoted.ports();
    let flow = FlowKey {
        local: end(quoted.source, local),
        remote: end(quoted.destination, remote),
    };
    Some((quoted.protocol, flow))
}

impl Ip {
    /// Answers the packet `about` (from its IP header on) with destination unreachable, unless
    /// that is not allowed (IC-3, C6-3) or over the limit (IC-6, C6-5).
    pub fn send_unreachable(&mut self, now: Instant, kind: Unreachable, about: &[u8]) {
        let (v4, v6) = match kind {
            Unreachable::Port => (3, 4),
            Unreachable::Host => (1, 3),
            Unreachable::Net => (0, 0),
            Unreachable::Prohibited => (13, 1),
        };
        let report = Report {
            v4: Some((V4_UNREACHABLE, v4)),
            v6: Some((V6_UNREACHABLE, v6)),
            rest: 0,
            by_destination: kind == Unreachable::Port,
            even_multicast: false,
            even_later_fragment: false,
        };
        self.send_error(now, report, about);
    }

    /// As [`Ip::send_unreachable`], about a SYN whose packet is gone: what an error must quote of
    /// it is built from its flow and sequence number.
    pub fn send_unreachable_for_syn(
        &mut self,
        now: Instant,
        kind: Unreachable,
        flow: &FlowKey,
        seq: WireSeq,
    ) {
        let mut tcp = [0; 20];
        tcp[..2].copy_from_slice(&flow.remote.port().to_be_bytes());
        tcp[2..4].copy_from_slice(&flow.local.port().to_be_bytes());
        tcp[4..8].copy_from_slice(&seq.0.to_be_bytes());
        (tcp[12], tcp[13]) = (5 << 4, 2);
        if let Some(about) = quoted(flow.remote.ip(), flow.local.ip(), IpNumber::TCP, &tcp) {
            self.send_unreachable(now, kind, &about);
        }
    }

    /// As [`Ip::send_unreachable`], about a datagram whose packet is gone: from `client` to
    /// `destination`, with this payload (as much of it as is known).
    pub fn send_unreachable_for_datagram(
        &mut self,
        now: Instant,
        kind: Unreachable,
        client: SocketAddr,
        destination: SocketAddr,
        data: &[u8],
    ) {
        // An error quotes no more (RFC 1812 §4.3.2.3), and nobody reads as much.
        let data = &data[..data.len().min(MAX_QUOTED_DATA)];
        let mut udp = Vec::with_capacity(8 + data.len());
        udp.extend_from_slice(&client.port().to_be_bytes());
        udp.extend_from_slice(&destination.port().to_be_bytes());
        udp.extend_from_slice(&((8 + data.len()) as u16).to_be_bytes());
        udp.extend_from_slice(&[0; 2]);
        udp.extend_from_slice(data);
        if let Some(about) = quoted(client.ip(), destination.ip(), IpNumber::UDP, &udp) {
            self.send_unreachable(now, kind, &about);
        }
    }

    /// Answers an echo request on behalf of its target, within the byte budget (IC-1, C6-6).
    pub fn send_echo_reply(&mut self, now: Instant, echo: &Echo) {
        if self.check_echo(now, echo) {
            self.queue_echo_reply(echo);
        }
    }

    pub(super) fn check_echo(&mut self, now: Instant, echo: &Echo) -> bool {
        self.limiter.check_echo(now, echo.data.len() + HEADER_LEN)
    }

    pub(super) fn queue_echo_reply(&mut self, echo: &Echo) {
        let kind = if echo.target.is_ipv4() {
            V4_ECHO_REPLY
        } else {
            V6_ECHO_REPLY
        };
        let mut header = [kind, 0, 0, 0, 0, 0, 0, 0];
        header[4..6].copy_from_slice(&echo.ident.to_be_bytes());
        header[6..8].copy_from_slice(&echo.seq.to_be_bytes());
        self.queue_message(Message {
            source: echo.target,
            destination: echo.client,
            dscp: echo.dscp,
            header,
            payload: echo.data.clone(),
        });
    }

    /// Nobody here speaks the packet's protocol (UD-5, V6-2). `named_at`: the byte that names it.
    pub(super) fn send_protocol_unreachable(
        &mut self,
        now: Instant,
        named_at: usize,
        about: &[u8],
    ) {
        let report = Report {
            v4: Some((V4_UNREACHABLE, 2)),
            v6: Some((V6_PARAMETER_PROBLEM, 1)),
            rest: if about.first().is_some_and(|byte| byte >> 4 == 6) {
                named_at as u32
            } else {
                0
            },
            by_destination: true,
            even_multicast: false,
            even_later_fragment: false,
        };
        self.send_error(now, report, about);
    }

    pub(super) fn send_parameter_problem(&mut self, now: Instant, what: Parameter, about: &[u8]) {
        let report = Report {
            v4: None,
            v6: Some((V6_PARAMETER_PROBLEM, what.code)),
            rest: what.pointer,
            by_destination: true,
            even_multicast: what.even_multicast,
            even_later_fragment: what.even_later_fragment,
        };
        self.send_error(now, report, about);
    }

    pub(super) fn send_reassembly_timeout(&mut self, now: Instant, first: &[u8]) {
        let report = Report {
            v4: Some((V4_TIME_EXCEEDED, 1)),
            v6: Some((V6_TIME_EXCEEDED, 1)),
            rest: 0,
            by_destination: true,
            even_multicast: false,
            even_later_fragment: false,
        };
        self.send_error(now, report, first);
    }

    fn send_error(&mut self, now: Instant, report: Report, about: &[u8]) {
        let Some(subject) = quote::subject(about) else {
            return;
        };
        let to_group = !self.addresses.is_own(subject.destination)
            && !self.addresses.is_unicast(subject.destination);
        let source_is_unique =
            self.addresses.is_own(subject.source) || self.addresses.is_unicast(subject.source);
        let is_forbidden = (to_group && !report.even_multicast)
            || (subject.is_later_fragment && !report.even_later_fragment);
        if !source_is_unique || is_forbidden {
            return;
        }
        let own = self.source_for(subject.source);
        let source = if report.by_destination && !to_group {
            subject.destination
        } else {
            own.unwrap_or(subject.destination)
        };
        let (wire, limit) = match subject.source {
            IpAddr::V4(_) => (report.v4, MAX_ERROR_V4 - v4::HEADER_LEN - HEADER_LEN),
            IpAddr::V6(_) => (report.v6, MAX_ERROR_V6 - v6::HEADER_LEN - HEADER_LEN),
        };
        let Some((kind, code)) = wire else { return };
        match self.limiter.check_error(now, subject.source) {
            Verdict::Allowed => {}
            Verdict::Host => return self.counters.icmp_out_rate_limit_host += 1,
            Verdict::Global => return self.counters.icmp_out_rate_limit_global += 1,
        }
        let mut header = [kind, code, 0, 0, 0, 0, 0, 0];
        header[4..].copy_from_slice(&report.rest.to_be_bytes());
        self.queue_message(Message {
            source,
            destination: subject.source,
            // RFC 1349 §5.1: errors always go by default.
            dscp: 0,
            header,
            payload: Bytes::copy_from_slice(&about[..about.len().min(limit)]),
        });
    }

    /// False: there was no room.
    fn queue_message(&mut self, message: Message) -> bool {
        let is_queued = self.messages.push(message.payload.len(), message);
        self.counters.icmp_out_msgs += u64::from(is_queued);
        self.counters.out_discards += u64::from(!is_queued);
        is_queued
    }
}

/// Address and port.
fn end(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}
