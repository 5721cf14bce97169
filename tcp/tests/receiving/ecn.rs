//! Explicit congestion notification on the data path (RFC 3168 §6.1).

use std::time::Duration;

use covers::covers;
use ustack_tcp::config::EcnMode;
use ustack_tcp::testing::{Link, Pair, Side};
use ustack_tcp::{CaState, Config, Ecn, Flags, SocketOptions};

use crate::peer::{Net, Out, Peer, everywhere, seg, syn};

/// A connection on which both ends use ECN.
fn open(net: Net) -> Peer {
    open_with(net, EcnMode::Passive)
}

fn open_with(net: Net, mode: EcnMode) -> Peer {
    let mut config = Config::default();
    config.ecn = mode;
    let flags = Flags::SYN | Flags::ECE | Flags::CWR;
    Peer::open_flagged(net, config, SocketOptions::default(), syn(), flags)
}

fn echoes(out: &[Out]) -> bool {
    assert!(!out.is_empty());
    let echoes = out[0].has(Flags::ECE);
    assert!(
        out.iter().all(|out| out.has(Flags::ECE) == echoes),
        "{out:?}"
    );
    echoes
}

#[test]
#[covers("SHLD-8", "EC-1")]
fn without_agreement_nothing_is_marked_nor_echoed() {
    everywhere(|net| {
        for open in [Peer::open, |net| open_with(net, EcnMode::Off)] {
            let mut peer = open(net);
            assert!(!peer.info().ecn);
            let mut out = peer.write(5000);
            out.extend(peer.send(seg(1, 2000, 1001).ecn(Ecn::Ce).with(Flags::ECE)));
            out.extend(peer.send(seg(2001, 2000, 5001).with(Flags::CWR)));
            assert!(out.len() >= 6 && out.iter().all(|out| out.ecn == Ecn::NotEct));
            let neither = |out: &Out| !out.has(Flags::ECE) && !out.has(Flags::CWR);
            assert!(out.iter().all(neither));
        }
    });
}

#[test]
fn any_codepoint_but_the_plain_one_is_seen() {
    everywhere(|net| {
        for (ecn, seen) in [
            (Ecn::NotEct, false),
            (Ecn::Ect0, true),
            (Ecn::Ect1, true),
            (Ecn::Ce, true),
        ] {
            let mut peer = open(net);
            assert!(!peer.info().ecn_seen);
            peer.send(seg(1, 100, 1).ecn(ecn));
            assert_eq!(peer.info().ecn_seen, seen, "{ecn:?}");
        }
    });
}

#[test]
#[covers("EC-2", "EC-3", "SHLD-8")]
fn new_data_is_marked_and_nothing_else() {
    everywhere(|net| {
        let mut peer = open(net);
        assert!(peer.info().ecn);
        let out = peer.write(5000);
        assert!(
            out.len() == 5 && out.iter().all(|out| out.ecn == Ecn::Ect0),
            "{out:?}"
        );
        // A pure ACK, a FIN alone, and what is sent again.
        let out = peer.send(seg(1, 2000, 1));
        assert_eq!((out.len(), out[0].ecn), (1, Ecn::NotEct));
        let again = peer.wait(Duration::from_secs(2));
        assert!(again.len() >= 2, "{again:?}");
        assert!(
            again
                .iter()
                .all(|(_, out)| out.len > 0 && out.ecn == Ecn::NotEct)
        );
        peer.send(seg(2001, 0, 5001));
        peer.tcp.shutdown(peer.now, peer.conn).expect("open");
        let out = peer.turn();
        assert!(out.len() == 1 && out[0].has(Flags::FIN) && out[0].ecn == Ecn::NotEct);
    });
}

#[test]
#[covers("EC-2")]
fn a_probe_of_a_closed_window_is_not_marked() {
    everywhere(|net| {
        let mut peer = open(net);
        peer.send(seg(1, 0, 1).win(0));
        assert_eq!(peer.write(100), []);
        let probes = peer.wait(Duration::from_secs(5));
        assert!(probes.len() >= 2 && probes.iter().all(|(_, out)| out.ecn == Ecn::NotEct));
    });
}

