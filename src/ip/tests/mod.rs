//! IP as a whole: packets in, packets out, etherparse as the second opinion.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;

use bytes::Bytes;
use covers::covers;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use ustack_tcp::seq::{WireSeq, WireWindow};
use ustack_tcp::time::Instant;
use ustack_tcp::{Ecn, Flags, FlowKey, Options, Segment};

use super::*;
use crate::batch::{Checksum, Frame, Gso, GsoKind, Offload, TxBatch};
use crate::checksum::{Sum, checksum};
use crate::device::Caps;

mod effects;
mod extension;
mod fragments;
mod garbage;
mod icmp;
mod input;
mod kernel;
mod martians;
mod options;
mod output;
mod shapes;
mod too_big;

const US4: &str = "10.77.0.2";
const PEER4: &str = "10.77.0.1";
const US6: &str = "fd77::2";
const PEER6: &str = "fd77::1";

/// Both families: our address and the peer's.
const FAMILIES: [(&str, &str); 2] = [(US4, PEER4), (US6, PEER6)];

const PLAIN: Caps = Caps {
    mtu: 1500,
    tx_checksum: false,
    tso: false,
    uso: false,
};

const OFFLOAD: Caps = Caps {
    mtu: 1500,
    tx_checksum: true,
    tso: true,
    uso: true,
};

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn socket(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(addr(ip), port)
}

fn config() -> IpConfig {
    IpConfig {
        addresses: vec![(addr(US4), 24), (addr(US6), 64)],
        ..IpConfig::default()
    }
}

fn ip() -> Ip {
    Ip::new(config(), PLAIN, [5; 32])
}

fn transparent() -> Ip {
    let config = IpConfig {
        transparent: true,
        ..config()
    };
    Ip::new(config, PLAIN, [6; 32])
}

/// The other end of the link.
fn peer() -> Ip {
    let config = IpConfig {
        addresses: vec![(addr(PEER4), 24), (addr(PEER6), 64)],
        ..IpConfig::default()
    };
    Ip::new(config, PLAIN, [7; 32])
}

fn frame(bytes: impl Into<Bytes>) -> Frame {
    Frame {
        data: bytes.into(),
        offload: Offload::default(),
    }
}

fn builder(
    source: &str,
    destination: &str,
    ttl: u8,
) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (addr(source), addr(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), ttl)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), ttl)
        }
        _ => panic!("two families"),
    }
}

fn udp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder(source, destination, 64)
        .udp(1000, 53)
        .write(&mut bytes, payload)
        .expect("a vector takes all");
    bytes
}

fn tcp(source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    builder(source, destination, 64)
        .tcp(1000, 80, 7, 1024)
        .ack(9)
        .write(&mut bytes, payload)
        .expect("a vector takes all");
    bytes
}

/// Any ICMP message, its checksum right.
fn icmp_message(source: &str, destination: &str, header: [u8; 8], payload: &[u8]) -> Vec<u8> {
    let (source_ip, destination_ip) = (addr(source), addr(destination));
    let mut body = header.to_vec();
    body.extend_from_slice(payload);
    let (protocol, mut sum) = if source_ip.is_ipv4() {
        (1, Sum::new())
    } else {
        let len = body.len() as u32;
        (58, Sum::pseudo_header(source_ip, destination_ip, 58, len))
    };
    sum.add(&body);
    body[2..4].copy_from_slice(&sum.checksum().to_be_bytes());
    raw(source, destination, protocol, &body)
}

/// A packet of any protocol.
fn raw(source: &str, destination: &str, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = match (addr(source), addr(destination)) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => v4::emit(
            source,
            destination,
            protocol,
            0,
            64,
            body.len(),
            v4::Fragmentation::Never,
        )
        .to_vec(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            v6::emit(source, destination, protocol, 0, 0, 64, body.len()).to_vec()
        }
        _ => panic!("two families"),
    };
    bytes.extend_from_slice(body);
    bytes
}

/// A piece of a packet from the peer.
fn fragment(
    (us, them): (&str, &str),
    protocol: u8,
    id: u32,
    (offset, more): (usize, bool),
    data: &[u8],
) -> Vec<u8> {
    if let (IpAddr::V4(source), IpAddr::V4(destination)) = (addr(them), addr(us)) {
        let id = id as u16;
        let piece = v4::Fragmentation::Piece { id, offset, more };
        let header = v4::emit(source, destination, protocol, 0, 64, data.len(), piece);
        return [&header[..], data].concat();
    }
    let header = v6::emit_fragment(protocol, offset, more, id);
    raw(them, us, 44, &[&header[..], data].concat())
}

