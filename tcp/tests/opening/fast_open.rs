//! TCP Fast Open (RFC 7413), the server.

use bytes::Bytes;
use covers::covers;
use ustack_tcp::observe::{Records, What};
use ustack_tcp::segment::{FastOpen, SynOptions};
use ustack_tcp::seq::WireSeq;
use ustack_tcp::testing::pattern;
use ustack_tcp::{
    CloseReason, Config, Flags, IcmpError, ListenerId, Options, Segment, SocketOptions, State,
};

use crate::host::{Host, MS, Peer, SEC, SYN_ACK, each, each_with};

fn syn_options(segment: &Segment) -> SynOptions {
    match segment.options {
        Options::Syn(options) => options,
        Options::Segment(_) => unreachable!("a SYN"),
    }
}

/// The cookie that a SYN or SYN,ACK brings.
pub(crate) fn cookie(segment: &Segment) -> Option<FastOpen> {
    syn_options(segment).fast_open
}

fn listen(host: &mut Host, limit: u16) -> ListenerId {
    host.listen(|options| options.socket.fast_open = Some(limit))
}

/// Asks for this peer's cookie, and gives up the handshake.
fn cookie_of(host: &mut Host, peer: &Peer) -> FastOpen {
    let mut asks = peer.clone().with_cookie(FastOpen::REQUEST);
    asks.flow.remote.set_port(4444);
    let answer = host.syn(&mut asks);
    let _ = host.recv(&asks, asks.segment(Flags::RST, 1, 0, 0));
    cookie(&answer).expect("a cookie")
}

/// That of [`Host::peer`].
fn own_cookie(host: &mut Host) -> FastOpen {
    let peer = host.peer();
    cookie_of(host, &peer)
}

#[test]
#[covers("TF-1")]
fn a_plain_listener_ignores_what_a_syn_brings() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        for option in [None, Some(FastOpen::REQUEST), Some(FastOpen::new(&[7; 8]))] {
            let mut peer = host.nth_peer(1 + option.map_or(0, |o| o.cookie().len() as u16 + 1));
            peer.syn.fast_open = option;
            host.recv(&peer, peer.syn_with_data(100)).unwrap();
            let answer = host.one();
            peer.note(&answer);
            assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0), "only the SYN");
            assert_eq!(cookie(&answer), None);
            assert!(host.tcp.accept(listener).is_none());
            // The data comes again with the ACK.
            host.recv(&peer, peer.segment(Flags::ACK | Flags::PSH, 1, 1, 100))
                .unwrap();
            let (id, _) = host.tcp.accept(listener).unwrap();
            assert_eq!(host.read(id), 100);
            host.take();
        }
    });
}

#[test]
#[covers("TF-1")]
fn an_application_that_does_not_ask_sends_a_plain_syn() {
    each(|mut host| {
        let mut peer = host.peer();
        let (_, syn) = host.connect(&mut peer, SocketOptions::default());
        assert_eq!((cookie(&syn), syn.payload.len()), (None, 0));
    });
}

#[test]
#[covers("TF-2")]
fn a_cookie_is_a_mac_of_both_addresses() {
    each(|mut host| {
        listen(&mut host, 10);
        let peer = host.peer();
        let mine = cookie_of(&mut host, &peer);
        let len = mine.cookie().len();
        assert!([4, 6, 8, 10, 12, 14, 16].contains(&len), "{len} bytes");
        // Whatever the port; but not for another address.
        let again = host.nth_peer(9);
        assert_eq!(cookie_of(&mut host, &again), mine);
        let mut other = host.peer();
        other.flow.remote = crate::host::address(host.ipv6, 3, 5000);
        assert_ne!(cookie_of(&mut host, &other), mine);
    });
    // And of a key: another host's is another one.
    let mut seen = std::collections::HashSet::new();
    for seed in 0..100 {
        let mut host = Host::new(false, 0, &Config::default());
        host.tcp = ustack_tcp::Tcp::new(Config::default(), [seed; 32]);
        listen(&mut host, 10);
        let peer = host.peer();
        seen.insert(cookie_of(&mut host, &peer).cookie().to_vec());
    }
    assert_eq!(seen.len(), 100);
}