/// A lossy link that also marks: whatever is marked is data that was never sent before.
#[test]
#[covers("EC-2", "EC-3", "EC-5", "SHLD-8")]
fn on_a_link_that_loses_and_marks() {
    let mut config = Config::default();
    config.ecn = EcnMode::On;
    let link = Link {
        loss: 100,
        ce: 300,
        ..Link::default()
    };
    let mut pair = Pair::new(11, &config, link);
    let (client, server) = pair.open();
    let limit = Duration::from_secs(600);
    pair.transfer((Side::Client, client), server, 4 << 20, limit);
    let (mut highest, mut marked, mut cwr, mut ece) = (0u32, 0, 0, 0);
    let first = pair.log[0].2.segment.seq;
    for (_, side, sent) in &pair.log {
        let segment = &sent.segment;
        let data = segment.payload.len() as u32;
        ece += u32::from(segment.has(Flags::ECE) && !segment.has(Flags::SYN));
        if sent.ecn == Ecn::NotEct {
            continue;
        }
        assert!(*side == Side::Client && data > 0 && !segment.has(Flags::SYN));
        let from = segment.seq.0.wrapping_sub(first.0);
        assert!(from >= highest, "{from} was sent before");
        highest = from + data;
        marked += 1;
        cwr += u32::from(segment.has(Flags::CWR));
    }
    assert!(marked > 1_000 && ece > 20, "{marked} {ece}");
    assert!(cwr > 5 && cwr < marked / 10, "{cwr}");
}

#[test]
#[covers("EC-4")]
fn ce_is_echoed_on_every_ack_until_cwr() {
    everywhere(|net| {
        let mut peer = open(net);
        assert!(!echoes(&peer.send(seg(1, 2000, 1).ecn(Ecn::Ect0))));
        // At once: the sooner the better.
        assert!(echoes(&peer.send(seg(2001, 10, 1).ecn(Ecn::Ce))));
        for n in 0..5 {
            assert!(echoes(
                &peer.send(seg(2011 + 2000 * n, 2000, 1).ecn(Ecn::Ect0))
            ));
        }
        assert!(echoes(&peer.write(100)), "on data, too");
        // CWR on something that is no data ends nothing; on data it does.
        peer.send(seg(12_011, 0, 1).with(Flags::CWR));
        assert!(echoes(&peer.send(seg(12_011, 2000, 1).ecn(Ecn::Ect0))));
        let cwr = seg(14_011, 1000, 1).ecn(Ecn::Ect0).with(Flags::CWR);
        assert!(!echoes(&peer.send(cwr)), "and at once");
        assert!(!echoes(&peer.send(seg(15_011, 2000, 1).ecn(Ecn::Ect0))));
        // Both on one segment: it was marked after the reduction.
        let both = seg(17_011, 1000, 1).ecn(Ecn::Ce).with(Flags::CWR);
        assert!(echoes(&peer.send(both)));
    });
}

#[test]
#[covers("EC-6")]
fn ce_outside_the_window_is_ignored() {
    everywhere(|net| {
        let mut peer = open(net);
        peer.send(seg(1, 2000, 1));
        for (at, len) in [(1, 1000), (200_000, 1000), (200_000, 0), (2001, 0)] {
            peer.now += Duration::from_secs(1);
            let out = peer.send(seg(at, len, 1).ecn(Ecn::Ce));
            assert!(out.is_empty() || !echoes(&out), "{at}");
        }
        assert!(!echoes(&peer.send(seg(2001, 2000, 1).ecn(Ecn::Ect0))));
    });
}

#[test]
#[covers("EC-5")]
fn one_reduction_per_window_and_cwr_on_the_next_new_data() {
    everywhere(|net| {
        let mut peer = open(net);
        let sent = peer.write(40_000).len() as u32;
        assert_eq!(sent, 10);
        let before = peer.info().snd_cwnd;
        // Three echoes in one round trip.
        let mut out = Vec::new();
        let mut windows = Vec::new();
        for n in 1..=3 {
            out.extend(peer.send(seg(1, 0, 1 + 1000 * n).with(Flags::ECE)));
            windows.push(peer.info().snd_cwnd);
        }
        assert!(windows[0] < before, "{before} {windows:?}");
        assert_eq!(windows, [windows[0]; 3], "reduced once, and no growth");
        let rest = peer.send(seg(1, 0, 10_001));
        let all: Vec<_> = out.iter().chain(&rest).filter(|out| out.len > 0).collect();
        assert!(all[0].has(Flags::CWR) && all[0].ecn == Ecn::Ect0, "{all:?}");
        assert!(all.len() >= 3 && all[1..].iter().all(|out| !out.has(Flags::CWR)));
        // The next window may bring the next reduction.
        let before = peer.info().snd_cwnd;
        let end = all.last().map_or(0, |out| out.seq + out.len as u32);
        peer.send(seg(1, 0, end).with(Flags::ECE));
        assert!(peer.info().snd_cwnd < before);
    });
}

