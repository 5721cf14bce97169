//! When an ACK leaves (RFC 9293 §3.8.6.3, RFC 5681 §4.2).

use std::time::Duration;

use covers::covers;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::{Config, Ecn, Flags, SocketOptions};

use crate::peer::{Peer, ack, everywhere, scale, seg, syn};

const MS: Duration = Duration::from_millis(1);

#[test]
#[covers("SHLD-18", "MUST-40")]
fn a_lone_segment_is_acknowledged_in_40_ms() {
    everywhere(|net| {
        for len in [1, 535, 1000] {
            let mut peer = Peer::open(net);
            assert_eq!(peer.send(seg(1, len, 1)), []);
            let out = peer.wait(500 * MS);
            assert_eq!(out.len(), 1, "{out:?}");
            assert!(ack(1 + len as u32)(&out[0].1));
            assert!(out[0].0 > Duration::ZERO && out[0].0 <= 42 * MS, "{out:?}");
        }
    });
}

/// Segments that keep coming do not put the ACK off.
#[test]
#[covers("MUST-40", "SHLD-18")]
fn small_segments_do_not_move_the_deadline() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mut acked = Vec::new();
        for n in 0..100 {
            let mut out = peer.send(seg(1 + n, 1, 1));
            assert_eq!(out.pop(), None);
            acked.extend(peer.wait(MS).iter().map(|(_, out)| out.ack));
        }
        assert!(acked.len() >= 2, "{acked:?}");
        assert!(acked.windows(2).all(|pair| pair[1] - pair[0] <= 42));
    });
}

#[test]
#[covers("SHLD-19", "CC-12")]
fn at_least_every_second_full_segment() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mut acks = 0;
        for n in 0..1000 {
            acks += peer.send(seg(1 + 1000 * n, 1000, 1)).len();
            peer.read();
            acks += peer.turn().len();
        }
        assert!((500..=1000).contains(&acks), "{acks}");
    });
}

#[test]
#[covers("MUST-58", "MUST-59")]
fn a_batch_costs_one_ack() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let out = peer.batch((0..32).map(|n| seg(1 + 1000 * n, 1000, 1)));
        assert!(out.len() == 1 && ack(32_001)(&out[0]), "{out:?}");
        // Also where the batch fills gaps of its own.
        let order = [33, 32, 35, 34];
        let out = peer.batch(order.map(|n| seg(1 + 1000 * n, 1000, 1)));
        assert_eq!(out.last().map(|out| out.ack), Some(36_001));
        assert!(out.len() <= 4);
    });
}

/// A driver that reads many segments at once is told when the peer has waited for long enough: one
/// ACK for 64 KiB or a quarter of the window at least.
#[test]
#[covers("SHLD-19", "MUST-59")]
fn a_large_batch_is_acknowledged_on_the_way() {
    everywhere(|net| {
        for (buffer, most) in [(60_000, 15_000), (1 << 20, 64 << 10)] {
            let socket = SocketOptions {
                recv_buffer: Some(buffer),
                ..SocketOptions::default()
            };
            let options = SynOptions {
                window_scale: Some(scale(0)),
                ..syn()
            };
            let mut peer = Peer::open_with(net, Config::default(), socket, options);
            let mut acked = vec![1];
            for n in 0..50 {
                let segment = peer.wire(&seg(1 + 1000 * n, 1000, 1));
                peer.on_segment(Ecn::NotEct, segment);
                if peer.tcp.ack_overdue() {
                    acked.extend(peer.turn().iter().map(|out| out.ack));
                }
            }
            acked.extend(peer.turn().iter().map(|out| out.ack));
            assert_eq!(acked.last(), Some(&50_001));
            let gap = acked.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(gap <= Some(most + 1000), "{buffer}: {acked:?}");
            assert!(acked.len() <= 25, "and not for every second one");
        }
    });
}

#[test]
#[covers("MAY-13", "SK-2")]
fn above_a_gap_and_into_it_at_once() {
    everywhere(|net| {
        for sack_permitted in [true, false] {
            let options = SynOptions {
                sack_permitted,
                ..syn()
            };
            let (config, socket) = (Config::default(), SocketOptions::default());
            let mut peer = Peer::open_with(net, config, socket, options);
            for n in [2, 4, 6] {
                let out = peer.send(seg(1 + 100 * n, 100, 1));
                assert!(out.len() == 1 && ack(1)(&out[0]), "{out:?}");
            }
            // Part of a gap: at once, too (RFC 5681 §4.2).
            let out = peer.send(seg(1, 100, 1));
            assert!(out.len() == 1 && ack(101)(&out[0]), "{out:?}");
            let out = peer.send(seg(101, 100, 1));
            assert!(out.len() == 1 && ack(301)(&out[0]), "{out:?}");
        }
    });
}

/// The peer without SACK counts duplicate ACKs, however its segments were read.
#[test]
#[covers("MAY-13", "CC-12")]
fn a_batch_above_a_gap_can_be_counted() {
    everywhere(|net| {
        let options = SynOptions {
            sack_permitted: false,
            ..syn()
        };
        let (config, socket) = (Config::default(), SocketOptions::default());
        let mut peer = Peer::open_with(net, config, socket, options);
        let out = peer.batch((1..5).map(|n| seg(1 + 1000 * n, 1000, 1)));
        assert_eq!(out.iter().filter(|out| ack(1)(out)).count(), 4, "{out:?}");
    });
}

#[test]
#[covers("CC-12")]
fn no_more_acks_than_segments() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mut random = 1u32;
        let (mut acks, segments) = (0, 10_000);
        for _ in 0..segments / 4 {
            let four = [0; 4].map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = 1 + (random >> 8) % 70_000; // some of it beyond the window
                let len = (random >> 4) as usize % 1_500;
                if random.is_multiple_of(7) {
                    seg(at, 0, 9).with(Flags::FIN)
                } else {
                    seg(at, len, 1)
                }
            });
            acks += peer.batch(four).len();
        }
        assert!(acks <= segments, "{acks}");
    });
}

#[test]
#[covers("SHLD-18")]
fn a_fin_is_acknowledged_at_once() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let out = peer.send(seg(1, 10, 1).with(Flags::FIN));
        assert!(out.len() == 1 && ack(12)(&out[0]), "{out:?}");
    });
}

#[test]
#[covers("SHLD-18")]
fn quick_acks_at_the_start_and_on_request() {
    everywhere(|net| {
        let mut config = Config::default();
        config.quick_acks = 3;
        let mut peer = Peer::open_with(net, config.clone(), SocketOptions::default(), syn());
        let now: Vec<_> = (0..5)
            .map(|n| peer.send(seg(1 + 10 * n, 10, 1)).len())
            .collect();
        assert_eq!(now, [1, 1, 1, 0, 0]);
        // A conversation carries its ACKs itself.
        let mut peer = Peer::open_with(net, config, SocketOptions::default(), syn());
        assert_eq!(peer.send(seg(1, 10, 1)).len(), 1);
        assert_eq!(peer.write(10).len(), 1);
        assert_eq!(peer.send(seg(11, 10, 11)), []);
        // TCP_QUICKACK pays what is owed, and pays at once from then on.
        let on = |options: &mut SocketOptions| options.quickack = true;
        peer.tcp.set_options(peer.now, peer.conn, on).expect("open");
        let out = peer.turn();
        assert!(out.len() == 1 && ack(21)(&out[0]), "{out:?}");
        assert_eq!(peer.send(seg(21, 10, 11)).len(), 1);
    });
}
