use super::*;

#[test]
fn a_segment_arrives_as_a_slice_of_its_frame() {
    for (us, them) in FAMILIES {
        let mut ip = ip();
        let frame = frame(tcp(them, us, b"hello"));
        let range = frame.data.as_ptr_range();
        let Ok(Some(Input::Tcp {
            flow,
            local,
            segment,
            ..
        })) = ip.on_frame(at(1), frame)
        else {
            panic!("no segment");
        };
        assert_eq!(
            (flow.local, flow.remote),
            (socket(us, 80), socket(them, 1000))
        );
        assert!(local);
        assert_eq!(segment.payload, "hello");
        assert!(range.contains(&segment.payload.as_ptr()), "copied");
        assert_counters_add_up(&ip);
    }
}

/// Complete checksums are verified, partial and verified ones believed (D-8).
#[test]
#[covers("UD-2", "MUST-3")]
fn transport_checksums() {
    let partial = Checksum::Partial {
        start: 20,
        offset: 16,
    };
    for (us, them) in FAMILIES {
        for (packet, reason) in [
            (tcp(them, us, b"hello"), Dropped::TcpChecksum),
            (udp(them, us, b"hello"), Dropped::UdpChecksum),
        ] {
            for bit in 0..40 {
                let mut bad = packet.clone();
                let len = bad.len();
                bad[len - 1 - bit / 8] ^= 1 << (bit % 8);
                let mut ip = ip();
                let result = ip.on_frame(at(1), frame(bad.clone()));
                assert_eq!(result.err(), Some(reason));
                for checksum in [Checksum::Verified, partial] {
                    let offload = Offload {
                        checksum,
                        gso: None,
                    };
                    let data = bad.clone().into();
                    assert!(ip.on_frame(at(1), Frame { data, offload }).is_ok());
                }
                assert_counters_add_up(&ip);
            }
        }
    }
}

/// One wrong bit anywhere in a segment or datagram, header or payload: no transport hears of it,
/// nobody is answered, and nothing but a counter moves.
#[test]
#[covers("MUST-3", "UD-2")]
fn every_flipped_bit_of_a_segment_is_silent() {
    for (us, them) in FAMILIES {
        for packet in [tcp(them, us, b"hello, odd"), udp(them, us, b"hello, odd")] {
            let start = if us == US4 { 20 } else { 40 };
            let mut ip = ip();
            for bit in start * 8..packet.len() * 8 {
                let mut bad = packet.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                let before = ip.counters().dropped();
                assert!(ip.on_frame(at(1), frame(bad)).is_err(), "bit {bit}");
                assert_eq!(ip.counters().dropped(), before + 1);
                assert!(!ip.has_ready(), "bit {bit}");
            }
            assert!(answers(&mut ip, at(1)).is_empty());
            assert_counters_add_up(&ip);
            assert!(ip.on_frame(at(1), frame(packet)).is_ok(), "the right one");
        }
    }
}

/// IP-1: versions 0–15, cut frames; trailing bytes are not part of the packet.
#[test]
#[covers("IP-1")]
fn frames_that_are_no_packet() {
    for (us, them) in FAMILIES {
        let packet = udp(them, us, b"hello");
        for version in 0..16 {
            let mut bytes = packet.clone();
            bytes[0] = version << 4 | bytes[0] & 0xf;
            let accepted = ip().on_frame(at(1), frame(bytes)).is_ok();
            assert_eq!(accepted, version == packet[0] >> 4, "version {version}");
        }
        for len in 0..packet.len() {
            let mut ip = ip();
            assert!(ip.on_frame(at(1), frame(packet[..len].to_vec())).is_err());
            assert_counters_add_up(&ip);
        }
        let mut padded = packet.clone();
        padded.extend([0xff; 30]);
        assert_eq!(datagram(ip().on_frame(at(1), frame(padded))).data, "hello");
    }
}

/// Packets to others: only when transparent, and then not as ours.
#[test]
#[covers("IP-4")]
fn foreign_destinations() {
    for (them, other) in [(PEER4, "8.8.8.8"), (PEER6, "2001:db8::1")] {
        let packet = udp(them, other, b"x");
        let mut closed = ip();
        assert_eq!(
            closed.on_frame(at(1), frame(packet.clone())).err(),
            Some(Dropped::Destination)
        );
        let result = transparent().on_frame(at(1), frame(packet));
        assert!(matches!(result, Ok(Some(Input::Udp { local: false, .. }))));
    }
}

