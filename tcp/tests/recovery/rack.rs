//! RACK-TLP (RFC 8985): losses by time, and probes of the tail.

use covers::covers;
use ustack_tcp::time::{Duration, Instant};
use ustack_tcp::{Flags, State};

use crate::peer::{MS, Peer, SEC, Setup};
use crate::{ack, ack_bytes, at, segments, wrote};

/// A connection whose round trip is 40 ms for certain, with nothing in flight.
fn steady(setup: &Setup) -> Peer {
    let mut peer = wrote(setup, 1);
    // The handshake took 10 ms; five minutes later that minimum counts no more.
    peer.take();
    peer.now += 10 * MS;
    ack(&mut peer, 1, &[]);
    peer.now += 301 * SEC;
    for n in 1..40 {
        peer.write(1000);
        peer.take();
        peer.now += 40 * MS;
        ack(&mut peer, n + 1, &[]);
    }
    let info = peer.tcp.info(peer.now, peer.id).unwrap();
    assert_eq!(info.min_rtt, Some(40 * MS));
    peer
}

fn first_at(peer: &mut Peer, most: Duration) -> Option<(Instant, u32)> {
    let sent = peer.run_until_sent(most);
    let first = sent.iter().find(|sent| sent.len > 0)?;
    Some((first.at, segments(std::slice::from_ref(first))[0]))
}

/// The time at which a hole is filled, from the SACK of one segment above it on.
fn delay(peer: &mut Peer, hole: u32) -> Duration {
    let from = peer.now;
    let (at, n) = first_at(peer, SEC).expect("a repair");
    assert_eq!(n, hole);
    at - from
}

fn about(got: Duration, wanted: Duration) {
    let slack = 3 * MS; // the timer's own slack, and a tick
    assert!(
        wanted <= got + Duration::from_micros(10) && got <= wanted + slack,
        "{got:?}, not {wanted:?}"
    );
}

/// One SACK above a hole, then silence: a quarter of the round trip later it is filled.
#[test]
#[covers("RK-2", "RK-6", "RK-3")]
fn one_later_segment_and_a_quarter_round_trip() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        peer.write(4000);
        peer.take();
        peer.now += 40 * MS;
        assert_eq!(ack(&mut peer, 40, &[(41, 42)]), []);
        about(delay(&mut peer, 40), 10 * MS);
    });
}

/// Three SACKed segments and no reordering seen: at once. Two are not enough.
#[test]
#[covers("RK-3", "RK-2")]
fn three_sacked_segments_need_no_window() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        peer.write(4000);
        peer.take();
        peer.now += 40 * MS;
        assert_eq!(ack(&mut peer, 40, &[(41, 43)]), []);
        assert_eq!(ack(&mut peer, 40, &[(41, 44)]), [40]);
    });
}

/// A segment that was only late was seen: three SACKed segments prove nothing from now on.
fn show_reordering(peer: &mut Peer, base: u32) {
    peer.write(3000);
    peer.take();
    peer.now += 40 * MS;
    assert_eq!(ack(peer, base, &[(base + 1, base + 2)]), []);
    peer.now += MS;
    assert_eq!(ack(peer, base + 2, &[]), []);
    peer.now += MS;
    assert_eq!(ack(peer, base + 3, &[]), []);
}

/// The window grows by a quarter of the round trip per round with a D-SACK, up to SRTT, and is
/// small again after sixteen recoveries without.
#[test]
#[covers("RK-3")]
fn the_window_follows_d_sacks() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        show_reordering(&mut peer, 40);
        let mut base = 43;
        let mut episode = |peer: &mut Peer, dsack: bool| -> Duration {
            peer.write(2000);
            peer.take();
            peer.now += 40 * MS;
            ack(peer, base, &[(base + 1, base + 2)]);
            let waited = delay(peer, base);
            peer.now += 45 * MS;
            ack(peer, base + 2, &[]);
            if dsack {
                ack_bytes(peer, at(base + 2), &[(at(base), at(base + 1))]);
            }
            peer.run(100 * MS);
            base += 2;
            waited
        };
        for quarter in 1..=4 {
            about(episode(&mut peer, true), 10 * MS * quarter);
        }
        // SRTT is the limit; it is a little above 40 ms by now.
        let most = episode(&mut peer, true);
        assert!(most < 60 * MS, "{most:?}");
        for n in 0..16 {
            assert!(episode(&mut peer, false) > 30 * MS, "recovery {n}");
        }
        about(episode(&mut peer, false), 10 * MS);
    });
}

