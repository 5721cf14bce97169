//! SYN cookies (RFC 4987 §3.6): handshakes without state.

use covers::covers;
use ustack_tcp::segment::{SegmentOptions, Timestamps};
use ustack_tcp::seq::{WindowScale, WireSeq};
use ustack_tcp::testing::pattern;
use ustack_tcp::{Config, Dropped, EcnMode, Flags, ListenerId, Options, State};

use crate::host::{ECN_SETUP, Host, MS, Peer, SEC, SYN_ACK, each_with};

/// Every SYN but the first is answered with a cookie.
fn config() -> Config {
    let mut config = Config::default();
    config.max_syn_backlog = 1;
    config
}

/// Fills the room there is for handshakes.
fn crowd(host: &mut Host) -> ListenerId {
    let listener = host.listen(|_| {});
    host.syn(&mut host.nth_peer(1));
    listener
}

/// Largest payload and right edge that a connection of this peer uses.
fn largest(host: &mut Host, listener: ListenerId) -> usize {
    let (id, _) = host.tcp.accept(listener).unwrap();
    host.tcp.write(host.now, id, &pattern(0, 20_000)).unwrap();
    let sent = host.take();
    sent.iter()
        .map(|(_, segment)| segment.payload.len())
        .max()
        .unwrap()
}

#[test]
#[covers("SY-2")]
fn a_cookie_keeps_the_mss_and_no_state() {
    for mss in [
        Some(1460),
        Some(1000),
        Some(999),
        Some(536),
        Some(100),
        None,
    ] {
        each_with(&config(), |mut host| {
            let listener = crowd(&mut host);
            let mut peer = host.peer();
            peer.syn.mss = mss;
            peer.syn.sack_permitted = true;
            peer.syn.window_scale = Some(WindowScale::new(7));
            let answer = host.syn(&mut peer);
            assert_eq!(host.state(&peer), State::Closed, "no state");
            assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0));
            // What nobody would remember is not offered.
            let Options::Syn(options) = answer.options else {
                unreachable!("a SYN")
            };
            assert_eq!(options.mss, Some(1000));
            assert_eq!(
                (options.window_scale, options.sack_permitted),
                (None, false)
            );
            // Not repeated either (SY-4).
            host.pass(40 * SEC);
            let again = host.take();
            assert!(again.iter().all(|(_, segment)| segment.seq != peer.ours));

            host.recv(&peer, peer.segment(Flags::ACK | Flags::PSH, 1, 1, 10))
                .unwrap();
            assert_eq!(host.state(&peer), State::Established);
            let wanted = match mss {
                Some(100) => 76, // the floor of what is ever sent
                None if host.ipv6 => 1000,
                Some(999 | 536) | None => 536,
                Some(_) => 1000,
            };
            assert_eq!(largest(&mut host, listener), wanted, "{mss:?}");
            let counters = host.tcp.counters();
            assert_eq!((counters.syncookies_sent, counters.syncookies_recv), (1, 1));
        });
    }
}

/// The cookie stays good: the peer's next segment opens the connection once there is room.
#[test]
#[covers("SY-2")]
fn a_cookie_that_finds_the_queue_full_comes_again() {
    each_with(&config(), |mut host| {
        let listener = host.listen(|options| options.backlog = 1);
        host.syn(&mut host.nth_peer(1));
        let mut peers = [2, 3].map(|port| host.nth_peer(port));
        for peer in &mut peers {
            host.syn(peer);
        }
        let [first, second] = peers;
        host.recv(&first, first.ack()).unwrap();
        assert_eq!(host.tcp.counters().listen_overflows, 0);
        for times in [1, 2] {
            let done = host.recv(&second, second.ack());
            assert_eq!(done, Err(Dropped::BacklogFull));
            assert_eq!(host.tcp.counters().listen_overflows, times);
            assert_eq!(host.state(&second), State::Closed);
        }
        host.none();
        assert!(host.tcp.accept(listener).is_some());
        host.recv(&second, second.ack()).unwrap();
        assert_eq!(host.state(&second), State::Established);
        assert_eq!(host.tcp.counters().syncookies_recv, 2);
    });
}

