//! Handshakes: SYN-SENT and SYN-RECEIVED at the wire (RFC 9293 §3.5, §3.10.7.3–4).

use covers::covers;
use ustack_tcp::seq::WireSeq;
use ustack_tcp::testing::pattern;
use ustack_tcp::time::Duration;
use ustack_tcp::{
    CloseReason, Config, Dropped, Event, Flags, IcmpError, Options, SocketOptions, State,
};

use crate::host::{Host, MS, SEC, SYN_ACK, each, each_with};

fn plain() -> SocketOptions {
    SocketOptions::default()
}

#[test]
#[covers("MUST-10")]
fn both_ends_may_open_at_once() {
    each(|mut host| {
        let mut peer = host.peer();
        let (id, syn) = host.connect(&mut peer, plain());
        host.recv(&peer, peer.syn_segment()).unwrap();
        let answer = host.one();
        assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0));
        assert_eq!(answer.seq, syn.seq, "the same ISN");
        assert_eq!(host.state(&peer), State::SynReceived);
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        assert_eq!(host.state(&peer), State::Established);
        assert!(host.events.contains(&Event::Connected(id)));
        host.tcp.write(host.now, id, &pattern(0, 10)).unwrap();
        assert_eq!(peer.relative(&host.one()).3, 10);
    });
}

#[test]
#[covers("MUST-11")]
fn a_reset_in_syn_received_tells_only_who_asked() {
    each(|mut host| {
        // Passive: back to LISTEN, and the application hears nothing.
        let listener = host.listen(|_| {});
        let mut passive = host.nth_peer(1);
        host.syn(&mut passive);
        let _ = host.recv(&passive, passive.segment(Flags::RST, 1, 0, 0));
        host.none();
        assert_eq!(host.state(&passive), State::Closed);
        assert!(!host.events.contains(&Event::Accepted(listener)));
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
        host.open(listener, &mut passive);

        // Active: refused.
        let mut active = host.nth_peer(2);
        let (id, _) = host.connect(&mut active, plain());
        host.recv(&active, active.syn_segment()).unwrap();
        host.one();
        let _ = host.recv(&active, active.segment(Flags::RST, 1, 0, 0));
        assert_eq!(host.closed(id), Some(CloseReason::Refused));
    });
}

#[test]
#[covers("SM-3")]
fn syn_sent_takes_nothing_but_what_answers_its_syn() {
    for (flags, ack, reset) in [
        (SYN_ACK, 0, true),
        (SYN_ACK, 2, true),
        (SYN_ACK, -1, true),
        (Flags::ACK, 0, true),
        (Flags::ACK, 2, true),
        (Flags::ACK | Flags::RST, 0, false),
        (Flags::ACK | Flags::RST, 2, false),
        (Flags::RST, 0, false),
        (Flags::ACK, 1, false),
        (Flags::ACK | Flags::FIN, 1, false),
        (Flags::FIN, 0, false),
        (Flags::NONE, 0, false),
        (Flags::SYN | Flags::RST, 0, false),
    ] {
        each(|mut host| {
            let mut peer = host.peer();
            host.connect(&mut peer, plain());
            let mut segment = peer.segment(flags, 0, ack, 0);
            if flags.contains(Flags::SYN) {
                segment.options = Options::Syn(peer.syn);
            }
            let acked = segment.ack;
            host.recv(&peer, segment).unwrap_err();
            if reset {
                let answer = host.one();
                assert_eq!((answer.flags, answer.seq), (Flags::RST, acked));
            } else {
                host.none();
            }
            assert_eq!(host.state(&peer), State::SynSent, "{flags:?} ack {ack}");
            host.pass(SEC + MS);
            assert_eq!(host.one().flags, Flags::SYN, "still asks");
            host.recv(&peer, peer.syn_ack(0)).unwrap();
            assert_eq!(host.state(&peer), State::Established);
        });
    }
}

