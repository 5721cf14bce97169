//! Peers without SACK (RFC 6582, RFC 5681 §3.2), limited transmit (RFC 3042), and what holds for
//! every sender.

use std::time::Duration;

use covers::covers;
use ustack_tcp::testing::{Link, Pair, Side, pattern};
use ustack_tcp::{Config, CongestionAlgorithm, Flags, LossDetection};

use crate::peer::{MS, Peer, SEC, Setup};
use crate::{ack, segments, wrote};

fn plain(setup: &Setup, count: usize) -> Peer {
    let mut setup = setup.clone();
    setup.syn.sack_permitted = false;
    wrote(&setup, count)
}

#[test]
#[covers("CC-9")]
fn the_third_duplicate_and_no_other() {
    Setup::each(|setup| {
        for count in [4, 10] {
            let mut peer = plain(&setup, count);
            peer.take();
            peer.now += 10 * MS;
            assert_eq!(ack(&mut peer, 0, &[]), []);
            assert_eq!(ack(&mut peer, 0, &[]), []);
            assert_eq!(ack(&mut peer, 0, &[]), [0]);
            assert_eq!(ack(&mut peer, 0, &[]), []);
        }
    });
}

/// What is no duplicate by RFC 5681 §2 does not count: a new window, or data.
#[test]
#[covers("CC-9")]
fn window_updates_and_data_are_no_duplicates() {
    Setup::each(|setup| {
        let mut peer = plain(&setup, 10);
        peer.take();
        peer.now += 10 * MS;
        for n in 0..6 {
            peer.win -= 1;
            assert_eq!(ack(&mut peer, 0, &[]), [], "window update {n}");
        }
        for n in 0..3 {
            peer.recv(peer.segment(Flags::NONE, 1 + 100 * n, 1, 100));
            assert_eq!(segments(&peer.take()), []);
        }
    });
}

#[test]
#[covers("SR-6")]
fn the_first_two_duplicates_let_out_new_data() {
    Setup::each(|setup| {
        let cwnd = |peer: &Peer| peer.tcp.info(peer.now, peer.id).unwrap().snd_cwnd;
        for sack in [false, true] {
            let mut setup = setup.clone();
            setup.syn.sack_permitted = sack;
            let blocks = |n: u32| if sack { vec![(1, 1 + n)] } else { vec![] };
            let mut peer = wrote(&setup, 20);
            assert_eq!(segments(&peer.take()).len(), 10);
            peer.now += 10 * MS;
            assert_eq!(ack(&mut peer, 0, &blocks(1)), [10]);
            assert_eq!(ack(&mut peer, 0, &blocks(2)), [11]);
            assert_eq!(cwnd(&peer), 10_000);
            assert_eq!(ack(&mut peer, 0, &blocks(3)), [0]);
        }
        // With SACK, only what reports something new.
        let mut peer = wrote(&setup, 20);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 2)]), [10]);
        assert_eq!(ack(&mut peer, 0, &[(1, 2)]), []);
        assert_eq!(ack(&mut peer, 0, &[]), []);
    });
}

/// Three losses in one window: three repairs in three round trips and no timeout, one reduction.
#[test]
#[covers("NR-1", "NR-2")]
fn a_partial_ack_shows_the_next_hole() {
    Setup::each(|setup| {
        let mut peer = plain(&setup, 100);
        peer.take();
        peer.now += 10 * MS;
        let mut sent = Vec::new();
        for _ in 0..7 {
            sent.extend(ack(&mut peer, 0, &[])); // 0, 3 and 6 are lost
        }
        assert_eq!(sent.iter().filter(|&&n| n < 10).count(), 1, "{sent:?}");
        for (una, hole) in [(3, 3), (6, 6)] {
            peer.now += 10 * MS;
            let sent = ack(&mut peer, una, &[]);
            assert_eq!(sent[0], hole, "at once");
            assert!(sent[1..].iter().all(|&n| n >= 10), "{sent:?}");
            for _ in 0..2 {
                assert!(ack(&mut peer, una, &[]).iter().all(|&n| n >= 10));
            }
            let info = peer.tcp.info(peer.now, peer.id).unwrap();
            assert_eq!(info.snd_ssthresh, Some(5000));
        }
        // The full ACK: no more than ssthresh in flight, no burst.
        peer.now += 10 * MS;
        let all = peer.tcp.info(peer.now, peer.id).unwrap().unacked;
        let burst = ack(&mut peer, 6 + all.min(6), &[]);
        assert!(burst.len() <= 4, "{burst:?}");
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        assert!(info.unacked <= 5, "{info:?}");
        assert_eq!(info.snd_cwnd, 5000);
    });
}

/// Partial ACKs restart the timer: with each round trip shorter than the RTO none fires.
#[test]
#[covers("NR-3")]
fn a_partial_ack_restarts_the_timer() {
    Setup::each(|setup| {
        let mut peer = plain(&setup, 10);
        peer.take();
        peer.now += 10 * MS;
        for _ in 0..3 {
            ack(&mut peer, 0, &[]);
        }
        assert!(segments(&peer.run(150 * MS)).is_empty());
        assert_eq!(ack(&mut peer, 2, &[]), [2]);
        assert!(
            segments(&peer.run(150 * MS)).is_empty(),
            "300 ms since the first repair"
        );
        assert!(!segments(&peer.run(100 * MS)).is_empty());
    });
}