#[test]
#[covers("SY-2")]
fn timestamps_bring_back_scale_sack_and_ecn() {
    for (scale, sack, ecn) in [
        (Some(7), true, true),
        (Some(0), false, true),
        (Some(14), true, false),
        (None, true, false),
        (None, false, false),
    ] {
        each_with(&config(), |mut host| {
            let listener = crowd(&mut host);
            let mut peer = host.peer().with_timestamps(500);
            peer.syn.window_scale = scale.map(WindowScale::new);
            peer.syn.sack_permitted = sack;
            let mut syn = peer.syn_segment();
            if ecn {
                syn.flags = syn.flags | ECN_SETUP;
            }
            let before = host.tcp.connection_count();
            host.recv(&peer, syn).unwrap();
            let answer = host.one();
            peer.note(&answer);
            assert_eq!(host.tcp.connection_count(), before, "no state");
            assert_eq!(answer.has(Flags::ECE), ecn);
            let Options::Syn(options) = answer.options else {
                unreachable!("a SYN")
            };
            assert_eq!(options.window_scale.is_some(), scale.is_some());
            assert_eq!(options.sack_permitted, sack);
            assert_eq!(options.timestamps.map(|ts| ts.tsecr), Some(500));

            host.pass(30 * MS);
            peer.win = 100;
            host.recv(&peer, peer.ack()).unwrap();
            assert_eq!(host.uses_ecn(&peer), ecn);
            let (id, _) = host.tcp.accept(listener).unwrap();
            // Their scale: what leaves fills the window.
            host.tcp.write(host.now, id, &pattern(0, 4_940)).unwrap();
            let sent = host.take();
            let bytes: usize = sent.iter().map(|(_, segment)| segment.payload.len()).sum();
            assert_eq!(bytes, (100 << scale.unwrap_or(0)).min(4_940));
            // Every segment bears a timestamp that is not before the cookie's (TS-7).
            for (_, segment) in &sent {
                let ts = segment.options.timestamps().unwrap();
                assert!(ts.tsval.wrapping_sub(peer.our_tsval) as i32 >= 0);
            }
            // SACK: a segment above a gap.
            host.recv(&peer, peer.segment(Flags::ACK, 101, 1, 10))
                .unwrap();
            let reports = host.take().iter().any(|(_, segment)| {
                matches!(&segment.options, Options::Segment(options) if !options.sack.is_empty())
            });
            assert_eq!(reports, sack);
        });
    }
}

#[test]
#[covers("SY-3")]
fn a_cookie_is_good_for_two_minutes_at_most() {
    each_with(&config(), |mut host| {
        host.listen(|_| {});
        for (age, good) in [(0, true), (60, true), (121, false), (600, false)] {
            for timestamps in [false, true] {
                crowd_again(&mut host);
                let mut peer = host.nth_peer(100 + age as u16 + u16::from(timestamps));
                if timestamps {
                    peer = peer.with_timestamps(9);
                }
                host.syn(&mut peer);
                // Others keep the listener in cookie mode.
                for _ in 0..age {
                    host.pass(SEC);
                    crowd_again(&mut host);
                    host.take();
                }
                let done = host.recv(&peer, peer.ack());
                assert_eq!(done.is_ok(), good, "{age} s");
                let opened = host.state(&peer) == State::Established;
                assert_eq!(opened, good, "{age} s");
                let resets = host.take();
                assert_eq!(
                    resets.iter().any(|(_, segment)| segment.has(Flags::RST)),
                    !good
                );
            }
        }
    });
}

/// Two SYNs from strangers: the first takes the room, if it is free, the second gets a cookie.
fn crowd_again(host: &mut Host) {
    for port in [60_001, 60_002] {
        let peer = host.nth_peer(port);
        let _ = host.recv(&peer, peer.syn_segment());
    }
    host.take();
}

#[test]
#[covers("SY-3")]
fn only_the_cookie_that_was_sent_is_accepted() {
    each_with(&config(), |mut host| {
        crowd(&mut host);
        let mut peer = host.peer().with_timestamps(77);
        host.syn(&mut peer);
        let good = peer.ack();
        let mut forged = Vec::new();
        for bit in 0..32 {
            let mut segment = good.clone();
            segment.ack = WireSeq(segment.ack.0 ^ 1 << bit);
            forged.push((peer.clone(), segment));
            let mut segment = good.clone();
            segment.seq = WireSeq(segment.seq.0 ^ 1 << bit);
            forged.push((peer.clone(), segment));
        }
        let mut other = peer.clone();
        other.flow.remote.set_port(5001);
        forged.push((other, good.clone()));
        // Without the timestamp that the SYN had, or with one that is not ours.
        let mut bare = good.clone();
        bare.options = Options::none();
        forged.push((peer.clone(), bare));
        let mut stale = good.clone();
        stale.options = Options::Segment(SegmentOptions {
            timestamps: Some(Timestamps {
                tsval: 78,
                tsecr: peer.our_tsval.wrapping_sub(500_000),
            }),
            ..SegmentOptions::default()
        });
        forged.push((peer.clone(), stale));
        for (peer, segment) in forged {
            let ack = segment.ack;
            host.recv(&peer, segment).unwrap_err();
            let reset = host.one();
            assert_eq!(
                (reset.flags, reset.seq),
                (Flags::RST, ack),
                "as for no connection"
            );
            assert_eq!(host.state(&peer), State::Closed);
        }
        assert_eq!(host.tcp.counters().syncookies_failed, 67);
        host.recv(&peer, good).unwrap();
        assert_eq!(host.state(&peer), State::Established);
    });
}