#[test]
#[covers("TF-2")]
fn cookies_of_other_lengths_are_no_cookies() {
    // Bytes: a segment of ours cannot say such a thing.
    for len in [2usize, 3, 5, 7, 17, 18] {
        each(|mut host| {
            let listener = listen(&mut host, 10);
            let mut peer = host.peer();
            let header = peer.syn_segment().header();
            let (from, to) = (peer.flow.remote.port(), peer.flow.local.port());
            let mut bytes = ustack_tcp::wire::emit(&header, from, to).to_vec();
            bytes.extend([34, 2 + len as u8]);
            bytes.resize(bytes.len() + len, 7);
            bytes.resize(bytes.len().next_multiple_of(4), 1);
            bytes[12] = (bytes.len() as u8 / 4) << 4;
            bytes.extend(pattern(0, 50));
            let parsed = ustack_tcp::wire::parse(Bytes::from(bytes), None).unwrap();
            assert_eq!(cookie(&parsed.segment), None);
            host.recv(&peer, parsed.segment).unwrap();
            let answer = host.one();
            peer.note(&answer);
            assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0));
            assert_eq!(cookie(&answer), None);
            assert!(host.tcp.accept(listener).is_none());
        });
    }
}

#[test]
#[covers("TF-2")]
fn the_key_rotates_and_the_last_one_is_good_once_more() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let peer = host.peer();
        let first = cookie_of(&mut host, &peer);
        host.pass(3600 * SEC);
        let second = cookie_of(&mut host, &peer);
        assert_ne!(first, second);
        // The old one opens, and brings the new one.
        let mut old = host.nth_peer(1).with_cookie(first);
        host.recv(&old, old.syn_with_data(10)).unwrap();
        let answer = host.one();
        old.note(&answer);
        assert_eq!(peer_ack(&old, &answer), 11);
        assert_eq!(cookie(&answer), Some(second));
        assert!(host.tcp.accept(listener).is_some());
        // Two hours later it is none any more.
        host.pass(3600 * SEC);
        host.take();
        let mut late = host.nth_peer(2).with_cookie(first);
        host.recv(&late, late.syn_with_data(10)).unwrap();
        let answer = host.one();
        late.note(&answer);
        assert_eq!(peer_ack(&late, &answer), 1);
    });
}

fn peer_ack(peer: &Peer, segment: &Segment) -> i32 {
    peer.relative(segment).2
}

#[test]
#[covers("TF-2")]
fn servers_that_share_a_key_take_each_other_s_cookies() {
    let mut config = Config::default();
    config.fast_open_key = Some([5; 16]);
    let mut hosts: Vec<_> = [1, 2]
        .map(|seed| {
            let mut host = Host::new(false, 0, &config);
            host.tcp = ustack_tcp::Tcp::new(config.clone(), [seed; 32]);
            listen(&mut host, 10);
            host
        })
        .into();
    let peer = hosts[0].peer();
    let cookies: Vec<_> = hosts
        .iter_mut()
        .map(|host| cookie_of(host, &peer))
        .collect();
    assert_eq!(cookies[0], cookies[1]);
}

#[test]
#[covers("TF-3")]
fn a_good_cookie_delivers_before_the_handshake_ends() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_timestamps(5).with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        let answer = host.one();
        peer.note(&answer);
        assert_eq!(
            peer.relative(&answer),
            (SYN_ACK, 0, 301, 0),
            "the data, too"
        );
        assert_eq!(cookie(&answer), None, "the one it has is good");
        assert_eq!(host.state(&peer), State::SynReceived);

        let (id, _) = host.tcp.accept(listener).expect("before the ACK");
        assert_eq!(host.read(id), 300);
        // The server may answer already, within the initial window.
        host.tcp.write(host.now, id, &pattern(0, 500)).unwrap();
        let data = host.one();
        assert_eq!(peer.relative(&data), (Flags::ACK | Flags::PSH, 1, 301, 500));
        host.pass(10 * MS);
        host.recv(&peer, peer.segment(Flags::ACK, 301, 501, 0))
            .unwrap();
        assert_eq!(host.state(&peer), State::Established);
        host.pass(10 * SEC);
        host.none();
        let counters = host.tcp.counters();
        assert_eq!(
            (counters.fast_open_passive, counters.fast_open_cookie_reqd),
            (1, 1)
        );
    });
}

