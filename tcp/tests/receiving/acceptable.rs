//! RFC 9293 §3.10.7.4 up to the ACK field, and RFC 5961: what is taken, answered, or dropped.

use std::time::Duration;

use covers::covers;
use ustack_tcp::{CloseReason, Config, Dropped, Event, Flags, Read, SocketError, SocketOptions};

use crate::peer::{Net, Out, Peer, ack, everywhere, seg, syn};

const WINDOW: u32 = 65_535;

/// The window that the endpoint has offered ends here.
const RIGHT: u32 = 1 + WINDOW;

fn with_buffer(net: Net, bytes: u32) -> Peer {
    let socket = SocketOptions {
        recv_buffer: Some(bytes),
        ..SocketOptions::default()
    };
    Peer::open_with(net, Config::default(), socket, syn())
}

/// A connection whose buffer of 4,000 bytes the peer has filled.
fn with_closed_window(net: Net) -> Peer {
    let mut peer = with_buffer(net, 4000);
    for n in 0..4 {
        peer.send(seg(1 + 1000 * n, 1000, 1));
    }
    let out = peer.send(seg(4001, 1, 1));
    assert_eq!((out.len(), out[0].ack, out[0].window), (1, 4001, 0));
    peer
}

/// Text that was there already is no carrier for an ACK either: nothing of the segment counts.
#[test]
#[covers("SM-5")]
fn the_ack_of_what_is_not_acceptable_is_not_heard() {
    everywhere(|net| {
        for (seq, len) in [(1, 1), (1, 100), (51, 50), (1_000_000, 1)] {
            let mut peer = Peer::open(net);
            peer.send(seg(1, 100, 1));
            assert_eq!(peer.write(1000).len(), 1);
            let out = peer.send(seg(seq, len, 1001));
            assert_eq!(out.len(), 1, "{seq} {len}: {out:?}");
            assert_eq!(peer.outcome, Err(Dropped::OutOfWindow), "{seq} {len}");
            assert_eq!(peer.info().unacked, 1, "{seq} {len}");
            peer.send(seg(101, 0, 1001));
            assert_eq!(peer.info().unacked, 0);
        }
    });
}

#[test]
#[covers("SM-5")]
fn what_is_not_acceptable_gets_one_ack() {
    everywhere(|net| {
        // SEG.SEQ, SEG.LEN, answered at once (what is acceptable waits, or has nothing to answer).
        for (seq, len, answered) in [
            (0, 0, true),
            (1, 0, false),
            (RIGHT - 1, 0, false),
            (RIGHT, 0, true),
            (RIGHT + 1, 0, true),
            (0, 1, true),
            (1, 1, false),
            (RIGHT, 1, true),
            (RIGHT + 1, 1, true),
        ] {
            let mut peer = Peer::open(net);
            let out = peer.send(seg(seq, len, 1));
            assert_eq!(out.len(), usize::from(answered), "{seq} {len}: {out:?}");
            assert!(out.iter().all(ack(1)), "{seq} {len}: {out:?}");
            let taken = u32::from((seq, len) == (1, 1));
            assert_eq!(peer.read(), taken as usize, "{seq} {len}");
        }
    });
}

#[test]
#[covers("SM-5", "MUST-66")]
fn a_closed_window_takes_acks_and_resets_but_no_text() {
    everywhere(|net| {
        let mut peer = with_closed_window(net);
        // An ACK at RCV.NXT, and the ACK of a probe that brings a byte, do what ACKs do.
        assert_eq!(peer.write(100).len(), 1);
        assert_eq!(peer.send(seg(4001, 0, 51)), []);
        let out = peer.send(seg(4001, 1, 101));
        assert!(out.len() == 1 && ack(4001)(&out[0]), "{out:?}");
        let acked: u64 = peer.tcp.connections().map(|one| one.bytes_acked).sum();
        assert_eq!(acked, 100);
        for (seq, len) in [(4002, 0), (4002, 1), (4000, 0)] {
            peer.now += Duration::from_secs(1);
            let out = peer.send(seg(seq, len, 101));
            assert!(out.len() == 1 && ack(4001)(&out[0]), "{seq} {len} {out:?}");
        }
        assert_eq!(peer.send(seg(4000, 0, 0).only(Flags::RST)), []);
        assert_eq!(peer.state(), "ESTABLISHED");
        assert_eq!(peer.send(seg(4001, 0, 0).only(Flags::RST)), []);
        let closed = Event::Closed(peer.conn, CloseReason::Reset);
        assert!(peer.events.contains(&closed));
        assert_eq!(peer.read(), 4000);
    });
}