/// LAND and the like; nothing is answered.
#[test]
#[covers("IP-4", "V6-18")]
fn own_and_martian_sources_over_the_device() {
    for (source, destination) in [
        (US4, US4),
        (US6, US6),
        ("127.0.0.1", US4),
        ("224.0.0.1", US4),
        ("10.77.0.255", US4),
        ("::1", US6),
        ("ff02::1", US6),
        ("::ffff:10.0.0.1", US6),
    ] {
        let mut ip = transparent();
        for packet in [
            udp(source, destination, b"x"),
            tcp(source, destination, b"x"),
            icmp_message(source, destination, [8, 0, 0, 0, 0, 0, 0, 0], b""),
        ] {
            let result = ip.on_frame(at(1), frame(packet));
            assert_eq!(result.err(), Some(Dropped::Source), "{source}");
        }
        assert!(answers(&mut ip, at(1)).is_empty());
    }
}

/// IP-7: a TTL of 1 has arrived.
#[test]
#[covers("IP-7")]
fn the_last_hop_counts() {
    let mut bytes = Vec::new();
    builder(PEER4, US4, 1)
        .udp(1000, 53)
        .write(&mut bytes, b"x")
        .expect("a vector takes all");
    assert_eq!(datagram(ip().on_frame(at(1), frame(bytes))).data, "x");
}

/// MUST-50: IPv4 options are stepped over.
#[test]
#[covers("MUST-50", "IP-9")]
fn options_do_not_reach_the_transport() {
    let plain = tcp(PEER4, US4, b"hello");
    let mut bytes = plain[..20].to_vec();
    bytes.extend([7, 7, 4, 0, 0, 0, 0, 0]);
    bytes.extend(&plain[20..]);
    bytes[0] = 0x47;
    v4::complete(&mut bytes, 28);
    let Ok(Some(Input::Tcp { segment, .. })) = ip().on_frame(at(1), frame(bytes)) else {
        panic!("no segment");
    };
    assert_eq!(segment.payload, "hello");
}

/// UD-2, UD-4: no checksum is fine over IPv4 and refused over IPv6.
#[test]
#[covers("UD-2", "UD-4")]
fn datagrams_without_a_checksum() {
    let mut v4 = udp(PEER4, US4, b"x");
    v4[26..28].fill(0);
    assert_eq!(datagram(ip().on_frame(at(1), frame(v4))).data, "x");
    let mut v6 = udp(PEER6, US6, b"x");
    v6[46..48].fill(0);
    let mut ip = ip();
    let result = ip.on_frame(at(1), frame(v6));
    assert_eq!(result.err(), Some(Dropped::UdpNoChecksum));
    assert_eq!(ip.counters().udp_in_no_csum, 1);
}

/// Joined frames keep their stride; a kind that contradicts the packet is refused (D-15).
#[test]
fn super_packets() {
    let gso = |kind, size| Offload {
        checksum: Checksum::Verified,
        gso: NonZeroU16::new(size).map(|size| Gso {
            kind,
            header_len: 40,
            size,
        }),
    };
    let data: Bytes = tcp(PEER4, US4, &pattern(60_000)).into();
    let offload = gso(GsoKind::TcpV4, 1448);
    let Ok(Some(Input::Tcp { segment, .. })) = ip().on_frame(
        at(1),
        Frame {
            data: data.clone(),
            offload,
        },
    ) else {
        panic!("no segment");
    };
    assert_eq!(
        (segment.payload.len(), segment.wire_segments()),
        (60_000, 42)
    );
    for kind in [GsoKind::TcpV6, GsoKind::Udp] {
        let offload = gso(kind, 1448);
        let data = data.clone();
        let result = ip().on_frame(at(1), Frame { data, offload });
        assert_eq!(result.err(), Some(Dropped::Header));
    }
    let data = udp(PEER6, US6, &pattern(3000)).into();
    let offload = gso(GsoKind::Udp, 1000);
    let datagram = datagram(ip().on_frame(at(1), Frame { data, offload }));
    assert_eq!(datagram.wire_datagrams(), 3);
}

