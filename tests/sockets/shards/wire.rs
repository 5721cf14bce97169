//! A stack of several shards as a peer sees it: packets in, packets out.

use std::net::IpAddr;
use std::time::Duration;

use etherparse::{PacketBuilder, SlicedPacket, TransportSlice};
use ustack::device::Frame;
use ustack::device::memory::MemoryDevice;
use ustack::{Stack, TcpStream};

use super::super::{PLAIN, V4, at, config, within};
use super::many;

fn v4(ip: IpAddr) -> [u8; 4] {
    match ip {
        IpAddr::V4(ip) => ip.octets(),
        IpAddr::V6(_) => panic!("not IPv4"),
    }
}

fn push(cable: &MemoryDevice, packet: Vec<u8>) {
    let frame = Frame {
        data: packet.into(),
        ..Frame::default()
    };
    assert!(cable.push(frame));
}

/// Lets everything happen that happens at once.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Flags, source and destination port, sequence number of a segment that the host sent.
fn segment(frame: &Frame) -> (bool, bool, u16, u16, u32) {
    let sliced = SlicedPacket::from_ip(&frame.data).expect("well-formed");
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else {
        panic!("not TCP: {sliced:?}");
    };
    let ports = (tcp.source_port(), tcp.destination_port());
    (
        tcp.syn(),
        tcp.rst(),
        ports.0,
        ports.1,
        tcp.sequence_number(),
    )
}

/// For nobody's segment there is one reset, wherever it came in.
#[tokio::test(start_paused = true)]
async fn a_segment_of_nobody_s_is_reset_once() {
    let (many, cable) = many(4, config(1), PLAIN);
    for arrival in 0..4 {
        many.steering.set(arrival);
        for port in 50..54 {
            let builder = PacketBuilder::ipv4(v4(V4[0]), v4(V4[1]), 64)
                .tcp(4000, port, 1, 1000)
                .ack(77);
            let mut packet = Vec::new();
            builder.write(&mut packet, b"to whom?").unwrap();
            push(&cable, packet);
            settle().await;
            let answer = cable.pop().expect("a reset");
            assert_eq!(segment(&answer), (false, true, port, 4000, 77));
            assert_eq!(cable.pop(), None);
        }
    }
    let stats = many.stack.stats();
    assert_eq!(stats.tcp.counters.out_rsts, 16);
    assert_eq!(stats.ip.in_receives, stats.ip.in_delivers);
    assert_eq!(stats.device.handed_over, 16 * 3, "every shard was asked");
}

/// An ICMP error about a SYN, from a router, comes in at any queue.
#[tokio::test(start_paused = true)]
async fn an_error_finds_the_attempt_that_it_is_about() {
    let (many, cable) = many(3, config(1), PLAIN);
    for shard in 0..3 {
        for arrival in 0..3 {
            many.steering.set(arrival);
            let stack = many.each[shard].clone();
            let attempt =
                tokio::spawn(async move { TcpStream::connect(&stack, at(V4[0], 80)).await });
            settle().await;
            let syn = cable.pop().expect("a SYN");
            let mut packet = Vec::new();
            PacketBuilder::ipv4([192, 0, 2, 1], v4(V4[1]), 64)
                .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::Host,
                ))
                .write(&mut packet, &syn.data[..28])
                .unwrap();
            push(&cable, packet);
            let error = within(1, attempt).await.unwrap().unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::HostUnreachable);
        }
    }
    assert_eq!(many.stack.stats().ip.dropped(), 0);
}