/// The peer has filled the window, and the first segment of that was lost: all its ACKs stand at
/// the right edge.
#[test]
#[covers("SM-5")]
fn an_ack_at_the_right_edge_is_answered_and_heard() {
    everywhere(|net| {
        let mut peer = with_buffer(net, 4000);
        peer.write(500);
        for n in 1..4 {
            assert_eq!(peer.send(seg(1 + 1000 * n, 1000, 1)).len(), 1);
        }
        let out = peer.send(seg(4001, 0, 501));
        assert!(out.len() == 1 && ack(1)(&out[0]), "{out:?}");
        let acked: u64 = peer.tcp.connections().map(|one| one.bytes_acked).sum();
        assert_eq!(acked, 500);
        assert_eq!(
            peer.wait(Duration::from_secs(5)),
            [],
            "nothing is sent again"
        );
        // Two such ends must not answer each other for ever.
        let answers: usize = (0..100).map(|_| peer.send(seg(4001, 0, 501)).len()).sum();
        assert!(answers <= 1, "{answers}");
    });
}

#[test]
#[covers("SM-6", "SHLD-31")]
fn overlapping_segments_make_one_stream() {
    // Segments of a window of 4,000 bytes that begin below, at, inside and beyond its edges.
    let shapes: Vec<(u32, usize)> = [1, 400, 900, 1000]
        .into_iter()
        .flat_map(|seq| [1, 99, 101, 700, 2500, 4000].map(|len| (seq, len)))
        .collect();
    everywhere(|net| {
        for (n, &first) in shapes.iter().enumerate() {
            for step in [1, 5, 7, 11] {
                let second = shapes[(n + step) % shapes.len()];
                let mut peer = with_buffer(net, 4000);
                peer.batch([first, second].map(|(seq, len)| seg(seq, len, 1)));
                peer.send(seg(1, 4000, 1)); // the rest, and more than there is room for
                assert_eq!(peer.read(), 4000, "{first:?} {second:?}");
            }
        }
    });
}

#[test]
#[covers("SHLD-31", "SK-2")]
fn every_order_of_five_segments() {
    everywhere(|net| {
        for order in orders(5) {
            let mut peer = Peer::open(net);
            let mut have = [false; 5];
            for &n in &order {
                have[n as usize] = true;
                let out = peer.send(seg(1 + 1000 * n, 1000, 1));
                let nxt = 1 + 1000 * have.iter().take_while(|&&have| have).count() as u32;
                let above = nxt <= 1 + 1000 * n;
                if above {
                    // The block around this segment, first.
                    let around = |n: u32, step: &dyn Fn(u32) -> Option<u32>| {
                        let mut end = n;
                        while let Some(next) = step(end)
                            && have.get(next as usize) == Some(&true)
                        {
                            end = next;
                        }
                        end
                    };
                    let left = 1 + 1000 * around(n, &|n| n.checked_sub(1));
                    let right = 1001 + 1000 * around(n, &|n| Some(n + 1));
                    assert_eq!(out.len(), 1, "{order:?}");
                    assert_eq!(
                        (out[0].ack, out[0].sack[0]),
                        (nxt, (left, right)),
                        "{order:?}"
                    );
                }
            }
            assert_eq!(peer.read(), 5000, "{order:?}");
        }
    });
}

fn orders(n: u32) -> Vec<Vec<u32>> {
    if n == 0 {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for shorter in orders(n - 1) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, n - 1);
            all.push(longer);
        }
    }
    all
}

#[test]
#[covers("SM-8")]
fn without_an_ack_bit_nothing_happens() {
    everywhere(|net| {
        for flags in [Flags::NONE, Flags::PSH, Flags::URG, Flags::FIN] {
            let mut peer = Peer::open(net);
            assert_eq!(peer.send(seg(1, 100, 1).only(flags)), []);
            assert_eq!(peer.outcome, Err(Dropped::NoAck));
            assert_eq!(peer.wait(Duration::from_secs(1)), []);
            assert_eq!((peer.read(), &*peer.state()), (0, "ESTABLISHED"));
        }
    });
}

