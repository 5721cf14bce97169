//! `TCP_INFO`: the counts are those of the wire.

use std::time::Duration;

use ustack_tcp::{CaState, Config, Flags, LossDetection, SocketOptions, State};

use crate::peer::{Peer, everywhere, seg, syn, syn_with_ts};

#[test]
fn counts_are_those_of_the_wire() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let out = peer.write(15_000);
        let info = peer.info();
        assert_eq!(info.state, Some(State::Established));
        assert_eq!((info.snd_mss, info.unacked), (1000, 10));
        assert_eq!((info.notsent_bytes, info.bytes_sent), (5000, 10_000));
        assert_eq!((info.segs_out, info.data_segs_out), (10, out.len() as u64));
        peer.now += Duration::from_millis(30);
        peer.send(seg(1, 500, 4001));
        peer.send(seg(1001, 500, 4001));
        let info = peer.info();
        assert_eq!(
            (info.segs_in, info.data_segs_in),
            (3, 2),
            "the handshake's ACK counts"
        );
        assert_eq!((info.bytes_received, info.rcv_ooopack), (500, 1));
        assert_eq!((info.bytes_acked, info.delivered), (4000, 4));
        assert_eq!(
            info.rtt.map(|rtt| rtt.as_micros()),
            Some(3750),
            "the first was 0"
        );
        assert_eq!(info.last_data_recv, Some(Duration::ZERO));
        assert_eq!((info.sack, info.timestamps, info.ecn), (true, false, false));
        peer.wait(Duration::from_secs(1));
        let info = peer.info();
        assert_eq!(info.ca_state, CaState::Loss);
        assert!(info.retransmits > 0 && info.total_retrans > 0 && info.bytes_retrans > 0);
        assert!(info.retrans > 0 && info.retrans + info.lost <= info.unacked + 1);
        assert_eq!(info.last_data_recv, Some(Duration::from_secs(1)));
        assert_eq!(info.snd_ssthresh.map(|bytes| bytes < 15_000), Some(true));
    });
}

#[test]
fn what_was_negotiated() {
    everywhere(|net| {
        let config = Config::default();
        let peer = Peer::open_with(net, config, SocketOptions::default(), syn_with_ts());
        let info = peer.info();
        assert_eq!(
            (info.timestamps, info.snd_mss, info.advmss),
            (true, 988, 1000)
        );
        assert_eq!(info.pmtu, if net.ipv6 { 1060 } else { 1040 });
        assert!(info.rcv_wnd > 60_000 && info.rcv_ssthresh >= info.rcv_wnd);
        let mut peer = Peer::open(net);
        peer.send(seg(1, 0, 0).only(Flags::RST));
        assert_eq!(peer.info().state, Some(State::Closed));
    });
}

#[test]
fn timeouts_and_how_long_they_took() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.write(1000);
        let start = peer.now;
        let again = peer.wait(Duration::from_secs(4));
        let info = peer.info();
        assert!(info.total_rto >= 2, "{again:?}");
        assert_eq!(
            info.total_rto_recoveries, 1,
            "SND.UNA has not moved in between"
        );
        assert_eq!(u64::from(info.total_rto), peer.tcp.counters().timeouts);
        let first = info.total_rto_time;
        assert!(first > Duration::from_secs(2) && first < peer.now - start);
        peer.send(seg(1, 0, 1001));
        peer.wait(Duration::from_secs(1));
        assert_eq!(peer.info().total_rto_time, first, "it is over");
        peer.write(1000);
        peer.wait(Duration::from_secs(20));
        let info = peer.info();
        assert!(info.total_rto_recoveries == 2 && info.total_rto_time > first);
    });
}

#[test]
fn what_limits_the_sender() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.write(1000);
        peer.send(seg(1, 0, 1001).win(0));
        assert_eq!(peer.info().rwnd_limited, Duration::ZERO, "nothing waits");
        peer.write(500);
        peer.wait(Duration::from_millis(150));
        assert_eq!(peer.info().rwnd_limited, Duration::from_millis(150));
        peer.send(seg(1, 0, 1001));
        peer.wait(Duration::from_millis(70));
        assert_eq!(
            peer.info().rwnd_limited,
            Duration::from_millis(150),
            "it was open"
        );
        assert_eq!(peer.info().sndbuf_limited, Duration::ZERO);

        let socket = SocketOptions {
            send_buffer: Some(4000),
            ..SocketOptions::default()
        };
        let mut peer = Peer::open_with(net, Config::default(), socket, syn());
        let data = ustack_tcp::testing::pattern(0, 5000);
        assert_eq!(peer.tcp.write(peer.now, peer.conn, &data), Ok(4000));
        assert_eq!(peer.turn().iter().map(|out| out.len).sum::<usize>(), 4000);
        peer.now += Duration::from_millis(20);
        peer.send(seg(1, 0, 1001)); // too little for the writer to be woken
        peer.now += Duration::from_millis(20);
        assert_eq!(peer.info().sndbuf_limited, Duration::from_millis(20));
        peer.send(seg(1, 0, 4001));
        peer.now += Duration::from_millis(20);
        let info = peer.info();
        assert_eq!(
            info.sndbuf_limited,
            Duration::from_millis(20),
            "the writer's turn now"
        );
        assert_eq!(info.rwnd_limited, Duration::ZERO);
    });
}

#[test]
fn reordering_is_seen() {
    everywhere(|net| {
        // By which one segment that is SACKed shows no loss yet.
        let mut config = Config::default();
        config.loss_detection = LossDetection::Rfc6675;
        let mut peer = Peer::open_with(net, config, SocketOptions::default(), syn());
        peer.write(4000);
        peer.now += Duration::from_millis(30);
        peer.sack(1, 1, (1001, 2001));
        assert_eq!(peer.info().reord_seen, 0);
        peer.send(seg(1, 0, 2001));
        assert_eq!(
            (peer.info().reord_seen, peer.tcp.counters().reorderings),
            (1, 1)
        );
    });
}
