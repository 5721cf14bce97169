//! How long a connection waits: R1 and R2, user timeout, keep-alive.

use covers::covers;
use ustack_tcp::time::Duration;
use ustack_tcp::{CloseReason, Event, Flags, IcmpError, Keepalive, SocketError, State};

use crate::peer::{MS, Peer, SEC, Setup, texts};

const HOUR: Duration = Duration::from_secs(3600);

fn end(peer: &Peer) -> Option<CloseReason> {
    peer.events.iter().find_map(|event| match event {
        Event::Closed(id, reason) if *id == peer.id => Some(*reason),
        _ => None,
    })
}

#[test]
#[covers("MUST-20", "SHLD-9", "SHLD-10", "SHLD-11")]
fn a_black_hole_ends_the_connection_after_r2() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.write(1_000);
        peer.take();
        // R1: IP and the application are told once, at the third timeout.
        let again = peer.run(1_300 * MS);
        assert_eq!(again.len(), 3, "a probe of the tail and two timeouts");
        assert_eq!(peer.ip.advice, 0);
        let again = peer.run(100 * SEC);
        assert!(again.len() >= 3, "{} retransmissions", again.len());
        assert_eq!(peer.ip.advice, 1);
        let told = |event: &&Event| **event == Event::Stalled(peer.id);
        assert_eq!(peer.events.iter().filter(told).count(), 1);
        assert!(again.iter().all(|sent| sent.seq == 1));
        assert_eq!(end(&peer), None, "R2 is 100 s at least");
        peer.run(2 * HOUR);
        assert_eq!(end(&peer), Some(CloseReason::TimedOut));
        let read = peer.tcp.read(peer.now, peer.id, 1);
        assert_eq!(read.err(), Some(SocketError::Closed(CloseReason::TimedOut)));
    });
}

/// What ICMP said meanwhile explains the end.
#[test]
#[covers("MUST-20")]
fn an_unreachable_peer_is_named_so() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.write(1_000);
        peer.icmp(1, IcmpError::HostUnreachable);
        assert_eq!(end(&peer), None, "soft");
        peer.run(HOUR);
        assert_eq!(end(&peer), Some(CloseReason::Unreachable));
    });
}

#[test]
#[covers("MUST-21", "UT-1")]
fn the_application_chooses_how_long_data_may_wait() {
    Setup::each(|setup| {
        let timeout = 5 * SEC;
        let mut peer = Peer::open(&setup.options(|options| options.user_timeout = Some(timeout)));
        peer.write(1_000);
        peer.run(2 * SEC);
        peer.ack(1_001);
        peer.run(HOUR); // nothing waits
        peer.write(1_000);
        peer.run(4_990 * MS);
        assert_eq!(end(&peer), None);
        peer.run(20 * MS);
        assert_eq!(end(&peer), Some(CloseReason::TimedOut));
    });
}

/// RFC 9293 §3.10.8 asks for no RST, whether somebody is left to be told or not.
#[test]
#[covers("MUST-21", "UT-1")]
fn the_user_timeout_is_silent() {
    Setup::each(|setup| {
        for let_go in [false, true] {
            let timeout = 5 * SEC;
            let mut peer = Peer::open(
                &setup
                    .clone()
                    .options(|options| options.user_timeout = Some(timeout)),
            );
            peer.write(1_000);
            if let_go {
                peer.tcp.release(peer.now, peer.id);
            }
            let sent = peer.run(6 * SEC);
            assert!(sent.iter().all(|sent| !sent.has(Flags::RST)), "{sent:?}");
            assert_eq!(peer.tcp.connection_count(), usize::from(!let_go));
        }
    });
}

/// The retransmission timer does not come into it: with an RTO of a minute, five seconds are five
/// seconds.
#[test]
#[covers("MUST-21", "UT-1")]
fn the_user_timeout_does_not_wait_for_a_retransmission() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        for n in 1..6 {
            peer.write(1_000);
            peer.now += 30 * SEC;
            peer.ack(1 + 1_000 * n);
        }
        peer.set(|options| options.user_timeout = Some(5 * SEC));
        peer.take();
        peer.write(1_000);
        assert_eq!(peer.run(4_990 * MS).len(), 1, "no retransmission");
        assert_eq!(end(&peer), None);
        peer.run(20 * MS);
        assert_eq!(end(&peer), Some(CloseReason::TimedOut));
    });
}

#[test]
fn a_user_timeout_of_zero_is_none() {
    let mut peer = Peer::open(
        &Setup::new(false, 1).options(|options| options.user_timeout = Some(Duration::ZERO)),
    );
    peer.write(1_000);
    peer.run(10 * SEC);
    assert_eq!(end(&peer), None);
}

/// Progress starts it anew; a peer that answers, but takes nothing, does not.
#[test]
#[covers("MUST-21", "UT-1")]
fn a_shut_window_counts_against_the_user_timeout() {
    Setup::each(|setup| {
        let timeout = 5 * SEC;
        let mut peer = Peer::open(&setup.options(|options| options.user_timeout = Some(timeout)));
        peer.write(2_000);
        peer.run(MS);
        peer.win = 1_000;
        peer.now += 3 * SEC;
        peer.ack(1_001);
        peer.now += 3 * SEC;
        peer.win = 0;
        peer.ack(2_001);
        peer.write(2_000);
        let start = peer.now;
        while end(&peer).is_none() {
            peer.run_until_sent(SEC);
            peer.now += 10 * MS;
            peer.ack(2_001);
        }
        let waited = peer.now - start;
        assert!(
            waited >= timeout && waited <= timeout + 20 * MS,
            "{waited:?}"
        );
    });
}

