//! Datagram sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use covers::covers;
use etherparse::{SlicedPacket, TransportSlice};
use packetdrill::kernel::{Data, Fd};

use super::bench::*;

const ANY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];
const PORT: u16 = 5300;

/// A datagram socket at `local`.
fn bound(dut: &mut Dut, local: SocketAddr) -> Fd {
    let fd = dut.socket(libc::SOCK_DGRAM);
    dut.kernel.bind(fd, local).expect("a free port");
    fd
}

/// The next datagram that the host sends, and its source port.
fn next_datagram(dut: &mut Dut) -> (u16, Vec<u8>) {
    let (_, packet) = dut.next(SECOND).expect("a datagram");
    let sliced = SlicedPacket::from_ip(&packet).expect("well-formed");
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        panic!("{packet:?}");
    };
    (udp.source_port(), packet.clone())
}

/// A socket bound to any address hears what is sent to the host's own.
#[test]
#[covers("UD-10")]
fn udp_any_addr_recv_unicast() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let fd = bound(&mut dut, SocketAddr::new(ANY[family], PORT));
        let payload: Vec<u8> = (0..1024).map(|n| n as u8).collect();
        let peer = SocketAddr::new(PEER[family], 4000);
        dut.inject(&udp(peer, SocketAddr::new(DUT[family], PORT), &payload));
        assert_eq!(dut.read(fd, 1025), Ok(payload));
    }
}

/// A group never sends.
#[test]
#[covers("IP-4", "V6-18")]
fn udp_discard_mcast_source_addr() {
    let groups: [&[&str]; 2] = [
        &["224.0.0.1", "224.0.0.2", "224.0.1.42", "232.1.2.3"],
        &["ff01::1", "ff02::1", "ff02::2", "ff01::42", "ff02::4242"],
    ];
    for (family, groups) in groups.into_iter().enumerate() {
        let mut dut = Dut::new(family);
        let local = SocketAddr::new(DUT[family], PORT);
        let fd = bound(&mut dut, local);
        for group in groups {
            let source = SocketAddr::new(group.parse().expect("an address"), 4000);
            dut.inject(&udp(source, local, b"test payload"));
            assert_eq!(dut.read(fd, 100), Err(libc::EAGAIN), "{group}");
        }
        dut.assert_silent(SECOND);
    }
}

/// What a socket is told after it sent to a port that is closed, or too far away.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    BySend,
    ByRecv,
    ByOption,
    WhileReceiving,
}

/// Port unreachable reaches the connected socket whose datagram is quoted, by whatever call comes
/// next, once; nobody else hears of it, and time exceeded reaches nobody.
#[test]
#[covers("UD-6", "MUST-54")]
fn udp_icmp_error_propagation() {
    for family in 0..2 {
        for is_connected in [true, false] {
            for is_refused in [true, false] {
                for told in [
                    Told::BySend,
                    Told::ByRecv,
                    Told::ByOption,
                    Told::WhileReceiving,
                ] {
                    icmp_error(family, is_connected, is_refused, told);
                }
            }
        }
    }
}

fn icmp_error(family: usize, is_connected: bool, is_refused: bool, told: Told) {
    let mut dut = Dut::new(family);
    let peer = SocketAddr::new(PEER[family], 4000);
    let fds = [PORT, PORT + 1].map(|port| {
        let fd = bound(&mut dut, SocketAddr::new(ANY[family], port));
        if is_connected {
            assert_eq!(dut.kernel.connect(fd, Some(peer)), Ok(()));
        }
        fd
    });
    let [sender, clean] = fds;
    let empty = |dut: &mut Dut, fd| dut.kernel.sendto(fd, Data::Bytes(vec![]), 0, peer);
    assert_eq!(empty(&mut dut, sender), Ok(0));
    let (_, sent) = next_datagram(&mut dut);
    let kind = match (family, is_refused) {
        (0, true) => [3, 3],
        (0, false) => [11, 0],
        (_, true) => [1, 4],
        (_, false) => [3, 0],
    };
    let mut waiting = (told == Told::WhileReceiving).then(|| dut.begin(recv_call(sender, 100)));
    dut.inject_icmp([kind[0], kind[1], 0, 0, 0, 0, 0, 0], &sent);
    let expected = if is_connected && is_refused {
        libc::ECONNREFUSED
    } else {
        0
    };
    match told {
        Told::BySend => {
            assert_eq!(empty(&mut dut, clean), Ok(0));
            assert_eq!(next_datagram(&mut dut).0, PORT + 1);
            if expected != 0 {
                assert_eq!(empty(&mut dut, sender), Err(expected));
            }
        }
        Told::ByRecv => {
            for port in [PORT + 1, PORT] {
                dut.inject(&udp(peer, SocketAddr::new(DUT[family], port), b""));
            }
            assert_eq!(dut.read(clean, 100), Ok(vec![]));
            if expected != 0 {
                assert_eq!(dut.read(sender, 100), Err(expected));
            }
            assert_eq!(dut.read(sender, 100), Ok(vec![]));
        }
        Told::ByOption => {
            let _ = dut.kernel.poll(&mut []);
            assert_eq!((dut.error(clean), dut.error(sender)), (0, expected));
        }
        Told::WhileReceiving => {
            let mut waiting = waiting.take().expect("begun");
            assert_eq!(waiting.is_blocked(&mut dut), expected == 0);
            if expected != 0 {
                assert_eq!(waiting.answer(&mut dut).err(), Some(expected));
            }
            dut.inject(&udp(peer, SocketAddr::new(DUT[family], PORT), b""));
        }
    }
    // The error is spent.
    assert_eq!(empty(&mut dut, sender), Ok(0));
    assert_eq!(next_datagram(&mut dut).0, PORT);
}

