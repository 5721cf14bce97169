//! From a frame to what it is for.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, Bytes};
use etherparse::IpNumber;
use ustack_tcp::time::Instant;
use ustack_tcp::{Ecn, FlowKey, wire};
use ustack_udp::Datagram;

use super::counters::{Dropped, IpCounters};
use super::reassembly::{First, Fragment, Key, MAX_PAYLOAD, Outcome};
use super::v6::{Chain, FragmentHeader, Parameter, Problem};
use super::{Input, Ip, Origin, v4, v6};
use crate::batch::{Checksum, Frame, GsoKind, Offload};
use crate::checksum::Sum;

/// A whole packet, its headers walked.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Whether `destination` is ours.
    pub(super) local: bool,
    pub(super) protocol: u8,
    /// Where the byte lies that names the protocol.
    pub(super) named_at: usize,
    pub(super) dscp: u8,
    pub(super) ecn: Ecn,
    /// TTL or hop limit on arrival.
    pub(super) ttl: u8,
    /// Where the transport's header begins.
    pub(super) payload_at: usize,
    /// The packet, no byte more.
    pub(super) data: Bytes,
    pub(super) offload: Offload,
    pub(super) origin: Origin,
}

impl Packet {
    pub(super) fn payload(&self) -> Bytes {
        self.data.slice(self.payload_at..)
    }

    /// Whether the transport checksum over `bytes` (what it covers, field included) is right, or
    /// somebody trustworthy has said so.
    pub(super) fn is_checksum_right(&self, bytes: &[u8]) -> bool {
        self.offload.checksum != Checksum::Complete
            || sums_up((self.source, self.destination), self.protocol, bytes)
    }

    fn flow(&self, source_port: u16, destination_port: u16) -> FlowKey {
        FlowKey {
            local: SocketAddr::new(self.destination, destination_port),
            remote: SocketAddr::new(self.source, source_port),
        }
    }
}

impl Ip {
    /// `Ok(None)` is counted where it is decided.
    #[inline]
    pub(super) fn receive(
        &mut self,
        now: Instant,
        frame: Frame,
        origin: Origin,
    ) -> Result<Option<Input>, Dropped> {
        // What most packets are goes straight on.
        if let Ok(header) = v4::parse(&frame.data)
            && header.protocol == IpNumber::TCP.0
            && !header.is_fragment()
            && let Ok(local) = self.check_ends(&header, origin)
            && is_offload_plausible(&frame.offload, header.source.into(), header.protocol)
        {
            return self.on_v4_tcp(&header, local, frame);
        }
        self.receive_other(now, frame, origin)
    }

    /// TCP over IPv4, in one piece.
    fn on_v4_tcp(
        &mut self,
        header: &v4::Header,
        local: bool,
        frame: Frame,
    ) -> Result<Option<Input>, Dropped> {
        let mut bytes = frame.data;
        bytes.truncate(header.total_len);
        bytes.advance(header.payload_at);
        let ends = (header.source.into(), header.destination.into(), local);
        tcp_input(&mut self.counters, ends, header.ecn, frame.offload, bytes)
    }

    fn receive_other(
        &mut self,
        now: Instant,
        frame: Frame,
        origin: Origin,
    ) -> Result<Option<Input>, Dropped> {
        let input = match frame.data.first().map(|byte| byte >> 4) {
            Some(4) => self.on_v4(now, frame, origin),
            Some(6) => self.on_v6(now, frame, origin),
            _ => Err(Dropped::Header),
        };
        match &input {
            Ok(Some(Input::Stray { .. })) => return input, // counted where it settles
            Ok(Some(Input::Tcp { .. })) | Err(Dropped::TcpChecksum | Dropped::TcpMalformed) => {
                return input; // counted where it was parsed
            }
            Ok(Some(_)) => self.counters.in_delivers += 1,
            Ok(None) => {}
            Err(dropped) => self.counters.on_dropped(*dropped),
        }
        self.counters.in_receives += 1;
        input
    }

    /// Whether a packet may have come from there to here; whether it is for this host.
    #[inline]
    fn check_ends(&self, header: &v4::Header, origin: Origin) -> Result<bool, Dropped> {
        let (source, destination) = (header.source.into(), header.destination.into());
        self.addresses.check_source(source, origin.loopback)?;
        self.addresses
            .check_destination(destination, self.config.transparent)
    }

