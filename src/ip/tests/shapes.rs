//! Fragments shaped by hand.

use super::*;

/// A datagram of 64 bytes of data to our port 53, as the peer's UDP would build it.
fn whole(ends: (&str, &str)) -> Vec<u8> {
    let packet = udp(ends.1, ends.0, &pattern(64));
    let at = if ends.0 == US4 { 20 } else { 40 };
    packet[at..].to_vec()
}

/// Eight fragments of nine bytes or so each, cut where offsets may be.
fn eight(ends: (&str, &str), id: u32) -> Vec<Vec<u8>> {
    let bytes = whole(ends);
    assert_eq!(bytes.len(), 72);
    (0..8)
        .map(|n| {
            let end = if n == 7 { 72 } else { n * 8 + 8 };
            fragment(ends, 17, id, (n * 8, n < 7), &bytes[n * 8..end])
        })
        .collect()
}

/// All orders of eight fragments, each with an identification of its own, give the datagram.
#[test]
#[covers("FR-1", "V6-7")]
fn all_orders_arrive() {
    for ends in FAMILIES {
        let mut ip = ip();
        let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
        let (mut turns, mut n, mut id) = ([0; 8], 0, 0);
        let mut deliver = |order: &[usize; 8]| {
            id += 1;
            let pieces = eight(ends, id);
            for (n, &index) in order.iter().enumerate() {
                let result = ip.on_frame(at(1), frame(pieces[index].clone()));
                if n == 7 {
                    assert_eq!(datagram(result).data, pattern(64), "{order:?}");
                } else {
                    assert!(matches!(result, Ok(None)));
                }
            }
        };
        deliver(&order);
        // Heap's algorithm. IPv6 differs in headers only: one order in sixteen.
        while n < 8 {
            if turns[n] < n {
                order.swap(if n % 2 == 0 { 0 } else { turns[n] }, n);
                if ends.0 == US4 || turns.iter().sum::<usize>() % 16 == 0 {
                    deliver(&order);
                }
                turns[n] += 1;
                n = 0;
            } else {
                turns[n] = 0;
                n += 1;
            }
        }
        assert_eq!(ip.counters().reasm_fails, 0);
        assert_counters_add_up(&ip);
    }
}

/// Seven shapes of overlap: the datagram is gone, and what comes later does not bring it back.
#[test]
#[covers("FR-3", "V6-8")]
fn seven_overlaps() {
    for ends in FAMILIES {
        let bytes = whole(ends);
        for (shape, (start, end)) in [
            (8, 24),
            (24, 40),
            (16, 24),
            (8, 40),
            (16, 40),
            (0, 24),
            (24, 72),
        ]
        .into_iter()
        .enumerate()
        {
            let mut ip = ip();
            let piece = |start: usize, end: usize| {
                fragment(ends, 17, 9, (start, end < 72), &bytes[start..end])
            };
            for packet in [piece(0, 8), piece(16, 32)] {
                assert!(matches!(ip.on_frame(at(1), frame(packet)), Ok(None)));
            }
            let mut bent = piece(start, end);
            let last = bent.len() - 1;
            bent[last] ^= 0xff; // not a copy
            for packet in [
                bent,
                piece(8, 16),
                piece(0, 8),
                piece(16, 32),
                piece(32, 72),
            ] {
                let result = ip.on_frame(at(1), frame(packet));
                assert_eq!(result.err(), Some(Dropped::Fragment), "shape {shape}");
            }
            ip.on_timeout(at(61_000));
            assert!(!ip.has_ready(), "silent");
            assert_eq!(ip.counters().reasm_fails, 1);
        }
    }
}