/// A guess is right with 2 · 2⁻²⁹: 29 bits of MAC, and two minutes whose MAC is good; all eight
/// values of the other three bits are MSS values. So 10⁸ guesses are expected to open 0.4
/// connections, a million none (99.6 %); this seed's opens none.
#[test]
#[covers("SY-3")]
fn a_million_guesses_open_nothing() {
    let mut host = Host::new(false, 0, &config());
    crowd(&mut host);
    let mut peer = host.peer();
    host.syn(&mut peer);
    let mut n = 0x0123_4567_89ab_cdef_u64;
    for _ in 0..1_000_000 {
        n ^= n << 13;
        n ^= n >> 7;
        n ^= n << 17;
        let mut guess = peer.ack();
        guess.ack = WireSeq((n >> 32) as u32);
        let (done, answers) = host.flood(&peer, guess);
        assert!(done.is_err() && answers[0].has(Flags::RST));
    }
    assert_eq!(host.tcp.counters().syncookies_failed, 1_000_000);
    assert_eq!(host.tcp.counters().syncookies_recv, 0);
}

/// The MAC is keyed and covers the minute: cookies of one SYN share nothing but the index.
#[test]
#[covers("SY-3")]
fn cookies_change_with_time_flow_and_isn() {
    let mut host = Host::new(false, 0, &config());
    crowd(&mut host);
    let mut seen = std::collections::HashSet::new();
    let mut ones = [0u32; 29];
    for n in 0..2_000u32 {
        let mut peer = host.nth_peer(2 + (n % 40) as u16);
        peer.isn = WireSeq(n / 40);
        if n % 40 == 0 {
            host.pass(60 * SEC);
            crowd_again(&mut host);
        }
        let cookie = host.syn(&mut peer).seq.0;
        assert_eq!(cookie >> 29, 2, "an MSS of 1000");
        for (bit, ones) in ones.iter_mut().enumerate() {
            *ones += cookie >> bit & 1;
        }
        seen.insert(cookie);
    }
    assert!(seen.len() >= 1_999);
    // Each bit of the MAC is set in half of them: five standard deviations are 112.
    assert!(
        ones.iter().all(|ones| ones.abs_diff(1_000) < 112),
        "{ones:?}"
    );
}

#[test]
fn no_cookie_is_accepted_that_was_not_asked_for() {
    each_with(&config(), |mut host| {
        let mut peer = host.peer();
        crowd(&mut host);
        host.syn(&mut peer);
        // Two minutes without a flood: nothing can be outstanding.
        host.pass(200 * SEC);
        host.take();
        let failed = host.tcp.counters().syncookies_failed;
        assert!(host.recv(&peer, peer.ack()).is_err());
        assert_eq!(
            host.tcp.counters().syncookies_failed,
            failed,
            "not even looked at"
        );
    });
}

#[test]
fn ecn_is_not_promised_where_it_is_off() {
    let mut config = config();
    config.ecn = EcnMode::Off;
    each_with(&config, |mut host| {
        crowd(&mut host);
        let peer: Peer = host.peer().with_timestamps(5);
        let mut syn = peer.syn_segment();
        syn.flags = syn.flags | ECN_SETUP;
        host.recv(&peer, syn).unwrap();
        assert!(!host.one().has(Flags::ECE));
    });
}

/// What IP is told of each SYN,ACK: class and TTL are the listener's, record or not.
#[test]
#[covers("MUST-48", "MUST-49")]
fn a_cookie_leaves_in_the_listener_s_class() {
    #[derive(Default)]
    struct Marks(Vec<(u8, Option<std::num::NonZeroU8>)>);
    impl ustack_tcp::Transmit for Marks {
        fn budget(&self) -> usize {
            100
        }
        fn path_mtu(&self, _remote: std::net::IpAddr) -> u16 {
            1500
        }
        fn push(
            &mut self,
            meta: &ustack_tcp::TxMeta<'_>,
            _payload: impl Iterator<Item = bytes::Bytes>,
        ) {
            assert!(meta.segment.has(SYN_ACK));
            self.0.push((meta.dscp, meta.ttl));
        }
    }
    each_with(&config(), |mut host| {
        let ttl = std::num::NonZeroU8::new(5);
        host.listen(|options| {
            options.socket.dscp = 46;
            options.socket.ttl = ttl;
        });
        let mut marks = Marks::default();
        for port in [1, 2] {
            let peer = host.nth_peer(port);
            let (flow, syn) = (peer.flow, peer.syn_segment());
            host.tcp
                .on_segment(host.now, &flow, true, ustack_tcp::Ecn::NotEct, syn)
                .unwrap();
            host.tcp.poll_transmit(host.now, &mut marks);
        }
        assert_eq!(marks.0, [(46, ttl), (46, ttl)]);
        assert_eq!(host.tcp.counters().syncookies_sent, 1);
    });
}