/// A router's "too big" is believed by the shard that sent the packet, whichever it asks first.
#[tokio::test(start_paused = true)]
async fn a_path_mtu_is_learnt_where_the_packet_was_sent() {
    let (many, cable) = many(3, config(1), PLAIN);
    for shard in 0..3 {
        for arrival in 0..3 {
            many.steering.set(arrival);
            let peer = [192, 0, 2, (10 * shard + arrival + 1) as u8];
            let socket = ustack::UdpSocket::bind(&many.each[shard], at(V4[1], 0)).unwrap();
            socket
                .send_to(&[0; 1472], at(peer.into(), 9))
                .await
                .unwrap();
            settle().await;
            let sent = cable.pop().expect("a datagram");
            let mut packet = Vec::new();
            PacketBuilder::ipv4([192, 0, 2, 254], v4(V4[1]), 64)
                .icmpv4(etherparse::Icmpv4Type::DestinationUnreachable(
                    etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded {
                        next_hop_mtu: 1000,
                    },
                ))
                .write(&mut packet, &sent.data[..28])
                .unwrap();
            push(&cable, packet);
            settle().await;
            let fits = socket.max_unfragmented(Some(at(peer.into(), 9))).unwrap();
            assert_eq!(fits, 1000 - 28, "shard {shard}, arrival {arrival}");
        }
    }
}

/// Resets, ICMP and all else of a host whose other shard's driver does not run waits in a queue
/// that ends: what is beyond is dropped and counted.
#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_and_counts() {
    let (here, ends): (Vec<_>, Vec<_>) =
        (0..2).map(|_| ustack::device::memory::pair(PLAIN)).unzip();
    let (stack, mut drivers) = Stack::with_queues(config(1), here).unwrap();
    let stuck = drivers.pop().unwrap();
    tokio::spawn(drivers.pop().unwrap());
    for number in 0..400 {
        let builder = PacketBuilder::ipv4(v4(V4[0]), v4(V4[1]), 64).tcp(number, 9, 1, 1000);
        let mut packet = Vec::new();
        builder.ack(1).write(&mut packet, &[]).unwrap();
        push(&ends[0], packet);
    }
    settle().await;
    let device = stack.stats().device;
    assert_eq!(
        (device.handed_over, device.handover_dropped),
        (256, 400 - 256)
    );
    let stuck = tokio::spawn(stuck);
    settle().await;
    let resets = std::iter::from_fn(|| ends[0].pop().or_else(|| ends[1].pop()));
    assert_eq!(resets.count(), 256);
    drop(stuck);
}

/// A SYN that comes again by another queue is answered twice; the answer that the peer takes opens
/// the one connection, and the other shard gives its half-open one up.
#[tokio::test(start_paused = true)]
async fn a_syn_that_comes_by_two_queues_opens_once() {
    let (many, cable) = many(2, config(1), PLAIN);
    let listener = ustack::TcpListener::bind(&many.stack, at(V4[1], 80)).unwrap();
    let segment = |seq, ack: Option<u32>| {
        let builder = PacketBuilder::ipv4(v4(V4[0]), v4(V4[1]), 64).tcp(4000, 80, seq, 1000);
        let builder = match ack {
            None => builder.syn(),
            Some(ack) => builder.ack(ack),
        };
        let mut packet = Vec::new();
        builder.write(&mut packet, &[]).unwrap();
        packet
    };
    let mut numbers = Vec::new();
    for queue in [0, 1] {
        many.steering.set(queue);
        push(&cable, segment(100, None));
        settle().await;
        let (syn, _, _, _, seq) = self::segment(&cable.pop().expect("a SYN,ACK"));
        assert!(syn);
        numbers.push(seq);
    }
    many.steering.set(0);
    push(&cable, segment(101, Some(numbers[0].wrapping_add(1))));
    settle().await;
    let open = many.stack.connections().len();
    let accepted = tokio::time::timeout(Duration::from_secs(300), async {
        let mut accepted = vec![listener.accept().await.unwrap()];
        while let Ok(more) = tokio::time::timeout(Duration::from_secs(200), listener.accept()).await
        {
            accepted.push(more.unwrap());
        }
        accepted.len()
    });
    assert_eq!((open, accepted.await.unwrap()), (2, 1));
    assert_eq!(
        many.stack.connections().len(),
        1,
        "the other one has timed out"
    );
}
