use super::*;
use crate::device::gso;

static ODD: [&[u8]; 4] = [b"abc", b"d", b"efghi", b""];

/// Odd chunk boundaries, no offload: etherparse and we agree on the checksum.
#[test]
#[covers("MUST-2", "PM-1")]
fn segments_leave_with_their_checksum() {
    for ends in FAMILIES {
        let mut ip = ip();
        let mut tx = TxBatch::new();
        send_segment(&mut ip, &mut tx, ends, 5, &ODD, None);
        let packet = packets(&tx).remove(0);
        let (source, destination, tcp) = dissect(&packet);
        assert_eq!((source, destination), (addr(ends.0), addr(ends.1)));
        assert_eq!(tcp[20..], *b"abcdefghi");
        if ends.0 == US4 {
            assert_eq!(packet[6] & 0x40, 0x40, "DF (PM-1)");
        }
        let chunks = tx.front().expect("a frame").chunks.len();
        assert_eq!(chunks, ODD.len(), "chunks are not copied");
    }
}

/// Any numbers, flags, options, lengths and pieces of payload: the sum is right by etherparse's
/// reading, and by the peer's.
#[test]
#[covers("MUST-2")]
fn whatever_leaves_has_a_right_checksum() {
    static BYTES: [u8; 4096] = {
        let mut bytes = [0; 4096];
        let mut n = 0;
        while n < 4096 {
            bytes[n] = (n * 31 + n / 7) as u8;
            n += 1;
        }
        bytes
    };
    let mut state = 0x0123_4567_89ab_cdef_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let (mut ip, mut peer) = (ip(), peer());
    for n in 0..50_000_usize {
        let ends = FAMILIES[n % 2];
        let flow = FlowKey {
            local: socket(ends.0, 1 + random(65_535) as u16),
            remote: socket(ends.1, 1 + random(65_535) as u16),
        };
        let mut segment = Segment {
            ack: WireSeq(random(1 << 32) as u32),
            window: WireWindow(random(1 << 16) as u16),
            flags: Flags(random(512) as u16),
            urgent: random(1 << 16) as u16,
            ..segment(random(1 << 32) as u32)
        };
        if random(2) == 0 && !segment.flags.contains(Flags::SYN) {
            segment.options = Options::Segment(ustack_tcp::segment::SegmentOptions {
                timestamps: Some(ustack_tcp::segment::Timestamps {
                    tsval: random(1 << 32) as u32,
                    tsecr: random(1 << 32) as u32,
                }),
                ..Default::default()
            });
        }
        let chunks: Vec<Bytes> = (0..random(6))
            .map(|_| {
                let start = random(3_800) as usize;
                Bytes::from_static(&BYTES[start..start + random(250) as usize])
            })
            .collect();
        let payload = chunks.concat();
        let meta = ustack_tcp::TxMeta {
            flow: &flow,
            segment: &segment,
            payload_len: payload.len() as u32,
            gso_size: None,
            ecn: Ecn::Ect0,
            dscp: random(64) as u8,
            ttl: None,
        };
        let mut tx = TxBatch::new();
        ustack_tcp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, chunks.into_iter());
        let packet = packets(&tx).remove(0);
        let (_, _, tcp) = dissect(&packet);
        assert!(tcp.ends_with(&payload), "{n}");
        let Ok(Some(Input::Tcp { segment: heard, .. })) = peer.on_frame(at(1), frame(packet))
        else {
            panic!("{n}: {segment:?}");
        };
        assert_eq!((heard.seq, heard.ack), (segment.seq, segment.ack), "{n}");
        assert_eq!(heard.payload, payload, "{n}");
    }
}