/// After a timeout, duplicates for what was sent before begin no fast retransmit.
#[test]
#[covers("NR-3")]
fn no_fast_retransmit_for_what_a_timeout_repairs() {
    Setup::each(|setup| {
        let mut peer = plain(&setup, 40);
        assert_eq!(segments(&peer.take()).len(), 10);
        let timeout = peer.run_until_sent(SEC);
        assert_eq!(segments(&timeout), [0]);
        peer.now += 10 * MS;
        // The repair of 0 was needless, and so are those that follow: their answers are duplicates.
        let ssthresh = |peer: &Peer| peer.tcp.info(peer.now, peer.id).unwrap().snd_ssthresh;
        let before = ssthresh(&peer);
        ack(&mut peer, 10, &[]);
        for _ in 0..6 {
            let sent = ack(&mut peer, 10, &[]);
            assert!(sent.iter().all(|&n| n > 10), "{sent:?}");
        }
        assert_eq!(ssthresh(&peer), before);
    });
}

/// Each timeout of a black hole sends one segment; the window is halved once.
#[test]
#[covers("CC-8")]
fn a_second_timeout_of_a_segment_does_not_halve_again() {
    Setup::each(|setup| {
        let mut peer = plain(&setup, 20);
        assert_eq!(segments(&peer.take()).len(), 10);
        for n in 0..3 {
            let again = peer.run_until_sent(10 * SEC);
            assert_eq!(segments(&again), [0], "timeout {n}");
            let info = peer.tcp.info(peer.now, peer.id).unwrap();
            assert_eq!((info.snd_ssthresh, info.snd_cwnd), (Some(5000), 1000));
        }
    });
}

/// A loss in each of two windows: two reductions. Several in one window: one.
#[test]
#[covers("CC-13")]
fn one_reduction_per_window() {
    Setup::each(|setup| {
        let ssthresh = |peer: &Peer| peer.tcp.info(peer.now, peer.id).unwrap().snd_ssthresh;
        let mut peer = wrote(&setup, 100);
        peer.take();
        peer.now += 10 * MS;
        let sent = ack(&mut peer, 0, &[(6, 10), (3, 5), (1, 2)]);
        assert_eq!(sent[0], 0);
        assert_eq!(ssthresh(&peer), Some(5000));
        for (una, blocks) in [(2, vec![(6, 10), (3, 5)]), (5, vec![(6, 10)])] {
            peer.now += 10 * MS;
            ack(&mut peer, una, &blocks);
            assert_eq!(ssthresh(&peer), Some(5000));
        }
        peer.now += 10 * MS;
        ack(&mut peer, 10, &[]);
        let nxt = 10 + peer.tcp.info(peer.now, peer.id).unwrap().unacked;
        peer.now += 10 * MS;
        ack(&mut peer, 10, &[(11, nxt)]);
        assert!(ssthresh(&peer) < Some(5000));
    });
}

/// Whatever the link does: beyond what is unanswered after losses, no more is in flight than the
/// peer's window and the largest congestion window since allow.
#[test]
#[covers("CC-10")]
fn never_more_in_flight_than_the_windows_allow() {
    for seed in 0..12u64 {
        let mut config = Config::default();
        config.congestion = if seed % 2 == 0 {
            CongestionAlgorithm::Reno
        } else {
            CongestionAlgorithm::Cubic
        };
        config.loss_detection = if seed % 4 < 2 {
            LossDetection::Rack
        } else {
            LossDetection::Rfc6675
        };
        config.recv_buffer_max = 64 << 10;
        config.recv_buffer_initial = 64 << 10;
        let link = Link {
            loss: 100 * (seed as u32 % 3),
            reorder: 100 * (seed as u32 % 4),
            ..Link::default()
        };
        let mut pair = Pair::new(seed, &config, link);
        pair.quiet = true;
        let (client, server) = pair.open();
        let (mut written, mut read) = (0u64, 0u64);
        let mut allowed = 0;
        while read < 300_000 {
            let now = pair.now;
            let data = pattern(written, 32 << 10);
            written += pair.end(Side::Client).write(now, client, &data).unwrap() as u64;
            while let Ok(ustack_tcp::Read::Data(data)) =
                pair.end(Side::Server).read(now, server, 1 << 20)
            {
                read += data.len() as u64;
            }
            let info = pair.tcp[0].info(now, client).unwrap();
            allowed = info.snd_cwnd.max(allowed);
            assert!(pair.step());
            let info = pair.tcp[0].info(pair.now, client).unwrap();
            allowed = info.snd_cwnd.max(allowed);
            let bytes = |segments: u32| segments * info.snd_mss;
            let on_the_way =
                bytes(info.unacked + info.retrans).saturating_sub(bytes(info.sacked + info.lost));
            assert!(
                on_the_way <= allowed.min(info.snd_wnd.max(64 << 10)) + bytes(3),
                "seed {seed}: {on_the_way} of {allowed}, {info:?}"
            );
            // What was sent under a larger window is not taken back.
            allowed = allowed.min(on_the_way.max(info.snd_cwnd));
        }
        assert!(pair.now.as_millis() > 0, "{:?}", Duration::from_millis(1));
    }
}
