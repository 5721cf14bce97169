//! Captures, played to a referee as they are or altered.

#![allow(dead_code, reason = "each test uses its part")]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use etherparse::{IpSlice, Ipv4Header, TcpHeader, TcpSlice};
use referee::capture::{self, Recorded};
use referee::packet::{self, TcpPacket};
use referee::{Options, Referee, View, Violation};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../pcaps")
}

pub(crate) fn read(name: &str) -> Vec<Recorded> {
    capture::read(&folder().join(format!("{name}.pcapng"))).unwrap()
}

pub(crate) fn tcp(packet: &Recorded) -> TcpPacket {
    packet::tcp(&packet.data).unwrap().expect("a segment")
}

/// The end at whose device the captures were made.
pub(crate) fn is_server(packet: &Recorded) -> bool {
    let ip = IpSlice::from_slice(&packet.data).unwrap();
    server().contains(&ip.source_addr())
}

pub(crate) fn server() -> Vec<IpAddr> {
    ["10.88.0.2", "fd88::2"]
        .map(|address| address.parse().unwrap())
        .to_vec()
}

/// A segment taken apart: header without options, options, payload.
pub(crate) struct Parts {
    pub(crate) tcp: TcpHeader,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
    pub(crate) ecn: u8,
}

/// Alters a segment of IPv4 and makes lengths and checksums right again.
pub(crate) fn alter(packet: &mut Recorded, change: impl FnOnce(&mut Parts)) {
    let IpSlice::Ipv4(ip) = IpSlice::from_slice(&packet.data).unwrap() else {
        panic!("packet {} is not IPv4", packet.number);
    };
    let segment = TcpSlice::from_slice(ip.payload().payload).unwrap();
    let mut parts = Parts {
        tcp: segment.to_header(),
        options: segment.options().to_vec(),
        payload: segment.payload().to_vec(),
        ecn: ip.header().ecn().value(),
    };
    change(&mut parts);
    let Parts {
        mut tcp,
        mut options,
        payload,
        ecn,
    } = parts;
    options.resize(options.len().next_multiple_of(4), 1);
    tcp.set_options_raw(&options).unwrap();
    let mut header: Ipv4Header = ip.header().to_header();
    header.ecn = ecn.try_into().unwrap();
    header.total_len = (header.header_len() + tcp.header_len() + payload.len()) as u16;
    header.header_checksum = header.calc_header_checksum();
    tcp.checksum = tcp.calc_checksum_ipv4(&header, &payload).unwrap();
    let mut data = Vec::new();
    header.write(&mut data).unwrap();
    tcp.write(&mut data).unwrap();
    data.extend(payload);
    packet.data = data.into();
}

/// Alters a byte and leaves the checksums as they were.
pub(crate) fn damage(packet: &mut Recorded, change: impl FnOnce(&mut Vec<u8>)) {
    let mut data = packet.data.to_vec();
    change(&mut data);
    packet.data = Bytes::from(data);
}

/// Played at the server's device.
pub(crate) fn play(packets: &[Recorded], options: Options) -> Vec<Violation> {
    let mut referee = Referee::new(View::Point { near: server() }, options);
    for packet in packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    referee.finish(packets.last().unwrap().time);
    referee.take_violations()
}

/// How far the client is from the server in [`play_ends`], less than in the recordings.
const WAY: Duration = Duration::from_millis(4);

/// Played as if both ends had been watched.
pub(crate) fn play_ends(packets: &[Recorded]) -> Vec<Violation> {
    let mut moments = Vec::new();
    for packet in packets {
        let here = packet.time + WAY;
        let (sent, delivered) = if is_server(packet) {
            (here, here + WAY)
        } else {
            (packet.time, here)
        };
        moments.push((sent, packet, true));
        if !packet.lost {
            moments.push((delivered, packet, false));
        }
    }
    moments.sort_by_key(|&(at, _, _)| at);
    let mut referee = Referee::new(View::Ends, Options::default());
    for &(at, packet, leaves) in &moments {
        if leaves {
            referee.on_sent(packet.number, at, &packet.data);
        } else {
            referee.on_delivered(packet.number, at, &packet.data);
        }
    }
    referee.finish(moments.last().unwrap().0);
    referee.take_violations()
}

/// Played far from both.
pub(crate) fn play_from_afar(packets: &[Recorded]) -> Vec<Violation> {
    let mut referee = Referee::new(View::Point { near: Vec::new() }, Options::default());
    for packet in packets {
        referee.on_seen(packet.number, packet.time, &packet.data, packet.lost);
    }
    referee.take_violations()
}