/// The connection may have offered more than the SYN,ACK could say without a scale; what answers a
/// repetition before the handshake is over takes nothing back (RFC 9293 §3.8.6, SHLD-14).
#[test]
#[covers("TF-3")]
fn a_repetition_before_the_handshake_ends_does_not_shrink_the_window() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_timestamps(5).with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        let answer = host.one();
        peer.note(&answer);
        let Options::Syn(options) = &answer.options else {
            panic!("{answer:?}");
        };
        let scale = options.window_scale.expect("a scale");
        let (id, _) = host.tcp.accept(listener).expect("before the ACK");
        assert_eq!(host.read(id), 300);
        host.tcp.write(host.now, id, &pattern(0, 500)).unwrap();
        let offered = host.one().window.bytes(scale);
        // The client did not see that its data was taken, and sends it again.
        let _ = host.recv(&peer, peer.segment(Flags::ACK, 1, 1, 300));
        let again = host.one();
        assert_eq!(peer.relative(&again).2, 301);
        let window = again.window.bytes(scale);
        assert!(window >= offered, "{window} after {offered}");
    });
}

#[test]
#[covers("TF-3")]
fn a_wrong_cookie_falls_back_and_brings_a_right_one() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        for bit in 0..64 {
            let mut bytes = mine.cookie().to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut peer = host
                .nth_peer(bit as u16 + 1)
                .with_cookie(FastOpen::new(&bytes));
            host.recv(&peer, peer.syn_with_data(300)).unwrap();
            let answer = host.one();
            peer.note(&answer);
            assert_eq!(peer.relative(&answer), (SYN_ACK, 0, 1, 0));
            assert_eq!(cookie(&answer), Some(mine));
            assert!(host.tcp.accept(listener).is_none());
            let _ = host.recv(&peer, peer.segment(Flags::RST, 1, 0, 0));
        }
        // Without data a request is just that.
        let mut asks = host.peer().with_cookie(FastOpen::REQUEST);
        host.recv(&asks, asks.syn_with_data(300)).unwrap();
        let answer = host.one();
        asks.note(&answer);
        assert_eq!((peer_ack(&asks, &answer), cookie(&answer)), (1, Some(mine)));
        assert_eq!(host.tcp.counters().fast_open_passive_fail, 64);
    });
}

#[test]
#[covers("TF-3")]
fn a_lost_syn_ack_acknowledges_the_data_again() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        let first = host.one();
        peer.note(&first);
        host.pass(SEC + MS);
        assert_eq!(peer.relative(&host.one()), (SYN_ACK, 0, 301, 0));
        // The bare SYN of a client that fell back, too.
        peer.syn.fast_open = None;
        host.recv(&peer, peer.syn_segment()).unwrap();
        assert_eq!(peer.relative(&host.one()), (SYN_ACK, 0, 301, 0));
        let (id, _) = host.tcp.accept(listener).unwrap();
        assert_eq!(host.read(id), 300, "once");
        host.recv(&peer, peer.segment(Flags::ACK, 301, 1, 0))
            .unwrap();
        assert_eq!(host.state(&peer), State::Established);
    });
}