/// A device that completes checksums gets the pseudo-header's sum; a super-segment stays whole.
#[test]
fn offload_is_described() {
    static BIG: [u8; 60_000] = [3; 60_000];
    for (ends, start, kind) in [
        (FAMILIES[0], 20, GsoKind::TcpV4),
        (FAMILIES[1], 40, GsoKind::TcpV6),
    ] {
        let mut ip = Ip::new(config(), OFFLOAD, [1; 32]);
        let mut tx = TxBatch::new();
        send_segment(&mut ip, &mut tx, ends, 5, &[&BIG], Some(1440));
        let frame = tx.front().expect("a frame");
        let partial = Checksum::Partial { start, offset: 16 };
        assert_eq!(frame.offload.checksum, partial);
        let gso = frame.offload.gso.expect("a super-segment");
        assert_eq!(
            (gso.kind, gso.header_len, gso.size.get()),
            (kind, start + 20, 1440)
        );
        let sum = Sum::pseudo_header(addr(ends.0), addr(ends.1), 6, 60_020).fold();
        let field = usize::from(start) + 16;
        assert_eq!(frame.headers[field..field + 2], sum.to_be_bytes());
        assert_eq!(tx.len(), 1);
    }
}

/// The short road writes what the general one does, which a device without offload gets.
#[test]
fn the_short_road_writes_the_same() {
    static TEXT: [u8; 1460] = [0xa5; 1460];
    let (mut short, mut general) = (Ip::new(config(), OFFLOAD, [1; 32]), ip());
    let flow = FlowKey::new(socket(US4, 80), socket(PEER4, 1000));
    for n in 0..2_000_u32 {
        let mut segment = segment(n.wrapping_mul(0x9e37_79b9));
        segment.flags = Flags((n % 512) as u16 & !Flags::SYN.0);
        (segment.window, segment.urgent) = (WireWindow(n as u16), (n / 3) as u16);
        if n % 2 == 0 {
            segment.options = Options::Segment(ustack_tcp::segment::SegmentOptions {
                timestamps: Some(ustack_tcp::segment::Timestamps {
                    tsval: n,
                    tsecr: !n,
                }),
                ..Default::default()
            });
        }
        let len = [0, 1, 511, 512, 513, 1448][n as usize % 6];
        let meta = ustack_tcp::TxMeta {
            flow: &flow,
            segment: &segment,
            payload_len: len as u32,
            gso_size: None,
            ecn: [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1][n as usize % 3],
            dscp: (n % 64) as u8,
            ttl: NonZeroU8::new((n % 256) as u8),
        };
        let written = [&mut short, &mut general].map(|ip| {
            let mut tx = TxBatch::new();
            let text = [
                Bytes::from_static(&TEXT[..len / 2]),
                Bytes::from_static(&TEXT[len / 2..len]),
            ];
            ustack_tcp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, text.into_iter());
            let frame = tx.front().expect("a frame").to_frame();
            gso::completed(&frame).expect("a frame that fits")
        });
        assert_eq!(written[0], written[1], "{n}: {segment:?}");
    }
    assert_eq!(short.counters(), general.counters());
}

/// A device that cannot cut gets what one that can would make of it, chunks not copied.
#[test]
fn a_super_segment_is_cut_as_the_device_would() {
    static BIG: [u8; 4096] = [3; 4096];
    static CHUNKS: [&[u8]; 5] = [&BIG, b"a", b"", b"bc", &BIG];
    let wire_of = |caps, ends: (&str, &str)| {
        let mut ip = Ip::new(config(), caps, [1; 32]);
        let mut tx = TxBatch::new();
        let mut segment = segment(0xffff_ff00);
        segment.flags = Flags::ACK | Flags::PSH | Flags::FIN;
        let meta = ustack_tcp::TxMeta {
            flow: &FlowKey::new(socket(ends.0, 80), socket(ends.1, 1000)),
            segment: &segment,
            payload_len: 8195,
            gso_size: NonZeroU16::new(1440),
            ecn: Ecn::Ect0,
            dscp: 1,
            ttl: None,
        };
        let payload = CHUNKS.map(Bytes::from_static).into_iter();
        ustack_tcp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, payload);
        let mut packets = Vec::new();
        for frame in tx.iter() {
            gso::cut(&frame.to_frame(), |packet| packets.push(packet)).expect("a frame that fits");
        }
        (tx.len(), packets)
    };
    for ends in FAMILIES {
        let (_, mut expected) = wire_of(OFFLOAD, ends);
        let (frames, ours) = wire_of(PLAIN, ends);
        assert_eq!((frames, expected.len()), (6, 6));
        for (packet, expected) in ours.iter().zip(&mut expected) {
            dissect(packet);
            if ends.0 == US4 {
                // With DF the identification says nothing; ours is zero (RFC 6864 §4.1).
                expected[4..6].fill(0);
                expected[10..12].copy_from_slice(&packet[10..12]);
            }
            assert_eq!(packet, expected);
        }
        let caps = Caps {
            tx_checksum: true,
            ..PLAIN
        };
        assert_eq!(wire_of(caps, ends), (6, ours));
    }
}

