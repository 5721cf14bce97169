//! Datagram sockets as a peer sees them: packets in, packets out.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU8;
use std::time::Duration;

use bytes::Bytes;
use covers::covers;
use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use ustack::device::Frame;
use ustack::device::memory::MemoryDevice;
use ustack::udp::{BindOptions, MtuDiscover, Plpmtud, PlpmtudState};
use ustack::{Stack, UdpSocket};

use super::{Running, V4, V6, alone, at, config, pattern, within};

/// The other addresses of the host under test.
const SECOND: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::new(10, 77, 0, 77)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, 0x77)),
];

/// A host with two addresses of each family, and the peer's end of its cable.
fn host() -> (Stack, Running, MemoryDevice) {
    let config = config(1).address(SECOND[0], 24).address(SECOND[1], 64);
    alone(config)
}

/// What a packet says.
pub(super) struct Seen {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) ttl: u8,
    pub(super) tos: u8,
    pub(super) is_fragment: bool,
    pub(super) dont_fragment: bool,
    pub(super) payload: Vec<u8>,
}

/// A datagram from the host under test.
pub(super) fn dissect(packet: &[u8]) -> Seen {
    let sliced = SlicedPacket::from_ip(packet).expect("well-formed");
    let (source, destination, ttl, tos, is_fragment, dont_fragment) = match sliced.net.expect("IP")
    {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            (
                IpAddr::V4(header.source_addr()),
                IpAddr::V4(header.destination_addr()),
                header.ttl(),
                packet[1],
                header.is_fragmenting_payload(),
                header.dont_fragment(),
            )
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            (
                IpAddr::V6(header.source_addr()),
                IpAddr::V6(header.destination_addr()),
                header.hop_limit(),
                header.traffic_class(),
                ip.is_payload_fragmented(),
                true,
            )
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (ports, payload) = match sliced.transport {
        Some(TransportSlice::Udp(udp)) => (
            (udp.source_port(), udp.destination_port()),
            udp.payload().to_vec(),
        ),
        _ => ((0, 0), vec![]),
    };
    Seen {
        source: at(source, ports.0),
        destination: at(destination, ports.1),
        ttl,
        tos,
        is_fragment,
        dont_fragment,
        payload,
    }
}

/// A datagram from `source`.
pub(super) fn datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let ip = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("two families"),
    };
    let mut packet = Vec::new();
    ip.udp(source.port(), destination.port())
        .write(&mut packet, payload)
        .expect("memory");
    packet
}

/// An ICMP error from the peer that quotes `about`.
pub(super) fn error(kind: [u8; 2], rest: u32, about: &[u8]) -> Vec<u8> {
    let is_v4 = about[0] >> 4 == 4;
    let end = about.len().min(if is_v4 { 548 } else { 1232 });
    let seen = dissect(about);
    let (from, to) = (seen.destination.ip(), seen.source.ip());
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64)
            .icmpv4_raw(kind[0], kind[1], rest.to_be_bytes())
            .write(&mut packet, &about[..end]),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64)
            .icmpv6_raw(kind[0], kind[1], rest.to_be_bytes())
            .write(&mut packet, &about[..end]),
        _ => panic!("two families"),
    }
    .expect("memory");
    packet
}

pub(super) fn push(cable: &MemoryDevice, packet: Vec<u8>) {
    assert!(cable.push(Frame {
        data: packet.into(),
        ..Frame::default()
    }));
}