/// The window was reduced for another reason: that is said with CWR, too, and an echo of the same
/// window of data does not reduce it again (RFC 3168 §6.1.2).
#[test]
#[covers("EC-5")]
fn a_loss_and_an_echo_in_one_window_are_one_reduction() {
    everywhere(|net| {
        let mut peer = open(net);
        peer.write(40_000);
        peer.wait(Duration::from_secs(3)); // the timeout: a window of one segment
        let one = peer.info().snd_cwnd;
        assert!(one <= 2000, "{one}");
        let mut out = peer.send(seg(1, 0, 10_001).with(Flags::ECE));
        assert!(peer.info().snd_cwnd >= one, "no second reduction");
        out.extend(peer.send(seg(1, 0, 11_001))); // a probe of the tail took new data along
        let new = out
            .iter()
            .find(|out| out.ecn == Ecn::Ect0)
            .expect("new data");
        assert!(new.has(Flags::CWR), "{new:?}");
        // And the other way round: SACKs show a loss in the window that was reduced for an echo.
        let mut peer = open(net);
        peer.write(40_000);
        peer.send(seg(1, 0, 2001).with(Flags::ECE));
        let (cwnd, ssthresh) = (peer.info().snd_cwnd, peer.info().snd_ssthresh);
        for n in 4..8 {
            peer.sack(1, 2001, (3001, 1001 + 1000 * n));
        }
        assert_eq!(peer.info().ca_state, CaState::Recovery);
        assert_eq!(peer.info().snd_ssthresh, ssthresh, "{cwnd}");
    });
}

/// The loss was a false alarm; the mark was none.
#[test]
#[covers("EC-5")]
fn a_loss_that_was_none_does_not_take_an_echo_back() {
    everywhere(|net| {
        let mut peer = open(net);
        peer.write(40_000);
        peer.send(seg(1, 0, 2001).with(Flags::ECE));
        let ssthresh = peer.info().snd_ssthresh;
        assert!(ssthresh.is_some());
        for n in 4..8 {
            peer.now += Duration::from_millis(5);
            peer.sack(1, 2001, (3001, 1001 + 1000 * n));
        }
        assert_eq!(peer.info().ca_state, CaState::Recovery);
        peer.now += Duration::from_millis(1);
        peer.sack(1, 8001, (2001, 3001)); // it had only been late
        peer.send(seg(1, 0, 10_001));
        assert_eq!(peer.info().snd_ssthresh, ssthresh);
    });
}

#[test]
#[covers("EC-6")]
fn at_a_window_of_one_segment_an_echo_means_one_per_timeout() {
    everywhere(|net| {
        let mut peer = open(net);
        peer.write(60_000);
        let mut acked = 10_001;
        // Every window is echoed until there is no smaller one.
        let mut out = peer.send(seg(1, 0, acked).with(Flags::ECE));
        for _ in 0..20 {
            if peer.info().snd_cwnd <= 1000 {
                break;
            }
            acked += out.iter().map(|out| out.len as u32).sum::<u32>();
            peer.now += Duration::from_millis(20);
            out = peer.send(seg(1, 0, acked).with(Flags::ECE));
        }
        assert!(peer.info().snd_cwnd <= 1000);
        acked += out.iter().map(|out| out.len as u32).sum::<u32>();
        peer.now += Duration::from_millis(20);
        for _ in 0..3 {
            let out = peer.send(seg(1, 0, acked).with(Flags::ECE));
            assert_eq!(out, [], "it waits");
            let rto = peer.info().rto;
            let later = peer.wait(rto + Duration::from_millis(10));
            let data: Vec<_> = later.iter().filter(|(_, out)| out.seq >= acked).collect();
            assert!(!data.is_empty());
            let held = data[0].0 + Duration::from_millis(3); // the ACK that began it is a sample, too
            assert!(held >= rto, "{rto:?} {data:?}");
            assert!(data[0].1.len == 1000 && data[0].0 <= rto + Duration::from_millis(5));
            acked += 1000;
        }
        // Without an echo it goes on.
        assert!(!peer.send(seg(1, 0, acked)).is_empty());
    });
}
