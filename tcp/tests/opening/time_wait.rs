//! TIME-WAIT: how long, what it answers, what ends it early (RFC 9293 §3.6.1, RFC 1337, RFC 6191).

use covers::covers;
use ustack_tcp::segment::{SegmentOptions, Timestamps};
use ustack_tcp::{
    Config, ConnectError, Ecn, Flags, ListenerId, Options, Pacing, Segment, SocketOptions, State,
};

use crate::host::{Host, MS, Peer, SEC, SYN_ACK, each, each_with};

/// The peer's last TSval in a connection with timestamps; its SYN had one less.
const LAST_TSVAL: u32 = 1_001;

/// A connection that this host closed first, in TIME-WAIT. RCV.NXT is 2, SND.NXT is 2. `held`: the
/// application still has its socket.
fn time_wait(host: &mut Host, peer: &mut Peer, listener: ListenerId, held: bool) {
    let id = host.open(listener, peer);
    if held {
        host.tcp.shutdown(host.now, id).unwrap();
    } else {
        host.tcp.release(host.now, id);
    }
    assert_eq!(
        peer.relative(&host.one()),
        (Flags::FIN | Flags::ACK, 1, 1, 0)
    );
    host.recv(peer, peer.segment(Flags::FIN | Flags::ACK, 1, 2, 0))
        .unwrap();
    assert_eq!(peer.relative(&host.one()), (Flags::ACK, 2, 2, 0));
    assert_eq!(host.state(peer), State::TimeWait);
}

/// Over both families, all ISNs, with and without the application's hold.
fn each_time_wait(timestamps: bool, config: &Config, test: impl Fn(Host, Peer)) {
    for held in [false, true] {
        each_with(config, |mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            if timestamps {
                peer = peer.with_timestamps(LAST_TSVAL - 1);
            }
            time_wait(&mut host, &mut peer, listener, held);
            test(host, peer);
        });
    }
}

/// A SYN of a new connection of this flow.
fn new_syn(peer: &Peer, seq: i32, tsval: Option<u32>) -> Segment {
    let mut options = peer.syn;
    options.timestamps = tsval.map(|tsval| Timestamps { tsval, tsecr: 0 });
    let mut syn = peer.segment(Flags::SYN, seq, 0, 0);
    syn.options = Options::Syn(options);
    syn
}

#[test]
#[covers("MUST-13")]
fn an_active_closer_keeps_the_ports_for_two_msl() {
    assert!(Config::default().time_wait >= 60 * SEC);
    let mut long = Config::default();
    long.time_wait = 240 * SEC;
    for config in [Config::default(), long] {
        each_time_wait(false, &config, |mut host, peer| {
            host.pass(config.time_wait.saturating_sub(SEC));
            assert_eq!(host.state(&peer), State::TimeWait);
            let refused = host
                .tcp
                .connect(host.now, peer.flow, SocketOptions::default());
            assert_eq!(refused, Err(ConnectError::AddrInUse));
            host.pass(SEC + MS);
            assert_eq!(host.state(&peer), State::Closed);
            host.none();
        });
    }
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        time_wait(&mut host, &mut peer, listener, false);
        host.pass(61 * SEC);
        host.tcp
            .connect(host.now, peer.flow, SocketOptions::default())
            .unwrap();
    });
}

#[test]
#[covers("SM-15")]
fn the_peer_s_fin_again_starts_it_over() {
    each_time_wait(false, &Config::default(), |mut host, peer| {
        host.pass(SEC);
        let _ = host.recv(&peer, peer.segment(Flags::FIN | Flags::ACK, 1, 2, 0));
        assert_eq!(peer.relative(&host.one()), (Flags::ACK, 2, 2, 0));
        host.pass(59 * SEC + 500 * MS);
        assert_eq!(host.state(&peer), State::TimeWait);
        host.pass(SEC);
        assert_eq!(host.state(&peer), State::Closed);
    });
}

