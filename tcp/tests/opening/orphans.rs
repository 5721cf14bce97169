//! Connections that their applications let go of: they end in bounded time and number.

use bytes::Bytes;
use covers::covers;
use ustack_tcp::testing::pattern;
use ustack_tcp::{Config, Flags, State};

use crate::host::{Host, MS, SEC, each, each_with};

#[test]
#[covers("SM-17")]
fn an_orphan_does_not_wait_for_ever_for_a_fin() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        let id = host.open(listener, &mut peer);
        host.tcp.release(host.now, id);
        host.one();
        host.recv(&peer, peer.segment(Flags::ACK, 1, 2, 0)).unwrap();
        assert_eq!(host.state(&peer), State::FinWait2);
        host.pass(59 * SEC);
        assert_eq!(host.state(&peer), State::FinWait2);
        host.pass(SEC + MS);
        assert_eq!(host.state(&peer), State::Closed);
        host.none();
        // What comes late finds nobody.
        let _ = host.recv(&peer, peer.segment(Flags::ACK | Flags::PSH, 1, 2, 10));
        assert!(host.one().has(Flags::RST));
    });
}

#[test]
#[covers("SM-17")]
fn an_application_may_choose_how_long() {
    for (limit, short, long) in [(5, 4_900, 200), (100, 99_900, 200)] {
        each(|mut host| {
            let listener = host.listen(|options| options.socket.linger2 = Some(limit * SEC));
            let mut peer = host.peer();
            let id = host.open(listener, &mut peer);
            host.tcp.release(host.now, id);
            host.one();
            host.recv(&peer, peer.segment(Flags::ACK, 1, 2, 0)).unwrap();
            host.pass(short * MS);
            assert_eq!(host.state(&peer), State::FinWait2);
            host.pass(long * MS);
            assert_eq!(host.state(&peer), State::Closed);
        });
    }
}

#[test]
fn one_orphan_too_many_is_reset() {
    let mut config = Config::default();
    config.max_orphans = 2;
    each_with(&config, |mut host| {
        let listener = host.listen(|_| {});
        let mut peers: Vec<_> = (1..=4).map(|port| host.nth_peer(port)).collect();
        let ids: Vec<_> = peers
            .iter_mut()
            .map(|peer| host.open(listener, peer))
            .collect();
        for (n, id) in ids[..3].iter().enumerate() {
            host.tcp.release(host.now, *id);
            assert_eq!(host.one().has(Flags::RST), n == 2);
        }
        assert_eq!(host.tcp.counters().abort_on_memory, 1);
        // One of them comes to its end: there is room for one.
        let _ = host.recv(
            &peers[0],
            peers[0].segment(Flags::FIN | Flags::ACK, 1, 2, 0),
        );
        host.take();
        assert_eq!(host.state(&peers[0]), State::TimeWait);
        host.tcp.release(host.now, ids[3]);
        assert!(!host.one().has(Flags::RST));
        host.pass(300 * SEC);
        assert_eq!(host.tcp.connections().count(), 0);
    });
}

/// Peers that vanish after each step of closing: everything is freed within 60 s and R2.
#[test]
#[covers("SM-17")]
fn vanished_peers_leave_nothing() {
    for step in 0..5 {
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            let id = host.open(listener, &mut peer);
            if step >= 3 {
                let fin = peer.segment(Flags::FIN | Flags::ACK, 1, 1, 0);
                host.recv(&peer, fin).unwrap();
            }
            if step != 2 {
                host.tcp
                    .write(host.now, id, &Bytes::from_static(b"last words"))
                    .unwrap();
            }
            host.tcp.release(host.now, id);
            host.take();
            match step {
                1 => drop(host.recv(&peer, peer.segment(Flags::ACK, 1, 11, 0))),
                2 => drop(host.recv(&peer, peer.segment(Flags::ACK, 1, 2, 0))),
                4 => drop(host.recv(&peer, peer.segment(Flags::ACK, 2, 11, 0))),
                _ => {}
            }
            host.pass(60 * SEC + 1_000 * SEC);
            assert_eq!(host.tcp.connections().count(), 0, "step {step}");
        });
    }
}

/// A peer whose window stays shut holds an orphan for two minutes at most, though it answers.
#[test]
fn a_shut_window_does_not_keep_an_orphan() {
    each(|mut host: Host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        peer.win = 0;
        let id = host.open(listener, &mut peer);
        host.tcp.write(host.now, id, &pattern(0, 1000)).unwrap();
        host.tcp.release(host.now, id);
        let released = host.now;
        while host.state(&peer) != State::Closed {
            host.pass(100 * MS);
            for (_, probe) in host.take() {
                if !probe.has(Flags::RST) {
                    let _ = host.recv(&peer, peer.segment(Flags::ACK, 1, 1, 0));
                }
            }
            assert!(host.now - released <= 120 * SEC, "still there");
        }
        assert_eq!(host.tcp.connection_count(), 0);
    });
}
