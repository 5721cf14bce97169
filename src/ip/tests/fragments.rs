use super::*;

/// Fragments of a datagram from the peer, as its own stack cuts them.
fn fragments(ends: (&str, &str), payload: &[u8]) -> Vec<Vec<u8>> {
    let mut peer = peer();
    let mut tx = TxBatch::new();
    send_datagram(&mut peer, &mut tx, (ends.1, ends.0), payload);
    packets(&tx)
}

/// Out by our fragmentation, in by our reassembly, in both orders: sizes of the whole range.
#[test]
#[covers("FR-1", "V6-7", "UD-10")]
fn datagrams_of_every_size_cross_the_link() {
    for (ends, most) in [(FAMILIES[0], 65_507), (FAMILIES[1], 65_527)] {
        for len in [0, 1, 1452, 1453, 1472, 1473, 4000, 60_000, most] {
            let data = pattern(len);
            let mut packets = fragments(ends, &data);
            assert!(packets.iter().all(|packet| packet.len() <= 1500));
            for _ in 0..2 {
                let mut ip = ip();
                let last = packets.len() - 1;
                for packet in &packets[..last] {
                    let held = ip.on_frame(at(1), frame(packet.clone()));
                    assert!(matches!(held, Ok(None)), "{held:?}");
                }
                let whole = datagram(ip.on_frame(at(1), frame(packets[last].clone())));
                assert_eq!(whole.data, data);
                assert_counters_add_up(&ip);
                packets.reverse();
            }
        }
    }
    let mut tx = TxBatch::new();
    let mut ip = ip();
    send_datagram(&mut ip, &mut tx, FAMILIES[0], &pattern(65_508));
    assert_eq!((tx.len(), ip.counters().out_discards), (0, 1));
}

/// V6-12: offsets are disjoint and cover all.
#[test]
#[covers("V6-12")]
fn own_fragments_never_overlap() {
    for ends in FAMILIES {
        let mut end = 0;
        for packet in fragments(ends, &pattern(4000)) {
            let at = if ends.0 == US4 { 20 } else { 48 };
            let field = if ends.0 == US4 {
                u16::from_be_bytes([packet[6], packet[7]]) << 3
            } else {
                u16::from_be_bytes([packet[42], packet[43]]) & !7
            };
            assert_eq!(usize::from(field), end);
            end += packet.len() - at;
        }
        assert_eq!(end, 4008);
    }
}

/// FR-7, D-4, V6-6: a first fragment without its transport header; IPv6 says so.
#[test]
#[covers("FR-7", "V6-6")]
fn tiny_first_fragments() {
    let mut v4 = raw(PEER4, US4, 6, &pattern(8));
    v4[6] = 0x20;
    v4[10..12].fill(0);
    let sum = checksum(&v4[..20]);
    v4[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut ip = ip();
    let dropped = ip.on_frame(at(1), frame(v4)).err();
    assert_eq!(dropped, Some(Dropped::Fragment));
    assert!(answers(&mut ip, at(1)).is_empty());

    let first = [&[6, 0, 0, 1, 0, 0, 0, 1], &pattern(16)[..]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip, raw(PEER6, US6, 44, &first)));
    assert_eq!((&icmp[..2], &icmp[4..8]), (&[4, 3][..], &[0; 4][..]));
    // The chain ends in an options header that is cut.
    let cut = [&[60, 0, 0, 1, 0, 0, 0, 2], &[6, 9, 1, 4, 0, 0, 0, 0][..]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip, raw(PEER6, US6, 44, &cut)));
    assert_eq!(icmp[..2], [4, 3]);
}

/// V6-9: lengths that cannot be, each with its pointer.
#[test]
#[covers("V6-9")]
fn impossible_v6_fragments_are_reported() {
    let mut ip = ip();
    let odd = [&[17, 0, 0, 1, 0, 0, 0, 1], &pattern(1001)[..]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip, raw(PEER6, US6, 44, &odd)));
    assert_eq!((&icmp[..2], icmp[7]), (&[4, 0][..], 4));
    let beyond = [&[17, 0, 0xff, 0xf8, 0, 0, 0, 1], &pattern(16)[..]].concat();
    let (_, _, icmp) = dissect(&answer(&mut ip, raw(PEER6, US6, 44, &beyond)));
    assert_eq!((&icmp[..2], icmp[7]), (&[4, 0][..], 42));
    let empty = [17, 0, 0, 9, 0, 0, 0, 1];
    assert_silent(&mut ip, raw(PEER6, US6, 44, &empty));
}

/// V6-11: an atomic fragment is a packet of its own, whatever waits under its id.
#[test]
#[covers("V6-11")]
fn atomic_fragments_stand_alone() {
    let packets = fragments(FAMILIES[1], &pattern(2000));
    let mut ip = ip();
    ip.on_frame(at(1), frame(packets[0].clone())).expect("held");
    let id: [u8; 4] = packets[0][44..48].try_into().expect("four bytes");
    let inner = udp(PEER6, US6, b"alone");
    let atomic = [&[17, 0, 0, 0], &id[..], &inner[40..]].concat();
    let alone = datagram(ip.on_frame(at(1), frame(raw(PEER6, US6, 44, &atomic))));
    assert_eq!(alone.data, "alone");
    let whole = datagram(ip.on_frame(at(1), frame(packets[1].clone())));
    assert_eq!(whole.data, pattern(2000));
}

/// FR-2, V6-7: after sixty seconds, quoting the first fragment; silent when that never came.
#[test]
#[covers("FR-2", "V6-7")]
fn time_exceeded_quotes_the_first_fragment() {
    for (ends, kind) in [(FAMILIES[0], 11), (FAMILIES[1], 3)] {
        let packets = fragments(ends, &pattern(4000));
        for (kept, expected) in [(0, 1), (1, 0)] {
            let mut ip = ip();
            ip.on_frame(at(1), frame(packets[kept].clone()))
                .expect("held");
            assert_eq!(ip.poll_timeout(), Some(at(60_001)));
            ip.on_timeout(at(60_000));
            assert!(answers(&mut ip, at(60_000)).is_empty());
            ip.on_timeout(at(60_001));
            let errors = answers(&mut ip, at(60_001));
            assert_eq!(errors.len(), expected);
            assert_eq!(ip.counters().reasm_timeout, 1);
            for error in errors {
                let (source, destination, icmp) = dissect(&error);
                assert_eq!((source, destination), (addr(ends.0), addr(ends.1)));
                assert_eq!(icmp[..2], [kind, 1]);
                assert_eq!(icmp[8..], packets[0][..icmp.len() - 8]);
            }
        }
    }
}

/// FR-3, V6-8: nothing is said about overlaps, and nothing delivered.
#[test]
#[covers("FR-3", "V6-8")]
fn overlaps_are_silent() {
    for ends in FAMILIES {
        let packets = fragments(ends, &pattern(4000));
        let mut bent = packets[1].clone();
        let last = bent.len() - 1;
        bent[last] ^= 1;
        let mut ip = ip();
        ip.on_frame(at(1), frame(packets[1].clone())).expect("held");
        for packet in [&bent, &packets[0], &packets[2]] {
            let dropped = ip.on_frame(at(1), frame(packet.clone())).err();
            assert_eq!(dropped, Some(Dropped::Fragment));
        }
        ip.on_timeout(at(100_000));
        assert!(answers(&mut ip, at(100_000)).is_empty());
        assert_eq!(ip.counters().reasm_fails, 1);
        assert_counters_add_up(&ip);
    }
}
