//! `TCP_INFO`: the counts are those of the wire.

use std::time::Duration;

use ustack_tcp::{CaState, Config, Flags, SocketOptions, State};

use crate::peer::{Peer, everywhere, seg, syn_with_ts};

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
