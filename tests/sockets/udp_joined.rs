//! Several datagrams in one call and in one frame.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::num::NonZeroU16;

use covers::covers;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use ustack::device::{Checksum, Frame, Gso, GsoKind, Offload, gso, memory};
use ustack::udp::{BindOptions, Datagram, Message};
use ustack::{UdpSocket, service};

use super::udp_wire::{datagram, dissect, error, push};
use super::{OFFLOAD, PLAIN, V4, V6, at, config, net, pattern, start, within};

const SIZE: u16 = 1200;

/// Takes datagrams until there are `len` bytes.
async fn recv_all(socket: &UdpSocket, len: usize) -> Vec<Datagram> {
    let mut all: Vec<Datagram> = Vec::new();
    while all.iter().map(|one| one.data.len()).sum::<usize>() < len {
        let received = within(5, socket.recv_many(&mut all, 8)).await.unwrap();
        assert!((1..=8).contains(&received));
    }
    all
}

/// Over a cable that cuts, over one that does not, and within one host.
#[tokio::test(start_paused = true)]
async fn segments_arrive_as_the_device_brings_them() {
    for (caps, is_own, joined) in [
        (OFFLOAD, false, true),
        (PLAIN, false, false),
        (PLAIN, true, true),
    ] {
        for family in [V4, V6] {
            let net = net(caps);
            let server = UdpSocket::bind(&net.server, at(family[1], 9)).unwrap();
            let stack = if is_own { &net.server } else { &net.client };
            let client = UdpSocket::bind(stack, at(family[usize::from(is_own)], 0)).unwrap();
            client.connect(server.local_addr()).unwrap();
            let data = pattern(10 * usize::from(SIZE) + 7);
            client.send_segments(&data, SIZE, None).await.unwrap();
            let datagrams = recv_all(&server, data.len()).await;
            assert_eq!(datagrams.len(), if joined { 1 } else { 11 });
            let segments: Vec<_> = datagrams.iter().flat_map(Datagram::segments).collect();
            assert_eq!(segments.len(), 11);
            assert!(
                segments[..10]
                    .iter()
                    .all(|one| one.len() == usize::from(SIZE))
            );
            assert_eq!(segments.concat(), data);
            // Who asks for one gets one.
            client.send_segments(&data, SIZE, None).await.unwrap();
            let mut buf = [0; 2000];
            for expected in &segments {
                let len = within(5, server.recv(&mut buf)).await.unwrap();
                assert_eq!(buf[..len], expected[..]);
            }
            assert_eq!(net.server.stats().udp.in_datagrams, 22);
            assert_eq!(stack.stats().udp.out_datagrams, 22);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_echo_service_keeps_together_what_came_together() {
    for caps in [OFFLOAD, PLAIN] {
        let net = net(caps);
        let (_stopper, stop) = service::stop();
        let server = UdpSocket::bind(&net.server, at([0, 0, 0, 0].into(), 7)).unwrap();
        tokio::spawn(service::udp_echo(server, stop));
        let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
        client.connect(at(V4[1], 7)).unwrap();
        for len in [1, 1200, 1201, 60_000, 65_507] {
            let data = pattern(len);
            client.send_segments(&data, SIZE, None).await.unwrap();
            let echo = recv_all(&client, len).await;
            let count = len.div_ceil(SIZE.into());
            assert_eq!(echo.len(), if caps.uso { 1 } else { count });
            let segments: Vec<_> = echo.iter().flat_map(Datagram::segments).collect();
            assert_eq!((segments.len(), segments.concat()), (count, data));
        }
        client.send(&pattern(4000)).await.unwrap(); // in fragments
        assert_eq!(recv_all(&client, 4000).await.len(), 1);
    }
}

/// A host behind a device that cuts; each packet of a frame is what it would be alone.
#[tokio::test(start_paused = true)]
#[covers("UD-2", "UD-7", "IP-7", "PM-11")]
async fn every_packet_of_a_frame_is_whole() {
    for family in [V4, V6] {
        let (left, cable) = memory::pair(OFFLOAD);
        let (stack, _driver) = start(config(1), left);
        let socket = UdpSocket::bind(&stack, at(family[1], 9)).unwrap();
        socket.set_ttl(9).unwrap();
        socket.set_tos(0xb8).unwrap();
        let peer = at(family[0], 4000);
        socket.connect(peer).unwrap();
        let data = pattern(3 * 1400 + 5);
        socket.send_segments(&data, 1400, None).await.unwrap();
        let frame = next_frame(&cable).await;
        let offload = frame.offload.gso.expect("one frame for all");
        assert_eq!((offload.kind, offload.size.get()), (GsoKind::Udp, 1400));
        let mut packets = Vec::new();
        gso::cut(&frame, |packet| packets.push(packet)).unwrap();
        assert_eq!(packets.len(), 4);
        let mut received = Vec::new();
        for packet in &packets {
            assert_checksums(packet);
            let seen = dissect(packet);
            assert_eq!((seen.source, seen.destination), (at(family[1], 9), peer));
            assert_eq!((seen.ttl, seen.tos), (9, 0xb8));
            assert!(seen.dont_fragment && !seen.is_fragment);
            received.extend(seen.payload);
        }
        assert_eq!(received, data);

        // The path is narrower than the device, as the report about one of them says.
        let (kind, rest) = if peer.is_ipv4() {
            ([3, 4], 1300)
        } else {
            ([2, 0], 1300)
        };
        push(&cable, error(kind, rest, &packets[2]));
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        let refused = socket.send_segments(&data, 1400, None).await.unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(90), "EMSGSIZE");
        let fits = socket.max_unfragmented(None).unwrap();
        socket
            .send_segments(&data, fits as u16, None)
            .await
            .unwrap();
        assert!(next_frame(&cable).await.offload.gso.is_some());

        let kind = if peer.is_ipv4() { [3, 3] } else { [1, 4] };
        push(&cable, error(kind, 0, &packets[3]));
        let refused = within(5, socket.recv(&mut [0; 8])).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
}

/// An error about datagrams for nobody quotes the first of them, as the wire would have had it.
#[tokio::test(start_paused = true)]
#[covers("IC-4", "UD-5")]
async fn an_error_quotes_one_datagram() {
    for family in [V4, V6] {
        let (left, cable) = memory::pair(OFFLOAD);
        let (stack, _driver) = start(config(1), left);
        let data = pattern(2500);
        let (from, to) = (at(family[0], 4000), at(family[1], 99));
        let packet = datagram(from, to, &data);
        let start = packet.len() - data.len() - 8;
        assert!(cable.push(joined(packet, start, 1000)));
        let report = next_frame(&cable).await.data;
        let quoted = &report[start + 8..];
        let expected = datagram(from, to, &data[..1000]);
        let checksum = start + 6..start + 8;
        assert_eq!(quoted[..checksum.start], expected[..checksum.start]);
        let rest = quoted.len().min(expected.len());
        assert!(rest > start + 8);
        assert_eq!(quoted[checksum.end..rest], expected[checksum.end..rest]);
        assert_eq!(stack.stats().udp.no_ports, 3);
    }
}

/// As long as frames wait, what is echoed leaves turn by turn: a queue holds no more than two turns.
#[tokio::test(start_paused = true)]
async fn an_echo_does_not_wait_for_an_empty_device() {
    let (left, cable) = memory::pair(OFFLOAD);
    let (stack, _driver) = start(config(1), left);
    let (_stopper, stop) = service::stop();
    let socket = UdpSocket::bind(&stack, at(V4[1], 7)).unwrap();
    tokio::spawn(service::udp_echo(socket, stop));
    let data = pattern(60_000);
    let packet = datagram(at(V4[0], 4000), at(V4[1], 7), &data);
    let start = packet.len() - data.len() - 8;
    let frame = joined(packet, start, 1200);
    for _ in 0..300 {
        assert!(cable.push(frame.clone()));
    }
    for _ in 0..300 {
        assert_eq!(next_frame(&cable).await.data[start + 8..], data[..]);
    }
    assert_eq!(stack.stats().udp.rcvbuf_errors, 0);
}

/// A frame of datagrams of `size` bytes, from the packet that it would be in one; its UDP header
/// begins at `start`.
fn joined(mut packet: Vec<u8>, start: usize, size: u16) -> Frame {
    packet[start + 6..start + 8].fill(0);
    let offload = Offload {
        checksum: Checksum::Partial {
            start: start as u16,
            offset: 6,
        },
        gso: NonZeroU16::new(size).map(|size| Gso {
            kind: GsoKind::Udp,
            header_len: start as u16 + 8,
            size,
        }),
    };
    Frame {
        data: packet.into(),
        offload,
    }
}

/// Both checksums of a datagram's packet, by etherparse.
fn assert_checksums(packet: &[u8]) {
    let sliced = SlicedPacket::from_ip(packet).expect("well-formed");
    let Some(TransportSlice::Udp(udp)) = sliced.transport else {
        panic!("no datagram");
    };
    assert_eq!(usize::from(udp.length()), 8 + udp.payload().len());
    let expected = match sliced.net.expect("IP") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            udp.to_header().calc_checksum_ipv4(&header, udp.payload())
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            udp.to_header().calc_checksum_ipv6(&header, udp.payload())
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    assert_eq!(udp.checksum(), expected.expect("a length that fits"));
}

async fn next_frame(cable: &memory::MemoryDevice) -> Frame {
    for _ in 0..1000 {
        if let Some(frame) = cable.pop() {
            return frame;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    panic!("the host sends nothing");
}

#[tokio::test(start_paused = true)]
async fn bad_messages_fail_alone() {
    let net = net(OFFLOAD);
    let server = UdpSocket::bind(&net.server, at(V4[1], 9)).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let to = at(V4[1], 9);
    let zero = client.send_segments(&[1; 100], 0, Some(to)).await;
    assert_eq!(zero.unwrap_err().kind(), ErrorKind::InvalidInput);
    let many = client.send_segments(&[1; 1000], 1, Some(to)).await;
    assert_eq!(many.unwrap_err().kind(), ErrorKind::InvalidInput);
    let wide = client.send_segments(&[1; 3000], 1473, Some(to)).await;
    assert_eq!(wide.unwrap_err().raw_os_error(), Some(90), "EMSGSIZE");
    let good = || Message::to(to, pattern(100).into());
    let nowhere = Message {
        remote: None,
        segment_size: NonZeroU16::new(10),
        ..good()
    };
    let mut messages = VecDeque::from([good(), nowhere, good()]);
    let error = client.send_many(&mut messages).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
    assert_eq!(messages.len(), 1, "those behind it wait");
    client.send_many(&mut messages).await.unwrap();
    let mut datagrams = Vec::new();
    assert_eq!(server.recv_many(&mut datagrams, 0).await.unwrap(), 0);
    assert_eq!(recv_all(&server, 200).await.len(), 1, "two of a size");
}

/// What does not fit the buffer is counted, datagram by datagram; the default takes two turns.
#[tokio::test(start_paused = true)]
async fn a_turn_of_full_frames_fits_the_buffer() {
    let net = net(OFFLOAD);
    let server = UdpSocket::bind(&net.server, at(V4[1], 9)).unwrap();
    let mut options = BindOptions::new(at(V4[1], 10));
    options.recv_buffer = 212_992;
    let small = UdpSocket::bind_with(&net.server, options).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let message = |port| Message {
        segment_size: NonZeroU16::new(SIZE),
        ..Message::to(at(V4[1], port), pattern(54 * usize::from(SIZE)).into())
    };
    for port in [9, 10] {
        let mut messages: VecDeque<_> = std::iter::repeat_with(|| message(port)).take(60).collect();
        client.send_many(&mut messages).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut datagrams = Vec::new();
    assert_eq!(server.recv_many(&mut datagrams, 100).await.unwrap(), 60);
    let all = within(5, small.recv_many(&mut datagrams, usize::MAX)).await;
    assert_eq!(all.unwrap(), 3);
    let stats = net.server.stats().udp;
    assert_eq!(stats.rcvbuf_errors, 57 * 54);
    assert_eq!(stats.in_datagrams, 63 * 54);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_batch_loses_nothing() {
    let net = net(OFFLOAD);
    let server = UdpSocket::bind(&net.server, at(V4[1], 9)).unwrap();
    let client = UdpSocket::bind(&net.client, at(V4[0], 0)).unwrap();
    let mut datagrams = Vec::new();
    tokio::select! {
        biased;
        _ = server.recv_many(&mut datagrams, 4) => unreachable!("nothing was sent"),
        () = tokio::task::yield_now() => {}
    }
    client
        .send_segments(&pattern(3000), SIZE, Some(at(V4[1], 9)))
        .await
        .unwrap();
    assert_eq!(recv_all(&server, 3000).await.len(), 1);
    // A full queue: those that found no room are still there.
    let mut options = BindOptions::new(at(V4[0], 0));
    options.send_buffer = 10_000;
    let narrow = UdpSocket::bind_with(&net.client, options).unwrap();
    let message = || Message::to(at(V4[1], 9), pattern(4000).into());
    let mut messages: VecDeque<_> = std::iter::repeat_with(message).take(5).collect();
    tokio::select! {
        biased;
        _ = narrow.send_many(&mut messages) => unreachable!("there is room for two"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(messages.len(), 3);
    narrow.send_many(&mut messages).await.unwrap();
    assert_eq!(recv_all(&server, 20_000).await.len(), 5);
}