/// A repair that is SACKed sooner than any round trip was its original's doing: it says nothing of
/// the path, neither of its length nor of what else is lost.
#[test]
#[covers("RK-1")]
fn an_answer_too_fast_for_the_repair_proves_nothing() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        peer.write(8000);
        peer.take();
        peer.now += 40 * MS;
        assert_eq!(ack(&mut peer, 40, &[(43, 46)])[0], 40);
        let before = peer.tcp.info(peer.now, peer.id).unwrap();
        peer.now += MS;
        let sent = ack(&mut peer, 40, &[(41, 42), (43, 46)]);
        assert!(!sent.contains(&46) && !sent.contains(&47), "{sent:?}");
        peer.now += MS;
        let sent = ack(&mut peer, 41, &[(41, 42), (43, 46)]);
        assert!(!sent.contains(&46) && !sent.contains(&47), "{sent:?}");
        let after = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!(
            (after.rtt, after.rttvar, after.min_rtt),
            (before.rtt, before.rttvar, before.min_rtt)
        );
    });
}

/// A repair that is lost, too, is noticed by what was sent after it.
#[test]
#[covers("RK-7", "CC-13")]
fn a_lost_repair_is_repaired_before_any_timeout() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 30);
        assert_eq!(segments(&peer.take()).len(), 10);
        peer.now += 10 * MS;
        let sent = ack(&mut peer, 0, &[(1, 9)]);
        assert_eq!(sent, [0, 10, 11, 12]);
        let ssthresh = |peer: &Peer| peer.tcp.info(peer.now, peer.id).unwrap().snd_ssthresh;
        assert_eq!(ssthresh(&peer), Some(5000));
        peer.now += MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 10)]), [13]);
        peer.now += 10 * MS;
        // 13 left after the repair of 0, and is here.
        let sent = ack(&mut peer, 0, &[(13, 14), (1, 13)]);
        assert!(sent.contains(&0), "{sent:?}");
        peer.now += 10 * MS;
        // The loss of a repair counts, too: twice halved.
        ack(&mut peer, 14, &[]);
        assert!(ssthresh(&peer) <= Some(2500));
    });
}

/// The same where the repair left in one instant with new data, so that the order is not known: a
/// quarter of the round trip later, and not by the timer.
#[test]
#[covers("RK-7")]
fn a_lost_repair_that_left_with_new_data_is_noticed() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        peer.write(100_000);
        let flight = segments(&peer.take()).len() as u32;
        assert!(flight >= 10, "{flight}");
        peer.now += 40 * MS;
        let sent = ack(&mut peer, 40, &[(41, 40 + flight)]);
        assert!(sent[0] == 40 && sent.len() >= 2, "{sent:?}");
        // The repair of 40 is lost, and all that left with it arrives.
        peer.now += 40 * MS;
        let end = *sent.last().unwrap() + 1;
        assert!(!ack(&mut peer, 40, &[(41, end)]).contains(&40));
        let (from, timeout) = (peer.now, peer.tcp.info(peer.now, peer.id).unwrap().rto);
        while !segments(&peer.run_until_sent(SEC)).contains(&40) {}
        assert!(peer.now - from <= 15 * MS && 15 * MS < timeout);
    });
}

/// The tail is lost: one probe at two round trips, the last segment; a second lone round of silence
/// ends in the timeout.
#[test]
#[covers("TL-1")]
fn the_tail_is_probed_once_after_two_round_trips() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        let srtt = peer.tcp.info(peer.now, peer.id).unwrap().rtt.unwrap();
        let start = peer.now;
        peer.write(3000);
        peer.take();
        let (probe, n) = first_at(&mut peer, SEC).expect("a probe");
        assert_eq!(n, 42);
        assert!(probe - start >= 2 * srtt && probe - start <= 2 * srtt + MS);
        let rto = peer.tcp.info(peer.now, peer.id).unwrap().rto;
        let (timeout, n) = first_at(&mut peer, SEC).expect("a timeout");
        assert_eq!(n, 40);
        assert!(timeout - probe >= rto && timeout - probe <= rto + MS);
    });
}

