//! Who can open a connection, and from where (RFC 9293 §3.9.1.1, §3.9.2.3).

use std::net::SocketAddr;

use covers::covers;
use ustack_tcp::{ConnectError, Dropped, Ecn, Flags, FlowKey, SocketOptions};

use crate::host::{MS, SEC, address, each};

#[test]
#[covers("MUST-46")]
fn nobody_connects_to_what_is_no_host() {
    each(|mut host| {
        let bad: &[&str] = if host.ipv6 {
            &["[ff02::1]:80", "[ff0e::5]:80", "[::]:80", "[fd00::2]:0"]
        } else {
            &[
                "224.0.0.1:80",
                "239.255.255.250:80",
                "255.255.255.255:80",
                "0.0.0.0:80",
                "0.1.2.3:80",
                "10.0.0.2:0",
            ]
        };
        for remote in bad {
            let remote: SocketAddr = remote.parse().unwrap();
            for port in [0, 4000] {
                let flow = FlowKey::new(address(host.ipv6, 1, port), remote);
                let done = host.tcp.connect(host.now, flow, SocketOptions::default());
                assert_eq!(done, Err(ConnectError::InvalidRemote), "{remote}");
            }
        }
        host.pass(SEC);
        host.none();
        assert_eq!(host.tcp.connection_count(), 0);
    });
}

#[test]
#[covers("MUST-57", "MUST-63")]
fn a_syn_from_no_host_is_not_answered() {
    each(|mut host| {
        host.listen(|_| {});
        let bad: &[&str] = if host.ipv6 {
            &["[ff02::1]:5000", "[::]:5000", "[fd00::2]:0"]
        } else {
            &[
                "224.0.0.1:5000",
                "255.255.255.255:5000",
                "0.0.0.0:5000",
                "10.0.0.2:0",
            ]
        };
        for remote in bad {
            let mut peer = host.peer();
            peer.flow.remote = remote.parse().unwrap();
            let done = host.recv(&peer, peer.syn_segment());
            assert_eq!(done, Err(Dropped::BadAddress), "{remote}");
            host.none();
        }
        assert_eq!(host.tcp.connection_count(), 0);
    });
}

#[test]
#[covers("MUST-43", "MUST-44", "MUST-45")]
fn the_local_address_stays_what_was_asked_for() {
    each(|mut host| {
        for from in [1, 9] {
            let mut peer = host.nth_peer(6000 + from);
            peer.flow.local = address(host.ipv6, from, 0);
            let (id, flow) = host
                .tcp
                .connect(host.now, peer.flow, SocketOptions::default())
                .unwrap();
            assert_eq!(flow.local.ip(), peer.flow.local.ip());
            assert_ne!(flow.local.port(), 0);
            peer.flow = flow;
            host.pass(SEC + MS);
            let sent = host.take_flows();
            assert_eq!(sent.len(), 2);
            peer.note(&sent[0].1);
            host.recv(&peer, peer.syn_ack(0)).unwrap();
            host.tcp
                .write(host.now, id, &ustack_tcp::testing::pattern(0, 3_000))
                .unwrap();
            host.pass(SEC);
            host.tcp.abort(host.now, id);
            let all: Vec<_> = sent.into_iter().chain(host.take_flows()).collect();
            assert!(all.len() >= 6 && all.last().unwrap().1.has(Flags::RST));
            assert!(all.iter().all(|(sent, _)| *sent == flow));
        }
    });
}

/// Nobody takes what leaves: resets for SYNs to a port where nobody listens wait up to a bound.
#[test]
fn answers_beyond_the_bound_are_dropped_and_counted() {
    each(|mut host| {
        for port in 1..=300 {
            let peer = host.nth_peer(port);
            let syn = peer.syn_segment();
            let done = host
                .tcp
                .on_segment(host.now, &peer.flow, true, Ecn::NotEct, syn);
            assert_eq!(done, Err(Dropped::NoSocket));
        }
        assert_eq!(host.tcp.counters().replies_dropped, 300 - 256);
        assert_eq!(host.drain().len(), 256);
        assert_eq!(host.tcp.counters().out_rsts, 256, "those that have left");
    });
}