/// UD-5, D-10: protocols nobody speaks; over IPv4 code 2, over IPv6 a pointer at the name (V6-2).
#[test]
#[covers("UD-5", "V6-2", "IC-4", "V6-14")]
fn unknown_protocols_are_refused() {
    for protocol in [2, 4, 41, 47, 132, 253] {
        let packet = raw(PEER4, US4, protocol, &[0; 40]);
        let (source, destination, body) = dissect(&answer(&mut ip(), packet.clone()));
        assert_eq!((source, destination), (addr(US4), addr(PEER4)));
        assert_eq!(body[..2], [3, 2]);
        assert_eq!(body[8..], packet, "quoted unchanged");
    }
    let body = |chain: &[u8]| [chain, &[0; 40]].concat();
    for (next, chain, pointer) in [
        (200, &[][..], 6),
        (60, &[200, 0, 1, 4, 0, 0, 0, 0], 40),
        (60, &[43, 0, 1, 4, 0, 0, 0, 0, 200, 0, 9, 0, 0, 0, 0, 0], 48),
    ] {
        let packet = raw(PEER6, US6, next, &body(chain));
        let (_, _, icmp) = dissect(&answer(&mut ip(), packet.clone()));
        assert_eq!(icmp[..2], [4, 1]);
        assert_eq!(icmp[4..8], u32::to_be_bytes(pointer));
        assert_eq!(icmp[8..], packet, "quoted unchanged");
    }
    // Not about somebody else's packet, and not about "nothing follows".
    assert_silent(&mut transparent(), raw(PEER4, "8.8.8.8", 132, &[0; 40]));
    assert_silent(&mut ip(), raw(PEER6, US6, 59, &[0; 40]));
}

/// V6-3 through the whole of input, multicast included.
#[test]
#[covers("V6-3")]
fn unknown_options_are_reported_where_due() {
    let packet = |destination, kind| {
        let options = [17, 0, kind, 4, 0, 0, 0, 0];
        raw(PEER6, destination, 60, &[&options[..], &[0; 8]].concat())
    };
    for (destination, kind, reported) in [
        (US6, 0x5e, false),
        (US6, 0x9e, true),
        (US6, 0xde, true),
        ("ff02::1", 0x5e, false),
        ("ff02::1", 0x9e, true),
        ("ff02::1", 0xde, false),
    ] {
        let mut ip = ip();
        let packet = packet(destination, kind);
        if !reported {
            assert_silent(&mut ip, packet);
            continue;
        }
        let (source, _, icmp) = dissect(&answer(&mut ip, packet));
        assert_eq!(source, addr(US6), "never from a group");
        assert_eq!((&icmp[..2], &icmp[4..8]), (&[4, 2][..], &[0, 0, 0, 42][..]));
    }
}

/// V6-1, V6-4: header order and source routing.
#[test]
#[covers("V6-1", "V6-4")]
fn extension_headers_are_refused_with_a_pointer() {
    let hop_by_hop_second = [[0, 0, 1, 4, 0, 0, 0, 0], [17, 0, 1, 4, 0, 0, 0, 0], [0; 8]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip(), raw(PEER6, US6, 60, &hop_by_hop_second)));
    assert_eq!((&icmp[..2], icmp[7]), (&[4, 1][..], 40));
    let routed = [[17, 0, 0, 1, 0, 0, 0, 0], [0; 8]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip(), raw(PEER6, US6, 43, &routed)));
    assert_eq!((&icmp[..2], icmp[7]), (&[4, 0][..], 42));
}

/// V6-17, D-17: what a kernel says on a new link costs nothing and is not answered.
#[test]
#[covers("V6-17")]
fn kernel_chatter_is_ignored() {
    let mut ip = transparent();
    let report = [143, 0, 0, 0, 0, 0, 0, 1];
    let mut hop_by_hop = vec![58, 0, 5, 2, 0, 0, 1, 0];
    hop_by_hop.extend(&icmp_message("fe80::1", "ff02::16", report, &[0; 20])[40..]);
    let packets = [
        raw("fe80::1", "ff02::16", 0, &hop_by_hop),
        icmp_message("fe80::1", "ff02::2", [133, 0, 0, 0, 0, 0, 0, 0], b""),
        icmp_message("fe80::1", US6, [136, 0, 0, 0, 0, 0, 0, 0], &[0; 16]),
        udp("fe80::1", "ff02::fb", b"mdns"),
        udp(PEER4, "224.0.0.251", b"mdns"),
        udp(PEER4, "255.255.255.255", b"dhcp"),
    ];
    let packets = packets.map(Bytes::from);
    let state = |ip: &Ip| {
        format!(
            "{:?} {:?} {:?}",
            ip.path_mtus, ip.reassembler, ip.sent_flows
        )
    };
    let before = state(&ip);
    for packet in packets.iter().cycle().take(100_000) {
        assert!(ip.on_frame(at(1), frame(packet.clone())).is_err());
    }
    assert!(!ip.has_ready() && state(&ip) == before);
    assert_counters_add_up(&ip);
    assert_eq!(ip.counters().icmp_out_msgs, 0);
}
