//! Fragments, extension headers, identifications.

use std::net::IpAddr;

use covers::covers;

use super::bench::*;

/// `offset`, length, whether more follow.
type Piece = (usize, usize, bool);

/// A ping of 3,000 bytes of ICMP in pieces; the reply, put together, when one came.
fn ping_in_pieces(dut: &mut Dut, id: u32, pieces: &[Piece]) -> Option<Vec<u8>> {
    let family = dut.family;
    let echo = [8, 128][family];
    let data: Vec<u8> = (0..2992).map(|n| (n * 7 + n / 251) as u8).collect();
    let header = [echo, 0, 0, 0, 0, 0, 0, 0];
    let body = icmp_body(PEER[family], DUT[family], header, &data);
    for &(offset, len, more) in pieces {
        let packet = piece(family, id, offset, more, &body[offset..offset + len]);
        dut.inject(&packet);
    }
    let mut whole = vec![0; 3000];
    let mut received = 0;
    while let Some((_, packet)) = dut.next(SECOND) {
        let (offset, payload) = if family == 0 {
            let field = u16::from_be_bytes([packet[6], packet[7]]);
            (usize::from(field & 0x1fff) * 8, &packet[20..])
        } else {
            assert_eq!(packet[6], 44, "a fragment");
            let field = u16::from_be_bytes([packet[42], packet[43]]);
            (usize::from(field & !7), &packet[48..])
        };
        whole[offset..offset + payload.len()].copy_from_slice(payload);
        received += payload.len();
    }
    if received == 0 {
        return None;
    }
    assert_eq!(received, 3000);
    assert_eq!(whole[0], [0, 129][family], "an echo reply");
    assert!(whole[8..] == data);
    Some(whole)
}

fn piece(family: usize, id: u32, offset: usize, more: bool, data: &[u8]) -> Vec<u8> {
    if family == 0 {
        let mut packet = ip(PEER[0], DUT[0], 1, data);
        packet[4..6].copy_from_slice(&(id as u16).to_be_bytes());
        let field = (offset / 8) as u16 | u16::from(more) << 13;
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        seal(&mut packet);
        return packet;
    }
    let [a, b, c, d] = id.to_be_bytes();
    let [high, low] = (offset as u16 | u16::from(more)).to_be_bytes();
    let header = [58, 0, high, low, a, b, c, d];
    ip(PEER[1], DUT[1], 44, &[&header[..], data].concat())
}

fn reassembly(family: usize) {
    let cases: [(&[Piece], bool); 5] = [
        (
            &[(0, 1000, true), (1000, 1000, true), (2000, 1000, false)],
            true,
        ),
        (
            &[(2000, 1000, false), (0, 1000, true), (1000, 1000, true)],
            true,
        ),
        (
            &[
                (0, 1000, true),
                (1000, 1000, true),
                (1000, 1000, true),
                (2000, 1000, false),
            ],
            true,
        ),
        // One lies inside another.
        (
            &[
                (512, 256, true),
                (0, 1000, true),
                (1000, 1000, true),
                (2000, 1000, false),
            ],
            false,
        ),
        // One reaches into its neighbours.
        (
            &[
                (0, 1000, true),
                (1512, 1000, true),
                (1000, 1000, true),
                (2000, 1000, false),
            ],
            false,
        ),
    ];
    for (id, (pieces, is_answered)) in cases.into_iter().enumerate() {
        let reply = ping_in_pieces(&mut Dut::new(family), id as u32 + 5, pieces);
        assert_eq!(reply.is_some(), is_answered, "{pieces:?}");
    }
}

/// In order, out of order and doubled fragments make a ping that is answered; overlapping ones
/// make none.
#[test]
#[covers("FR-1", "FR-3", "IC-1")]
fn ipv4_fragment_reassembly() {
    reassembly(0);
}

#[test]
#[covers("V6-7", "V6-8", "C6-6")]
fn ipv6_fragment_reassembly() {
    reassembly(1);
}

/// A ping of twenty bytes in two fragments, the first with `first` of them, the second said to
/// begin at `second`.
fn two_pieces(first: usize, total: usize, second: usize) -> [Vec<u8>; 2] {
    let data: Vec<u8> = (0..total).map(|n| n as u8 | 0x40).collect();
    let body = icmp_body(PEER[1], DUT[1], [128, 0, 0, 0, 0, 0, 0, 0], &data);
    [
        piece(1, 1, 0, true, &body[..8 + first]),
        piece(1, 1, second, false, &body[8 + first..]),
    ]
}