/// UD-2: a datagram that sums to zero leaves with FFFF, and arrives.
#[test]
#[covers("UD-2")]
fn a_zero_checksum_is_sent_as_ones() {
    for ends in FAMILIES {
        let mut header = ustack_udp::wire::emit(53, 1000, 2).to_vec();
        header.extend([0, 0]);
        let mut sum = Sum::pseudo_header(addr(ends.0), addr(ends.1), 17, 10);
        sum.add(&header);
        let payload = sum.checksum().to_be_bytes();
        let mut ip = ip();
        let mut tx = TxBatch::new();
        send_datagram(&mut ip, &mut tx, ends, &payload);
        let packet = packets(&tx).remove(0);
        let (_, _, udp) = dissect(&packet);
        assert_eq!(udp[6..8], [0xff, 0xff]);
        assert_eq!(
            datagram(peer().on_frame(at(1), frame(packet))).data,
            payload[..]
        );
    }
}

/// SHLD-22, IP-7: DSCP, ECN and TTL are the transport's.
#[test]
#[covers("IP-7", "MUST-48", "MUST-49", "SHLD-22")]
fn the_transport_chooses_the_traffic_class() {
    for ends in FAMILIES {
        let mut ip = ip();
        let mut tx = TxBatch::new();
        let flow = FlowKey {
            local: socket(ends.0, 80),
            remote: socket(ends.1, 1000),
        };
        let meta = ustack_tcp::TxMeta {
            flow: &flow,
            segment: &segment(1),
            payload_len: 0,
            gso_size: None,
            ecn: Ecn::Ect0,
            dscp: 46,
            ttl: NonZeroU8::new(9),
        };
        ustack_tcp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, std::iter::empty());
        let packet = packets(&tx).remove(0);
        let (class, ttl) = if ends.0 == US4 {
            (packet[1], packet[8])
        } else {
            (packet[0] << 4 | packet[1] >> 4, packet[7])
        };
        assert_eq!((class, ttl), (46 << 2 | 2, 9));
    }
}

/// V6-15: a flow's label stays, and is nothing like its neighbour's.
#[test]
#[covers("V6-15")]
fn flow_labels() {
    let mut ip = ip();
    let mut label = |port: u16| {
        let mut tx = TxBatch::new();
        let meta = ustack_udp::TxMeta {
            local: socket(US6, 53),
            remote: socket(PEER6, port),
            dscp: 0,
            ecn: 0,
            ttl: None,
            mtu_discover: ustack_udp::MtuDiscover::Want,
        };
        ustack_udp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, Bytes::new());
        let packet = packets(&tx).remove(0);
        u32::from_be_bytes([0, packet[1] & 0xf, packet[2], packet[3]])
    };
    let labels: Vec<_> = (1..=1000).map(&mut label).collect();
    let again: Vec<_> = (1..=1000).map(&mut label).collect();
    assert_eq!(labels, again, "constant per flow");
    // TCP's segments, too, whatever they are.
    let mut tx = TxBatch::new();
    for seq in 0..20 {
        send_segment(&mut ip, &mut tx, FAMILIES[1], seq * 1000, &ODD, None);
    }
    let of = |packet: &Vec<u8>| u32::from_be_bytes([0, packet[1] & 0xf, packet[2], packet[3]]);
    let segments: std::collections::HashSet<_> = packets(&tx).iter().map(of).collect();
    assert!(
        segments.len() == 1 && !segments.contains(&0),
        "{segments:?}"
    );
    assert!(labels.iter().all(|label| *label != 0));
    let neighbours = labels
        .windows(2)
        .filter(|pair| pair[0].abs_diff(pair[1]) < 8)
        .count();
    assert!(
        neighbours < 10,
        "{neighbours} labels follow their neighbour"
    );
}

