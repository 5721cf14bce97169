//! TCP Fast Open (RFC 7413), the client.

use covers::covers;
use ustack_tcp::segment::FastOpen;
use ustack_tcp::testing::pattern;
use ustack_tcp::{ConnId, Event, Flags, IcmpError, Segment, SocketOptions, State};

use crate::fast_open::cookie;
use crate::host::{Host, MS, Peer, SEC, SYN_ACK, each};

/// Connects with `len` bytes to send; our SYN.
fn connect(host: &mut Host, peer: &mut Peer, len: usize) -> (ConnId, Segment) {
    let (id, _, taken) = host
        .tcp
        .connect_with_data(
            host.now,
            peer.flow,
            SocketOptions {
                nodelay: true,
                ..SocketOptions::default()
            },
            &pattern(0, len),
        )
        .unwrap();
    assert_eq!(taken, len);
    let syn = host.one();
    peer.note(&syn);
    (id, syn)
}

const GIVEN: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// The first connection: it asks for a cookie and gets [`GIVEN`].
fn learn(host: &mut Host) {
    let mut peer = host.nth_peer(100);
    let (id, syn) = connect(host, &mut peer, 20);
    assert_eq!(cookie(&syn), Some(FastOpen::REQUEST));
    assert_eq!(syn.payload.len(), 0);
    peer.syn.fast_open = Some(FastOpen::new(&GIVEN));
    host.recv(&peer, peer.syn_ack(0)).unwrap();
    // The data follows as soon as the connection is open.
    let sent = host.take();
    assert_eq!(peer.relative(&sent.last().unwrap().1).3, 20);
    assert!(host.events.contains(&Event::Connected(id)));
    host.tcp.abort(host.now, id);
    host.take();
}

#[test]
fn a_client_remembers_the_mss_of_the_last_answer() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.nth_peer(1);
        let (_, syn) = connect(&mut host, &mut peer, 3_000);
        let before = syn.payload.len();
        peer.syn.mss = Some(700);
        host.recv(&peer, peer.syn_ack(before as u32)).unwrap();
        host.take();
        let mut next = host.nth_peer(2);
        let (_, syn) = connect(&mut host, &mut next, 3_000);
        assert_eq!(syn.payload.len(), before - 300);
        assert_eq!(cookie(&syn), Some(FastOpen::new(&GIVEN)));
    });
}

/// `TCP_MAXSEG` holds for the SYN's data, too.
#[test]
#[covers("TF-3")]
fn the_application_limits_what_a_syn_carries() {
    each(|mut host| {
        learn(&mut host);
        let mut options = SocketOptions::default();
        let flow = host.nth_peer(1).flow;
        let full = host.tcp.fast_open_room(host.now, &flow, &options).unwrap();
        options.max_segment = Some(600);
        let room = host.tcp.fast_open_room(host.now, &flow, &options);
        assert!(full > 600 && room == Some(560), "{full} {room:?}");
        let data = pattern(0, 2_000);
        host.tcp
            .connect_with_data(host.now, flow, options, &data)
            .unwrap();
        assert_eq!(host.one().payload.len(), 560);
    });
}

#[test]
#[covers("TF-3")]
fn a_client_sends_data_with_the_cookie_it_was_given() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.peer();
        let (id, syn) = connect(&mut host, &mut peer, 200);
        assert_eq!(cookie(&syn), Some(FastOpen::new(&GIVEN)));
        assert_eq!(syn.payload, pattern(0, 200));
        host.recv(&peer, peer.syn_ack(200)).unwrap();
        assert_eq!(peer.relative(&host.one()), (Flags::ACK, 201, 1, 0));
        host.tcp.write(host.now, id, &pattern(200, 10)).unwrap();
        let next = host.one();
        assert_eq!(peer.relative(&next), (Flags::ACK | Flags::PSH, 201, 1, 10));
        assert_eq!(host.tcp.counters().fast_open_active, 1);
    });
}

#[test]
#[covers("TF-3")]
fn data_that_was_not_taken_follows_the_handshake() {
    each(|mut host| {
        learn(&mut host);
        // None of it, some of it, all of it.
        for (port, acked) in [(1, 0), (2, 50), (3, 200)] {
            let mut peer = host.nth_peer(port);
            connect(&mut host, &mut peer, 200);
            host.recv(&peer, peer.syn_ack(acked)).unwrap();
            let sent = host.take();
            let bytes: usize = sent.iter().map(|(_, segment)| segment.payload.len()).sum();
            assert_eq!(bytes, 200 - acked as usize);
            if let Some((_, data)) = sent.iter().find(|(_, segment)| !segment.payload.is_empty()) {
                assert_eq!(peer.relative(data).1, 1 + acked as i32);
                assert_eq!(data.payload, pattern(u64::from(acked), bytes));
            }
        }
        let counters = host.tcp.counters();
        let (taken, failed) = (counters.fast_open_active, counters.fast_open_active_fail);
        assert_eq!((taken, failed), (2, 1));
        // An ACK of more than was sent is none.
        let mut peer = host.nth_peer(4);
        connect(&mut host, &mut peer, 200);
        assert!(host.recv(&peer, peer.syn_ack(201)).is_err());
        assert!(host.one().has(Flags::RST));
    });
}