/// The application aborts before the ACK of the peer's FIN has left: it leaves all the same, and no
/// RST does (RFC 9293 §3.10.5).
#[test]
fn an_abort_does_not_take_the_last_ack_away() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        let id = host.open(listener, &mut peer);
        host.tcp.shutdown(host.now, id).unwrap();
        host.one();
        let fin = peer.segment(Flags::FIN | Flags::ACK, 1, 2, 0);
        let done = host
            .tcp
            .on_segment(host.now, &peer.flow, true, Ecn::NotEct, fin);
        assert_eq!(done, Ok(()));
        host.tcp.abort(host.now, id);
        host.turn();
        assert_eq!(peer.relative(&host.one()), (Flags::ACK, 2, 2, 0));
        assert_eq!(host.state(&peer), State::Closed);
    });
}

/// RFC 6191 §2: by timestamp, by sequence number where that says nothing.
#[test]
#[covers("TW-1", "MAY-2", "SHLD-4")]
fn a_newer_syn_reopens_the_flow() {
    for (timestamps, tsval, seq) in [
        (true, Some(LAST_TSVAL + 1), -70_000),
        (true, Some(LAST_TSVAL + 1_000_000), 5_000),
        (true, Some(LAST_TSVAL), 5_000),
        (true, Some(LAST_TSVAL), 2),
        (true, None, 5_000),
        (false, Some(7), -70_000),
        (false, None, 5_000),
        (false, None, 2),
    ] {
        each_time_wait(timestamps, &Config::default(), |mut host, mut peer| {
            host.pass(SEC);
            let syn = new_syn(&peer, seq, tsval);
            let irs = syn.seq;
            host.recv(&peer, syn).unwrap();
            let answer = host.one();
            assert_eq!(answer.flags, SYN_ACK, "{tsval:?} {seq}");
            assert_eq!(answer.ack, irs.wrapping_add(1));
            // Its ISN lies beyond all that the old connection used.
            assert!(answer.seq.0.wrapping_sub(peer.ours.0) as i32 > 2);
            assert_eq!(host.state(&peer), State::SynReceived);
            peer.isn = irs;
            peer.syn.timestamps = tsval.map(|tsval| Timestamps { tsval, tsecr: 0 });
            peer.note(&answer);
            host.recv(&peer, peer.ack()).unwrap();
            assert_eq!(host.state(&peer), State::Established);
            assert_eq!(host.tcp.counters().time_wait_recycled, 1);
        });
    }
}

#[test]
#[covers("TW-3", "SHLD-4")]
fn an_older_syn_reopens_nothing() {
    for (timestamps, tsval, seq) in [
        (true, Some(LAST_TSVAL - 1), 5_000),
        (true, Some(LAST_TSVAL - 1), -5_000),
        (true, Some(LAST_TSVAL.wrapping_sub(1 << 30)), 5_000),
        (true, Some(LAST_TSVAL), -5_000),
        (true, None, -5_000),
        (false, None, -5_000),
        (false, None, 1),
        (false, None, 0),
    ] {
        each_time_wait(timestamps, &Config::default(), |mut host, peer| {
            host.pass(SEC);
            assert!(host.recv(&peer, new_syn(&peer, seq, tsval)).is_err());
            // A challenge ACK at most (RFC 5961 §4.2): no SYN,ACK, no RST.
            for (_, answer) in host.take() {
                assert_eq!(peer.relative(&answer), (Flags::ACK, 2, 2, 0));
            }
            assert_eq!(host.state(&peer), State::TimeWait);
            host.pass(58 * SEC);
            assert_eq!(host.state(&peer), State::TimeWait);
            host.pass(2 * SEC);
            assert_eq!(host.state(&peer), State::Closed);
        });
    }
}

#[test]
#[covers("MAY-2")]
fn a_syn_that_was_an_old_duplicate_leaves_time_wait_as_it_was() {
    each_time_wait(false, &Config::default(), |mut host, peer| {
        host.pass(SEC);
        host.recv(&peer, new_syn(&peer, 5_000, None)).unwrap();
        assert!(host.one().has(SYN_ACK));
        let mut duplicate = peer.segment(Flags::RST, 5_001, 0, 0);
        duplicate.options = Options::none();
        let _ = host.recv(&peer, duplicate);
        assert_eq!(host.state(&peer), State::TimeWait);
        let _ = host.recv(&peer, peer.segment(Flags::FIN | Flags::ACK, 1, 2, 0));
        assert_eq!(peer.relative(&host.one()), (Flags::ACK, 2, 2, 0));
        host.pass(61 * SEC);
        assert_eq!(host.state(&peer), State::Closed);
    });
}