#[test]
#[covers("BL-7")]
fn a_reset_of_a_syn_needs_the_exact_ack() {
    for (ack, refused) in [
        (1, true),
        (0, false),
        (2, false),
        (-5000, false),
        (i32::MIN, false),
    ] {
        each(|mut host| {
            let mut peer = host.peer();
            let (id, _) = host.connect(&mut peer, plain());
            let _ = host.recv(&peer, peer.segment(Flags::RST | Flags::ACK, 0, ack, 0));
            host.none();
            assert_eq!(
                host.closed(id),
                refused.then_some(CloseReason::Refused),
                "{ack}"
            );
        });
    }
    // Once the peer's numbers are known, those count, too.
    for (seq, refused) in [(1, true), (0, false), (2, false), (70_000, false)] {
        each(|mut host| {
            let mut peer = host.peer();
            let (id, _) = host.connect(&mut peer, plain());
            host.recv(&peer, peer.syn_segment()).unwrap();
            host.one();
            let _ = host.recv(&peer, peer.segment(Flags::RST | Flags::ACK, seq, 1, 0));
            assert_eq!(
                host.closed(id),
                refused.then_some(CloseReason::Refused),
                "{seq}"
            );
        });
    }
}

#[test]
#[covers("SM-7")]
fn an_ack_of_something_else_in_syn_received_is_reset() {
    for ack in [0, 2, -1, 70_000, i32::MIN] {
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            host.syn(&mut peer);
            let segment = peer.segment(Flags::ACK, 1, ack, 0);
            let acked = segment.ack;
            assert_eq!(host.recv(&peer, segment), Err(Dropped::BadAck));
            let reset = host.one();
            assert_eq!((reset.flags, reset.seq), (Flags::RST, acked));
            // The handshake is not harmed by it.
            host.recv(&peer, peer.ack()).unwrap();
            assert!(host.tcp.accept(listener).is_some());
        });
    }
}

/// First the sequence number, then RST, then SYN, then ACK (RFC 9293 §3.10.7.4).
#[test]
#[covers("SM-7")]
fn syn_received_checks_the_sequence_number_first() {
    // Outside the window whatever the segment says is answered with an ACK, or with nothing.
    for (flags, seq, ack, answered) in [
        (Flags::ACK, 70_000, 99, true),
        (Flags::ACK, -10, 1, true),
        (Flags::NONE, 70_000, 0, true),
        (Flags::ACK | Flags::FIN, 70_000, 1, true),
        (Flags::RST, 70_000, 0, false),
        (Flags::RST | Flags::ACK, 0, 1, false),
        (Flags::SYN, 70_000, 0, true),
        (SYN_ACK, -10, 1, true),
        // In the window: a RST off the mark is challenged (RFC 5961 §3.2).
        (Flags::RST, 2, 0, true),
        // No ACK: dropped.
        (Flags::NONE, 1, 0, false),
        (Flags::FIN, 1, 0, false),
    ] {
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            host.syn(&mut peer);
            let mut segment = peer.segment(flags, seq, ack, 0);
            if flags.contains(Flags::SYN) {
                segment.options = Options::Syn(peer.syn);
            }
            host.recv(&peer, segment).unwrap_err();
            if answered {
                let answer = host.one();
                assert_eq!(
                    peer.relative(&answer),
                    (Flags::ACK, 1, 1, 0),
                    "{flags:?} {seq}"
                );
            } else {
                host.none();
            }
            assert_eq!(host.state(&peer), State::SynReceived);
            host.recv(&peer, peer.ack()).unwrap();
            assert!(host.tcp.accept(listener).is_some());
        });
    }
}

/// A SYN in the window: the peer begins anew, so the listener does, too (fourth of §3.10.7.4).
#[test]
#[covers("MUST-11")]
fn a_new_syn_in_the_window_returns_to_listen() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        host.syn(&mut peer);
        let mut again = peer.clone();
        again.isn = WireSeq(peer.isn.0.wrapping_add(5_000));
        let _ = host.recv(&again, again.syn_segment());
        host.none();
        assert_eq!(host.state(&peer), State::Closed);
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
        host.open(listener, &mut again);
    });
}

#[test]
#[covers("SM-16")]
fn a_syn_again_is_answered_again() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer().with_timestamps(10);
        let first = host.syn(&mut peer);
        host.pass(500 * MS);
        peer.syn.timestamps.as_mut().unwrap().tsval = 510;
        host.recv(&peer, peer.syn_segment()).unwrap();
        let again = host.one();
        assert_eq!(
            (again.seq, again.ack, again.flags),
            (first.seq, first.ack, SYN_ACK)
        );
        assert_eq!(again.options.timestamps().unwrap().tsecr, 510);
        host.recv(&peer, peer.ack()).unwrap();
        assert!(host.tcp.accept(listener).is_some());
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
    });
}

