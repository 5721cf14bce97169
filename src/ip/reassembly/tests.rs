use covers::covers;

use super::*;

pub(super) const HEADER: &[u8] = b"head";

fn reassembler() -> Reassembler {
    Reassembler::new(4 << 20, 1 << 20, KeyedHash::new([1; 16]))
}

pub(super) fn key(source: u32, id: u32) -> Key {
    Key {
        source: IpAddr::V4(std::net::Ipv4Addr::from_bits(source)),
        destination: "10.0.0.2".parse().expect("an address"),
        protocol: 17,
        id,
    }
}

/// `len` bytes of a fixed pattern, so that every right reassembly is equal.
fn fragment(offset: usize, len: usize, more: bool) -> Fragment {
    let payload: Vec<u8> = (offset..offset + len).map(|n| n as u8).collect();
    Fragment {
        offset,
        more,
        ecn: Ecn::NotEct,
        payload: payload.into(),
        first: (offset == 0).then(|| First {
            header: Bytes::from_static(HEADER),
            packet: Bytes::from_static(b"first"),
        }),
    }
}

fn take(r: &mut Reassembler, id: u32, fragment: Fragment) -> Result<Option<Whole>, Dropped> {
    r.on_fragment(Instant::from_millis(1), key(1, id), fragment)
        .map(|outcome| match outcome {
            Outcome::Held => None,
            Outcome::Complete(whole) => Some(whole),
        })
}

fn expected(len: usize) -> Vec<u8> {
    HEADER
        .iter()
        .copied()
        .chain((0..len).map(|n| n as u8))
        .collect()
}

/// All permutations of `items` (Heap's algorithm).
fn permutations(items: &mut [usize], count: usize, visit: &mut impl FnMut(&[usize])) {
    if count <= 1 {
        return visit(items);
    }
    for n in 0..count {
        permutations(items, count - 1, visit);
        items.swap(if count.is_multiple_of(2) { n } else { 0 }, count - 1);
    }
}

/// FR-1: all 40,320 orders of eight fragments.
#[test]
#[covers("FR-1")]
fn any_order_of_fragments_gives_the_datagram() {
    let mut r = reassembler();
    let mut order = [0, 1, 2, 3, 4, 5, 6, 7];
    let mut id = 0;
    permutations(&mut order, 8, &mut |order| {
        id += 1;
        let mut done = None;
        for (n, &index) in order.iter().enumerate() {
            let len = if index == 7 { 5 } else { 16 };
            done = take(&mut r, id, fragment(index * 16, len, index != 7)).expect("held");
            assert_eq!(done.is_some(), n == 7);
        }
        assert_eq!(done.expect("complete").packet, expected(117));
    });
    assert_eq!((id, r.charged(), r.fails), (40_320, 0, 0));
}

/// FR-3, V6-8, D-2: seven shapes of overlap; later fragments do not bring the datagram back.
#[test]
#[covers("FR-3", "V6-8")]
fn an_overlap_spoils_the_whole_datagram() {
    for (shape, (offset, len, more)) in [
        (8, 16, true),
        (24, 16, true),
        (16, 8, true),
        (8, 32, true),
        (16, 24, true),
        (0, 24, true),
        (24, 13, false),
    ]
    .into_iter()
    .enumerate()
    {
        let mut r = reassembler();
        let id = shape as u32;
        take(&mut r, id, fragment(0, 8, true)).expect("held");
        take(&mut r, id, fragment(16, 16, true)).expect("held");
        let mut overlap = fragment(offset, len, more);
        overlap.payload = vec![0xee; len].into();
        let kept = take(&mut r, id, overlap);
        assert_eq!(kept.err(), Some(Dropped::Fragment), "shape {shape}");
        assert_eq!(r.fails, 1);
        for (offset, len, more) in [(8, 8, true), (0, 8, true), (16, 16, true), (32, 5, false)] {
            let late = take(&mut r, id, fragment(offset, len, more));
            assert_eq!(late.err(), Some(Dropped::Fragment), "shape {shape}");
        }
        assert!(
            r.poll_expired(Instant::from_millis(61_000)).is_none(),
            "silent"
        );
        assert_eq!(r.charged(), 0);
    }
}

/// RFC 8200 §4.5: the network may duplicate.
#[test]
fn an_exact_copy_is_not_an_overlap() {
    let mut r = reassembler();
    for _ in 0..3 {
        assert!(
            take(&mut r, 1, fragment(8, 8, true))
                .expect("held")
                .is_none()
        );
    }
    take(&mut r, 1, fragment(16, 3, false)).expect("held");
    let whole = take(&mut r, 1, fragment(0, 8, true)).expect("complete");
    assert_eq!(whole.expect("complete").packet, expected(19));
}