/// What is sent to ourselves comes back in, whole, by the loopback alone.
#[test]
#[covers("IP-4")]
fn own_addresses_are_reached_by_loopback() {
    for us in [US4, US6] {
        let mut ip = ip();
        let mut tx = TxBatch::new();
        send_datagram(&mut ip, &mut tx, (us, us), &pattern(60_000));
        send_segment(&mut ip, &mut tx, (us, us), 5, &ODD, None);
        assert!(tx.is_empty(), "not over the device");
        assert!(ip.has_ready());
        let packet = ip.poll_loopback().expect("a datagram");
        let data = datagram(ip.on_loopback(at(1), packet)).data;
        assert_eq!(data, pattern(60_000));
        let packet = ip.poll_loopback().expect("a segment");
        let input = ip.on_loopback(at(1), packet);
        assert!(matches!(input, Ok(Some(Input::Tcp { local: true, .. }))));
        assert!(ip.poll_loopback().is_none());
        assert_eq!(ip.path_mtu(addr(us)), u16::MAX);
        // Bounded, and what does not fit is counted.
        for _ in 0..200 {
            send_datagram(&mut ip, &mut tx, (us, us), &pattern(60_000));
        }
        assert!(ip.loopback.charged <= 4 << 20);
        assert!(ip.counters().out_discards > 100);
    }
}

/// A socket bound to any address leaves the source to us.
#[test]
#[covers("IP-4")]
fn an_open_source_is_chosen() {
    let mut ip = ip();
    let mut tx = TxBatch::new();
    for (any, remote) in [("0.0.0.0", PEER4), ("::", PEER6)] {
        send_datagram(&mut ip, &mut tx, (any, remote), b"x");
    }
    let sources: Vec<_> = packets(&tx)
        .iter()
        .map(|packet| dissect(packet).0)
        .collect();
    assert_eq!(sources, [addr(US4), addr(US6)]);
    let v4_only = IpConfig {
        addresses: vec![(addr(US4), 24)],
        ..IpConfig::default()
    };
    let mut ip = Ip::new(v4_only, PLAIN, [1; 32]);
    let mut tx = TxBatch::new();
    send_datagram(&mut ip, &mut tx, ("::", PEER6), b"x");
    assert_eq!((tx.len(), ip.counters().out_discards), (0, 1));
}

/// IP-11: what must not be cut is dropped and counted.
#[test]
#[covers("IP-11")]
fn dont_fragment_is_kept() {
    let mut ip = ip();
    let mut tx = TxBatch::new();
    let meta = ustack_udp::TxMeta {
        local: socket(US4, 53),
        remote: socket(PEER4, 1000),
        dscp: 0,
        ecn: 0,
        ttl: None,
        mtu_discover: ustack_udp::MtuDiscover::Do,
    };
    for (len, sent) in [(1472, 1), (1473, 1)] {
        let payload = pattern(len).into();
        ustack_udp::Transmit::push(&mut ip.output(at(1), &mut tx), &meta, payload);
        assert_eq!(tx.len(), sent);
    }
    assert_eq!(ip.counters().frag_fails, 1);
}

/// TCP cannot take all of a turn, nor UDP: a ping is still answered in it.
#[test]
fn a_turn_has_room_for_everyone() {
    let mut ip = ip();
    let mut tx = TxBatch::new();
    while ustack_tcp::Transmit::budget(&ip.output(at(1), &mut tx)) > 0 {
        send_segment(&mut ip, &mut tx, FAMILIES[0], 5, &ODD, None);
    }
    let segments = tx.len();
    while ustack_udp::Transmit::budget(&ip.output(at(1), &mut tx)) > 0 {
        send_datagram(&mut ip, &mut tx, FAMILIES[0], b"x");
    }
    let datagrams = tx.len() - segments;
    let ping: Bytes = icmp_message(PEER4, US4, [8, 0, 0, 0, 0, 1, 0, 1], b"").into();
    for _ in 0..MAX_TX_FRAMES {
        ip.on_frame(at(1), frame(ping.clone())).expect("answered");
    }
    ip.poll_transmit(at(1), &mut tx);
    assert!(segments > 64 && datagrams > 8);
    assert_eq!(tx.len(), MAX_TX_FRAMES);
    assert!(tx.len() > segments + datagrams);
    assert!(ip.has_ready(), "the rest waits for the next turn");
}