#[test]
fn a_fast_open_that_nobody_confirms_ends() {
    each(|mut host| {
        let listener = listen(&mut host, 1);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        peer.note(&host.one());
        let (id, _) = host.tcp.accept(listener).unwrap();
        host.pass(180 * SEC);
        assert_eq!(host.take().len(), 5);
        assert_eq!(host.closed(id), Some(CloseReason::TimedOut));
        host.tcp.release(host.now, id);
        host.take();
        assert_eq!(host.tcp.connection_count(), 0);
        // Its place is free again.
        let other = host.nth_peer(7).with_cookie(own_cookie(&mut host));
        host.recv(&other, other.syn_with_data(10)).unwrap();
        assert!(host.tcp.accept(listener).is_some());
    });
}

#[test]
fn an_icmp_error_explains_why_nobody_confirms() {
    each(|mut host| {
        let listener = listen(&mut host, 1);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        peer.note(&host.one());
        let (id, _) = host.tcp.accept(listener).unwrap();
        host.icmp(&peer, peer.ours, IcmpError::HostUnreachable);
        assert_eq!(host.closed(id), None, "a soft error: data was delivered");
        host.pass(180 * SEC);
        assert_eq!(host.closed(id), Some(CloseReason::Unreachable));
    });
}

/// RFC 7413 §5.1: a reset may be as spoofed as the SYN was.
#[test]
#[covers("TF-5")]
fn a_reset_one_counts_for_a_minute() {
    each(|mut host| {
        let listener = listen(&mut host, 1);
        let mine = own_cookie(&mut host);
        let mut peer = host.peer().with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(300)).unwrap();
        peer.note(&host.one());
        let _ = host.recv(&peer, peer.segment(Flags::RST, 301, 0, 0));
        host.none();
        // It can still be accepted, as one that has ended.
        let (id, _) = host.tcp.accept(listener).unwrap();
        assert_eq!(host.read_until_error(id), (300, CloseReason::Reset));
        host.tcp.release(host.now, id);
        for (wait, taken) in [(59 * SEC, 1), (2 * SEC, 11)] {
            host.pass(wait);
            let mut next = host.nth_peer(wait.as_secs() as u16).with_cookie(mine);
            host.recv(&next, next.syn_with_data(10)).unwrap();
            let answer = host.one();
            next.note(&answer);
            assert_eq!(peer_ack(&next, &answer), taken);
            let _ = host.recv(&next, next.segment(Flags::RST, taken, 0, 0));
        }
    });
}

#[test]
#[covers("TF-5")]
fn no_more_than_the_limit_are_pending() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        let mut peers: Vec<_> = (1..=11)
            .map(|port| host.nth_peer(port).with_cookie(mine))
            .collect();
        for (n, peer) in peers.iter_mut().enumerate() {
            host.recv(peer, peer.syn_with_data(50)).unwrap();
            let answer = host.one();
            peer.note(&answer);
            assert_eq!(peer_ack(peer, &answer), if n < 10 { 51 } else { 1 });
        }
        assert_eq!(host.tcp.counters().fast_open_listen_overflow, 1);
        assert_eq!(host.tcp.backlog(listener), Some((1, 10)));
        // One is confirmed: there is room for one.
        host.recv(&peers[0], peers[0].segment(Flags::ACK, 51, 1, 0))
            .unwrap();
        for (port, taken) in [(21, 51), (22, 1)] {
            let mut next = host.nth_peer(port).with_cookie(mine);
            host.recv(&next, next.syn_with_data(50)).unwrap();
            let answer = host.one();
            next.note(&answer);
            assert_eq!(peer_ack(&next, &answer), taken);
        }
    });
}

/// The accept queue, SYN cookies and Fast Open together: no state without room for it.
#[test]
fn a_flooded_listener_opens_nothing_fast() {
    let mut config = Config::default();
    config.max_syn_backlog = 1;
    each_with(&config, |mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        let mut first = host.nth_peer(1);
        host.syn(&mut first);
        let mut peer = host.nth_peer(2).with_cookie(mine);
        peer.isn = WireSeq(77);
        host.recv(&peer, peer.syn_with_data(10)).unwrap();
        let answer = host.one();
        peer.note(&answer);
        assert_eq!(peer_ack(&peer, &answer), 1);
        assert_eq!(host.state(&peer), State::Closed);
        host.recv(&peer, peer.ack()).unwrap();
        assert!(host.tcp.accept(listener).is_some());
    });
}