/// More than a packet can hold, middles that are no multiple of eight, and nothing at all.
#[test]
#[covers("FR-4", "V6-9")]
fn pings_of_death() {
    for ends in FAMILIES {
        let mut ip = ip();
        for (n, (offset, more, len)) in [
            (65_528, false, 8),
            (65_528, true, 8),
            (65_504, false, 40),
            (64_800, false, 1400),
            (8, true, 7),
            (0, true, 1001),
            (8, true, 0),
            (8, false, 0),
        ]
        .into_iter()
        .enumerate()
        {
            let packet = fragment(ends, 17, n as u32, (offset, more), &pattern(len));
            let result = ip.on_frame(at(1), frame(packet));
            assert_eq!(result.err(), Some(Dropped::Fragment), "{offset} {len}");
        }
        assert_eq!(ip.reassembler.charged(), 0, "nothing is kept for them");
        let errors = answers(&mut ip, at(1));
        if ends.0 == US4 {
            assert!(errors.is_empty());
        } else {
            // RFC 8200 §4.5: at the payload length, or at the offset.
            let pointers: Vec<_> = errors.iter().map(|e| (e[41], e[47])).collect();
            assert_eq!(
                pointers,
                [(0, 42), (0, 42), (0, 42), (0, 42), (0, 4), (0, 4)]
            );
        }
        assert_counters_add_up(&ip);
    }
}

/// Fragments of one identification that differ in source, destination or protocol are of different
/// datagrams; IPv6 does not tell by protocol.
#[test]
#[covers("FR-6")]
fn datagrams_are_told_apart() {
    let (us, them) = FAMILIES[0];
    let bytes = whole((us, them));
    let first = |ends, protocol| fragment(ends, protocol, 5, (0, true), &bytes[..40]);
    let last = |ends, protocol| fragment(ends, protocol, 5, (40, false), &bytes[40..]);
    for other in [((us, "10.77.0.7"), 17), ((us, them), 200)] {
        let mut ip = ip();
        let _ = ip.on_frame(at(1), frame(first((us, them), 17)));
        let held = ip.on_frame(at(1), frame(last(other.0, other.1)));
        assert!(matches!(held, Ok(None)), "{other:?}: {held:?}");
        let done = ip.on_frame(at(1), frame(last((us, them), 17)));
        assert_eq!(datagram(done).data, pattern(64));
    }
}

/// A flood of beginnings from everywhere, and from one source: memory stays within its limits and
/// a bystander's datagram survives the single flooder.
#[test]
#[covers("FR-6")]
fn floods_are_bounded() {
    let per_source = config().reassembly_memory_per_source;
    let all = config().reassembly_memory;
    let mut ip = ip();
    let bystander = eight(FAMILIES[0], 1);
    let _ = ip.on_frame(at(1), frame(bystander[0].clone()));
    let data = pattern(1400);
    for id in 0..50_000 {
        let packet = fragment((US4, "10.77.0.66"), 17, id, (8, true), &data);
        let _ = ip.on_frame(at(1), frame(packet));
        assert!(ip.reassembler.charged() <= per_source + 2000);
    }
    for piece in &bystander[1..7] {
        assert!(matches!(ip.on_frame(at(1), frame(piece.clone())), Ok(None)));
    }
    let done = ip.on_frame(at(1), frame(bystander[7].clone()));
    assert_eq!(datagram(done).data, pattern(64));
    for n in 0..50_000_u32 {
        let them = std::net::Ipv4Addr::from_bits(0x0b00_0000 + n).to_string();
        let packet = fragment((US4, &them), 17, 1, (8, true), &data);
        let _ = ip.on_frame(at(1), frame(packet));
        let them = format!("fd99::{:x}:{:x}", n >> 16, n & 0xffff);
        let packet = fragment((US6, &them), 17, 1, (8, true), &data);
        let _ = ip.on_frame(at(1), frame(packet));
        assert!(ip.reassembler.charged() <= all);
    }
    // The oldest are out, the newest are there.
    let newest = std::net::Ipv4Addr::from_bits(0x0b00_0000 + 49_999).to_string();
    let tail = fragment((US4, &newest), 17, 1, (1408, false), &data[..8]);
    assert!(matches!(ip.on_frame(at(1), frame(tail)), Ok(None)));
    assert!(ip.counters().reasm_fails > 90_000);
    assert_counters_add_up(&ip);
}

