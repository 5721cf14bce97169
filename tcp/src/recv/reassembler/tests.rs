use super::*;
use crate::seq::WireSeq;
use alloc::vec::Vec;

pub(super) const START: SeqNum = SeqNum::first(WireSeq(u32::MAX - 5000));

fn pattern(at: usize, len: usize) -> Bytes {
    (at..at + len)
        .map(|i| (i ^ (i >> 7)) as u8)
        .collect::<Vec<_>>()
        .into()
}

fn insert(queue: &mut Reassembler, at: usize, len: usize) -> Inserted {
    queue.insert(START + at, pattern(at, len))
}

pub(super) fn block(range: Range<usize>) -> SackBlock {
    SackBlock {
        left: (START + range.start).wire(),
        right: (START + range.end).wire(),
    }
}

#[test]
fn in_order_bytes_are_handed_on_without_a_copy() {
    let mut queue = Reassembler::new(START);
    let data = pattern(0, 1448);
    assert_eq!(queue.insert(START, data.clone()).in_order, 1448);
    assert_eq!(queue.read(9000).unwrap().as_ptr(), data.as_ptr());
    assert_eq!(queue.charged(), 0);
}

/// The example of RFC 2018 §4, case 2 and 3: eight segments of 500, some lost.
#[test]
fn blocks_are_in_the_order_of_rfc_2018() {
    let mut queue = Reassembler::new(START);
    assert!(insert(&mut queue, 500, 500).ooo);
    assert!(insert(&mut queue, 1500, 500).ooo);
    assert!(insert(&mut queue, 2500, 500).ooo);
    assert_eq!(
        queue.sack_blocks(3, None)[..],
        [block(2500..3000), block(1500..2000), block(500..1000)]
    );
    // The fourth segment fills the lower gap: its range is now the most recent one.
    let filled = insert(&mut queue, 1000, 500);
    assert!(filled.filled_gap && filled.in_order == 0);
    assert_eq!(
        queue.sack_blocks(4, None)[..],
        [block(500..2000), block(2500..3000)]
    );
    let filled = insert(&mut queue, 0, 500);
    assert!(filled.filled_gap && filled.in_order == 2000);
    assert_eq!(queue.sack_blocks(4, None)[..], [block(2500..3000)]);
    assert_eq!(queue.sack_blocks(0, None)[..], []);
}

/// RFC 2883 §4.1 and §4.2: below the cumulative ACK, and inside a block.
#[test]
fn the_first_duplicate_range_is_reported() {
    let mut queue = Reassembler::new(START);
    insert(&mut queue, 0, 1000);
    insert(&mut queue, 1500, 500);
    let below = insert(&mut queue, 500, 600);
    assert_eq!(below.duplicate, Some(START + 500u32..START + 1000u32));
    assert_eq!(below.in_order, 100);
    let inside = insert(&mut queue, 1400, 300);
    assert_eq!(inside.duplicate, Some(START + 1500u32..START + 1700u32));
    let again = insert(&mut queue, 1600, 100);
    assert_eq!(again.duplicate, Some(START + 1600u32..START + 1700u32));
    assert_eq!(insert(&mut queue, 1200, 100).duplicate, None);
}

#[test]
fn tiny_segments_pin_little_memory() {
    for reversed in [false, true] {
        let mut queue = Reassembler::new(START);
        let frame = Bytes::from(alloc::vec![0; 65_536]);
        for i in 0..10_000usize {
            let at = if reversed { 10_000 - i } else { i + 1 };
            assert!(queue.insert(START + at, frame.slice(i..=i)).ooo);
        }
        assert_eq!(queue.ooo_bytes(), 10_000);
        assert!(queue.charged() < 30_000, "{}", queue.charged());
        assert!(
            frame.try_into_mut().is_ok(),
            "the frame is still referenced"
        );
    }
}

#[test]
fn ranges_are_bounded() {
    let mut queue = Reassembler::new(START);
    for i in 0..MAX_RANGES {
        assert!(!insert(&mut queue, 10 + 10 * i, 5).refused);
    }
    let charged = queue.charged();
    let refused = insert(&mut queue, 10 + 10 * MAX_RANGES, 5);
    assert!(refused.refused && refused.ooo);
    assert!(
        !insert(&mut queue, 15, 5).refused,
        "joining is no new range"
    );
    assert_eq!(queue.ooo_bytes(), 5 * MAX_RANGES as u32 + 5);
    assert!(queue.charged() <= charged + 100);
    assert_eq!(queue.discard_out_of_order(), 5 * MAX_RANGES as u32 + 5);
    assert_eq!((queue.charged(), queue.has_gap()), (0, false));
}
