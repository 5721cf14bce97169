//! The window that is offered, and what SACK says of what it holds.

use std::time::Duration;

use covers::covers;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::seq::WindowScale;
use ustack_tcp::{Config, Flags, SocketOptions};

use crate::peer::{Net, Out, Peer, everywhere, scale, seg, syn};

fn open(net: Net, buffer: u32, syn: SynOptions) -> Peer {
    let socket = SocketOptions {
        recv_buffer: Some(buffer),
        ..SocketOptions::default()
    };
    Peer::open_with(net, Config::default(), socket, syn)
}

fn room(peer: &mut Peer) -> usize {
    peer.tcp.write_room(peer.conn).expect("open")
}

fn right(out: &Out, shift: u8) -> u32 {
    out.ack + (u32::from(out.window) << shift)
}

#[test]
#[covers("MUST-39")]
fn a_reader_of_single_bytes_moves_the_window_by_segments() {
    everywhere(|net| {
        for (buffer, step) in [(10_000, 1000), (1_500, 750)] {
            let mut peer = open(net, buffer, syn());
            let mut edge = 1 + buffer;
            let sent = buffer as usize / 500;
            for n in 0..sent {
                peer.send(seg(1 + 500 * n as u32, 500, 1));
            }
            let mut edges = Vec::new();
            for _ in 0..500 * sent {
                assert_eq!(peer.read_once(1), 1);
                edges.extend(peer.turn().iter().map(|out| right(out, 0)));
                // What is sent for another reason does not offer a crumb, either.
                edges.extend(peer.send(seg(1, 1, 1)).iter().map(|out| right(out, 0)));
            }
            edges.extend(
                peer.wait(Duration::from_secs(1))
                    .iter()
                    .map(|at| right(&at.1, 0)),
            );
            for &now in &edges {
                assert!(now == edge || now - edge >= step, "{buffer}: {edges:?}");
                edge = now;
            }
            assert!(
                edge >= buffer + 500 * sent as u32 / 2,
                "{buffer}: {edges:?}"
            );
        }
    });
}

#[test]
#[covers("SHLD-14")]
fn the_right_edge_stays_when_the_buffer_shrinks() {
    everywhere(|net| {
        for (shift, buffer) in [(0, 60_000), (3, 400_000)] {
            let options = SynOptions {
                window_scale: (shift > 0).then(|| scale(0)),
                ..syn()
            };
            let mut peer = open(net, buffer, options);
            let shift = match peer.syn_ack.options {
                ustack_tcp::Options::Syn(options) => {
                    options.window_scale.map_or(0, WindowScale::shift)
                }
                ustack_tcp::Options::Segment(_) => unreachable!("a SYN"),
            };
            let (mut edge, mut shrunk) = (0, false);
            let mut at = 1;
            for n in 0..200 {
                for out in peer.send(seg(at, 1000, 1)) {
                    let now = right(&out, shift);
                    assert!(now >= edge, "{n}: {now} after {edge}");
                    edge = now;
                }
                at += 1000;
                if n % 3 != 0 || shrunk {
                    peer.read();
                }
                if n == 20 {
                    shrunk = true;
                    let less = |options: &mut SocketOptions| options.recv_buffer = Some(5_000);
                    peer.tcp
                        .set_options(peer.now, peer.conn, less)
                        .expect("open");
                }
                if edge > 0 && at + 1000 > edge {
                    break; // as much as was promised, and all of it taken
                }
            }
            assert!(shrunk && at > 50_000);
            let out = peer.wait(Duration::from_secs(1));
            peer.read();
            // And the smaller buffer is what is offered from there on.
            assert!(
                out.iter()
                    .all(|out| right(&out.1, shift) - out.1.ack <= 5_000 + 1000)
            );
        }
    });
}

