//! Timestamps as the receiver sees them: TS.Recent and PAWS (RFC 7323 §3–§5).

use std::time::Duration;

use bytes::Bytes;
use covers::covers;
use ustack_tcp::segment::{SegmentOptions, Timestamps};
use ustack_tcp::{
    CloseReason, Config, Dropped, Ecn, Flags, Options, Read, Segment, SocketError, SocketOptions,
};

use crate::peer::{Net, Peer, ack, everywhere, seg, syn, syn_with_ts};

fn open(net: Net) -> Peer {
    Peer::open_with(
        net,
        Config::default(),
        SocketOptions::default(),
        syn_with_ts(),
    )
}

fn echoed(out: &[crate::peer::Out]) -> Vec<u32> {
    out.iter()
        .map(|out| out.ts.expect("timestamps").1)
        .collect()
}

#[test]
#[covers("TS-8", "MUST-5")]
fn a_segment_without_the_option_is_dropped_in_silence() {
    everywhere(|net| {
        let mut peer = open(net);
        assert_eq!(peer.send(seg(1, 100, 1)), []);
        assert_eq!(peer.outcome, Err(Dropped::NoTimestamp));
        assert_eq!(peer.send(seg(1, 0, 1).with(Flags::FIN)), []);
        assert_eq!((peer.read(), &*peer.state()), (0, "ESTABLISHED"));
        // With it, the same text is taken.
        peer.send(seg(1, 100, 1).ts(1001, 0));
        assert_eq!(peer.read(), 100);
        // The switch for peers that leave it out.
        let mut config = Config::default();
        config.timestamps_required = false;
        let mut peer = Peer::open_with(net, config, SocketOptions::default(), syn_with_ts());
        peer.send(seg(1, 100, 1));
        assert_eq!(peer.read(), 100);
    });
}

#[test]
#[covers("TS-7", "TS-8")]
fn every_segment_has_them_or_none_has() {
    everywhere(|net| {
        for with in [true, false] {
            let options = if with { syn_with_ts() } else { syn() };
            let (config, socket) = (Config::default(), SocketOptions::default());
            let mut peer = Peer::open_with(net, config, socket, options);
            assert_eq!(peer.syn_ack.options.timestamps().is_some(), with);
            let mut out = peer.write(2500);
            out.extend(peer.send(seg(1, 2000, 1).ts(1001, 0)));
            out.extend(peer.send(seg(1, 2000, 1).ts(1001, 0)));
            peer.tcp.shutdown(peer.now, peer.conn).expect("open");
            out.extend(peer.turn());
            out.extend(peer.wait(Duration::from_secs(3)).into_iter().map(|at| at.1));
            assert!(out.len() >= 6 && out.iter().all(|out| out.ts.is_some() == with));
        }
    });
}

/// RFC 7323 §4.3, its three examples: delayed ACKs, a hole, and the hole filled.
#[test]
#[covers("TS-9")]
fn the_echo_is_of_the_segment_that_last_moved_the_left_edge() {
    everywhere(|net| {
        // (A) Two segments, one ACK: the echo is of the first.
        let mut peer = open(net);
        peer.send(seg(1, 1000, 1).ts(1010, 0));
        let out = peer.send(seg(1001, 1000, 1).ts(1020, 0));
        assert_eq!((out[0].ack, &*echoed(&out)), (2001, &[1010][..]));
        // (B) Segments above a hole change nothing.
        let out = peer.send(seg(2001, 1000, 1).ts(1030, 0));
        assert_eq!(out, []);
        let after = peer.wait(Duration::from_millis(50));
        assert_eq!(after[0].1.ts.expect("timestamps").1, 1030);
        let out = peer.send(seg(4001, 1000, 1).ts(1040, 0));
        assert_eq!((out[0].ack, &*echoed(&out)), (3001, &[1030][..]));
        let out = peer.send(seg(5001, 1000, 1).ts(1050, 0));
        assert_eq!((out[0].ack, &*echoed(&out)), (3001, &[1030][..]));
        // (C) What fills the hole does.
        let out = peer.send(seg(3001, 1000, 1).ts(1060, 0));
        assert_eq!((out[0].ack, &*echoed(&out)), (6001, &[1060][..]));
        // A duplicate from below the last ACK that is newer counts, one that is older is PAWS's.
        let out = peer.send(seg(6001, 0, 1).ts(1070, 0));
        assert_eq!(out, []);
        assert_eq!(peer.write(10)[0].ts.expect("timestamps").1, 1070);
    });
}

#[test]
#[covers("TS-9", "SM-9")]
fn a_refused_ack_does_not_move_ts_recent() {
    everywhere(|net| {
        let mut peer = open(net);
        let out = peer.send(seg(1, 100, 5).ts(5000, 0));
        assert_eq!(peer.outcome, Err(Dropped::BadAck));
        assert_eq!(echoed(&out), [1000]);
        // Outside the window, neither.
        let out = peer.send(seg(200_000, 100, 1).ts(6000, 0));
        assert_eq!(echoed(&out), [1000]);
        peer.send(seg(1, 100, 1).ts(1001, 0));
        assert_eq!(peer.read(), 100, "what is honest is still taken");
    });
}

