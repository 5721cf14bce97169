//! LISTEN and CLOSED: what a segment without a connection gets (RFC 9293 §3.10.7.1–2), and how many
//! handshakes there may be.

use bytes::Bytes;
use covers::covers;
use ustack_tcp::{
    CloseReason, Config, Dropped, Flags, ListenError, ListenOptions, Options, SocketOptions, State,
};

use crate::host::{Host, MS, Peer, SEC, SYN_ACK, each, each_with};

/// What a segment is to be answered with.
#[derive(Debug, PartialEq, Eq)]
enum Expected {
    Nothing,
    /// RST with the sequence number that was acknowledged.
    Reset,
    SynAck,
}

/// RFC 9293 §3.10.7.2, in its order.
fn in_listen(flags: Flags) -> Expected {
    if flags.contains(Flags::RST) {
        Expected::Nothing
    } else if flags.contains(Flags::ACK) {
        Expected::Reset
    } else if flags.contains(Flags::SYN) {
        Expected::SynAck
    } else {
        Expected::Nothing
    }
}

#[test]
#[covers("SM-2")]
fn listen_answers_each_of_the_64_combinations_of_flags() {
    for bits in 0..64 {
        let flags = Flags(bits);
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            let mut segment = peer.segment(flags, 0, 0, 0);
            segment.ack = ustack_tcp::seq::WireSeq(77);
            if flags.contains(Flags::SYN) {
                segment.options = Options::Syn(peer.syn);
            }
            let _ = host.recv(&peer, segment);
            match in_listen(flags) {
                Expected::Nothing => host.none(),
                Expected::Reset => {
                    let reset = host.one();
                    assert_eq!((reset.flags, reset.seq.0), (Flags::RST, 77), "{bits:#x}");
                }
                Expected::SynAck => {
                    let answer = host.one();
                    peer.note(&answer);
                    assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0), "{bits:#x}");
                    assert_eq!(host.state(&peer), State::SynReceived);
                    // The handshake completes, so a FIN beside SYN was not taken.
                    host.recv(&peer, peer.ack()).unwrap();
                    assert!(host.tcp.accept(listener).is_some());
                    return;
                }
            }
            assert_eq!(host.state(&peer), State::Closed, "{bits:#x}");
        });
    }
}

#[test]
#[covers("SM-1")]
fn nobody_s_segments_get_the_reset_they_deserve() {
    for bits in 0..64 {
        let flags = Flags(bits);
        for len in [0, 10] {
            each(|mut host| {
                let peer = host.peer();
                let mut segment = peer.segment(flags, 5, 0, len);
                segment.ack = ustack_tcp::seq::WireSeq(77);
                let end = segment.seq.wrapping_add(segment.len());
                if flags.contains(Flags::SYN) {
                    segment.options = Options::Syn(peer.syn);
                }
                let done = host.recv(&peer, segment);
                assert_eq!(done, Err(Dropped::NoSocket));
                if flags.contains(Flags::RST) {
                    return host.none();
                }
                let reset = host.one();
                if flags.contains(Flags::ACK) {
                    assert_eq!((reset.flags, reset.seq.0), (Flags::RST, 77));
                } else {
                    assert_eq!(reset.flags, Flags::RST | Flags::ACK);
                    assert_eq!((reset.seq.0, reset.ack), (0, end));
                }
                assert_eq!(reset.window.0, 0);
                assert_eq!(reset.options, Options::none());
            });
        }
    }
}

#[test]
#[covers("MUST-41")]
fn a_second_listener_at_an_address_changes_nothing_for_the_first() {
    each(|mut host| {
        let first = host.listen(|_| {});
        let mut waiting = host.nth_peer(1);
        host.syn(&mut waiting);
        let again = host.tcp.listen(ListenOptions::new(host.local()));
        assert_eq!(again, Err(ListenError::AddrInUse));
        host.recv(&waiting, waiting.ack()).unwrap();
        assert!(host.tcp.accept(first).is_some());
        host.open(first, &mut host.nth_peer(2));
    });
}