/// Makes the IPv4 header checksum right again.
fn seal(packet: &mut [u8]) {
    if packet[0] >> 4 == 4 {
        let end = usize::from(packet[0] & 0xf) * 4;
        packet[10..12].fill(0);
        let sum = checksum(&packet[..end]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Sets TTL or hop limit.
fn set_ttl(packet: &mut [u8], ttl: u8) {
    let at = if packet[0] >> 4 == 4 { 8 } else { 7 };
    packet[at] = ttl;
    seal(packet);
}

/// Sets DSCP and ECN.
fn set_traffic_class(packet: &mut [u8], class: u8) {
    if packet[0] >> 4 == 4 {
        packet[1] = class;
    } else {
        packet[0] = 0x60 | class >> 4;
        packet[1] = class << 4 | packet[1] & 0xf;
    }
    seal(packet);
}

/// DSCP and ECN.
fn traffic_class(packet: &[u8]) -> u8 {
    if packet[0] >> 4 == 4 {
        packet[1]
    } else {
        packet[0] << 4 | packet[1] >> 4
    }
}

/// What IP itself wants to send, each packet in one piece.
fn answers(ip: &mut Ip, now: Instant) -> Vec<Vec<u8>> {
    let mut tx = TxBatch::new();
    ip.poll_transmit(now, &mut tx);
    packets(&tx)
}

fn packets(tx: &TxBatch) -> Vec<Vec<u8>> {
    tx.iter()
        .map(|frame| frame.to_frame().data.to_vec())
        .collect()
}

/// The single answer to a packet.
fn answer(ip: &mut Ip, packet: Vec<u8>) -> Vec<u8> {
    let _ = ip.on_frame(at(1), frame(packet));
    let mut all = answers(ip, at(1));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Asserts that a packet has no answer.
fn assert_silent(ip: &mut Ip, packet: Vec<u8>) {
    let _ = ip.on_frame(at(1), frame(packet));
    assert_eq!(answers(ip, at(1)), Vec::<Vec<u8>>::new());
}

/// Addresses, protocol and transport bytes of an unfragmented packet whose checksums etherparse
/// and we agree on.
fn dissect(packet: &[u8]) -> (IpAddr, IpAddr, Vec<u8>) {
    let sliced = SlicedPacket::from_ip(packet).expect("a well-formed packet");
    let (source, destination) = match sliced.net.as_ref().expect("IP") {
        NetSlice::Ipv4(slice) => {
            assert_eq!(checksum(slice.header().slice()), 0);
            assert_eq!(usize::from(slice.header().total_len()), packet.len());
            let header = slice.header();
            (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
            )
        }
        NetSlice::Ipv6(slice) => {
            let header = slice.header();
            (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
            )
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (protocol, bytes) = match sliced.transport.as_ref().expect("a transport") {
        TransportSlice::Tcp(slice) => (6, slice.slice()),
        TransportSlice::Udp(slice) => (17, slice.slice()),
        TransportSlice::Icmpv4(slice) => (1, slice.slice()),
        TransportSlice::Icmpv6(slice) => (58, slice.slice()),
        TransportSlice::Igmp(slice) => panic!("{slice:?}"),
    };
    let mut sum = if protocol == 1 {
        Sum::new()
    } else {
        Sum::pseudo_header(source, destination, protocol, bytes.len() as u32)
    };
    sum.add(bytes);
    assert_eq!(sum.checksum(), 0, "transport checksum");
    (source, destination, bytes.to_vec())
}

/// A data segment from us to the peer.
fn segment(seq: u32) -> Segment<()> {
    Segment {
        seq: WireSeq(seq),
        ack: WireSeq(1),
        window: WireWindow(1000),
        flags: Flags::ACK,
        options: Options::none(),
        payload: (),
        urgent: 0,
        mss: NonZeroU16::MIN,
    }
}

/// Sends a segment with these chunks from port 80 of `us` to port 1000 of `them`.
fn send_segment(
    ip: &mut Ip,
    tx: &mut TxBatch,
    (us, them): (&str, &str),
    seq: u32,
    chunks: &[&'static [u8]],
    gso_size: Option<u16>,
) {
    let flow = FlowKey {
        local: socket(us, 80),
        remote: socket(them, 1000),
    };
    let payload_len = chunks.iter().map(|chunk| chunk.len() as u32).sum();
    let meta = ustack_tcp::TxMeta {
        flow: &flow,
        segment: &segment(seq),
        payload_len,
        gso_size: gso_size.and_then(NonZeroU16::new),
        ecn: Ecn::NotEct,
        dscp: 0,
        ttl: None,
    };
    let payload = chunks.iter().map(|chunk| Bytes::from_static(chunk));
    ustack_tcp::Transmit::push(&mut ip.output(at(1), tx), &meta, payload);
}

/// Sends a datagram from port 53 of `us` to port 1000 of `them`.
fn send_datagram(ip: &mut Ip, tx: &mut TxBatch, (us, them): (&str, &str), payload: &[u8]) {
    let meta = ustack_udp::TxMeta {
        local: socket(us, 53),
        remote: socket(them, 1000),
        dscp: 0,
        ecn: 0,
        ttl: None,
        mtu_discover: ustack_udp::MtuDiscover::Want,
    };
    let payload = Bytes::copy_from_slice(payload);
    ustack_udp::Transmit::push(&mut ip.output(at(1), tx), &meta, payload);
}

/// The payload of the datagram that a frame turned out to be.
fn datagram(input: Result<Option<Input>, Dropped>) -> Datagram {
    match input {
        Ok(Some(Input::Udp { datagram, .. })) => datagram,
        other => panic!("no datagram: {other:?}"),
    }
}

/// `len` bytes without a period that a wrong offset could hide in.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// U6: every frame in exactly one counter.
fn assert_counters_add_up(ip: &Ip) {
    let counters = ip.counters();
    assert_eq!(
        counters.in_receives,
        counters.in_delivers + counters.reasm_held + counters.dropped(),
        "{counters:?}"
    );
}
