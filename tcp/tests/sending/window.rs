//! The peer's window: shut, small, shrinking.

use covers::covers;
use ustack_tcp::time::Duration;
use ustack_tcp::{Flags, State};

use crate::peer::{MS, Peer, SEC, Sent, Setup, texts};

/// The time between one and the next.
fn gaps(sent: &[Sent]) -> Vec<Duration> {
    sent.windows(2)
        .map(|pair| pair[1].at - pair[0].at)
        .collect()
}

#[test]
#[covers("MUST-34", "SHLD-15")]
fn a_window_that_shrinks_stops_new_data() {
    Setup::each(|mut setup| {
        setup.win = 10_000;
        let mut peer = Peer::open(&setup);
        peer.write(8_000);
        assert_eq!(peer.take().last().unwrap().end(), 8_001);
        peer.win = 1_000;
        peer.ack(1);
        peer.write(5_000);
        assert!(peer.take().is_empty(), "the window ends 7000 bytes ago");
        peer.ack(2_001);
        assert!(peer.take().is_empty());
        // What is acknowledged brings the edge forward again.
        peer.win = 3_000;
        peer.ack(8_001);
        assert_eq!(
            texts(&peer.take()),
            [(8_001, 1000), (9_001, 1000), (10_001, 1000)]
        );
    });
}

#[test]
#[covers("SHLD-16", "SHLD-17", "MAY-7")]
fn retransmissions_stay_within_a_window_that_shrank() {
    Setup::each(|mut setup| {
        setup.syn.sack_permitted = false;
        let mut peer = Peer::open(&setup);
        peer.write(8_000);
        peer.take();
        peer.win = 700;
        peer.ack(1);
        // The timeout sends again what the window takes, and no more.
        let again = peer.run_until_sent(SEC);
        assert_eq!(texts(&again), [(1, 700)]);
        peer.win = 1_800;
        peer.ack(701);
        let again = peer.take();
        assert!(!again.is_empty());
        assert!(again.last().unwrap().end() <= 2_501, "{again:?}");
        peer.win = 0;
        peer.ack(2_501);
        // Beyond it nothing times out: the peer answers probes for an hour.
        let start = peer.now;
        while peer.now - start < 3_600 * SEC {
            let sent = peer.run_until_sent(121 * SEC);
            assert_eq!(sent.len(), 1, "one probe or the first segment again");
            assert!(sent[0].seq <= 2_501, "{sent:?}");
            peer.now += 10 * MS;
            peer.ack(2_501);
        }
        assert_eq!(peer.state(), State::Established);
        peer.win = 65_535;
        peer.ack(8_001);
        peer.write(100);
        assert_eq!(texts(&peer.take()), [(8_001, 100)]);
    });
}

#[test]
#[covers("MUST-35", "MUST-36", "SHLD-29", "SHLD-30")]
fn a_shut_window_is_probed_ever_more_slowly() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.win = 0;
        peer.ack(1);
        let start = peer.now;
        peer.write(2_000);
        let mut probes = Vec::new();
        while probes.len() < 13 {
            let sent = peer.run_until_sent(200 * SEC);
            assert_eq!(texts(&sent), [(0, 0)], "old news, no data");
            probes.extend(sent);
            peer.now += 10 * MS;
            peer.ack(1);
        }
        let first = probes[0].at - start;
        let rto = Duration::from_millis(200);
        assert!(first >= rto && first <= rto * 11 / 10, "{first:?}");
        let mut expected = 2 * rto;
        for gap in gaps(&probes) {
            let low = expected * 9 / 10;
            assert!(
                gap >= low && gap <= expected * 11 / 10,
                "{gap:?} for {expected:?}"
            );
            assert!(gap <= 121 * SEC);
            expected = (2 * expected).min(120 * SEC);
        }
        // It opens: all at once, and the next time the probes begin anew.
        peer.win = 65_535;
        peer.ack(1);
        assert_eq!(texts(&peer.take()), [(1, 1000), (1001, 1000)]);
        peer.win = 0;
        peer.ack(2_001);
        let start = peer.now;
        peer.write(10);
        let again = peer.run_until_sent(SEC);
        assert!(again[0].at - start <= rto * 11 / 10, "{again:?}");
    });
}

/// The probes have become rare, but what is wrong with the window now is its size: that waits for
/// the override timer only.
#[test]
#[covers("MUST-38", "SHLD-29")]
fn a_window_that_opens_a_little_is_used_within_a_second() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.win = 0;
        peer.ack(1);
        peer.write(2_000);
        for _ in 0..8 {
            peer.run_until_sent(121 * SEC);
            peer.now += 10 * MS;
            peer.ack(1);
        }
        peer.win = 100;
        peer.ack(1);
        assert!(peer.take().is_empty(), "not worth a segment yet");
        assert_eq!(texts(&peer.run_until_sent(SEC)), [(1, 100)]);
    });
}