#[test]
fn what_was_taken_stays_acknowledged() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        for (port, len) in [(1, 10), (2, 900)] {
            let mut peer = host.nth_peer(port).with_cookie(mine);
            host.recv(&peer, peer.syn_with_data(len)).unwrap();
            let answer = host.one();
            peer.note(&answer);
            let end = 1 + len as i32;
            assert_eq!(peer_ack(&peer, &answer), end);
            host.recv(&peer, peer.segment(Flags::FIN | Flags::ACK, end, 1, 0))
                .unwrap();
            assert_eq!(peer_ack(&peer, &host.one()), end + 1);
            assert_eq!(host.state(&peer), State::CloseWait);
        }
        // A listener that closes resets what it has not handed out, with the same number.
        let mut peer = host.nth_peer(3).with_cookie(mine);
        host.recv(&peer, peer.syn_with_data(10)).unwrap();
        peer.note(&host.one());
        host.tcp.close_listener(host.now, listener);
        let resets = host.take();
        let last = &resets.last().unwrap().1;
        assert_eq!(peer.relative(last), (Flags::RST | Flags::ACK, 1, 11, 0));
    });
}

/// Who opens at once has no use for a listener that waits for data: the ACK counts.
#[test]
fn nothing_is_deferred_after_a_good_cookie() {
    each(|mut host| {
        let listener = host.listen(|options| {
            options.socket.fast_open = Some(10);
            options.socket.defer_accept = Some(SEC);
        });
        let mine = own_cookie(&mut host);
        for (port, len) in [(1, 0), (2, 10)] {
            let mut peer = host.nth_peer(port).with_cookie(mine);
            host.recv(&peer, peer.syn_with_data(len)).unwrap();
            peer.note(&host.one());
            let (id, _) = host.tcp.accept(listener).expect("before the ACK");
            host.tcp.shutdown(host.now, id).unwrap();
            let fin = host.one();
            let end = 1 + len as i32;
            assert_eq!(peer.relative(&fin), (Flags::FIN | Flags::ACK, 1, end, 0));
            host.recv(&peer, peer.segment(Flags::ACK, end, 2, 0))
                .unwrap();
            assert_eq!(host.state(&peer), State::FinWait2);
        }
    });
}

/// What is observed of the new connection counts from its own beginning, not from that of the one which
/// held the flow before.
#[test]
fn a_flow_that_opens_again_is_observed_as_a_new_one() {
    each(|mut host| {
        let listener = listen(&mut host, 10);
        let mine = own_cookie(&mut host);
        host.tcp.observe(true);
        let mut peer = host.peer();
        let id = host.open(listener, &mut peer);
        host.recv(&peer, peer.segment(Flags::ACK | Flags::PSH, 1, 1, 1000))
            .unwrap();
        assert_eq!(host.read(id), 1000);
        host.take();
        host.tcp.shutdown(host.now, id).unwrap();
        host.one();
        host.recv(&peer, peer.segment(Flags::FIN | Flags::ACK, 1001, 2, 0))
            .unwrap();
        host.one();
        assert_eq!(host.state(&peer), State::TimeWait);

        let mut again = peer.clone().with_cookie(mine);
        again.isn = again.isn.wrapping_add(100_000);
        host.recv(&again, again.syn_with_data(300)).unwrap();
        again.note(&host.one());
        assert_eq!(host.state(&again), State::SynReceived);
        let mut records = Records::default();
        assert_eq!(host.tcp.take_records(&mut records), 0);
        let received = records.iter().filter_map(|record| match record.what {
            What::Received(packet, outcome) => Some((packet.flags, outcome.in_order)),
            _ => None,
        });
        let received = received.last();
        let (flags, in_order) = received.expect("the SYN");
        assert!(flags.contains(Flags::SYN) && in_order <= 300, "{in_order}");
    });
}