#[test]
#[covers("RT-1", "MUST-22", "MUST-23")]
fn a_syn_is_repeated_for_more_than_three_minutes() {
    each(|mut host| {
        let mut peer = host.peer();
        let start = host.now;
        let (id, _) = host.connect(&mut peer, plain());
        let mut times = Vec::new();
        while host.closed(id).is_none() {
            host.pass(100 * MS);
            times.extend(host.take().iter().map(|(at, segment)| {
                assert_eq!((segment.flags, segment.seq), (Flags::SYN, peer.ours));
                (*at - start).as_millis()
            }));
        }
        let wanted = [1, 3, 7, 15, 31, 63, 127].map(|seconds| seconds * 1000);
        assert_eq!(times.len(), wanted.len());
        for (got, wanted) in times.iter().zip(wanted) {
            assert!(got.abs_diff(wanted) <= 2, "{times:?}");
        }
        assert_eq!(host.closed(id), Some(CloseReason::TimedOut));
        let gave_up = host.now - start;
        assert!(gave_up >= 180 * SEC && gave_up <= 300 * SEC, "{gave_up:?}");
        assert_eq!(host.tcp.connection_count(), 0);
    });
}

#[test]
#[covers("MUST-22")]
fn the_application_may_ask_for_less() {
    each(|mut host| {
        let mut peer = host.peer();
        let options = SocketOptions {
            user_timeout: Some(5 * SEC),
            ..plain()
        };
        let (id, _) = host.connect(&mut peer, options);
        host.pass(4_990 * MS);
        assert_eq!(host.closed(id), None);
        host.pass(20 * MS);
        assert_eq!(host.closed(id), Some(CloseReason::TimedOut));
        assert_eq!(host.take().len(), 2);

        let options = SocketOptions {
            syn_retries: Some(1),
            ..plain()
        };
        let (id, _) = host.connect(&mut peer, options);
        host.pass(10 * SEC);
        assert_eq!(host.take().len(), 1);
        assert_eq!(host.closed(id), Some(CloseReason::TimedOut));

        // The same once SYNs have crossed.
        let mut crossed = host.nth_peer(6000);
        let options = SocketOptions {
            user_timeout: Some(5 * SEC),
            ..plain()
        };
        let (id, _) = host.connect(&mut crossed, options);
        host.recv(&crossed, crossed.syn_segment()).unwrap();
        host.pass(4_990 * MS);
        assert_eq!(host.closed(id), None);
        host.pass(20 * MS);
        assert_eq!(host.closed(id), Some(CloseReason::TimedOut));
    });
}

/// Loses the first `lost` of our SYNs, then opens; the connection, with `len` bytes to send.
fn open_after(host: &mut Host, lost: u32, len: usize) -> usize {
    let mut peer = host.peer();
    let (id, _) = host.connect(&mut peer, plain());
    for n in 0..lost {
        host.pass((SEC + MS) * (1 << n));
        assert!(host.one().has(Flags::SYN));
    }
    host.pass(50 * MS);
    host.recv(&peer, peer.syn_ack(0)).unwrap();
    host.one();
    host.tcp.write(host.now, id, &pattern(0, len)).unwrap();
    host.take().len()
}

#[test]
#[covers("CC-2")]
fn a_handshake_that_lost_two_syns_starts_with_one_segment() {
    each(|host| {
        for (lost, first_flight) in [(0, 10), (1, 10), (2, 1), (3, 1)] {
            let mut host = Host::new(host.ipv6, host.isn, &Config::default());
            assert_eq!(
                open_after(&mut host, lost, 30_000),
                first_flight,
                "{lost} lost"
            );
        }
        // And SYN,ACKs alike.
        for (lost, first_flight) in [(1, 10), (2, 1)] {
            let mut host = Host::new(host.ipv6, host.isn, &Config::default());
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            host.syn(&mut peer);
            for n in 0..lost {
                host.pass((SEC + MS) * (1 << n));
                assert!(host.one().has(SYN_ACK));
            }
            host.recv(&peer, peer.ack()).unwrap();
            let (id, _) = host.tcp.accept(listener).unwrap();
            host.tcp.write(host.now, id, &pattern(0, 30_000)).unwrap();
            assert_eq!(host.take().len(), first_flight);
        }
    });
}