#[test]
#[covers("SM-9", "BL-5", "MAY-12")]
fn an_ack_outside_the_window_of_what_was_sent_is_answered_and_its_text_dropped() {
    everywhere(|net| {
        // MAX.SND.WND is 65,535 here.
        let sent = 70_000;
        for (number, good) in [
            (sent + 1, true),
            (sent + 2, false),
            (sent + 1 - WINDOW, true),
            (sent - WINDOW, false),
            (sent.wrapping_sub(0x7fff_0000), false),
        ] {
            let mut peer = Peer::open(net);
            let (mut written, mut acked) = (0, 0);
            while acked < sent {
                let more = (sent - written).min(10_000);
                written += more;
                peer.write(more as usize);
                acked = written;
                peer.send(seg(1, 0, 1 + acked));
            }
            let out = peer.send(seg(1, 100, number));
            assert_eq!(peer.read(), if good { 100 } else { 0 }, "{number}");
            assert_eq!(out.len(), usize::from(!good), "{number}: {out:?}");
            assert!(out.iter().all(ack(1)));
            assert_eq!(peer.outcome.is_ok(), good);
        }
    });
}

/// What is refused neither moves TS.Recent nor counts as a sign of life.
#[test]
#[covers("SM-9", "MUST-26")]
fn refused_segments_do_not_put_off_keepalive() {
    everywhere(|net| {
        let socket = SocketOptions {
            keepalive: Some(ustack_tcp::Keepalive {
                idle: Duration::from_secs(10),
                interval: Duration::from_secs(1),
                count: 2,
            }),
            ..SocketOptions::default()
        };
        let mut peer = Peer::open_with(net, Config::default(), socket, syn());
        let mut probes = Vec::new();
        for _ in 0..11 {
            probes.extend(peer.wait(Duration::from_secs(1)));
            peer.send(seg(100_000, 0, 1));
            peer.send(seg(1, 0, 5));
            peer.send(seg(50, 0, 0).only(Flags::RST));
            peer.send(seg(1, 0, 0).only(Flags::SYN));
            peer.send(seg(1, 0, 0).only(Flags::NONE));
        }
        let is_probe = |(_, out): &&(Duration, Out)| out.seq == 0;
        assert!(probes.iter().filter(is_probe).count() >= 1, "{probes:?}");
        // And what is accepted does.
        peer.send(seg(1, 0, 1));
        assert_eq!(peer.wait(Duration::from_secs(9)), []);
    });
}

#[test]
#[covers("SM-10")]
fn an_older_ack_does_not_take_the_window_back() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(51, 50, 1).win(50_000));
        // Sent before that, and overtaken by it: SEG.SEQ below SND.WL1.
        peer.send(seg(1, 50, 1).win(10));
        let sent: usize = peer.write(5_000).iter().map(|out| out.len).sum();
        assert_eq!(sent, 5_000);
        // The same number and the same ACK: the last one counts.
        peer.send(seg(101, 0, 5_001).win(2_000));
        let sent: usize = peer.write(5_000).iter().map(|out| out.len).sum();
        assert_eq!(sent, 2_000);
        // An old ACK number on new text.
        peer.send(seg(101, 10, 3_001).win(60_000));
        let more: usize = peer.turn().iter().map(|out| out.len).sum();
        assert_eq!(more, 0);
    });
}

#[test]
#[covers("SM-11", "SHLD-31")]
fn a_fin_counts_in_order_and_nothing_follows_it() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let out = peer.send(seg(101, 100, 1).with(Flags::FIN));
        assert!(out.len() == 1 && out[0].ack == 1);
        assert_eq!((peer.read(), &*peer.state()), (0, "ESTABLISHED"));
        peer.send(seg(201, 100, 1)); // the number of the FIN, and beyond it
        let out = peer.send(seg(1, 100, 1));
        assert!(out.len() == 1 && ack(202)(&out[0]), "{out:?}");
        assert_eq!((peer.read(), &*peer.state()), (200, "CLOSE-WAIT"));
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 10), Ok(Read::Eof));
        peer.send(seg(202, 100, 1));
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 10), Ok(Read::Eof));
    });
}

