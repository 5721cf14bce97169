//! Ping sockets as a peer sees them.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use covers::covers;
use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use ustack::PingSocket;
use ustack::device::Frame;
use ustack::device::memory::MemoryDevice;

use super::{V4, V6, alone, config, pattern, within};

const ANY: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(Ipv6Addr::UNSPECIFIED),
];

/// Ourselves, the peer, and everybody who is nobody: broadcasts and groups.
const DESTINATIONS: [&str; 8] = [
    "10.77.0.2",
    "fd77::2",
    "10.77.0.1",
    "fd77::1",
    "255.255.255.255",
    "10.77.0.255",
    "224.0.0.1",
    "ff02::1",
];

fn destinations() -> impl Iterator<Item = IpAddr> {
    DESTINATIONS.iter().map(|text| text.parse().unwrap())
}

/// An echo request of the host: from, to, identifier, sequence number, data.
fn request(packet: &[u8]) -> (IpAddr, IpAddr, u16, u16, Vec<u8>) {
    let sliced = SlicedPacket::from_ip(packet).expect("well-formed");
    let (kind, bytes) = match sliced.transport.expect("a transport") {
        TransportSlice::Icmpv4(icmp) => (8, icmp.slice().to_vec()),
        TransportSlice::Icmpv6(icmp) => (128, icmp.slice().to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!(bytes[..2], [kind, 0]);
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (from, to) = if kind == 8 {
        let ip = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        (ip(12).into(), ip(16).into())
    } else {
        let ip = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
        (ip(8).into(), ip(24).into())
    };
    (from, to, word(4), word(6), bytes[8..].to_vec())
}

fn push_reply(cable: &MemoryDevice, from: IpAddr, to: IpAddr, ident: u16, data: &[u8]) {
    let mut packet = Vec::new();
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 60)
            .icmpv4_echo_reply(ident, 7)
            .write(&mut packet, data),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 60)
            .icmpv6_echo_reply(ident, 7)
            .write(&mut packet, data),
        _ => panic!("two families"),
    }
    .expect("memory");
    assert!(cable.push(Frame {
        data: packet.into(),
        ..Frame::default()
    }));
}

async fn rest() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

/// Every combination of where the socket is bound, where it sends to, and how much.
async fn send(family: usize) {
    let [peer, us] = [V4, V6][family];
    for bound in [ANY[family], us] {
        for to in destinations() {
            for len in [0, 11, 1024] {
                let (stack, _driver, cable) = alone(config(1));
                let socket = PingSocket::bind(&stack, bound).unwrap();
                let data = pattern(len);
                let sent = socket.send_to(3, &data, to);
                rest().await;
                let packet = cable.pop();
                if to == peer {
                    sent.unwrap();
                    let packet = packet.expect("a request").data;
                    assert_eq!(request(&packet), (us, peer, socket.ident(), 3, data));
                } else if to == us {
                    sent.unwrap();
                    assert_eq!(packet, None, "answered without leaving the host");
                    let pong = within(5, socket.recv()).await.unwrap();
                    assert_eq!((pong.remote, pong.seq, &pong.data[..]), (us, 3, &data[..]));
                } else {
                    let kind = sent.unwrap_err().kind();
                    assert_eq!((kind, packet), (ErrorKind::InvalidInput, None), "{to}");
                }
            }
        }
    }
}

/// And of where it is bound and where the reply comes to.
async fn receive(family: usize) {
    let [peer, us] = [V4, V6][family];
    for bound in [ANY[family], us] {
        for to in destinations().filter(|to| to.is_ipv4() == (family == 0) && *to != peer) {
            for len in [0, 11, 1024] {
                let (stack, _driver, cable) = alone(config(1));
                let socket = PingSocket::bind(&stack, bound).unwrap();
                let other = PingSocket::bind(&stack, bound).unwrap();
                assert_ne!(socket.ident(), other.ident());
                let data = pattern(len);
                push_reply(&cable, peer, to, socket.ident(), &data);
                let heard = tokio::time::timeout(Duration::from_secs(1), socket.recv()).await;
                assert_eq!(heard.is_ok(), to == us, "{to}");
                if let Ok(pong) = heard {
                    let pong = pong.unwrap();
                    assert_eq!((pong.remote, pong.local), (peer, us));
                    assert_eq!((pong.seq, pong.ttl, &pong.data[..]), (7, 60, &data[..]));
                }
                let heard = tokio::time::timeout(Duration::from_secs(1), other.recv()).await;
                assert!(heard.is_err(), "not its reply");
                assert_eq!(cable.pop(), None);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
#[covers("IP-4")]
async fn icmpv4_socket_send_recv() {
    send(0).await;
    receive(0).await;
}

#[tokio::test(start_paused = true)]
#[covers("V6-18")]
async fn icmpv6_socket_send_recv() {
    send(1).await;
    receive(1).await;
}

/// Two stacks ping each other: the largest there is, in fragments; one byte more is too much.
#[tokio::test(start_paused = true)]
#[covers("IC-1", "C6-6")]
async fn a_stack_pings_another() {
    let net = super::net(super::PLAIN);
    for (family, most) in [(V4, 65_507), (V6, 65_527)] {
        let socket = PingSocket::bind(&net.client, family[0]).unwrap();
        for len in [0, 56, 8000, most] {
            let data = pattern(len);
            socket.send_to(len as u16, &data, family[1]).unwrap();
            let pong = within(5, socket.recv()).await.unwrap();
            assert_eq!((pong.remote, pong.seq), (family[1], len as u16));
            assert!(pong.data == data);
        }
        let too_long = socket.send_to(0, &vec![0; most + 1], family[1]);
        assert_eq!(too_long.unwrap_err().raw_os_error(), Some(90), "EMSGSIZE");
    }
}

/// A socket that nobody reads keeps so much and no more; a closed one hears nothing.
#[tokio::test(start_paused = true)]
async fn replies_are_bounded() {
    let (stack, _driver, cable) = alone(config(1));
    let socket = PingSocket::bind(&stack, V4[1]).unwrap();
    for _ in 0..1000 {
        push_reply(&cable, V4[0], V4[1], socket.ident(), &[7; 1000]);
    }
    rest().await;
    let mut kept = 0;
    while let Ok(pong) = tokio::time::timeout(Duration::from_secs(1), socket.recv()).await {
        pong.unwrap();
        kept += 1;
    }
    assert!((100..300).contains(&kept), "{kept}");
    assert_eq!(stack.stats().ip.icmp_echo_limited, 1000 - kept);
    let ident = socket.ident();
    drop(socket);
    push_reply(&cable, V4[0], V4[1], ident, b"late");
    rest().await;
    assert_eq!(stack.stats().ip.icmp_in_ignored, 1);
    let foreign = PingSocket::bind(&stack, V4[0]).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
}
