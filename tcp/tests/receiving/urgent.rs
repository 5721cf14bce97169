//! Urgent data as the receiver sees it (RFC 9293 §3.8.5).

use covers::covers;
use ustack_tcp::{Config, Event, Flags, SocketOptions};

use crate::peer::{Peer, everywhere, seg};

fn told(peer: &mut Peer) -> usize {
    let urgent = Event::Urgent(peer.conn);
    let told = peer.events.iter().filter(|event| **event == urgent).count();
    peer.events.clear();
    told
}

fn left(peer: &mut Peer) -> Option<u32> {
    peer.tcp.urgent_left(peer.conn).expect("open")
}

#[test]
#[covers("MUST-30", "MUST-32", "MUST-33")]
fn the_application_is_told_where_urgent_data_ends_and_reads_it_in_line() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        assert_eq!((left(&mut peer), told(&mut peer)), (None, 0));
        // The pointer runs ahead of the data, as it may.
        peer.send(seg(1, 100, 1).urgent(150));
        assert_eq!((left(&mut peer), told(&mut peer)), (Some(150), 1));
        // The same pointer is no news, a later one is.
        peer.send(seg(101, 100, 1).urgent(50));
        assert_eq!((left(&mut peer), told(&mut peer)), (Some(150), 0));
        peer.send(seg(201, 100, 1).urgent(20));
        assert_eq!((left(&mut peer), told(&mut peer)), (Some(220), 1));
        assert_eq!(peer.read_once(70), 70);
        assert_eq!(left(&mut peer), Some(150));
        // A read stops at the mark.
        let before: usize = std::iter::from_fn(|| Some(peer.read_once(1000)))
            .scan(0, |sum, n| {
                *sum += n;
                Some(*sum)
            })
            .find(|&sum| sum >= 150)
            .expect("a sum");
        assert_eq!((before, left(&mut peer)), (150, Some(0)));
        assert_eq!(peer.read(), 80);
        assert_eq!(left(&mut peer), None);
    });
}

#[test]
#[covers("MUST-31", "MUST-30")]
fn urgent_data_of_any_length() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let (mut read, total) = (0, 100_000);
        for n in 0..total / 1000 {
            let ahead = (total - 1000 * n).min(65_535) as u16;
            peer.send(seg(1 + 1000 * n, 1000, 1).urgent(ahead));
            read += peer.read();
            let expected = (total - 1000 * (n + 1)).min(64_535);
            assert_eq!(left(&mut peer), Some(expected), "{n}");
        }
        assert_eq!(read, total as usize);
    });
}

#[test]
#[covers("MUST-33", "MUST-30")]
fn wild_pointers_do_no_harm() {
    everywhere(|net| {
        // To what the reader has taken already, or is about to: no news.
        let mut peer = Peer::open(net);
        peer.send(seg(1, 100, 1).urgent(0));
        assert_eq!(
            (left(&mut peer), told(&mut peer), peer.read()),
            (None, 0, 100)
        );
        peer.send(seg(101, 0, 1).urgent(0));
        assert_eq!((left(&mut peer), told(&mut peer)), (None, 0));
        let mut peer = Peer::open(net);
        for (n, pointer) in [0, 1, 65_535, 10, 0, 65_535].into_iter().enumerate() {
            let n = n as u32;
            peer.send(seg(1 + 100 * n, 100, 1).urgent(pointer));
            peer.send(seg(1 + 100 * n, 0, 1).urgent(pointer)); // below the window
            peer.send(seg(101 + 100 * n, 0, 1).urgent(0));
            peer.send(seg(200_000, 10, 1).urgent(pointer)); // outside of it
            peer.send(seg(101 + 100 * n, 10, 1).only(Flags::URG)); // no ACK
            assert_eq!(peer.read(), 100);
        }
        peer.send(seg(601, 0, 1).with(Flags::FIN).urgent(7));
        assert_eq!((peer.read(), &*peer.state()), (0, "CLOSE-WAIT"));
        peer.send(seg(602, 0, 1).urgent(70));
    });
}

#[test]
#[covers("MUST-66")]
fn urg_is_heard_through_a_closed_window() {
    everywhere(|net| {
        let socket = SocketOptions {
            recv_buffer: Some(2000),
            ..SocketOptions::default()
        };
        let mut peer = Peer::open_with(net, Config::default(), socket, crate::peer::syn());
        peer.send(seg(1, 1000, 1));
        peer.send(seg(1001, 1000, 1));
        for (len, pointer) in [(0, 5), (1, 9)] {
            let out = peer.send(seg(2001, len, 1).urgent(pointer));
            assert!(out.iter().all(|out| out.window == 0), "{out:?}");
            assert_eq!(left(&mut peer), Some(2000 + u32::from(pointer)));
            assert_eq!(told(&mut peer), 1);
        }
    });
}