/// New data is the better probe; cwnd does not hold it.
#[test]
#[covers("TL-1")]
fn new_data_is_the_better_probe() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 15);
        assert_eq!(segments(&peer.take()).len(), 10);
        let (_, n) = first_at(&mut peer, SEC).expect("a probe");
        assert_eq!(n, 10);
    });
}

/// A lone segment's ACK may be delayed: the probe waits for that, too; never longer than the
/// timeout.
#[test]
#[covers("TL-1")]
fn a_lone_segment_gets_more_time() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        let start = peer.now;
        peer.write(1000);
        peer.take();
        let (probe, _) = first_at(&mut peer, SEC).expect("a probe");
        let pto = 2 * info.rtt.unwrap() + 50 * MS;
        assert!(probe - start >= pto.min(info.rto) && probe - start <= pto.min(info.rto) + MS);
        let mut setup = setup.clone();
        (setup.config.rto_min, setup.config.rto_granularity) = (Duration::ZERO, MS);
        let mut peer = steady(&setup);
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        assert!(info.rto < 2 * info.rtt.unwrap());
        let start = peer.now;
        peer.write(1000);
        peer.take();
        let (probe, _) = first_at(&mut peer, SEC).expect("a probe");
        assert!(probe - start <= info.rto + MS);
    });
}

/// What is acknowledged before its probe has left needs none, even if nothing can follow.
#[test]
#[covers("TL-1")]
fn a_probe_that_is_no_longer_needed_does_not_leave() {
    Setup::each(|setup| {
        let mut peer = steady(&setup);
        peer.write(1000);
        peer.tcp.shutdown(peer.now, peer.id).unwrap();
        peer.turn();
        assert!(peer.take().last().is_some_and(|last| last.has(Flags::FIN)));
        peer.now += 150 * MS;
        peer.tcp.on_timeout(peer.now);
        assert_eq!(peer.tcp.counters().loss_probes, 1, "due");
        ack_bytes(&mut peer, at(41) + 1, &[]);
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!(info.state, Some(State::FinWait2));
        assert!(peer.run_until_sent(SEC).is_empty());
    });
}

fn cwnd(peer: &Peer) -> u32 {
    peer.tcp.info(peer.now, peer.id).unwrap().snd_cwnd
}

/// The last segment is lost and the probe repairs it: one reduction, when later data shows that.
#[test]
#[covers("TL-3")]
fn a_probe_that_repaired_a_loss_is_a_sign_of_congestion() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 8);
        peer.take();
        peer.now += 10 * MS;
        ack(&mut peer, 7, &[]);
        let before = cwnd(&peer);
        assert_eq!(first_at(&mut peer, SEC).map(|(_, n)| n), Some(7));
        peer.now += 10 * MS;
        ack(&mut peer, 8, &[]);
        assert_eq!(cwnd(&peer), before);
        peer.write(2000);
        peer.take();
        peer.now += 10 * MS;
        ack(&mut peer, 10, &[]);
        let after = cwnd(&peer);
        assert!(after < before, "{before} to {after}");
        peer.write(2000);
        peer.take();
        peer.now += 10 * MS;
        ack(&mut peer, 12, &[]);
        assert!(cwnd(&peer) >= after, "once only");
    });
}

/// Only the ACK was lost: the D-SACK says that the probe was needless.
#[test]
#[covers("TL-3")]
fn a_probe_that_was_needless_costs_nothing() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 8);
        peer.take();
        let before = cwnd(&peer);
        assert_eq!(first_at(&mut peer, SEC).map(|(_, n)| n), Some(7));
        peer.now += 10 * MS;
        ack_bytes(&mut peer, at(8), &[(at(7), at(8))]);
        peer.write(2000);
        peer.take();
        peer.now += 10 * MS;
        ack(&mut peer, 10, &[]);
        assert!(cwnd(&peer) >= before);
    });
}