/// Every combination of where a socket is bound and where the datagram goes, both ways. This link
/// has two ends and no groups: where other stacks pass broadcasts and multicasts, this one refuses
/// to send them and is deaf to them (IP-4).
#[test]
#[covers("UD-7", "UD-10", "IP-4")]
fn udp_socket_send_recv() {
    let broadcast: IpAddr = "192.0.2.255".parse().expect("an address");
    let limited = IpAddr::V4(Ipv4Addr::BROADCAST);
    let group: IpAddr = "224.0.0.1".parse().expect("an address");
    let bound_to = [None, Some(ANY[0]), Some(ANY[1]), Some(DUT[0]), Some(DUT[1])];
    for local in bound_to {
        for to in [limited, group, broadcast, PEER[0], PEER[1], DUT[0], DUT[1]] {
            for len in [0, 11, 1024] {
                let payload: Vec<u8> = (0..len).map(|n| n as u8).collect();
                send_one(local, to, &payload);
                receive_one(local, to, &payload);
            }
        }
    }
    // And nobody can be bound to what is nobody's.
    for nobody in [limited, group, broadcast] {
        let mut dut = Dut::new(0);
        let fd = dut.socket(libc::SOCK_DGRAM);
        let refused = dut.kernel.bind(fd, SocketAddr::new(nobody, PORT));
        assert_eq!(refused, Err(libc::EADDRNOTAVAIL));
    }
}

/// A host with a socket at `local`; without one, the socket is of the family of `to`.
fn with_socket(local: Option<IpAddr>, to: IpAddr) -> (Dut, Fd) {
    let family = usize::from(local.unwrap_or(to).is_ipv6());
    let mut dut = Dut::new(family);
    let fd = dut.socket(libc::SOCK_DGRAM);
    if let Some(local) = local {
        let local = SocketAddr::new(local, PORT);
        dut.kernel.bind(fd, local).expect("a free port");
    }
    (dut, fd)
}

fn send_one(local: Option<IpAddr>, to: IpAddr, payload: &[u8]) {
    let (mut dut, fd) = with_socket(local, to);
    let destination = SocketAddr::new(to, 4000);
    let data = Data::Bytes(payload.to_vec());
    let sent = dut.kernel.sendto(fd, data, 0, destination);
    let is_dual = local == Some(ANY[1]);
    let is_family = local.is_none_or(|local| local.is_ipv4() == to.is_ipv4()) || is_dual;
    let is_unicast = PEER.contains(&to) || DUT.contains(&to);
    let packet = dut.next(SECOND);
    if is_family && is_unicast {
        assert_eq!(sent, Ok(payload.len()), "{local:?} to {to}");
    }
    if !is_family {
        assert!(sent.is_err(), "{local:?} to {to}");
    }
    let is_seen = is_family && PEER.contains(&to);
    assert_eq!(packet.is_some(), is_seen, "{local:?} to {to}");
    if let Some((_, packet)) = packet {
        let (source, destination, protocol, body) = transport(&packet);
        let expected = DUT[usize::from(to.is_ipv6())];
        assert_eq!((source, destination, protocol), (expected, to, 17));
        assert_eq!(body[8..], *payload);
    }
}

fn receive_one(local: Option<IpAddr>, to: IpAddr, payload: &[u8]) {
    if PEER.contains(&to) {
        return;
    }
    let (mut dut, fd) = with_socket(local, to);
    let from = SocketAddr::new(PEER[usize::from(to.is_ipv6())], 4000);
    dut.inject(&udp(from, SocketAddr::new(to, PORT), payload));
    let is_heard = match local {
        _ if !DUT.contains(&to) => false,
        None => false,
        Some(local) if local == ANY[1] => true,
        Some(local) if local == ANY[0] => to.is_ipv4(),
        Some(local) => local == to,
    };
    let expected = if is_heard {
        Ok(payload.to_vec())
    } else {
        Err(libc::EAGAIN)
    };
    assert_eq!(dut.read(fd, payload.len() + 1), expected, "{local:?} {to}");
}