#[test]
#[covers("MAY-5", "MUST-24", "MUST-25")]
fn keep_alive_is_off_by_default_and_on_by_request() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.take();
        assert!(peer.run(24 * HOUR).is_empty());
        assert_eq!(peer.state(), State::Established);
        peer.set(|options| options.keepalive = Some(Keepalive::default()));
        // Idle for a day already: the first probe is due.
        assert_eq!(texts(&peer.run(74 * SEC)), [(0, 0)]);
        assert_eq!(texts(&peer.run(2 * SEC)), [(0, 0)]);
    });
}

#[test]
#[covers("MUST-26", "MUST-27", "MUST-28")]
fn keep_alive_waits_for_two_hours_of_silence() {
    Setup::each(|setup| {
        let keepalive = Some(Keepalive::default());
        let setup = setup.options(|options| options.keepalive = keepalive);
        let mut peer = Peer::open(&setup);
        peer.take();
        assert!(peer.run(7_199 * SEC).is_empty());
        // Traffic, and the time begins anew.
        peer.recv(peer.segment(Flags::PSH, 1, 1, 10));
        peer.run(SEC);
        assert!(peer.run(7_198 * SEC).is_empty());
        assert_eq!(texts(&peer.run(2 * SEC)), [(0, 0)]);
        // Not while something is outstanding: that is probed for by its retransmission.
        peer.recv(peer.segment(Flags::NONE, 11, 1, 0));
        peer.run(7_199 * SEC);
        peer.write(10);
        peer.take();
        let sent = peer.run(10 * SEC);
        assert!(!sent.is_empty());
        assert!(sent.iter().all(|sent| sent.seq == 1), "{:?}", texts(&sent));
    });
}

/// The interval is the application's.
#[test]
#[covers("MUST-27", "MUST-29")]
fn one_lost_answer_is_no_death_but_all_are() {
    Setup::each(|setup| {
        let keepalive = Keepalive {
            idle: 10 * SEC,
            interval: 3 * SEC,
            count: 9,
        };
        let mut peer = Peer::open(&setup.options(|options| options.keepalive = Some(keepalive)));
        peer.take();
        assert_eq!(texts(&peer.run(10_010 * MS)), [(0, 0)]);
        assert_eq!(
            texts(&peer.run(3 * SEC)),
            [(0, 0)],
            "the first answer was lost"
        );
        peer.recv(peer.segment(Flags::NONE, 1, 1, 0));
        assert!(peer.run(9 * SEC).is_empty());
        let probes = peer.run(SEC + 8 * keepalive.interval + 10 * MS);
        assert_eq!(probes.len(), 9);
        assert_eq!(end(&peer), None);
        let last = peer.run(keepalive.interval);
        assert_eq!(last.len(), 1);
        assert!(last[0].has(Flags::RST));
        assert_eq!(end(&peer), Some(CloseReason::TimedOut));
    });
}

#[test]
#[covers("SHLD-12", "MAY-6")]
fn a_probe_is_old_news_without_a_byte() {
    Setup::each(|setup| {
        let keepalive = Some(Keepalive::default());
        let mut peer = Peer::open(&setup.options(|options| options.keepalive = keepalive));
        peer.write(500);
        peer.ack(501);
        peer.take();
        let probe = &peer.run(2 * HOUR + SEC)[0];
        assert_eq!((probe.seq, probe.len), (500, 0), "SND.NXT-1");
        assert_eq!((probe.ack, probe.flags), (1, Flags::ACK));
    });
}

/// What is not acceptable may come from anybody, and says nothing of the peer.
#[test]
#[covers("MUST-26", "MUST-29")]
fn only_acceptable_segments_are_a_sign_of_life() {
    Setup::each(|setup| {
        let keepalive = Keepalive {
            idle: 10 * SEC,
            interval: 3 * SEC,
            count: 3,
        };
        let mut peer = Peer::open(&setup.options(|options| options.keepalive = Some(keepalive)));
        peer.take();
        let (start, mut probes) = (peer.now, 0);
        while end(&peer).is_none() {
            assert!(peer.now - start < 25 * SEC);
            for foul in [
                peer.segment(Flags::SYN, 1, 1, 0),
                peer.segment(Flags::RST, 5, 1, 0),
                peer.segment(Flags::NONE, -70_000, 1, 0),
                peer.segment(Flags::NONE, 1, 70_000, 0),
            ] {
                peer.recv(foul);
            }
            let sent = peer.run(SEC);
            probes += sent.iter().filter(|sent| sent.seq == 0).count();
        }
        assert_eq!(probes, 3);
    });
}

/// As on Linux, a user timeout takes the place of the number of probes.
#[test]
#[covers("MUST-21")]
fn a_user_timeout_bounds_keep_alive() {
    let keepalive = Keepalive {
        idle: 10 * SEC,
        interval: 3 * SEC,
        count: 9,
    };
    let mut peer = Peer::open(&Setup::new(false, 1).options(|options| {
        options.keepalive = Some(keepalive);
        options.user_timeout = Some(15 * SEC);
    }));
    peer.run(15_900 * MS);
    assert_eq!(end(&peer), None);
    peer.run(200 * MS);
    assert_eq!(end(&peer), Some(CloseReason::TimedOut));
}