#[test]
fn a_syn_holds_one_segment_and_the_rest_follows() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.peer();
        let (_, syn) = connect(&mut host, &mut peer, 3_000);
        // The peer's MSS of 1000 less the options, which never take more than 40.
        let first = syn.payload.len();
        assert!(first + syn.options.len() as usize <= 1_000 && first >= 960);
        host.recv(&peer, peer.syn_ack(first as u32)).unwrap();
        let sent = host.take();
        let bytes: usize = sent.iter().map(|(_, segment)| segment.payload.len()).sum();
        assert_eq!(bytes, 3_000 - first);
    });
}

#[test]
#[covers("TF-5")]
fn a_lost_syn_is_followed_by_a_bare_one() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.peer();
        let (_, syn) = connect(&mut host, &mut peer, 200);
        assert_eq!(syn.payload.len(), 200);
        host.pass(SEC + MS);
        let again = host.one();
        assert_eq!(
            (again.seq, again.flags, again.payload.len()),
            (syn.seq, Flags::SYN, 0)
        );
        assert_eq!(cookie(&again), None);
        // It opens, and the data follows.
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        assert_eq!(peer.relative(&host.take().last().unwrap().1).3, 200);
        // This server is spared another for an hour.
        let mut next = host.nth_peer(7);
        let (_, syn) = connect(&mut host, &mut next, 200);
        assert_eq!((cookie(&syn), syn.payload.len()), (None, 0));
        host.recv(&next, next.syn_ack(0)).unwrap();
        assert_eq!(next.relative(&host.take().last().unwrap().1).3, 200);
        host.pass(3601 * SEC);
        host.take();
        let mut later = host.nth_peer(8);
        let (_, syn) = connect(&mut host, &mut later, 200);
        assert_eq!(cookie(&syn), Some(FastOpen::REQUEST));
    });
}

#[test]
#[covers("TF-5")]
fn a_bare_syn_may_still_find_the_data_there() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.peer();
        connect(&mut host, &mut peer, 200);
        host.pass(SEC + MS);
        host.one();
        host.recv(&peer, peer.syn_ack(200)).unwrap();
        assert_eq!(peer.relative(&host.one()), (Flags::ACK, 201, 1, 0));
        // No reason to distrust Fast Open.
        let mut next = host.nth_peer(7);
        let (_, syn) = connect(&mut host, &mut next, 10);
        assert_eq!(syn.payload.len(), 10);
    });
}

#[test]
fn a_syn_too_big_for_the_path_goes_again_without_data() {
    each(|mut host| {
        learn(&mut host);
        let mut peer = host.peer();
        let (id, syn) = connect(&mut host, &mut peer, 2_000);
        host.icmp(&peer, syn.seq, IcmpError::PacketTooBig { mtu: 600 });
        let again = host.one();
        assert_eq!(
            (again.seq, again.flags, again.payload.len()),
            (syn.seq, Flags::SYN, 0)
        );
        host.icmp(&peer, syn.seq, IcmpError::PacketTooBig { mtu: 600 });
        host.none();
        assert_eq!(host.closed(id), None);
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        assert_eq!(host.state(&peer), State::Established);
    });
}

#[test]
fn both_ends_may_fast_open_at_once() {
    for acked in [0, 200] {
        each(|mut host| {
            learn(&mut host);
            let mut peer = host.peer();
            let (id, _) = connect(&mut host, &mut peer, 200);
            host.recv(&peer, peer.syn_segment()).unwrap();
            assert_eq!(peer.relative(&host.one()), (SYN_ACK, 0, 1, 0));
            host.recv(&peer, peer.syn_ack(acked)).unwrap();
            assert_eq!(host.state(&peer), State::Established);
            assert!(host.events.contains(&Event::Connected(id)));
            let bytes: usize = host.take().iter().map(|(_, s)| s.payload.len()).sum();
            assert_eq!(bytes, 200 - acked as usize);
        });
    }
}

/// What was taken is sent, though the same options would have a writer wait.
#[test]
fn no_option_loses_what_was_taken() {
    let change: [fn(&mut SocketOptions); 3] = [
        |_| {},
        |options| options.notsent_lowat = Some(100),
        |options| options.send_buffer = Some(100),
    ];
    for change in change {
        each(|mut host| {
            let mut peer = host.peer();
            let (id, _) = connect(&mut host, &mut peer, 2_000);
            host.tcp.set_options(host.now, id, change).unwrap();
            host.recv(&peer, peer.syn_ack(0)).unwrap();
            let sent = host.take();
            let bytes: usize = sent.iter().map(|(_, sent)| sent.payload.len()).sum();
            assert_eq!(bytes, 2_000);
        });
    }
}