#[test]
#[covers("RT-9")]
fn after_a_lost_syn_data_waits_three_seconds() {
    each(|host| {
        for (lost, rto) in [(0, 250), (1, 3_000)] {
            let mut host = Host::new(host.ipv6, host.isn, &Config::default());
            assert_eq!(open_after(&mut host, lost, 100), 1);
            let start = host.now;
            let mut waited = Duration::ZERO;
            while host.take().is_empty() && waited < 10 * SEC {
                host.pass(10 * MS);
                waited = host.now - start;
            }
            assert!(
                waited.abs_diff(rto * MS) <= 20 * MS,
                "{lost} lost: {waited:?}"
            );
        }
    });
}

/// The only round trip so far was that of a SYN sent twice, and says nothing: the probe of the tail
/// comes after a second, the timeout three seconds after it.
#[test]
#[covers("TL-1", "RT-9", "RT-6")]
fn without_a_sample_the_tail_is_probed_after_a_second() {
    each(|mut host| {
        let mut peer = host.peer();
        peer.syn.sack_permitted = true;
        let (id, _) = host.connect(&mut peer, plain());
        host.pass(SEC + MS);
        assert!(host.one().has(Flags::SYN));
        host.pass(50 * MS);
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        host.one();
        assert_eq!(host.tcp.info(host.now, id).unwrap().rtt, None);
        let start = host.now;
        host.tcp.write(host.now, id, &pattern(0, 100)).unwrap();
        host.one();
        host.pass(5 * SEC);
        let again = host.take();
        assert_eq!(again.len(), 2, "{again:?}");
        for ((at, segment), wanted) in again.iter().zip([SEC, 4 * SEC]) {
            assert_eq!(peer.relative(segment).1, 1);
            assert!(
                (*at - start).abs_diff(wanted) <= 5 * MS,
                "{:?}",
                *at - start
            );
        }
    });
}

/// Our SYN went out twice, the second time with an ACK: which of both the peer has acknowledged
/// nobody knows.
#[test]
#[covers("RT-6")]
fn crossed_syns_give_no_sample() {
    each(|mut host| {
        let mut peer = host.peer();
        let (id, _) = host.connect(&mut peer, plain());
        host.pass(300 * MS);
        host.recv(&peer, peer.syn_segment()).unwrap();
        assert!(host.one().has(SYN_ACK));
        host.pass(10 * MS);
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        assert_eq!(host.state(&peer), State::Established);
        assert_eq!(host.tcp.info(host.now, id).unwrap().rtt, None);
    });
}

#[test]
#[covers("SHLD-26", "BL-8")]
fn icmp_ends_an_attempt_if_it_quotes_our_syn() {
    for (error, reason) in [
        (IcmpError::PortUnreachable, Some(CloseReason::Refused)),
        (IcmpError::ProtocolUnreachable, Some(CloseReason::Refused)),
        (IcmpError::HostUnreachable, Some(CloseReason::Unreachable)),
        (IcmpError::NetUnreachable, Some(CloseReason::Unreachable)),
        (IcmpError::Prohibited, Some(CloseReason::Unreachable)),
        (IcmpError::TimeExceeded, None),
        (IcmpError::ParameterProblem, None),
        (IcmpError::PacketTooBig { mtu: 1300 }, None),
    ] {
        each(|mut host| {
            let mut peer = host.peer();
            let (id, syn) = host.connect(&mut peer, plain());
            for wrong in [1, 0u32.wrapping_sub(1), 70_000] {
                host.icmp(&peer, syn.seq.wrapping_add(wrong), error);
            }
            assert_eq!(host.closed(id), None, "forged");
            host.icmp(&peer, syn.seq, error);
            assert_eq!(host.closed(id), reason, "{error:?}");
            host.none();
            if reason.is_none() {
                host.recv(&peer, peer.syn_ack(0)).unwrap();
                assert_eq!(host.state(&peer), State::Established);
            }
        });
    }
}