#[test]
#[covers("MUST-42")]
fn a_port_that_is_connecting_may_listen() {
    each(|mut host| {
        let (mut out, mut crossed) = (host.nth_peer(1), host.nth_peer(2));
        host.connect(&mut out, SocketOptions::default());
        host.connect(&mut crossed, SocketOptions::default());
        host.recv(&crossed, crossed.syn_segment()).unwrap();
        assert!(host.one().has(SYN_ACK));
        assert_eq!(host.state(&out), State::SynSent);
        assert_eq!(host.state(&crossed), State::SynReceived);

        let listener = host.listen(|_| {});
        host.open(listener, &mut host.nth_peer(3));
        for peer in [&out, &crossed] {
            let _ = host.recv(peer, peer.syn_ack(0));
            assert_eq!(host.state(peer), State::Established);
        }
    });
}

/// A peer of its own for each number: another address and port.
fn spoofed(host: &Host, n: u32) -> Peer {
    let mut peer = host.nth_peer((n % 60_000) as u16 + 1);
    peer.flow.remote =
        crate::host::address(host.ipv6, (n / 60_000) as u16 + 2, peer.flow.remote.port());
    peer.isn = ustack_tcp::seq::WireSeq(n.wrapping_mul(0x9e37_79b9));
    peer
}

#[test]
#[covers("SY-1")]
fn a_million_spoofed_syns_leave_as_many_records_as_are_allowed() {
    for (ipv6, cookies, syns) in [(false, true, 1_000_000), (true, false, 200_000)] {
        let mut config = Config::default();
        (config.max_syn_backlog, config.syn_cookies) = (500, cookies);
        let mut host = Host::new(ipv6, 0, &config);
        let listener = host.listen(|_| {});
        for n in 0..syns {
            let peer = spoofed(&host, n);
            let (done, answers) = host.flood(&peer, peer.syn_segment());
            assert_eq!((done, answers.len()), (Ok(()), 1));
            assert!(host.tcp.connection_count() <= 500);
        }
        assert_eq!(host.tcp.backlog(listener), Some((500, 0)));
        host.take();
        // Without cookies the newest are those that are remembered.
        let newest = spoofed(&host, syns - 1);
        let state = host.state(&newest);
        assert_eq!(state == State::SynReceived, !cookies);
        let counters = host.tcp.counters();
        let (sent, dropped) = (counters.syncookies_sent, counters.req_q_full_drop);
        assert_eq!(if cookies { sent } else { dropped }, u64::from(syns) - 500);
        // In three minutes all is gone.
        host.pass(180 * SEC);
        assert_eq!(host.tcp.connection_count(), 0);
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
    }
}

#[test]
#[covers("SY-1")]
fn the_oldest_handshake_makes_room_where_cookies_are_off() {
    let mut config = Config::default();
    (config.max_syn_backlog, config.syn_cookies) = (2, false);
    each_with(&config, |mut host| {
        let listener = host.listen(|_| {});
        let mut peers: Vec<_> = (1..=3).map(|port| host.nth_peer(port)).collect();
        for peer in &mut peers {
            host.syn(peer);
        }
        // The first one's ACK finds nobody.
        host.recv(&peers[0], peers[0].ack()).unwrap_err();
        assert!(host.one().has(Flags::RST));
        for peer in &peers[1..] {
            host.recv(peer, peer.ack()).unwrap();
            assert!(host.tcp.accept(listener).is_some());
        }
    });
}

#[test]
#[covers("SY-4")]
fn a_syn_ack_is_sent_six_times_at_most() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        let start = host.now;
        host.syn(&mut peer);
        host.pass(180 * SEC);
        let sent = host.take();
        let times: Vec<_> = sent.iter().map(|(at, _)| (*at - start).as_secs()).collect();
        assert_eq!(times, [1, 3, 7, 15, 31]);
        assert!(sent.iter().all(|(_, segment)| segment.has(SYN_ACK)));
        assert_eq!(host.state(&peer), State::Closed);
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
    });
}

