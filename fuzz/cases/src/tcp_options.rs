//! The TCP header and its options.

use std::num::NonZeroU16;

use bytes::Bytes;
use etherparse::{TcpHeaderSlice, TcpOptionElement, TcpOptionsIterator};
use ustack_tcp::seq::WindowScale;
use ustack_tcp::{Flags, Options, wire};

use crate::input::Input;

/// Parses `data` as a segment, and once more as the options of one whose header is right.
///
/// What can be parsed can be built, and means the same when it is parsed again; where etherparse
/// can read all options, too, it reads the same.
pub fn tcp_options(data: &[u8]) {
    check(&Bytes::copy_from_slice(data));
    check(&segment_with_options(data).into());
}

/// A header whose flags and options are arbitrary, and the rest as payload.
fn segment_with_options(data: &[u8]) -> Vec<u8> {
    let mut input = Input::new(data);
    let flags = input.u16() & 0x1ff;
    let mut options = input.take(40).to_vec();
    options.resize(options.len().next_multiple_of(4), 0);
    let mut bytes: Vec<u8> = (1..=20).collect();
    bytes[12] = ((20 + options.len()) / 4 * 16) as u8 | (flags >> 8) as u8;
    bytes[13] = flags as u8;
    bytes.extend_from_slice(&options);
    bytes.extend_from_slice(input.remainder());
    bytes
}

fn check(bytes: &Bytes) {
    let theirs = TcpHeaderSlice::from_slice(bytes);
    let Ok(parsed) = wire::parse(bytes.clone(), NonZeroU16::new(1000)) else {
        assert!(theirs.is_err(), "etherparse reads it: {theirs:?}");
        return;
    };
    let theirs = theirs.expect("etherparse does not read what we read");
    let ours = &parsed.segment;
    assert_eq!(parsed.source_port, theirs.source_port());
    assert_eq!(parsed.destination_port, theirs.destination_port());
    assert_eq!(ours.seq.0, theirs.sequence_number());
    assert_eq!(ours.ack.0, theirs.acknowledgment_number());
    assert_eq!(ours.window.0, theirs.window_size());
    assert_eq!(ours.urgent, theirs.urgent_pointer());
    assert_eq!(&ours.payload[..], &bytes[theirs.slice().len()..]);
    assert_eq!(
        ours.has(Flags::SYN),
        matches!(ours.options, Options::Syn(_))
    );
    compare_options(&ours.options, theirs.options_iterator());

    let header = ours.header();
    let built = wire::emit(&header, parsed.source_port, parsed.destination_port);
    assert_eq!(built.len() as u32, 20 + header.options.len());
    let again = wire::parse(Bytes::copy_from_slice(&built), NonZeroU16::new(1000));
    let again = again.expect("a header of our own");
    assert_eq!(again.segment.header(), header);
    assert_eq!(
        wire::emit(
            &again.segment.header(),
            again.source_port,
            again.destination_port
        ),
        built
    );
}

/// Etherparse gives up at the first kind that it does not know; up to there, and at that all, the
/// last option of a kind counts.
fn compare_options(ours: &Options, theirs: TcpOptionsIterator<'_>) {
    let Ok(all) = theirs.collect::<Result<Vec<_>, _>>() else {
        return;
    };
    let last = |wanted: fn(&TcpOptionElement) -> bool| all.iter().rev().find(|&one| wanted(one));
    use TcpOptionElement as E;
    let timestamps = last(|one| matches!(one, E::Timestamp(..)));
    assert_eq!(
        ours.timestamps()
            .map(|both| E::Timestamp(both.tsval, both.tsecr))
            .as_ref(),
        timestamps
    );
    match ours {
        Options::Syn(syn) => {
            let mss = last(|one| matches!(one, E::MaximumSegmentSize(_)));
            assert_eq!(syn.mss.map(E::MaximumSegmentSize).as_ref(), mss);
            let permitted = last(|one| matches!(one, E::SelectiveAcknowledgementPermitted));
            assert_eq!(syn.sack_permitted, permitted.is_some());
            let scale = last(|one| matches!(one, E::WindowScale(_)));
            let scale = scale.map(|one| match one {
                E::WindowScale(shift) => WindowScale::new(*shift),
                _ => WindowScale::default(),
            });
            assert_eq!(syn.window_scale, scale);
        }
        Options::Segment(options) => {
            let theirs = last(|one| matches!(one, E::SelectiveAcknowledgement(..)));
            let theirs = theirs.map_or(Vec::new(), |one| match one {
                E::SelectiveAcknowledgement(first, rest) => {
                    [Some(*first)].into_iter().chain(*rest).flatten().collect()
                }
                _ => Vec::new(),
            });
            let ours = options.sack.iter();
            let ours: Vec<_> = ours.map(|block| (block.left.0, block.right.0)).collect();
            assert_eq!(ours, theirs);
        }
    }
}