#[test]
#[covers("SHLD-26")]
fn a_soft_error_explains_a_timeout() {
    each(|mut host| {
        let mut peer = host.peer();
        let (id, syn) = host.connect(&mut peer, plain());
        host.icmp(&peer, syn.seq, IcmpError::TimeExceeded);
        host.pass(300 * SEC);
        assert_eq!(host.closed(id), Some(CloseReason::Unreachable));
    });
}

#[test]
#[covers("SHLD-26")]
fn hard_errors_end_a_handshake_under_way_and_no_open_connection() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut half = host.nth_peer(1);
        host.syn(&mut half);
        host.icmp(&half, half.ours.wrapping_add(1), IcmpError::PortUnreachable);
        host.icmp(&half, half.ours, IcmpError::HostUnreachable);
        assert_eq!(host.state(&half), State::SynReceived);
        host.icmp(&half, half.ours, IcmpError::PortUnreachable);
        assert_eq!(host.state(&half), State::Closed);
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));

        let mut open = host.nth_peer(2);
        let id = host.open(listener, &mut open);
        host.tcp.write(host.now, id, &pattern(0, 100)).unwrap();
        host.one();
        host.icmp(&open, open.ours.wrapping_add(1), IcmpError::PortUnreachable);
        assert_eq!(host.state(&open), State::Established);
    });
}

#[test]
fn what_a_syn_ack_carries_is_delivered() {
    each(|mut host| {
        let mut peer = host.peer().with_timestamps(40);
        let (id, _) = host.connect(&mut peer, plain());
        let mut answer = peer.syn_ack(0);
        answer.payload = pattern(0, 300);
        answer.flags = answer.flags | Flags::FIN;
        host.recv(&peer, answer).unwrap();
        assert_eq!(host.one().ack, peer.isn.wrapping_add(302));
        assert_eq!(host.read(id), 300);
        assert_eq!(host.state(&peer), State::CloseWait);
    });
}

#[test]
fn answers_to_strangers_come_twice_a_second() {
    each_with(&Config::default(), |mut host| {
        host.listen(|_| {});
        let mut peer = host.peer();
        host.syn(&mut peer);
        for _ in 0..1_000 {
            let _ = host.recv(&peer, peer.segment(Flags::ACK, 70_000, 1, 0));
            let mut syn = peer.syn_segment();
            syn.seq = WireSeq(peer.isn.0.wrapping_add(80_000));
            let _ = host.recv(&peer, syn);
            host.now += MS;
        }
        let acks = host
            .take()
            .iter()
            .filter(|(_, s)| s.flags == Flags::ACK)
            .count();
        assert_eq!(acks, 2);
    });
}

/// RFC 4022's names for what becomes of connections.
#[test]
fn openings_and_endings_are_counted() {
    each_with(&Config::default(), |mut host| {
        let counts = |host: &Host| {
            let counters = host.tcp.counters();
            let opens = (counters.active_opens, counters.passive_opens);
            let ends = (counters.attempt_fails, counters.estab_resets);
            (opens, ends, counters.time_waits)
        };
        let listener = host.listen(|_| {});
        let [mut first, mut second, mut refused] = [1, 2, 3].map(|n| host.nth_peer(n));
        let id = host.open(listener, &mut first);
        assert_eq!(counts(&host), ((0, 1), (0, 0), 0));
        host.open(listener, &mut second);
        let reset = second.segment(Flags::RST, 1, 0, 0);
        assert_eq!(host.recv(&second, reset), Err(Dropped::Reset));
        assert_eq!(counts(&host), ((0, 2), (0, 1), 0));
        host.connect(&mut refused, SocketOptions::default());
        let reset = refused.segment(Flags::RST | Flags::ACK, 0, 1, 0);
        assert_eq!(host.recv(&refused, reset), Err(Dropped::Reset));
        assert_eq!(counts(&host), ((1, 2), (1, 1), 0));
        host.tcp.release(host.now, id);
        let fin = first.segment(Flags::FIN | Flags::ACK, 1, 2, 0);
        assert!(host.take().pop().unwrap().1.has(Flags::FIN));
        host.recv(&first, fin).unwrap();
        assert_eq!(counts(&host), ((1, 2), (1, 1), 1));
    });
}