#[test]
#[covers("SHLD-28")]
fn a_window_of_two_segments_and_a_half_takes_two() {
    for tso in [false, true] {
        Setup::each(|mut setup| {
            setup.config.tso = tso;
            setup.win = 2_500;
            let mut peer = Peer::open(&setup);
            peer.take();
            peer.write(5_000);
            assert_eq!(texts(&peer.take()), [(1, 1000), (1001, 1000)]);
        });
    }
}

#[test]
#[covers("CC-10")]
fn not_a_byte_leaves_beyond_the_window() {
    Setup::each(|mut setup| {
        setup.win = 700;
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.write(5_000);
        assert_eq!(texts(&peer.take()), [(1, 700)]);
        peer.win = 2_000;
        peer.ack(701);
        assert_eq!(texts(&peer.take()), [(701, 1000), (1701, 1000)]);
    });
}

#[test]
#[covers("MUST-37", "MAY-8")]
fn a_peer_that_answers_probes_keeps_its_connection() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.win = 0;
        peer.ack(1);
        peer.write(2_000);
        let start = peer.now;
        while peer.now - start < 1_800 * SEC {
            peer.run_until_sent(121 * SEC);
            peer.now += 10 * MS;
            peer.ack(1);
        }
        assert_eq!(peer.state(), State::Established);
        assert!(!peer.is_closed());
    });
}

/// Nobody waits for an orphan's bytes on this side: however well the peer answers, it has 100 s.
#[test]
fn an_orphan_before_a_shut_window_ends() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.win = 0;
        peer.ack(1);
        peer.write(2_000);
        peer.run(500 * SEC); // the application had time
        peer.ack(1);
        peer.tcp.release(peer.now, peer.id);
        let start = peer.now;
        let mut last = Vec::new();
        while peer.tcp.connection_count() > 0 {
            assert!(peer.now - start <= 120 * SEC);
            last = peer.run_until_sent(121 * SEC);
            peer.now += 10 * MS;
            if peer.tcp.connection_count() > 0 {
                peer.ack(1);
            }
        }
        assert!(peer.now - start >= 100 * SEC);
        assert!(last[0].has(Flags::RST), "{last:?}");
        assert_eq!(peer.tcp.poll_timeout(), None);
    });
}

#[test]
fn an_orphan_whose_peer_is_silent_ends() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.write(2_000);
        peer.tcp.release(peer.now, peer.id);
        peer.run(99 * SEC);
        assert_eq!(peer.tcp.connection_count(), 1);
        peer.run(21 * SEC);
        assert_eq!(peer.tcp.connection_count(), 0);
    });
}

/// The window opens by one byte every 10 ms: nothing of that kind leaves before the override
/// timer of 0.1 to 1 s, and then all that fits.
#[test]
#[covers("MUST-38")]
fn crumbs_of_window_are_not_filled() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.nodelay = true));
        peer.take();
        peer.win = 0;
        peer.ack(1);
        peer.write(5_000);
        let start = peer.now;
        let mut sent = Vec::new();
        for win in 1..100 {
            peer.win = win;
            peer.ack(1);
            sent.extend(peer.run(10 * MS));
            if !sent.is_empty() {
                break;
            }
        }
        let waited = sent[0].at - start;
        assert!(waited >= 100 * MS && waited <= SEC, "{waited:?}");
        assert_eq!(sent.len(), 1);
        assert!(sent[0].len >= 10, "{sent:?}");
        // A full segment's room is filled at once.
        peer.win = 1_000;
        let end = sent[0].end();
        peer.ack(end);
        assert_eq!(texts(&peer.take()), [(end, 1000)]);
    });
}

#[test]
#[covers("MUST-38")]
fn half_of_the_largest_window_is_worth_a_segment() {
    Setup::each(|mut setup| {
        setup.win = 800;
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.write(5_000);
        assert_eq!(texts(&peer.take()), [(1, 800)]);
        peer.win = 399;
        peer.ack(801);
        assert!(peer.take().is_empty());
        peer.win = 400;
        peer.ack(801);
        assert_eq!(texts(&peer.take()), [(801, 400)]);
    });
}

/// The override timer is no more than a second, however long the round trip.
#[test]
#[covers("MUST-38")]
fn the_override_timer_does_not_follow_a_long_rto() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.write(1_000);
        peer.run_until_sent(MS);
        peer.now += 3 * SEC;
        peer.win = 0;
        peer.ack(1_001);
        peer.write(5_000);
        peer.take();
        peer.win = 10;
        peer.ack(1_001);
        let start = peer.now;
        let sent = peer.run_until_sent(10 * SEC);
        assert_eq!(texts(&sent), [(1_001, 10)]);
        assert!(
            sent[0].at - start <= SEC + 2 * MS,
            "{:?}",
            sent[0].at - start
        );
    });
}