/// The next packet that the host sends.
async fn next(cable: &MemoryDevice) -> Vec<u8> {
    for _ in 0..1000 {
        if let Some(frame) = cable.pop() {
            return frame.data.to_vec();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the host sends nothing");
}

async fn assert_silent(cable: &MemoryDevice) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(cable.pop(), None);
}

/// Two addresses, one socket for all: each question is answered from the address it went to, on
/// wildcard sockets of one family and of both.
#[tokio::test(start_paused = true)]
#[covers("UD-7")]
async fn answers_leave_from_the_address_that_was_asked() {
    let any = |ip: IpAddr| -> IpAddr {
        if ip.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        }
    };
    for (family, bound) in [
        (0, any(V4[1])),
        (1, any(V6[1])),
        (0, any(V6[1])), // `[::]` takes IPv4, too
    ] {
        let (stack, _driver, cable) = host();
        let (ours, peer) = if family == 0 {
            ([V4[1], SECOND[0]], at(V4[0], 4000))
        } else {
            ([V6[1], SECOND[1]], at(V6[0], 4000))
        };
        let socket = UdpSocket::bind(&stack, at(bound, 53)).unwrap();
        for address in ours {
            push(&cable, datagram(peer, at(address, 53), b"query"));
            let asked = within(5, socket.recv_datagram()).await.unwrap();
            assert_eq!((asked.local, asked.remote), (at(address, 53), peer));
            socket
                .send_from_to(b"answer", asked.local, asked.remote)
                .await
                .unwrap();
            let answer = dissect(&next(&cable).await);
            assert_eq!((answer.source, answer.destination), (at(address, 53), peer));
            assert_eq!(answer.payload, b"answer");
        }
        let foreign = if family == 0 {
            at([10, 77, 0, 99].into(), 53)
        } else {
            at("fd77::99".parse().unwrap(), 53)
        };
        let refused = socket.send_from_to(b"x", foreign, peer).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    }
}

/// The IPv6 way to write an IPv4 address names the same host and the same socket.
#[tokio::test(start_paused = true)]
async fn a_mapped_address_is_an_ipv4_address() {
    let mapped = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => IpAddr::V6(ip.to_ipv6_mapped()),
        IpAddr::V6(_) => panic!("IPv4"),
    };
    let (stack, _driver, cable) = host();
    let socket = UdpSocket::bind(&stack, at(mapped(V4[1]), 53)).unwrap();
    assert_eq!(socket.local_addr(), at(V4[1], 53));
    let taken = UdpSocket::bind(&stack, at(V4[1], 53)).unwrap_err();
    assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    socket.send_to(b"x", at(mapped(V4[0]), 4000)).await.unwrap();
    let seen = dissect(&next(&cable).await);
    assert_eq!(
        (seen.source, seen.destination),
        (at(V4[1], 53), at(V4[0], 4000))
    );
}