#[test]
#[covers("MAY-2")]
fn the_isn_after_a_fast_connection_is_beyond_its_numbers() {
    let mut config = Config::default();
    config.pacing = Pacing::Off; // all of it leaves in no time
    each_with(&config, |mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer().with_timestamps(5);
        let id = host.open(listener, &mut peer);
        // 30 MB in little time: far beyond what the clock of ISNs moves.
        let mut sent = 0;
        while sent < 30_000_000 {
            let data = ustack_tcp::testing::pattern(sent, 64 << 10);
            sent += host.tcp.write(host.now, id, &data).unwrap() as u64;
            let last = host.take().iter().map(|(_, s)| peer.relative(s)).last();
            if let Some((_, seq, _, len)) = last {
                let _ = host.recv(&peer, peer.segment(Flags::ACK, 1, seq + len as i32, 0));
            }
        }
        for _ in 0..10_000 {
            match host.take().iter().map(|(_, s)| peer.relative(s)).last() {
                Some((_, seq, _, len)) => {
                    let _ = host.recv(&peer, peer.segment(Flags::ACK, 1, seq + len as i32, 0));
                }
                None => break,
            }
        }
        host.tcp.release(host.now, id);
        let fin = host.one();
        let end = peer.relative(&fin).1 + fin.payload.len() as i32 + 1;
        host.recv(&peer, peer.segment(Flags::FIN | Flags::ACK, 1, end, 0))
            .unwrap();
        host.one();
        assert_eq!(host.state(&peer), State::TimeWait);
        host.recv(&peer, new_syn(&peer, 5_000, Some(7_000)))
            .unwrap();
        let answer = host.one();
        assert!(answer.has(SYN_ACK));
        assert!(
            peer.relative(&answer).1 > end,
            "{} after {end}",
            peer.relative(&answer).1
        );
    });
}

#[test]
#[covers("TW-4")]
fn a_reset_does_not_assassinate_it() {
    for timestamps in [false, true] {
        each_time_wait(timestamps, &Config::default(), |mut host, peer| {
            for seq in [2, 1, 3, 0, 5_000, 70_000, -5_000] {
                for flags in [Flags::RST, Flags::RST | Flags::ACK, Flags::RST | Flags::SYN] {
                    let mut reset = peer.segment(flags, seq, 2, 0);
                    if flags.contains(Flags::SYN) {
                        reset.options = Options::Syn(peer.syn);
                    }
                    assert!(host.recv(&peer, reset).is_err());
                    assert!(host.take().iter().all(|(_, s)| !s.has(Flags::RST)));
                }
            }
            assert_eq!(host.state(&peer), State::TimeWait);
            host.pass(59 * SEC);
            assert_eq!(host.state(&peer), State::TimeWait);
        });
    }
}

/// RFC 9293 §3.10.7.4 to the letter, for those who ask for it (`tcp_rfc1337`).
#[test]
fn a_reset_closes_it_where_that_is_wanted() {
    let mut config = Config::default();
    config.rfc1337 = false;
    each_time_wait(false, &config, |mut host, peer| {
        for seq in [1, 3, 70_000] {
            let _ = host.recv(&peer, peer.segment(Flags::RST, seq, 0, 0));
            host.take();
            assert_eq!(host.state(&peer), State::TimeWait);
        }
        let _ = host.recv(&peer, peer.segment(Flags::RST, 2, 0, 0));
        host.none();
        assert_eq!(host.state(&peer), State::Closed);
    });
}

