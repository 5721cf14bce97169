//! Loss recovery at the wire: what is sent again, when, and how much (RFC 6675, RFC 8985, RFC 9937,
//! RFC 6582, RFC 6298, RFC 5682).

mod bulk;
mod falsealarm;
mod info;
mod lossy;
mod newreno;
#[path = "../sending/peer.rs"]
#[allow(dead_code, reason = "the tests of sending use the rest")]
mod peer;
mod prr;
mod rack;
mod reordering;
mod rfc6675;
mod sack;
mod timer;
mod window;

use peer::{Peer, Sent, Setup};
use ustack_tcp::segment::SackBlock;
use ustack_tcp::{CongestionAlgorithm, Flags, Options};

/// Where segment `n` begins, counted from 0.
const fn at(n: u32) -> i32 {
    1 + 1000 * n as i32
}

/// The segments that left, counted from 0; every one of them full.
fn segments(sent: &[Sent]) -> Vec<u32> {
    sent.iter()
        .filter(|sent| sent.len > 0)
        .map(|sent| (sent.seq as u32 - 1) / 1000)
        .collect()
}

/// A connection with Reno, no Nagle, and `count` full segments written.
fn wrote(setup: &Setup, count: usize) -> Peer {
    let mut setup = setup.clone();
    setup.options.nodelay = true;
    setup.options.congestion = Some(CongestionAlgorithm::Reno);
    setup.options.send_buffer = Some(1 << 20);
    let mut peer = Peer::open(&setup);
    peer.take();
    assert_eq!(peer.write(1000 * count), 1000 * count);
    peer
}

/// An ACK up to segment `una`, with SACK blocks in segments; what leaves at once.
fn ack(peer: &mut Peer, una: u32, blocks: &[(u32, u32)]) -> Vec<u32> {
    let bytes: Vec<_> = blocks.iter().map(|&(l, r)| (at(l), at(r))).collect();
    ack_bytes(peer, at(una), &bytes)
}

fn ack_bytes(peer: &mut Peer, una: i32, blocks: &[(i32, i32)]) -> Vec<u32> {
    let mut segment = peer.segment(Flags::NONE, 1, una, 0);
    let wire = |seq: i32| peer.segment(Flags::NONE, 1, seq, 0).ack;
    if let Options::Segment(options) = &mut segment.options {
        let block = |&(left, right): &(i32, i32)| SackBlock {
            left: wire(left),
            right: wire(right),
        };
        options.sack = blocks.iter().map(block).collect();
    }
    peer.recv(segment);
    segments(&peer.take())
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