    /// ICMP has dealt with the packet.
    pub(super) const fn dealt_with(&mut self) -> Option<Input> {
        self.counters.in_delivers += 1;
        None
    }

    /// The packet is among the fragments.
    const fn held(&mut self) -> Option<Input> {
        self.counters.reasm_held += 1;
        None
    }

    fn on_v4(
        &mut self,
        now: Instant,
        frame: Frame,
        origin: Origin,
    ) -> Result<Option<Input>, Dropped> {
        let header = v4::parse(&frame.data)?;
        let mut data = frame.data;
        data.truncate(header.total_len);
        let local = self.check_ends(&header, origin)?;
        let packet = Packet {
            source: header.source.into(),
            destination: header.destination.into(),
            local,
            protocol: header.protocol,
            named_at: 9,
            dscp: header.dscp,
            ecn: header.ecn,
            ttl: header.ttl,
            payload_at: header.payload_at,
            data,
            offload: frame.offload,
            origin,
        };
        if header.is_fragment() {
            return self.on_v4_fragment(now, &header, &packet);
        }
        self.deliver(now, packet)
    }

    fn on_v4_fragment(
        &mut self,
        now: Instant,
        header: &v4::Header,
        packet: &Packet,
    ) -> Result<Option<Input>, Dropped> {
        let payload = packet.payload();
        let is_first = header.offset == 0;
        let key = Key {
            source: packet.source,
            destination: packet.destination,
            protocol: header.protocol,
            id: u32::from(header.id),
        };
        if let Some(stray) = self.stray_fragment(packet, &key) {
            return Ok(Some(stray));
        }
        self.counters.reasm_reqds += 1;
        if is_first && !v6::holds_transport_header(header.protocol, &payload) {
            return Err(Dropped::Fragment);
        }
        let fragment = Fragment {
            offset: header.offset,
            more: header.more,
            ecn: header.ecn,
            payload,
            first: is_first.then(|| First {
                header: packet.data.slice(..header.payload_at),
                packet: packet.data.clone(),
            }),
        };
        let Outcome::Complete(mut whole) = self.on_fragment(now, key, fragment)? else {
            return Ok(self.held());
        };
        if whole.packet.len() > MAX_PAYLOAD {
            return Err(Dropped::Fragment);
        }
        v4::complete(&mut whole.packet, whole.header_len);
        let packet = Packet {
            ecn: whole.ecn,
            payload_at: whole.header_len,
            data: whole.packet.into(),
            offload: Offload::default(),
            origin: packet.origin.unsettled(),
            ..*packet
        };
        self.deliver(now, packet)
    }

    fn on_fragment(
        &mut self,
        now: Instant,
        key: Key,
        fragment: Fragment,
    ) -> Result<Outcome, Dropped> {
        let outcome = self.reassembler.on_fragment(now, key, fragment);
        self.counters.reasm_fails = self.reassembler.fails;
        if matches!(outcome, Ok(Outcome::Complete(_))) {
            self.counters.reasm_oks += 1;
        }
        outcome
    }

    fn on_v6(
        &mut self,
        now: Instant,
        frame: Frame,
        origin: Origin,
    ) -> Result<Option<Input>, Dropped> {
        let header = v6::parse(&frame.data)?;
        let mut data = frame.data;
        data.truncate(header.total_len);
        let (source, destination) = (header.source.into(), header.destination.into());
        self.addresses.check_source(source, origin.loopback)?;
        let local = match self
            .addresses
            .check_destination(destination, self.config.transparent)
        {
            Ok(local) => local,
            Err(dropped) => {
                self.check_multicast_options(now, dropped, &data, &header);
                return Err(dropped);
            }
        };
        let chain = v6::walk(&data, &header).map_err(|problem| self.refuse(now, problem, &data))?;
        let packet = Packet {
            source,
            destination,
            local,
            protocol: 0,
            named_at: 0,
            dscp: header.dscp,
            ecn: header.ecn,
            ttl: header.hop_limit,
            payload_at: 0,
            data,
            offload: frame.offload,
            origin,
        };
        let Chain::Fragment(fragment) = chain else {
            return self.deliver_chain(now, packet, chain);
        };
        if !fragment.is_atomic()
            && let Some(stray) = self.stray_fragment(&packet, &v6_key(&packet, &fragment))
        {
            return Ok(Some(stray));
        }
        self.counters.reasm_reqds += 1;
        if fragment.is_atomic() {
            let chain = v6::walk_atomic(&packet.data, &fragment)
                .map_err(|problem| self.refuse(now, problem, &packet.data))?;
            return self.deliver_chain(now, packet, chain);
        }
        self.on_v6_fragment(now, &fragment, &packet)
    }