#[test]
#[covers("MUST-1", "REC-1", "TS-2")]
fn windows_are_scaled_except_in_a_syn() {
    everywhere(|net| {
        let options = SynOptions {
            window_scale: Some(scale(14)),
            ..syn()
        };
        let mut peer = open(net, 1 << 20, options);
        // Ours: 65,535 as it is in the SYN,ACK, a megabyte in units of 32 later.
        assert_eq!(peer.syn_ack.window.0, 65_535);
        let out = peer.send(seg(1, 2000, 1));
        let window = u32::from(out[0].window) << 5;
        assert!(((1 << 20) - 20_000..=1 << 20).contains(&window), "{window}");
        // Theirs: 65,535 << 14 is nearly a gigabyte, and never a negative number.
        peer.send(seg(2001, 10, 1));
        let (mut acked, mut most) = (1, 0);
        for _ in 0..12 {
            let room = room(&mut peer);
            let mut out = peer.write(90_000.min(room));
            while !out.is_empty() {
                let sent: u32 = out.iter().map(|out| out.len as u32).sum();
                most = most.max(sent);
                acked += sent;
                out = peer.send(seg(2011, 0, acked));
            }
        }
        assert!(most > 65_535, "{most}");
    });
}

#[test]
#[covers("TS-4")]
fn a_shift_above_14_is_14_and_one_on_data_is_nothing() {
    everywhere(|net| {
        // 14 is what the parser makes of 15 and 255; a window of 1 is then 16 KiB.
        for shift in [15, 255] {
            let options = SynOptions {
                window_scale: Some(scale(shift)),
                ..syn()
            };
            let mut peer = open(net, 1 << 20, options);
            peer.send(seg(1, 10, 1).win(1));
            let sent: usize = peer.write(60_000).iter().map(|out| out.len).sum();
            assert_eq!(sent, 10_000, "the initial window, not one byte");
            let more: usize = peer
                .send(seg(11, 0, 10_001).win(1))
                .iter()
                .map(|out| out.len)
                .sum();
            assert!((16_000..=1 << 14).contains(&more), "{more}");
        }
    });
}

/// The window of an ACK is rounded to units; a segment that ends at the edge of any such window is
/// taken whole.
#[test]
#[covers("TS-6", "SHLD-14")]
fn what_any_ack_has_offered_is_honoured() {
    everywhere(|net| {
        let options = SynOptions {
            window_scale: Some(scale(0)),
            ..syn()
        };
        // A shift of 7, and bytes that are no multiple of 128.
        let mut peer = open(net, 5_000_003, options);
        let mut at = 1;
        let mut edge = 0;
        for len in [1000, 333, 77, 1000, 1, 999, 500, 1000, 1000] {
            for out in peer.send(seg(at, len, 1)) {
                let offered = right(&out, 7);
                assert!(offered >= edge, "{offered} after {edge}");
                edge = offered;
            }
            at += len as u32;
        }
        assert!(edge > 4_000_000);
        let out = peer.send(seg(edge - 500, 500, 1));
        assert_eq!(out[0].sack, [(edge - 500, edge)], "all of it");
        let edge = edge.max(right(&out[0], 7));
        let out = peer.send(seg(edge - 100, 500, 1));
        assert_eq!(out[0].sack[0].1, edge, "and no more");
    });
}