/// TTL and type of service: the socket's, from the next datagram on; 0 is nobody's TTL.
#[tokio::test(start_paused = true)]
#[covers("UD-7", "IP-7")]
async fn ttl_and_tos_are_seen_on_the_wire() {
    for [peer, us] in [V4, V6] {
        let (stack, _driver, cable) = host();
        let socket = UdpSocket::bind(&stack, at(us, 53)).unwrap();
        assert_eq!((socket.ttl(), socket.tos()), (64, 0));
        for (ttl, tos) in [(1, 46 << 2), (255, 0), (5, 63 << 2)] {
            socket.set_ttl(ttl).unwrap();
            socket.set_tos(tos | 3).unwrap();
            assert_eq!((socket.ttl(), socket.tos()), (ttl, tos));
            socket.send_to(b"x", at(peer, 4000)).await.unwrap();
            let seen = dissect(&next(&cable).await);
            assert_eq!(
                (u32::from(seen.ttl), seen.tos),
                (ttl, tos),
                "and no ECN bits"
            );
        }
        for ttl in [0, 256, u32::MAX] {
            let refused = socket.set_ttl(ttl).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(socket.ttl(), 5, "unchanged");
        let options = BindOptions {
            ttl: NonZeroU8::new(9),
            dscp: 10,
            ..BindOptions::new(at(us, 54))
        };
        let socket = UdpSocket::bind_with(&stack, options).unwrap();
        socket.send_to(b"x", at(peer, 4000)).await.unwrap();
        let seen = dissect(&next(&cable).await);
        assert_eq!((seen.ttl, seen.tos), (9, 40));
    }
}

/// The kind of error, as a connected socket hears of it; others hear nothing, and neither does
/// anybody whose packet the error does not quote.
#[tokio::test(start_paused = true)]
#[covers("UD-6", "MUST-54")]
async fn icmp_errors_reach_the_socket_that_sent() {
    let cases: [(usize, [u8; 2], Option<ErrorKind>); 9] = [
        (0, [3, 3], Some(ErrorKind::ConnectionRefused)),
        (0, [3, 2], Some(ErrorKind::ConnectionRefused)),
        (0, [3, 1], Some(ErrorKind::HostUnreachable)),
        (0, [3, 0], Some(ErrorKind::NetworkUnreachable)),
        (0, [11, 0], None),
        (1, [1, 4], Some(ErrorKind::ConnectionRefused)),
        (1, [1, 3], Some(ErrorKind::HostUnreachable)),
        (1, [1, 0], Some(ErrorKind::NetworkUnreachable)),
        (1, [3, 0], None),
    ];
    for (family, kind, expected) in cases {
        let [peer, us] = [V4, V6][family];
        let (stack, _driver, cable) = host();
        let sender = UdpSocket::bind(&stack, at(us, 53)).unwrap();
        sender.connect(at(peer, 4000)).unwrap();
        let other = UdpSocket::bind(&stack, at(us, 54)).unwrap();
        other.connect(at(peer, 4000)).unwrap();
        let unconnected = UdpSocket::bind(&stack, at(us, 55)).unwrap();
        sender.send(b"x").await.unwrap();
        let sent = next(&cable).await;
        push(&cable, error(kind, 0, &sent));
        let mut buf = [0; 8];
        let heard = tokio::time::timeout(Duration::from_secs(1), sender.recv(&mut buf)).await;
        match expected {
            Some(expected) => assert_eq!(heard.unwrap().unwrap_err().kind(), expected),
            None => assert!(heard.is_err(), "{kind:?}"),
        }
        sender.send(b"y").await.expect("told once");
        let mut foreign = next(&cable).await;
        let ports = if family == 0 { 20 } else { 40 };
        foreign[ports + 3] ^= 1;
        push(&cable, error(kind, 0, &foreign));
        for socket in [&sender, &other, &unconnected] {
            let heard = tokio::time::timeout(Duration::from_secs(1), socket.recv(&mut buf)).await;
            assert!(heard.is_err(), "{kind:?}");
        }
    }
}

/// Nobody listens: port unreachable, from the address asked, quoting the datagram unchanged.
#[tokio::test(start_paused = true)]
#[covers("UD-5", "IC-4", "C6-3")]
async fn a_closed_port_is_said_to_be_one() {
    for ([peer, us], kind, header) in [(V4, [3, 3], 20), (V6, [1, 4], 40)] {
        let (_stack, _driver, cable) = host();
        for len in [0, 10, 1400] {
            let question = datagram(at(peer, 4000), at(us, 9), &pattern(len));
            push(&cable, question.clone());
            let error = next(&cable).await;
            assert_eq!(error[header..header + 2], kind);
            let quoted = &error[header + 8..];
            assert_eq!(*quoted, question[..quoted.len()], "unchanged");
            let most = if header == 20 { 576 } else { 1280 };
            assert_eq!(error.len(), (header + 8 + question.len()).min(most));
            let seen = dissect(&error);
            assert_eq!((seen.source.ip(), seen.destination.ip()), (us, peer));
        }
        assert_silent(&cable).await;
    }
}

/// Nobody is told about datagrams to a group, from nobody, or about the later pieces of one.
#[tokio::test(start_paused = true)]
#[covers("IC-3", "C6-3", "IP-4")]
async fn no_error_where_none_may_be() {
    let (stack, _driver, cable) = host();
    let ends = |source: &str, destination: &str| {
        let end = |text: &str, port| at(text.parse().unwrap(), port);
        datagram(end(source, 4000), end(destination, 9), b"x")
    };
    for (source, destination) in [
        ("10.77.0.1", "224.0.0.1"),
        ("10.77.0.1", "10.77.0.255"),
        ("10.77.0.1", "255.255.255.255"),
        ("10.77.0.255", "10.77.0.2"),
        ("224.0.0.1", "10.77.0.2"),
        ("127.0.0.1", "10.77.0.2"),
        ("0.0.0.0", "10.77.0.2"),
        ("10.77.0.2", "10.77.0.2"),
        ("fd77::1", "ff02::1"),
        ("::", "fd77::2"),
        ("ff02::1", "fd77::2"),
        ("::1", "fd77::2"),
    ] {
        push(&cable, ends(source, destination));
    }
    assert_silent(&cable).await;
    assert_eq!(stack.stats().udp.no_ports, 0, "none came so far");
}

/// Boundaries are kept, empty datagrams are datagrams, and the largest are as large as IP takes.
#[tokio::test(start_paused = true)]
#[covers("UD-10", "FR-1")]
async fn every_size_keeps_its_boundaries() {
    for ([peer, us], most) in [(V4, 65_507), (V6, 65_527)] {
        let (stack, _driver, cable) = host();
        let socket = UdpSocket::bind(&stack, at(us, 53)).unwrap();
        for len in [0, 1, 2, 0, 1472] {
            let len = len.min(1452);
            push(&cable, datagram(at(peer, 4000), at(us, 53), &pattern(len)));
        }
        for len in [0, 1, 2, 0, 1452] {
            let arrived = within(5, socket.recv_datagram()).await.unwrap();
            assert_eq!(arrived.data, pattern(len));
        }
        socket.send_to(&[], at(peer, 4000)).await.unwrap();
        let seen = dissect(&next(&cable).await);
        assert!(seen.payload.is_empty() && seen.dont_fragment && !seen.is_fragment);
        let too_long = socket.send_to(&vec![0; most + 1], at(peer, 4000)).await;
        assert_eq!(too_long.unwrap_err().raw_os_error(), Some(90), "EMSGSIZE");
        socket
            .send_to(&pattern(most), at(peer, 4000))
            .await
            .unwrap();
        let mut total = 0;
        for _ in 0..most.div_ceil(1480) {
            let piece = next(&cable).await;
            assert!(piece.len() <= 1500);
            let header = if peer.is_ipv4() { 20 } else { 48 };
            total += piece.len() - header;
        }
        while let Some(piece) = cable.pop() {
            total += piece.data.len() - 48;
        }
        assert_eq!(total, most + 8);
    }
}

/// A datagram that may not be cut and does not fit is refused, with the number that kernels use;
/// what fits can be asked, follows what routers say, and becomes wider again by itself.
#[tokio::test(start_paused = true)]
#[covers("PM-11", "PM-7")]
async fn what_does_not_fit_is_refused() {
    for ([peer, us], kind, headers) in [(V4, [3, 4], 28), (V6, [2, 0], 48)] {
        let (stack, _driver, cable) = host();
        let options = BindOptions {
            mtu_discover: MtuDiscover::Do,
            ..BindOptions::new(at(us, 53))
        };
        let socket = UdpSocket::bind_with(&stack, options).unwrap();
        let to = at(peer, 4000);
        let fits = |socket: &UdpSocket| socket.max_unfragmented(Some(to)).unwrap();
        assert_eq!(fits(&socket), 1500 - headers);
        let errno = |result: std::io::Result<usize>| result.unwrap_err().raw_os_error();
        let too_long = socket.send_to(&vec![1; 1501 - headers], to).await;
        assert_eq!(errno(too_long), Some(90));
        socket.send_to(&vec![1; 1500 - headers], to).await.unwrap();
        let sent = next(&cable).await;
        assert_eq!(sent.len(), 1500);
        assert!(dissect(&sent).dont_fragment);
        push(&cable, error(kind, 1400, &sent));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(fits(&socket), 1400 - headers);
        let too_long = socket.send_to(&vec![1; 1401 - headers], to).await;
        assert_eq!(errno(too_long), Some(90));
        // A connected one hears of it at once.
        let connected = UdpSocket::bind_with(
            &stack,
            BindOptions {
                local: at(us, 54),
                ..options
            },
        );
        let connected = connected.unwrap();
        connected.connect(to).unwrap();
        connected.send(&vec![1; 1400 - headers]).await.unwrap();
        let sent = next(&cable).await;
        push(&cable, error(kind, 1300, &sent));
        let heard = within(5, connected.recv(&mut [0; 8])).await;
        assert_eq!(errno(heard), Some(90));
        assert_eq!(connected.max_unfragmented(None).unwrap(), 1300 - headers);
        // One that lets IP cut goes on, in pieces.
        let plain = UdpSocket::bind(&stack, at(us, 55)).unwrap();
        plain.send_to(&vec![1; 1400 - headers], to).await.unwrap();
        for _ in 0..2 {
            let piece = next(&cable).await;
            assert!(piece.len() <= 1300 && dissect(&piece).is_fragment);
        }
        tokio::time::sleep(Duration::from_secs(601)).await;
        assert_eq!(fits(&socket), 1500 - headers);
    }
}

/// A network that drops silently what is larger than `limit` bytes, and a peer that echoes the
/// rest.
async fn reflect(cable: MemoryDevice, limit: usize) {
    loop {
        while let Some(frame) = cable.pop() {
            if frame.data.len() <= limit {
                let seen = dissect(&frame.data);
                push(
                    &cable,
                    datagram(seen.destination, seen.source, &seen.payload),
                );
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// RFC 8899 over a socket: a reflector behind a path that swallows what is larger than 1,350
/// bytes. At most three probes of a size; data of the size found arrives.
#[tokio::test(start_paused = true)]
#[covers("PM-10")]
async fn probing_finds_what_a_silent_path_takes() {
    for ([peer, us], headers) in [(V4, 28), (V6, 48)] {
        let (stack, _driver, cable) = host();
        tokio::spawn(reflect(cable, 1350));
        let options = BindOptions {
            mtu_discover: MtuDiscover::Probe,
            ..BindOptions::new(at(us, 53))
        };
        let socket = UdpSocket::bind_with(&stack, options).unwrap();
        socket.connect(at(peer, 7)).unwrap();
        let started = tokio::time::Instant::now();
        let mut search = Plpmtud::new(socket.max_unfragmented(None).unwrap() as u16);
        search.set_probe_timer(Duration::from_secs(1));
        let mut probes = std::collections::BTreeMap::new();
        let mut buf = [0; 1500];
        while search.state() != PlpmtudState::SearchComplete {
            if let Some(size) = search.poll_probe(started.elapsed()) {
                *probes.entry(size).or_insert(0) += 1;
                let padded = Bytes::from(vec![0; size.into()]);
                socket.send_datagram(None, None, padded).await.unwrap();
            }
            let deadline = started + search.poll_timeout().expect("a probe is on its way");
            match tokio::time::timeout_at(deadline, socket.recv(&mut buf)).await {
                Ok(echo) => search.on_probe_acked(started.elapsed(), echo.unwrap() as u16),
                Err(_) => search.on_timeout(started.elapsed()),
            }
        }
        let found = usize::from(search.plpmtu());
        assert!(
            found + headers <= 1350 && found + headers > 1350 - 8,
            "{found}"
        );
        assert!(probes.values().all(|&count| count <= 3), "{probes:?}");
        let data = pattern(found);
        socket.send(&data).await.unwrap();
        let len = within(5, socket.recv(&mut buf)).await.unwrap();
        assert!(buf[..len] == data);
    }
}

/// A UDP checksum of nothing but zeros: fine over IPv4, dropped over IPv6; a wrong one is dropped
/// over both, and nobody is told.
#[tokio::test(start_paused = true)]
#[covers("UD-2", "UD-4")]
async fn checksums_decide_who_hears() {
    for ([peer, us], header) in [(V4, 20), (V6, 40)] {
        let (stack, _driver, cable) = host();
        let socket = UdpSocket::bind(&stack, at(us, 53)).unwrap();
        let good = datagram(at(peer, 4000), at(us, 53), b"data");
        let mut none = good.clone();
        none[header + 6..header + 8].fill(0);
        let mut bad = good.clone();
        bad[header + 7] ^= 1;
        push(&cable, bad);
        push(&cable, none);
        push(&cable, good);
        let count = if header == 20 { 2 } else { 1 };
        for _ in 0..count {
            assert_eq!(
                within(5, socket.recv_datagram()).await.unwrap().data,
                "data"
            );
        }
        assert_silent(&cable).await;
        let ip = stack.stats().ip;
        assert_eq!((ip.udp_in_csum_errors, ip.udp_in_no_csum), (1, 2 - count));
        assert_eq!(stack.stats().udp.in_datagrams, count);
    }
}