/// What is cut off at the edge of the window takes the FIN with it.
#[test]
#[covers("SM-6", "SM-11")]
fn a_fin_beyond_the_window_comes_again() {
    everywhere(|net| {
        let mut peer = with_buffer(net, 4000);
        let out = peer.send(seg(1, 4500, 1).with(Flags::FIN));
        assert_eq!((out[0].ack, out[0].window), (4001, 0));
        assert_eq!((peer.read(), &*peer.state()), (4000, "ESTABLISHED"));
        assert_eq!(peer.turn().len(), 1, "a window update");
        peer.send(seg(4001, 500, 1).with(Flags::FIN));
        assert_eq!((peer.read(), &*peer.state()), (500, "CLOSE-WAIT"));
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 10), Ok(Read::Eof));
    });
}

/// Bytes that came before the FIN, and lie beyond it: the FIN stands.
#[test]
#[covers("SM-11")]
fn a_fin_below_what_came_is_the_end_all_the_same() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(51, 200, 1)); // up to 251
        peer.send(seg(1, 100, 1).with(Flags::FIN));
        assert_eq!((peer.read(), &*peer.state()), (100, "CLOSE-WAIT"));
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 10), Ok(Read::Eof));
    });
}

#[test]
#[covers("BL-1", "SHLD-2")]
fn only_the_exact_number_resets() {
    everywhere(|net| {
        for len in [0, 50] {
            for (seq, answers, resets) in [
                (0, 0, false),
                (1, 0, true),
                (2, 1, false),
                (RIGHT - 1, 1, false),
                (RIGHT, 0, false),
            ] {
                for flags in [Flags::RST, Flags::RST | Flags::ACK, Flags::RST | Flags::SYN] {
                    let mut peer = Peer::open(net);
                    let out = peer.send(seg(seq, len, 1).only(flags));
                    let what = format!("{seq} {len} {flags:?}: {out:?}");
                    assert_eq!(out.len(), answers, "{what}");
                    assert!(out.iter().all(ack(1)), "{what}");
                    let reset = Err(SocketError::Closed(CloseReason::Reset));
                    let read = peer.tcp.read(peer.now, peer.conn, 10);
                    assert_eq!(read == reset, resets, "{what}: {read:?}");
                    assert!(resets || read == Ok(Read::Empty), "{what}: {read:?}");
                }
            }
        }
    });
}

#[test]
#[covers("BL-4")]
fn any_syn_is_challenged() {
    everywhere(|net| {
        let acked = Flags::SYN | Flags::ACK;
        for seq in [0, 1, 30_000, RIGHT - 1, RIGHT, 0x7fff_0000, 0xffff_0000] {
            for (len, flags) in [(0, Flags::SYN), (0, acked), (10, Flags::SYN | Flags::FIN)] {
                let mut peer = Peer::open(net);
                let out = peer.send(seg(seq, len, 1).only(flags));
                assert!(
                    out.len() == 1 && ack(1)(&out[0]),
                    "{seq} {flags:?}: {out:?}"
                );
                assert_eq!((peer.read(), &*peer.state()), (0, "ESTABLISHED"));
            }
        }
    });
}

#[test]
#[covers("BL-6")]
fn challenges_have_a_budget_of_their_own_per_connection() {
    everywhere(|net| {
        for limit in [0, 3, 10] {
            let mut config = Config::default();
            config.challenge_ack_limit = limit;
            let mut peer = Peer::open_with(net, config, SocketOptions::default(), syn());
            let storm = |peer: &mut Peer| {
                let mut answers = 0;
                for n in 0..10_000 {
                    peer.now += Duration::from_micros(100);
                    let forged = match n % 3 {
                        0 => seg(100, 0, 0).only(Flags::RST),
                        1 => seg(100, 0, 0).only(Flags::SYN),
                        _ => seg(1, 0, 1000),
                    };
                    answers += peer.send(forged).len();
                }
                answers
            };
            assert_eq!(storm(&mut peer), usize::from(limit));
            peer.now += Duration::from_secs(5);
            assert_eq!(
                storm(&mut peer),
                usize::from(limit),
                "the next five seconds"
            );
        }
    });
}

/// One connection's storm tells nothing about another: the budget is not shared.
#[test]
#[covers("BL-6")]
fn another_connection_keeps_its_budget() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        for _ in 0..100 {
            peer.send(seg(100, 0, 0).only(Flags::RST));
        }
        assert_eq!(peer.send(seg(100, 0, 0).only(Flags::RST)), []);
        let mut other = peer.open_another();
        let rst = |peer: &mut Peer| peer.send(seg(100, 0, 0).only(Flags::RST)).len();
        assert_eq!((0..100).map(|_| rst(&mut other)).sum::<usize>(), 10);
    });
}