/// Congestion that any fragment met is not lost; fragments that disagree about ECN altogether are.
#[test]
#[covers("EC-10")]
fn congestion_marks_cross_reassembly() {
    use Ecn::*;
    for ends in FAMILIES {
        let bytes = whole(ends);
        for (codes, expected) in [
            ([Ect0, Ce, Ect0], Some(Ce)),
            ([Ect1, Ect1, Ce], Some(Ce)),
            ([Ce, Ect0, Ect1], Some(Ce)),
            ([Ce, Ce, Ce], Some(Ce)),
            ([NotEct, Ce, NotEct], None),
            ([Ect0, NotEct, Ce], None),
            ([Ect0, Ect0, Ect0], Some(Ect0)),
            ([NotEct, NotEct, NotEct], Some(NotEct)),
        ] {
            let mut ip = ip();
            let mut last = Ok(None);
            for (n, code) in codes.into_iter().enumerate() {
                let range = n * 24..n * 24 + 24;
                let mut piece = fragment(ends, 17, 3, (n * 24, n < 2), &bytes[range]);
                set_traffic_class(&mut piece, code as u8);
                last = ip.on_frame(at(1), frame(piece));
            }
            match expected {
                Some(code) => assert_eq!(datagram(last).ecn, code as u8, "{codes:?}"),
                None => assert_eq!(last.err(), Some(Dropped::Fragment), "{codes:?}"),
            }
        }
    }
}

/// Identifications of our own IPv6 fragments: none twice, no run, no counter.
#[test]
#[covers("V6-12")]
fn own_v6_identifications() {
    let mut ip = ip();
    let data = pattern(1600);
    let mut tx = TxBatch::new();
    let ids: Vec<u32> = (0..10_000)
        .map(|_| {
            tx.clear();
            send_datagram(&mut ip, &mut tx, FAMILIES[1], &data);
            let packet = &packets(&tx)[0];
            assert!(tx.len() == 2 && packet.len() > 1280);
            u32::from_be_bytes(packet[44..48].try_into().expect("four bytes"))
        })
        .collect();
    let unique: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    let close = ids
        .windows(2)
        .filter(|w| w[0].abs_diff(w[1]) < 1000)
        .count();
    assert!(close < 5, "{close} next to their predecessor");
}

/// Every value of the length field on a packet of forty bytes: below eight and beyond the packet
/// nothing arrives, shorter ones are trimmed.
#[test]
#[covers("UD-1")]
fn every_udp_length() {
    for (us, them) in FAMILIES {
        let mut ip = ip();
        for length in 0..=u16::MAX {
            let mut body = [0; 40];
            for (n, byte) in body[8..].iter_mut().enumerate() {
                *byte = n as u8;
            }
            body[..4].copy_from_slice(&[3, 232, 0, 53]);
            body[4..6].copy_from_slice(&length.to_be_bytes());
            let covered = usize::from(length).clamp(8, 40);
            let mut sum = Sum::pseudo_header(addr(them), addr(us), 17, covered as u32);
            sum.add(&body[..covered]);
            body[6..8].copy_from_slice(&sum.checksum().to_be_bytes());
            let result = ip.on_frame(at(1), frame(raw(them, us, 17, &body)));
            if (8..=40).contains(&length) {
                let arrived = datagram(result).data;
                assert_eq!(arrived, body[8..usize::from(length)], "{length}");
            } else {
                assert_eq!(result.err(), Some(Dropped::UdpMalformed), "{length}");
            }
        }
        assert!(!ip.has_ready());
        assert_eq!(ip.counters().udp_in_errors, 65_536 - 33);
    }
}