#[test]
fn fragments_that_disagree_about_the_end_spoil_it() {
    for (second, more) in [((32, 8), true), ((16, 8), false), ((8, 8), false)] {
        let mut r = reassembler();
        take(&mut r, 1, fragment(16, 16, true)).expect("held");
        if more {
            take(&mut r, 1, fragment(32, 4, false)).expect("held");
        }
        let mut other = fragment(second.0, second.1, more);
        other.payload = vec![9; second.1].into();
        assert!(take(&mut r, 1, other).is_err());
    }
}

/// FR-4, D-3: ping of death, odd middle, empty.
#[test]
#[covers("FR-4")]
fn impossible_fragments_are_refused() {
    let mut r = reassembler();
    for bad in [
        fragment(65_528, 8, false),
        fragment(65_504, 40, false),
        fragment(8, 7, true),
        fragment(8, 0, true),
        fragment(8, 0, false),
    ] {
        assert_eq!(take(&mut r, 1, bad).err(), Some(Dropped::Fragment));
    }
    assert_eq!(r.charged(), 0, "nothing was kept for them");
    take(&mut r, 1, fragment(65_528, 7, false)).expect("the last byte there can be");
}

/// FR-2, V6-7: at 60 s, reported only when offset 0 was seen.
#[test]
#[covers("FR-2", "V6-7")]
fn time_runs_out_after_sixty_seconds() {
    let mut r = reassembler();
    take(&mut r, 1, fragment(0, 8, true)).expect("held");
    take(&mut r, 2, fragment(8, 8, true)).expect("held");
    assert_eq!(r.poll_timeout(), Some(Instant::from_millis(60_001)));
    assert!(r.poll_expired(Instant::from_millis(60_000)).is_none());
    let now = Instant::from_millis(60_001);
    assert_eq!(
        r.poll_expired(now).expect("expired").first,
        Some("first".into())
    );
    assert_eq!(r.poll_expired(now).expect("expired").first, None);
    assert!(r.poll_expired(now).is_none());
    assert_eq!((r.charged(), r.fails, r.poll_timeout()), (0, 2, None));
}

/// FR-6, D-1: a flood from many sources and from one; memory bounded, the oldest out, another
/// source's datagram untouched by a single flooder.
#[test]
#[covers("FR-6")]
fn a_flood_stays_within_the_limits() {
    let mut r = reassembler();
    let now = Instant::from_millis(1);
    let victim = key(7, 7);
    r.on_fragment(now, victim, fragment(0, 8, true))
        .expect("held");
    for id in 0..100_000 {
        r.on_fragment(now, key(1, id), fragment(8, 1400, true))
            .expect("held");
        assert!(r.charged() <= (1 << 20) + 1024);
    }
    let done = r
        .on_fragment(now, victim, fragment(8, 3, false))
        .expect("complete");
    assert!(matches!(done, Outcome::Complete(_)));
    for id in 0..100_000 {
        r.on_fragment(now, key(id, 1), fragment(8, 1400, true))
            .expect("held");
        assert!(r.charged() <= 4 << 20);
    }
    assert_eq!(r.datagrams.len(), r.serials.len());
    assert_eq!(r.sources.len(), r.datagrams.len());
    assert!(
        r.on_fragment(now, key(99_999, 1), fragment(0, 8, true))
            .is_ok()
    );
}

/// One datagram that alone exceeds its source's share is given up, without a panic.
#[test]
fn a_datagram_of_crumbs_pays_for_its_fragments() {
    let mut r = Reassembler::new(1 << 20, 64 << 10, KeyedHash::new([1; 16]));
    let refused = (0..4000)
        .rev()
        .filter(|n| take(&mut r, 1, fragment(n * 8 + 8, 8, true)).is_err())
        .count();
    assert!(refused > 0);
    assert!(r.charged() <= 64 << 10);
}

/// EC-10: ECT, CE, ECT gives CE; CE with Not-ECT is dropped.
#[test]
#[covers("EC-10")]
fn congestion_marks_survive_reassembly() {
    use Ecn::*;
    for (codes, expected) in [
        ([Ect0, Ce, Ect0], Some(Ce)),
        ([Ect1, Ect1, Ce], Some(Ce)),
        ([Ce, NotEct, Ect0], None),
        ([Ect0, Ect0, Ect0], Some(Ect0)),
        ([Ect1, Ect1, Ect1], Some(Ect1)),
        ([NotEct, NotEct, NotEct], Some(NotEct)),
    ] {
        let mut r = reassembler();
        let mut last = Ok(None);
        for (n, ecn) in codes.into_iter().enumerate() {
            let fragment = Fragment {
                ecn,
                ..fragment(n * 8, 8, n != 2)
            };
            last = take(&mut r, 1, fragment);
        }
        match expected {
            Some(ecn) => assert_eq!(last.expect("kept").expect("complete").ecn, ecn),
            None => assert_eq!(last.err(), Some(Dropped::Fragment)),
        }
    }
}