/// What is said about fragments: nothing when they make a packet, time exceeded with the first of
/// them when they do not in time, a parameter problem when they never can.
#[test]
#[covers("V6-7", "V6-9", "FR-2", "C6-3")]
fn ipv6_fragment_icmp_error() {
    for order in [[0, 1], [1, 0]] {
        let mut dut = Dut::new(1);
        let pieces = two_pieces(8, 20, 16);
        for n in order {
            dut.inject(&pieces[n]);
        }
        let (_, reply) = dut.next(SECOND).expect("an echo reply");
        let (.., icmp) = transport(&reply);
        assert_eq!((icmp[0], icmp.len()), (129, 28));
    }
    // First only, second only, and both with a hole between them.
    for (second, sent, is_told) in [(16, &[0][..], true), (16, &[1], false), (24, &[0, 1], true)] {
        let mut dut = Dut::new(1);
        let pieces = two_pieces(8, 20, second);
        let started = dut.now();
        for &n in sent {
            dut.inject(&pieces[n]);
        }
        let Some((at, error)) = dut.next(millis(65_000)) else {
            assert!(!is_told);
            continue;
        };
        assert!(is_told);
        assert_eq!(at - started, millis(60_000));
        let (.., icmp) = transport(&error);
        assert_eq!((&icmp[..2], &icmp[8..]), (&[3, 1][..], &pieces[0][..]));
    }
    for (first, total, second, sent, pointer, about) in [
        (9, 20, 16, &[0][..], 4, 0),
        (16, 33, 65_520, &[0, 1], 42, 1),
    ] {
        let mut dut = Dut::new(1);
        let pieces = two_pieces(first, total, second);
        for &n in sent {
            let n: usize = n;
            dut.inject(&pieces[n]);
        }
        let (_, error) = dut.next(SECOND).expect("a parameter problem");
        let (.., icmp) = transport(&error);
        assert_eq!(icmp[..8][..2], [4, 0]);
        assert_eq!((icmp[7], &icmp[8..]), (pointer, &pieces[about][..]));
    }
}

/// A next header that nobody knows: a parameter problem that points at it and quotes the packet.
#[test]
#[covers("V6-2", "C6-3")]
fn icmpv6_param_problem() {
    let mut dut = Dut::new(1);
    let body = icmp_body(PEER[1], DUT[1], [128, 0, 0, 0, 0, 0, 0, 0], b"hello world");
    let packet = ip(PEER[1], DUT[1], 254, &body);
    dut.inject(&packet);
    let (_, error) = dut.next(SECOND).expect("a parameter problem");
    let (source, destination, protocol, icmp) = transport(&error);
    assert_eq!((source, destination, protocol), (DUT[1], PEER[1], 58));
    assert_eq!(icmp[..2], [4, 1]);
    assert_eq!((&icmp[4..8], &icmp[8..]), (&[0, 0, 0, 6][..], &packet[..]));
}

/// Options that nobody knows, in both option headers: skipped, dropped, or reported, to us and to
/// a group, as their two top bits say.
#[test]
#[covers("V6-3", "C6-3")]
fn ipv6_unknown_options_action() {
    let group: IpAddr = "ff02::1".parse().expect("an address");
    for next in [0, 60] {
        for action in 0..4_u8 {
            for destination in [DUT[1], group] {
                let mut dut = Dut::new(1);
                let options = [59, 0, action << 6 | 0x1e, 4, 0, 0, 0, 0];
                let packet = ip(PEER[1], destination, next, &options);
                dut.inject(&packet);
                let is_reported = match action {
                    2 => true,
                    3 => destination != group,
                    _ => false,
                };
                let Some((_, error)) = dut.next(SECOND) else {
                    assert!(!is_reported, "{action:#b} to {destination}");
                    continue;
                };
                assert!(is_reported, "{action:#b} to {destination}");
                let (source, .., icmp) = transport(&error);
                assert_eq!(source, DUT[1]);
                assert_eq!(icmp[..2], [4, 2]);
                assert_eq!((&icmp[4..8], &icmp[8..]), (&[0, 0, 0, 42][..], &packet[..]));
            }
        }
    }
}

/// The identification of a packet that may be cut on the way is never that of the one before,
/// even when both hold the same. TCP's may not be cut (DF), so theirs means nothing (RFC 6864
/// §4.1): other stacks are asked to clear DF first.
#[test]
#[covers("IP-11", "PM-1")]
fn ipv4_id_uniqueness() {
    let id = |packet: &[u8]| u16::from_be_bytes([packet[4], packet[5]]);
    let may_be_cut = |packet: &[u8]| packet[6] & 0x40 == 0;
    for data in [SAMPLE, &[7; 512]] {
        let mut dut = Dut::new(0);
        let (fd, mut peer) = dut.connected();
        dut.nodelay(fd);
        dut.write(fd, data);
        let first = peer.expect_data(&mut dut, data);
        let again = peer.expect_data(&mut dut, data);
        assert_eq!((again.seq, again.at > first.at), (first.seq, true));
        assert!(!may_be_cut(&first.packet) && !may_be_cut(&again.packet));
    }
    let mut dut = Dut::new(0);
    let fd = dut.socket(libc::SOCK_DGRAM);
    let peer = std::net::SocketAddr::new(PEER[0], 4000);
    let ping = icmp(PEER[0], DUT[0], [8, 0, 0, 0, 0, 1, 0, 1], SAMPLE);
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        let data = packetdrill::kernel::Data::Zeros(2000);
        assert_eq!(dut.kernel.sendto(fd, data, 0, peer), Ok(2000));
        let [(_, first), (_, second)] = [(); 2].map(|()| dut.next(SECOND).expect("two pieces"));
        assert!(may_be_cut(&first) && may_be_cut(&second));
        assert_eq!(id(&first), id(&second));
        assert!(ids.insert((17, id(&first))), "again");
        dut.inject(&ping);
        let (_, reply) = dut.next(SECOND).expect("a reply");
        assert!(may_be_cut(&reply) && ids.insert((1, id(&reply))), "again");
    }
}