    /// The one error that a packet to a multicast address may cause (RFC 4443 §2.4 (e.3)).
    fn check_multicast_options(
        &mut self,
        now: Instant,
        dropped: Dropped,
        data: &Bytes,
        header: &v6::Header,
    ) {
        if dropped == Dropped::Multicast
            && let Err(Problem {
                report: Some(report),
                ..
            }) = v6::walk(data, header)
            && report.even_multicast
        {
            self.send_parameter_problem(now, report, data);
        }
    }

    /// Reports what a walk stumbled over, where that is due, and says how to count it.
    fn refuse(&mut self, now: Instant, problem: Problem, data: &[u8]) -> Dropped {
        if let Some(report) = problem.report {
            self.send_parameter_problem(now, report, data);
        }
        problem.dropped
    }

    fn deliver_chain(
        &mut self,
        now: Instant,
        packet: Packet,
        chain: Chain,
    ) -> Result<Option<Input>, Dropped> {
        match chain {
            Chain::Upper {
                protocol,
                named_at,
                at,
            } => self.deliver(
                now,
                Packet {
                    protocol,
                    named_at,
                    payload_at: at,
                    ..packet
                },
            ),
            // A fragment inside a fragment is nothing anybody sends.
            Chain::Fragment(_) => Err(Dropped::ExtensionHeader),
        }
    }

    fn on_v6_fragment(
        &mut self,
        now: Instant,
        header: &FragmentHeader,
        packet: &Packet,
    ) -> Result<Option<Input>, Dropped> {
        self.check_v6_fragment(now, header, &packet.data)?;
        let data = &packet.data;
        let key = v6_key(packet, header);
        let fragment = Fragment {
            offset: header.offset,
            more: header.more,
            ecn: packet.ecn,
            payload: data.slice(header.payload_at()..),
            first: (header.offset == 0).then(|| {
                let mut headers = data[..header.at].to_vec();
                headers[header.named_at] = header.next_header;
                First {
                    header: headers.into(),
                    packet: data.clone(),
                }
            }),
        };
        let Outcome::Complete(mut whole) = self.on_fragment(now, key, fragment)? else {
            return Ok(self.held());
        };
        if whole.packet.len() - v6::HEADER_LEN > MAX_PAYLOAD {
            return Err(Dropped::Fragment);
        }
        v6::complete(&mut whole.packet);
        let packet = Packet {
            ecn: whole.ecn,
            data: whole.packet.into(),
            offload: Offload::default(),
            origin: packet.origin.unsettled(),
            ..*packet
        };
        let chain = v6::parse(&packet.data)
            .map_err(Problem::silent)
            .and_then(|header| v6::walk(&packet.data, &header))
            .map_err(|problem| self.refuse(now, problem, &packet.data))?;
        self.deliver_chain(now, packet, chain)
    }

    /// V6-6, V6-9: what a fragment must be alone, and what is said about it when it is not.
    fn check_v6_fragment(
        &mut self,
        now: Instant,
        header: &FragmentHeader,
        data: &Bytes,
    ) -> Result<(), Dropped> {
        let at = header.payload_at();
        let len = data.len() - at;
        let report = if header.more && !len.is_multiple_of(8) {
            // At the payload length field (RFC 8200 §4.5).
            (0, 4)
        } else if header.offset + len > MAX_PAYLOAD {
            // At the fragment offset field.
            (0, header.at as u32 + 2)
        } else if header.offset == 0 && !v6::holds_header_chain(data, header.next_header, at) {
            (3, 0)
        } else {
            return Ok(());
        };
        let (code, pointer) = report;
        let report = Parameter {
            code,
            pointer,
            even_multicast: false,
            even_later_fragment: true,
        };
        self.send_parameter_problem(now, report, data);
        Err(Dropped::Fragment)
    }