#[test]
#[covers("SY-4")]
fn a_handshake_that_finds_the_queue_full_is_tried_again() {
    each(|mut host| {
        let listener = host.listen(|options| options.backlog = 2);
        let mut peers: Vec<_> = (1..=3).map(|port| host.nth_peer(port)).collect();
        for peer in &mut peers {
            host.syn(peer);
        }
        for (n, peer) in peers.iter().enumerate() {
            let done = host.recv(peer, peer.ack());
            assert_eq!(done.is_ok(), n < 2);
        }
        host.none();
        assert_eq!(host.tcp.counters().listen_overflows, 1);
        assert_eq!(host.state(&peers[2]), State::SynReceived);
        // A new SYN gets no answer now.
        let late = host.nth_peer(4);
        assert_eq!(
            host.recv(&late, late.syn_segment()),
            Err(Dropped::BacklogFull)
        );
        host.none();
        // Once there is room, the repeated SYN,ACK brings the third connection.
        assert!(host.tcp.accept(listener).is_some());
        host.pass(SEC + MS);
        assert!(host.one().has(SYN_ACK));
        host.recv(&peers[2], peers[2].ack()).unwrap();
        assert!(host.tcp.accept(listener).is_some());
        assert!(host.tcp.accept(listener).is_some());
        assert_eq!(host.tcp.backlog(listener), Some((0, 0)));
        // Only what was accepted is left.
        assert_eq!(host.tcp.connection_count(), 3);
    });
}

#[test]
fn closing_a_listener_resets_what_it_has() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peers: Vec<_> = (1..=2).map(|port| host.nth_peer(port)).collect();
        for peer in &mut peers {
            host.syn(peer);
        }
        host.recv(&peers[0], peers[0].ack()).unwrap();
        host.tcp.close_listener(host.now, listener);
        let reset = host.one();
        assert_eq!(reset.ack, peers[0].isn.wrapping_add(1));
        assert!(reset.has(Flags::RST));
        assert_eq!(host.tcp.connection_count(), 0);
        // The other peer hears of it when it says something.
        let _ = host.recv(&peers[1], peers[1].ack());
        assert!(host.one().has(Flags::RST));
    });
}

/// `TCP_DEFER_ACCEPT`: data opens the connection, or patience.
#[test]
fn a_deferred_connection_waits_for_data() {
    each(|mut host| {
        let wait = |options: &mut ListenOptions| options.socket.defer_accept = Some(3 * SEC);
        let listener = host.listen(wait);
        let (mut talks, mut silent) = (host.nth_peer(1), host.nth_peer(2));
        for peer in [&mut talks, &mut silent] {
            host.syn(peer);
            host.recv(peer, peer.ack()).unwrap();
        }
        host.none();
        assert!(host.tcp.accept(listener).is_none());
        assert_eq!(host.tcp.counters().defer_accept_drop, 2);
        host.recv(&talks, talks.segment(Flags::ACK | Flags::PSH, 1, 1, 100))
            .unwrap();
        let (id, _) = host.tcp.accept(listener).unwrap();
        assert_eq!(host.read(id), 100);
        // The other one is asked again when the time is over.
        host.pass(100 * MS);
        host.take();
        host.pass(2890 * MS);
        host.none();
        host.pass(20 * MS);
        assert!(host.one().has(SYN_ACK));
        host.recv(&silent, silent.ack()).unwrap();
        assert!(host.tcp.accept(listener).is_some());
    });
}