#[test]
#[covers("SM-13")]
fn a_half_closed_connection_still_receives() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.tcp.shutdown(peer.now, peer.conn).expect("open");
        let out = peer.turn();
        assert!(out.len() == 1 && out[0].has(Flags::FIN));
        peer.send(seg(1, 0, 2));
        assert_eq!(peer.state(), "FIN-WAIT-2");
        let mut read = 0;
        for n in 0..1_049 {
            let out = peer.send(seg(1 + 1000 * n, 1000, 2));
            assert!(n % 2 == 0 || out.iter().any(ack(1001 + 1000 * n)));
            read += peer.read();
        }
        assert_eq!(read, 1_049_000);
        peer.send(seg(1_049_001, 0, 2).with(Flags::FIN));
        assert_eq!(peer.tcp.read(peer.now, peer.conn, 10), Ok(Read::Eof));
        assert_eq!(peer.state(), "TIME-WAIT");
    });
}

#[test]
#[covers("SM-15")]
fn a_fin_again_restarts_time_wait() {
    everywhere(|net| {
        for orphan in [false, true] {
            let mut peer = Peer::open(net);
            peer.tcp.shutdown(peer.now, peer.conn).expect("open");
            if orphan {
                peer.tcp.release(peer.now, peer.conn);
            }
            peer.turn();
            peer.send(seg(1, 0, 2).with(Flags::FIN));
            assert_eq!(peer.state(), "TIME-WAIT");
            peer.wait(Duration::from_secs(50));
            let out = peer.send(seg(1, 0, 2).with(Flags::FIN));
            assert!(out.len() == 1 && ack(2)(&out[0]), "{orphan}: {out:?}");
            peer.wait(Duration::from_secs(59));
            assert_eq!(peer.state(), "TIME-WAIT", "{orphan}");
            peer.wait(Duration::from_secs(2));
            assert_eq!(peer.state(), "CLOSED", "{orphan}");
        }
    });
}

/// Each state of Figure 5 past LISTEN and each of its arcs, by segments and calls.
#[test]
#[covers("SM-12", "MUST-12")]
fn every_state_and_arc_of_figure_5() {
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Shutdown,
        /// The peer's FIN, which acknowledges our FIN or does not.
        Fin(bool),
        /// The peer acknowledges our FIN.
        Ack,
        Expect(&'static str),
    }
    use Step::*;
    let active: &[Step] = &[
        Shutdown,
        Expect("FIN-WAIT-1"),
        Ack,
        Expect("FIN-WAIT-2"),
        Fin(true),
        Expect("TIME-WAIT"),
    ];
    let both: &[Step] = &[
        Shutdown,
        Expect("FIN-WAIT-1"),
        Fin(false),
        Expect("CLOSING"),
        Ack,
        Expect("TIME-WAIT"),
    ];
    let at_once: &[Step] = &[
        Shutdown,
        Expect("FIN-WAIT-1"),
        Fin(true),
        Expect("TIME-WAIT"),
    ];
    let passive: &[Step] = &[
        Fin(false),
        Expect("CLOSE-WAIT"),
        Shutdown,
        Expect("LAST-ACK"),
        Ack,
        Expect("CLOSED"),
    ];
    everywhere(|net| {
        for steps in [active, both, at_once, passive] {
            let mut peer = Peer::open(net);
            assert_eq!(peer.state(), "ESTABLISHED");
            let mut fin = 0;
            for step in steps {
                match *step {
                    Shutdown => {
                        peer.tcp.shutdown(peer.now, peer.conn).expect("open");
                        let out = peer.turn();
                        assert!(out.len() == 1 && out[0].has(Flags::FIN) && out[0].seq == 1);
                    }
                    Fin(acks) => {
                        let out = peer.send(seg(1, 0, 1 + u32::from(acks)).with(Flags::FIN));
                        assert!(out.len() == 1 && out[0].ack == 2, "{out:?}");
                        fin = 1;
                    }
                    Ack => assert_eq!(peer.send(seg(1 + fin, 0, 2)), []),
                    Expect(state) => assert_eq!(peer.state(), state, "{steps:?}"),
                }
            }
        }
    });
}