#[test]
fn a_record_answers_as_the_connection_did() {
    for timestamps in [false, true] {
        each_time_wait(timestamps, &Config::default(), |mut host, peer| {
            let data = |seq, len| peer.segment(Flags::ACK | Flags::PSH, seq, 2, len);
            let mut stale = peer.segment(Flags::ACK, 2, 2, 0);
            stale.options = Options::Segment(SegmentOptions {
                timestamps: Some(Timestamps { tsval: 1, tsecr: 0 }),
                ..SegmentOptions::default()
            });
            for (segment, answered) in [
                (data(1, 1), true),        // old
                (data(2, 10), false),      // nothing follows a FIN
                (data(200_000, 10), true), // out of the window
                (peer.segment(Flags::ACK, 2, 2, 0), false),
                (peer.segment(Flags::ACK, 1, 2, 0), true),
                (peer.segment(Flags::NONE, 2, 0, 0), false),
                (stale, timestamps),
            ] {
                host.pass(SEC);
                let _ = host.recv(&peer, segment.clone());
                let sent = host.take();
                assert_eq!(!sent.is_empty(), answered, "{segment:?}");
                for (_, answer) in sent {
                    assert_eq!(peer.relative(&answer), (Flags::ACK, 2, 2, 0));
                    assert_eq!(answer.options.timestamps().is_some(), timestamps);
                }
            }
            assert_eq!(host.state(&peer), State::TimeWait);
        });
    }
}

/// Many closes: as many records as are allowed, the oldest make room, and nobody is refused.
#[test]
#[covers("TW-5")]
fn records_are_bounded_and_the_oldest_make_room() {
    let mut config = Config::default();
    (config.max_tw_buckets, config.max_connections) = (1_000, 10);
    let mut host = Host::new(false, 0, &config);
    let listener = host.listen(|_| {});
    let mut n = 0u32;
    let mut close_one = |host: &mut Host| {
        n += 1;
        let mut peer = host.peer();
        peer.flow.remote =
            crate::host::address(false, (n / 50_000) as u16 + 2, (n % 50_000) as u16 + 1);
        time_wait(host, &mut peer, listener, false);
        peer
    };
    let first = close_one(&mut host);
    for _ in 0..999 {
        close_one(&mut host);
    }
    assert_eq!(host.state(&first), State::TimeWait);
    let closes = 20_000;
    for done in 1_000..closes {
        close_one(&mut host);
        if done % 1_000 == 0 {
            assert_eq!(host.tcp.connections().count(), 1_000);
            assert_eq!(host.tcp.connection_count(), 0);
        }
        host.events.clear();
    }
    assert_eq!(host.state(&first), State::Closed);
    assert_eq!(host.tcp.counters().time_wait_overflow, closes - 1_000);
    // Connects of ours are not refused either.
    for port in 1..=10 {
        let peer = host.nth_peer(50_000 + port);
        host.tcp
            .connect(host.now, peer.flow, SocketOptions::default())
            .unwrap();
    }
    host.pass(61 * SEC);
    assert_eq!(host.tcp.connections().count(), 10);
}

/// A peer that sends its FIN again and again keeps its own record, and no other.
#[test]
fn one_record_that_starts_over_keeps_no_other() {
    let mut host = Host::new(false, 0, &Config::default());
    let listener = host.listen(|_| {});
    let mut stubborn = host.nth_peer(9_999);
    time_wait(&mut host, &mut stubborn, listener, false);
    for round in 0..5 {
        for port in 1..200 {
            let mut peer = host.nth_peer(200 * round + port);
            time_wait(&mut host, &mut peer, listener, false);
        }
        let fin = stubborn.segment(Flags::FIN | Flags::ACK, 1, 2, 0);
        let _ = host.recv(&stubborn, fin);
        host.pass(59 * SEC);
        host.take();
        let fin = stubborn.segment(Flags::FIN | Flags::ACK, 1, 2, 0);
        let _ = host.recv(&stubborn, fin);
        host.pass(2 * SEC);
        host.take();
        assert_eq!(host.tcp.connections().count(), 1);
        assert_eq!(host.state(&stubborn), State::TimeWait);
    }
}

#[test]
fn a_full_table_of_records_keeps_those_of_applications() {
    let mut config = Config::default();
    config.max_tw_buckets = 1;
    each_with(&config, |mut host| {
        let listener = host.listen(|_| {});
        let mut held = host.nth_peer(1);
        time_wait(&mut host, &mut held, listener, true);
        for port in 2..5 {
            let mut peer = host.nth_peer(port);
            time_wait(&mut host, &mut peer, listener, false);
        }
        assert_eq!(host.state(&held), State::TimeWait);
        assert_eq!(host.tcp.connections().count(), 2);
    });
}