    fn deliver(&mut self, now: Instant, packet: Packet) -> Result<Option<Input>, Dropped> {
        let Packet {
            source,
            destination,
            local,
            ..
        } = packet;
        if !is_offload_plausible(&packet.offload, source, packet.protocol) {
            return Err(Dropped::Header);
        }
        let is_v4 = source.is_ipv4();
        match IpNumber(packet.protocol) {
            IpNumber::TCP => {
                let ends = (source, destination, local);
                let (ecn, bytes) = (packet.ecn, packet.payload());
                tcp_input(&mut self.counters, ends, ecn, packet.offload, bytes)
            }
            IpNumber::UDP => on_udp(packet).map(Some),
            IpNumber::ICMP | IpNumber::IPV6_ICMP if let Some(stray) = self.stray_icmp(&packet) => {
                Ok(Some(stray))
            }
            IpNumber::ICMP if is_v4 => self.on_icmp_v4(now, &packet),
            IpNumber::IPV6_ICMP if !is_v4 => self.on_icmp_v6(now, &packet),
            IpNumber::IPV6_NO_NEXT_HEADER if !is_v4 => Err(Dropped::NoNextHeader),
            _ => {
                if packet.local {
                    self.send_protocol_unreachable(now, packet.named_at, &packet.data);
                }
                Err(Dropped::UnknownProtocol)
            }
        }
    }
}

fn v6_key(packet: &Packet, header: &FragmentHeader) -> Key {
    Key {
        source: packet.source,
        destination: packet.destination,
        protocol: 0,
        id: header.id,
    }
}

/// A device that joins packets says of which kind; it must be the kind that the packet is (D-15).
#[inline]
fn is_offload_plausible(offload: &Offload, source: IpAddr, protocol: u8) -> bool {
    let Some(gso) = offload.gso else {
        return true;
    };
    match gso.kind {
        GsoKind::TcpV4 => source.is_ipv4() && protocol == IpNumber::TCP.0,
        GsoKind::TcpV6 => source.is_ipv6() && protocol == IpNumber::TCP.0,
        GsoKind::Udp => protocol == IpNumber::UDP.0,
    }
}

/// The segment that `bytes` are, between two addresses of which the second may be ours. It is counted
/// here.
#[inline(always)]
#[allow(
    clippy::inline_always,
    reason = "most addresses are known to be those of IPv4 where it is called"
)]
fn tcp_input(
    counters: &mut IpCounters,
    (source, destination, local): (IpAddr, IpAddr, bool),
    ecn: Ecn,
    offload: Offload,
    bytes: Bytes,
) -> Result<Option<Input>, Dropped> {
    counters.in_receives += 1;
    if offload.checksum == Checksum::Complete
        && !sums_up((source, destination), IpNumber::TCP.0, &bytes)
    {
        counters.on_dropped(Dropped::TcpChecksum);
        return Err(Dropped::TcpChecksum);
    }
    let Ok(parsed) = wire::parse(bytes, super::stride(&offload)) else {
        counters.on_dropped(Dropped::TcpMalformed);
        return Err(Dropped::TcpMalformed);
    };
    counters.in_delivers += 1;
    Ok(Some(Input::Tcp {
        flow: FlowKey {
            local: SocketAddr::new(destination, parsed.destination_port),
            remote: SocketAddr::new(source, parsed.source_port),
        },
        local,
        ecn,
        segment: parsed.segment,
    }))
}

/// Whether the transport checksum over `bytes`, field included, is right.
fn sums_up((source, destination): (IpAddr, IpAddr), protocol: u8, bytes: &[u8]) -> bool {
    let mut sum = Sum::pseudo_header(source, destination, protocol, bytes.len() as u32);
    sum.add(bytes);
    sum.checksum() == 0
}

fn on_udp(packet: Packet) -> Result<Input, Dropped> {
    let bytes = packet.payload();
    let parsed = ustack_udp::wire::parse(&bytes).map_err(|_| Dropped::UdpMalformed)?;
    if parsed.checksum != 0 {
        if !packet.is_checksum_right(&parsed.datagram) {
            return Err(Dropped::UdpChecksum);
        }
    } else if packet.source.is_ipv6() && packet.offload.checksum == Checksum::Complete {
        return Err(Dropped::UdpNoChecksum);
    }
    let flow = packet.flow(parsed.source_port, parsed.destination_port);
    let datagram = Datagram {
        local: flow.local,
        remote: flow.remote,
        data: parsed.payload(),
        ecn: packet.ecn as u8,
        stride: super::stride(&packet.offload),
    };
    Ok(Input::Udp {
        datagram,
        local: packet.local,
        packet: packet.data,
    })
}