#[test]
#[covers("SK-3")]
fn as_many_blocks_as_fit_newest_first() {
    everywhere(|net| {
        for (timestamps, most) in [(false, 4), (true, 3)] {
            let options = if timestamps {
                crate::peer::syn_with_ts()
            } else {
                syn()
            };
            let (config, socket) = (Config::default(), SocketOptions::default());
            let mut peer = Peer::open_with(net, config, socket, options);
            let data = |at: u32, len| {
                let data = seg(at, len, 1);
                if timestamps { data.ts(1001, 0) } else { data }
            };
            let mut blocks = Vec::new();
            for n in 1..=6 {
                let out = peer.send(data(1 + 2000 * n, 1000));
                blocks.insert(0, (1 + 2000 * n, 1001 + 2000 * n));
                let wanted = &blocks[..blocks.len().min(most)];
                assert_eq!((out[0].ack, &*out[0].sack), (1, wanted));
            }
            // Also on what is sent for other reasons, while there is a gap.
            let out = peer.write(10);
            assert_eq!(out[0].sack, blocks[..most]);
            // And on what closes one of the gaps, but not when none is left.
            let out = peer.send(data(1, 2000));
            blocks.pop();
            assert_eq!((out[0].ack, &*out[0].sack), (3001, &blocks[..most]));
            let out = peer.send(data(3001, 12_000));
            // One D-SACK block: the first part that was there.
            assert_eq!((out[0].ack, &*out[0].sack), (15_001, &[(4001, 5001)][..]));
        }
    });
}

/// A turn that brings more ranges than one ACK can tell of is answered by several: each range is
/// reported, the newest in the last.
#[test]
#[covers("SK-3", "SK-2")]
fn a_turn_of_many_ranges_is_reported_in_full() {
    everywhere(|net| {
        for count in [1, 2, 3, 5, 16, 32] {
            let mut peer = open(net, 100_000, syn());
            let range = |n: u32| (1 + 2000 * n, 1001 + 2000 * n);
            // What an earlier turn has reported is not repeated for its own sake.
            peer.send(seg(range(40).0, 1000, 1));
            let out = peer.batch((1..=count).map(|n| seg(range(n).0, 1000, 1)));
            assert!(
                out.len() <= 3.max(count.div_ceil(2) as usize),
                "{count}: {out:?}"
            );
            for n in 1..=count {
                let told = out.iter().any(|ack| ack.sack.contains(&range(n)));
                assert!(told, "range {n} of {count}: {out:?}");
            }
            let last = &out[out.len() - 1];
            assert_eq!((last.ack, last.sack[0]), (1, range(count)));
        }
    });
}

#[test]
#[covers("SK-7")]
fn what_is_shed_was_reported_and_is_taken_again() {
    everywhere(|net| {
        let mut peer = open(net, 4_000, syn());
        // Every second byte from the right: more ranges than a small buffer pays for.
        let mut last = None;
        for n in (1..2_000).rev() {
            let at = 1 + 2 * n;
            let out = peer.send(seg(at, 1, 1));
            assert_eq!(
                out[0].sack[0],
                (at, at + 1),
                "the newest segment is reported"
            );
            last = Some(at);
        }
        assert_eq!(last, Some(3));
        let pruned = peer.tcp.counters().ofo_pruned;
        assert!(pruned > 100, "{pruned}");
        // Now from the left, where what is new is what there is no place for.
        let mut refused = 0;
        for n in 1_000..2_000 {
            let at = 1 + 2 * n;
            let out = peer.send(seg(at, 1, 1));
            assert_eq!(out[0].sack[0], (at, at + 1));
            refused += u64::from(peer.tcp.counters().ofo_pruned > pruned);
        }
        assert!(refused > 100, "{refused}");
        // The peer sends all of it again, as it must be able to.
        peer.send(seg(1, 1_000, 1));
        peer.send(seg(1_001, 3_000, 1).with(Flags::FIN));
        assert_eq!(peer.read(), 4_000);
        assert_eq!(peer.state(), "CLOSE-WAIT");
    });
}

/// A little was read, and an ACK leaves for another reason: it does not offer that little.
#[test]
#[covers("MUST-39")]
fn an_ack_offers_no_crumbs() {
    everywhere(|net| {
        let mut peer = open(net, 10_000, syn());
        peer.send(seg(1, 300, 1));
        assert_eq!(peer.read_once(300), 300);
        let out = peer.send(seg(1, 1, 1));
        assert_eq!((out[0].ack, right(&out[0], 0)), (301, 10_001));
    });
}
