//! What the endpoint counts is what happened on the wire and to its connections.

use std::time::Duration;

use ustack_tcp::seq::WireSeq;
use ustack_tcp::{Config, Counters, Ecn, Flags, Keepalive, SocketOptions};

use crate::peer::{Peer, everywhere, seg, syn, wire};

/// How much each count grew during `f`.
fn during<R>(peer: &mut Peer, f: impl FnOnce(&mut Peer) -> R) -> (R, Counters, Counters) {
    let before = *peer.tcp.counters();
    let result = f(peer);
    (result, before, *peer.tcp.counters())
}

#[test]
fn what_is_sent_again_is_counted_by_its_reason() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let (sent, before, after) = during(&mut peer, |peer| peer.write(5000));
        assert_eq!(after.out_segs - before.out_segs, 5, "{sent:?}");
        assert_eq!(after.retrans_segs, 0);
        // Nobody answers: a probe of the tail, then timeouts.
        let (again, before, after) = during(&mut peer, |peer| peer.wait(Duration::from_secs(4)));
        assert_eq!(after.loss_probes, 1, "{again:?}");
        assert!(after.timeouts >= 2, "{again:?}");
        let segments: usize = again.iter().map(|(_, out)| out.len.div_ceil(1000)).sum();
        assert_eq!(after.retrans_segs - before.retrans_segs, segments as u64);
        assert_eq!(after.out_segs - before.out_segs, segments as u64);
        assert_eq!(after.retrans_segs, peer.info().total_retrans);
        assert_eq!(after.syn_retrans, 0);
    });
}

#[test]
fn a_hole_that_sack_shows_is_one_recovery() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.write(10_000);
        peer.now += Duration::from_millis(30);
        peer.sack(1, 1, (1001, 10_001));
        let counters = *peer.tcp.counters();
        assert_eq!((counters.sack_recoveries, counters.reno_recoveries), (1, 0));
        assert_eq!((counters.retrans_segs, counters.timeouts), (1, 0));
    });
}

#[test]
fn without_sack_it_is_another() {
    everywhere(|net| {
        let mut syn = syn();
        syn.sack_permitted = false;
        let mut peer = Peer::open_with(net, Config::default(), SocketOptions::default(), syn);
        peer.write(10_000);
        peer.now += Duration::from_millis(30);
        for _ in 0..4 {
            peer.send(seg(1, 0, 1));
        }
        let counters = *peer.tcp.counters();
        assert_eq!((counters.sack_recoveries, counters.reno_recoveries), (0, 1));
    });
}

#[test]
fn probes_of_a_window_and_of_an_idle_peer() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(1, 0, 1).win(0));
        peer.write(100);
        let probes = peer.wait(Duration::from_secs(5));
        assert!(!probes.is_empty());
        assert_eq!(peer.tcp.counters().window_probes, probes.len() as u64);
        assert_eq!(peer.tcp.counters().timeouts, 0);

        let socket = SocketOptions {
            keepalive: Some(Keepalive {
                idle: Duration::from_secs(10),
                interval: Duration::from_secs(1),
                count: 3,
            }),
            ..SocketOptions::default()
        };
        let mut peer = Peer::open_with(net, Config::default(), socket, syn());
        peer.wait(Duration::from_secs(30));
        let counters = *peer.tcp.counters();
        assert_eq!((counters.keepalives, counters.abort_on_timeout), (3, 1));
    });
}

#[test]
fn what_lies_above_a_gap_and_resets() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(1001, 500, 1));
        peer.send(seg(2001, 500, 1));
        assert_eq!(peer.tcp.counters().out_of_order, 2);
        let before = *peer.tcp.counters();
        peer.tcp.abort(peer.now, peer.conn);
        let sent = peer.turn();
        assert!(sent.iter().all(|out| out.has(Flags::RST)), "{sent:?}");
        assert_eq!(peer.tcp.counters().out_rsts - before.out_rsts, 1);
    });
}

#[test]
fn a_syn_ack_that_nobody_answers_is_sent_again() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mut flow = peer.flow;
        flow.remote.set_port(flow.remote.port() + 7);
        let first = wire(
            WireSeq(5),
            WireSeq(0),
            &seg(0, 0, 0).only(Flags::SYN),
            Some(syn()),
        );
        peer.tcp
            .on_segment(peer.now, &flow, true, Ecn::NotEct, first)
            .expect("room for it");
        let sent = peer.wait(Duration::from_secs(5)).len() as u64;
        let counters = peer.tcp.counters();
        assert!(sent >= 2);
        let again = (counters.syn_retrans, counters.retrans_segs);
        assert_eq!(again, (sent - 1, sent - 1));
    });
}

#[test]
fn a_walk_in_parts_meets_every_connection_once() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        for _ in 0..20 {
            peer = peer.open_another();
        }
        let tcp = &peer.tcp;
        let all: Vec<_> = tcp.connections().map(|one| one.id).collect();
        assert_eq!(all.len(), 21);
        for step in [1, 4, 1000] {
            let starts = (0..tcp.slots()).step_by(step as usize);
            let parts = starts.flat_map(|start| tcp.connections_in(start..start + step));
            assert!(parts.map(|one| one.id).eq(all.iter().copied()));
        }
    });
}