/// Each segment that arrives is accepted, or dropped for one reason that has a counter.
#[test]
fn packets_in_are_the_sum_of_their_outcomes() {
    each(|mut host| {
        let listener = host.listen(|options| options.backlog = 3);
        let mut n = 0x1234_5678_u32;
        let mut random = |limit: u32| {
            n = n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (n >> 8) % limit
        };
        let mut expected = std::collections::BTreeMap::<Dropped, u64>::new();
        let mut accepted = 0;
        for _ in 0..5_000 {
            let mut peer = host.nth_peer(random(6) as u16 + 1);
            peer.ours = ustack_tcp::seq::WireSeq(random(u32::MAX));
            let flags = Flags(random(512) as u16);
            let mut segment = peer.segment(flags, random(20) as i32 - 5, 1, random(3) as usize);
            if flags.contains(Flags::SYN) {
                segment.options = Options::Syn(peer.syn);
            }
            match host.recv(&peer, segment) {
                Ok(()) => accepted += 1,
                Err(reason) => *expected.entry(reason).or_default() += 1,
            }
            for (_, answer) in host.take() {
                if answer.has(SYN_ACK) {
                    peer.note(&answer);
                    match host.recv(&peer, peer.ack()) {
                        Ok(()) => accepted += 1,
                        Err(reason) => *expected.entry(reason).or_default() += 1,
                    }
                }
            }
            host.take();
            if random(10) == 0
                && let Some((id, _)) = host.tcp.accept(listener)
            {
                host.tcp.release(host.now, id);
            }
            host.pass(50 * MS);
            host.take();
        }
        let counters = *host.tcp.counters();
        assert_eq!(counters.accepted(), accepted);
        for reason in Dropped::ALL {
            let wanted = expected.get(&reason).copied().unwrap_or(0);
            assert_eq!(counters.dropped_for(reason), wanted, "{reason:?}");
        }
        let sum: u64 = Dropped::ALL
            .iter()
            .map(|&reason| counters.dropped_for(reason))
            .sum();
        assert_eq!(counters.in_segs, accepted + sum);
        assert!(
            accepted > 100 && expected.len() >= 5,
            "{accepted} {expected:?}"
        );
    });
}

#[test]
#[covers("MUST-12")]
fn the_application_is_told_how_a_connection_ended() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let (mut fins, mut resets) = (host.nth_peer(1), host.nth_peer(2));
        let fin = host.open(listener, &mut fins);
        let reset = host.open(listener, &mut resets);
        host.recv(&fins, fins.segment(Flags::ACK | Flags::FIN, 1, 1, 0))
            .unwrap();
        let read = host.tcp.read(host.now, fin, 10);
        assert_eq!(read, Ok(ustack_tcp::Read::Eof));
        let _ = host.recv(&resets, resets.segment(Flags::RST, 1, 0, 0));
        let read = host.tcp.read(host.now, reset, 10);
        assert_eq!(
            read,
            Err(ustack_tcp::SocketError::Closed(CloseReason::Reset))
        );
        assert_eq!(host.closed(reset), Some(CloseReason::Reset));
        assert_eq!(host.closed(fin), None);
    });
}

#[test]
#[covers("SHLD-2")]
fn a_reset_may_bring_text() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        let id = host.open(listener, &mut peer);
        let _ = host.recv(&peer, peer.segment(Flags::RST | Flags::ACK, 1, 1, 50));
        host.none();
        assert_eq!(host.closed(id), Some(CloseReason::Reset));
        // Its text is no data.
        let read = host.tcp.read(host.now, id, 100);
        assert_eq!(
            read,
            Err(ustack_tcp::SocketError::Closed(CloseReason::Reset))
        );
    });
}

#[test]
#[covers("MAY-1", "SHLD-3")]
fn closing_with_unread_data_resets() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let (mut unread, mut late) = (host.nth_peer(1), host.nth_peer(2));
        let id = host.open(listener, &mut unread);
        host.recv(&unread, unread.segment(Flags::ACK | Flags::PSH, 1, 1, 100))
            .unwrap();
        host.tcp.release(host.now, id);
        let reset = host.one();
        assert!(reset.has(Flags::RST) && !reset.has(Flags::FIN));
        assert_eq!(host.state(&unread), State::Closed);

        let id = host.open(listener, &mut late);
        host.tcp
            .write(host.now, id, &Bytes::from_static(b"bye"))
            .unwrap();
        host.tcp.release(host.now, id);
        let sent = host.take();
        assert!(sent.iter().all(|(_, segment)| !segment.has(Flags::RST)));
        let _ = host.recv(&late, late.segment(Flags::ACK | Flags::PSH, 1, 1, 100));
        assert!(
            host.take()
                .iter()
                .any(|(_, segment)| segment.has(Flags::RST))
        );
        assert_eq!(host.state(&late), State::Closed);
    });
}