#[test]
#[covers("TS-11")]
fn paws_comes_before_everything_else() {
    everywhere(|net| {
        for (behind, taken) in [
            (0, true),
            (1, false),
            (0x7fff_ffff, false),
            (0x8000_0001, true),
        ] {
            let mut peer = open(net);
            peer.send(seg(1, 10, 1).ts(70_000, 0));
            peer.wait(Duration::from_millis(50));
            let old = 70_000u32.wrapping_sub(behind);
            let out = peer.send(seg(11, 100, 1).ts(old, 0));
            assert_eq!(peer.read(), if taken { 110 } else { 10 }, "{behind}");
            if !taken {
                assert!(out.len() == 1 && ack(11)(&out[0]), "{behind}: {out:?}");
                assert_eq!(peer.outcome, Err(Dropped::StaleTimestamp));
                // Its ACK and its FIN do not count, either.
                peer.write(10);
                peer.send(seg(11, 0, 11).ts(old, 0).with(Flags::FIN));
                let acked: u64 = peer.tcp.connections().map(|one| one.bytes_acked).sum();
                assert_eq!((acked, &*peer.state()), (0, "ESTABLISHED"));
            }
        }
    });
}

#[test]
#[covers("TS-12")]
fn a_reset_needs_no_fresh_timestamp() {
    everywhere(|net| {
        for stamp in [Some(5), None, Some(900_000)] {
            let mut peer = open(net);
            peer.send(seg(1, 10, 1).ts(70_000, 0));
            let mut reset = seg(11, 0, 1).only(Flags::RST | Flags::ACK);
            reset.ts = stamp.map(|stamp| (stamp, 0));
            // In the window but not exact: its timestamp moves nothing.
            let mut blind = reset.clone();
            blind.seq = 12;
            let out = peer.send(blind);
            assert_eq!(echoed(&out), [70_000]);
            assert_eq!(peer.send(reset), []);
            peer.read();
            assert_eq!(
                peer.tcp.read(peer.now, peer.conn, 1),
                Err(SocketError::Closed(CloseReason::Reset))
            );
        }
    });
}

#[test]
#[covers("TS-13")]
fn ts_recent_dies_after_24_idle_days() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    everywhere(|net| {
        for (days, taken) in [(23, false), (25, true)] {
            let mut peer = open(net);
            peer.send(seg(1, 10, 1).ts(1_000_000, 0));
            peer.wait(days * DAY);
            let old = 1_000_000 - 5;
            peer.send(seg(11, 100, 1).ts(old, 0));
            assert_eq!(peer.read(), if taken { 110 } else { 10 }, "{days} days");
            if taken {
                // It is the new TS.Recent, and PAWS is back.
                let out = peer.wait(Duration::from_secs(1));
                assert_eq!(out[0].1.ts.expect("timestamps").1, old);
                peer.send(seg(111, 10, 1).ts(old - 1, 0));
                assert_eq!(peer.read(), 0);
            }
        }
    });
}

/// A duplicate ACK's echo is no measurement: SND.UNA did not move.
#[test]
#[covers("TS-15")]
fn only_an_ack_that_advances_is_a_sample() {
    everywhere(|net| {
        let mut peer = open(net);
        let base = peer.echo(0);
        peer.write(100);
        peer.now += Duration::from_millis(10);
        peer.send(seg(1, 0, 101).ts(1010, base));
        let before = peer.info().rtt;
        peer.now += Duration::from_secs(20);
        peer.write(100);
        for _ in 0..5 {
            peer.send(seg(1, 0, 101).ts(1020, base));
        }
        assert_eq!(peer.info().rtt, before);
    });
}

/// Three times around sequence space; each segment comes back 4 GiB later.
#[test]
#[covers("TS-16")]
fn nothing_of_an_earlier_lap_is_taken() {
    const CHUNK: u32 = 32 << 10;
    let text: Bytes = (0..=CHUNK).map(|n| (n % 251) as u8).collect();
    let lap = |n: u64| (n >> 17) as u8; // which 4 GiB it belongs to
    let laps: Vec<Bytes> = (0..4u8)
        .map(|lap| text.iter().map(|byte| byte ^ lap).collect())
        .collect();
    let net = Net {
        ipv6: false,
        isn: ustack_tcp::seq::WireSeq(u32::MAX - 100),
    };
    let mut peer = open(net);
    let segment = |n: u64| {
        // The peer's clock ticks once per segment.
        let timestamps = Timestamps {
            tsval: 1001 + n as u32,
            tsecr: 0,
        };
        Segment {
            seq: net
                .isn
                .wrapping_add(1)
                .wrapping_add(CHUNK.wrapping_mul(n as u32)),
            options: Options::Segment(SegmentOptions {
                timestamps: Some(timestamps),
                ..SegmentOptions::default()
            }),
            payload: laps[usize::from(lap(n))].slice(..CHUNK as usize),
            ..peer_segment()
        }
    };
    let our_first = peer.syn_ack.seq.wrapping_add(1);
    let mut stale = 0;
    for n in 0..3 << 17 {
        let mut fresh = segment(n);
        fresh.ack = our_first;
        if n >= 1 << 17 && n % 16 == 0 {
            // The same numbers, from one lap ago.
            let mut old = segment(n - (1 << 17));
            old.ack = our_first;
            peer.on_segment(Ecn::NotEct, old);
            stale += u64::from(peer.outcome == Err(Dropped::StaleTimestamp));
        }
        peer.on_segment(Ecn::NotEct, fresh);
        assert_eq!(peer.outcome, Ok(()), "{n}");
        peer.turn();
        match peer.tcp.read(peer.now, peer.conn, CHUNK as usize) {
            Ok(Read::Data(data)) => {
                assert!(data == laps[usize::from(lap(n))][..CHUNK as usize], "{n}");
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    assert_eq!(stale, 2 << 13);
}

fn peer_segment() -> Segment {
    Segment {
        seq: ustack_tcp::seq::WireSeq(0),
        ack: ustack_tcp::seq::WireSeq(0),
        window: ustack_tcp::seq::WireWindow(65_535),
        flags: Flags::ACK,
        options: Options::none(),
        payload: Bytes::new(),
        urgent: 0,
        mss: std::num::NonZeroU16::new(1000).expect("not zero"),
    }
}
