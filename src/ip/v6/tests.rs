use covers::covers;

use super::*;

/// A packet whose fixed header names `next` and is followed by `rest`.
fn packet(next: u8, rest: &[u8]) -> Vec<u8> {
    let source = "fd00::1".parse().expect("an address");
    let destination = "fd00::2".parse().expect("an address");
    let mut bytes = emit(source, destination, next, 0, 0, 64, rest.len()).to_vec();
    bytes.extend_from_slice(rest);
    bytes
}

fn walked(next: u8, rest: &[u8]) -> Result<Chain, Problem> {
    let bytes = packet(next, rest);
    walk(&bytes, &parse(&bytes).expect("a right fixed header"))
}

/// An options header of eight bytes with one option of `kind`.
fn options(next: u8, kind: u8) -> [u8; 8] {
    [next, 0, kind, 2, 0, 0, 1, 0]
}

const fn upper(protocol: u8, named_at: usize, at: usize) -> Chain {
    Chain::Upper {
        protocol,
        named_at,
        at,
    }
}

fn refused(code: u8, pointer: usize) -> Result<Chain, Problem> {
    Err(Problem::report(Dropped::ExtensionHeader, code, pointer))
}

/// V6-1: hop-by-hop comes first or not at all.
#[test]
#[covers("V6-1")]
fn hop_by_hop_only_first() {
    let mut rest = options(60, 5).to_vec();
    rest.extend(options(17, 1));
    rest.extend([0; 8]);
    assert_eq!(walked(0, &rest), Ok(upper(17, 48, 56)));
    let mut rest = options(0, 1).to_vec();
    rest.extend(options(17, 1));
    assert_eq!(walked(60, &rest), refused(1, 40));
}

/// V6-3: the four actions for an unknown option.
#[test]
#[covers("V6-3")]
fn unknown_options_act_by_their_top_bits() {
    let rest = |kind| [options(17, kind).as_slice(), &[0; 8]].concat();
    assert_eq!(walked(60, &rest(0x1e)), Ok(upper(17, 40, 48)));
    assert_eq!(
        walked(60, &rest(0x5e)),
        Err(Problem::silent(Dropped::ExtensionHeader))
    );
    assert_eq!(walked(60, &rest(0xde)), refused(2, 42));
    let Err(problem) = walked(60, &rest(0x9e)) else {
        panic!("accepted");
    };
    let report = problem.report.expect("action 10 reports");
    assert_eq!(
        (report.code, report.pointer, report.even_multicast),
        (2, 42, true)
    );
}

/// V6-4: all routing types; segments left decides.
#[test]
#[covers("V6-4")]
fn routing_headers_are_never_followed() {
    for kind in 0..=255 {
        let header = |left| [[17, 0, kind, left, 0, 0, 0, 0], [0; 8]].concat();
        assert_eq!(walked(43, &header(0)), Ok(upper(17, 40, 48)));
        assert_eq!(walked(43, &header(1)), refused(0, 42));
    }
}

/// V6-5: the walk is bounded in headers and never leaves the packet.
#[test]
#[covers("V6-5")]
fn the_chain_is_bounded() {
    for count in 0..40_usize {
        let mut rest = vec![];
        for left in (0..count).rev() {
            rest.extend(options(if left == 0 { 17 } else { 60 }, 1));
        }
        rest.extend([0; 8]);
        let next = if count == 0 { 17 } else { 60 };
        assert_eq!(
            walked(next, &rest).is_ok(),
            count <= MAX_EXTENSION_HEADERS,
            "{count} headers"
        );
    }
    for units in 0..=255 {
        let rest = [[60, units, 1, 4, 0, 0, 0, 0], [0; 8]].concat();
        assert!(units <= 1 || walked(60, &rest) == Err(Problem::silent(Dropped::Truncated)));
    }
}

/// V6-14: payload length zero and lengths beyond the frame.
#[test]
#[covers("V6-14")]
fn lengths_that_disagree_are_refused() {
    let mut bytes = packet(17, &[0; 8]);
    assert!(parse(&bytes).is_ok());
    bytes[5] = 9;
    assert_eq!(parse(&bytes).err(), Some(Dropped::Truncated));
    bytes[5] = 0;
    assert_eq!(parse(&bytes).err(), Some(Dropped::Header));
    assert_eq!(parse(&bytes[..39]).err(), Some(Dropped::Header));
}

/// A length field inside an options header that points beyond it.
#[test]
fn an_option_cannot_leave_its_header() {
    for len in 0..=255_u8 {
        let mut rest = [[17, 0, 0x1e, len, 0, 0, 0, 0], [0; 8]].concat();
        rest.resize(600, 0);
        assert_eq!(walked(60, &rest).is_ok(), len <= 4, "length {len}");
    }
}

#[test]
#[covers("V6-6")]
fn a_first_fragment_must_hold_every_header() {
    let tcp = |words: u8, len: usize| {
        let mut bytes = vec![0; len];
        if let Some(offset) = bytes.get_mut(12) {
            *offset = words << 4;
        }
        bytes
    };
    for (words, len, holds) in [(5, 8, false), (5, 19, false), (5, 20, true), (8, 24, false)] {
        assert_eq!(holds_transport_header(6, &tcp(words, len)), holds);
    }
    let with_options = [options(6, 1).as_slice(), &tcp(5, 20)].concat();
    assert!(holds_header_chain(&with_options, 60, 0));
    assert!(!holds_header_chain(&with_options[..20], 60, 0));
    assert!(!holds_header_chain(&with_options[..7], 60, 0));
}
