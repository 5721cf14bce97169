//! How large segments are: both ends' MSS, the path, options.

use core::num::NonZeroU64;

use bytes::Bytes;
use covers::covers;
use ustack_tcp::seq::WindowScale;
use ustack_tcp::time::Duration;
use ustack_tcp::{Config, Flags, Options, Pacing, SocketOptions, State};

use crate::peer::{MS, Peer, SEC, Setup, overhead, texts};

/// The MSS of our SYN,ACK.
fn offered(peer: &mut Peer) -> Option<u16> {
    match &peer.take()[0].options {
        Options::Syn(syn) => syn.mss,
        Options::Segment(_) => None,
    }
}

fn largest(peer: &mut Peer) -> usize {
    peer.take();
    peer.write(5_000);
    peer.take().iter().map(|sent| sent.len).max().unwrap()
}

#[test]
#[covers("MUST-14", "SHLD-5", "MAY-3")]
fn the_peers_mss_is_obeyed_and_ours_is_sent() {
    Setup::each(|mut setup| {
        setup.syn.mss = Some(700);
        let mut peer = Peer::open(&setup);
        assert_eq!(offered(&mut peer), Some(1000));
        assert_eq!(largest(&mut peer), 700);
        let mut peer = Peer::open(&setup.timestamps());
        assert_eq!(largest(&mut peer), 688);
    });
}

#[test]
#[covers("MUST-14", "SHLD-5", "MAY-3")]
fn our_syn_bears_an_mss() {
    Setup::each(|setup| {
        let peer = Peer::open(&setup);
        let mut tcp = ustack_tcp::Tcp::new(setup.config.clone(), [1; 32]);
        let mut flow = peer.flow;
        flow.local.set_port(0);
        tcp.connect(peer.now, flow, SocketOptions::default())
            .unwrap();
        let mut recorder = ustack_tcp::testing::Recorder {
            mtu: setup.config.mtu,
            ..Default::default()
        };
        tcp.poll_transmit(peer.now, &mut recorder);
        let syn = &recorder.sent[0].segment;
        assert_eq!(syn.flags, Flags::SYN);
        assert!(matches!(&syn.options, Options::Syn(syn) if syn.mss == Some(1000)));
    });
}

#[test]
#[covers("MUST-15")]
fn a_peer_without_mss_gets_the_default() {
    Setup::each(|mut setup| {
        setup.syn.mss = None;
        setup.config.mtu = 1500;
        let default = if setup.ipv6 { 1220 } else { 536 };
        assert_eq!(largest(&mut Peer::open(&setup)), default);
        assert_eq!(largest(&mut Peer::open(&setup.timestamps())), default - 12);
    });
}

#[test]
#[covers("MUST-16")]
fn the_path_limits_segments_less_all_headers_and_options() {
    Setup::each(|setup| {
        let mut setup = setup.timestamps();
        setup.syn.mss = Some(1460);
        setup.config.mtu = 1400;
        let mut peer = Peer::open(&setup);
        assert_eq!(largest(&mut peer), if setup.ipv6 { 1328 } else { 1348 });
    });
}

#[test]
#[covers("MUST-67")]
fn the_mss_we_offer_comes_from_the_mtu() {
    for ipv6 in [false, true] {
        for mtu in [1500, 9000, 1280] {
            let mut setup = Setup::new(ipv6, 0);
            setup.config.mtu = mtu;
            let mut peer = Peer::open(&setup);
            assert_eq!(offered(&mut peer), Some(mtu - overhead(ipv6)));
        }
    }
}

#[test]
#[covers("MSS-1")]
fn option_space_comes_out_of_the_payload_not_out_of_the_mss() {
    Setup::each(|setup| {
        let mut setup = setup.timestamps().options(|options| options.nodelay = true);
        setup.config.mtu = 1460 + overhead(setup.ipv6);
        setup.syn.mss = Some(1460);
        let mut peer = Peer::open(&setup);
        assert_eq!(offered(&mut peer), Some(1460));
        peer.write(1460);
        assert_eq!(texts(&peer.take()), [(1, 1448), (1449, 12)]);
        peer.recv(peer.segment(Flags::NONE, 101, 1461, 100)); // above a gap
        peer.take();
        peer.write(1460);
        let sent = peer.take();
        assert_eq!(texts(&sent), [(1461, 1436), (2897, 24)]);
        assert_eq!(sent[0].packet, setup.config.mtu);
    });
}

/// TCP_MAXSEG.
#[test]
fn max_segment_limits_both_directions() {
    Setup::each(|setup| {
        let mut setup = setup.options(|options| options.max_segment = Some(600));
        let mut peer = Peer::open(&setup);
        assert_eq!(offered(&mut peer), Some(600));
        assert_eq!(largest(&mut peer), 600);
        setup.syn.mss = Some(500);
        let mut peer = Peer::open(&setup);
        assert_eq!(largest(&mut peer), 500);
        peer.ack(5_001);
        peer.set(|options| options.max_segment = Some(300));
        assert_eq!(largest(&mut peer), 300);
    });
}

/// A window of 65,535 · 2¹⁴ bytes is filled, without a moment of doubt about its sign.
#[test]
#[covers("MUST-1", "REC-1")]
fn the_largest_window_there_is_is_filled() {
    for ipv6 in [false, true] {
        let mut setup = Setup::new(ipv6, 0u32.wrapping_sub(100));
        setup.config = Config::default();
        setup.config.pacing = Pacing::Off;
        setup.config.tso = true;
        setup.config.send_buffer_initial = 3 << 30;
        setup.syn.mss = Some(1460);
        setup.syn.window_scale = Some(WindowScale::MAX);
        setup.options.congestion = Some(ustack_tcp::CongestionAlgorithm::Reno);
        let mut peer = Peer::open(&setup);
        let mut counter = Counter::default();
        let chunk = Bytes::from(vec![0; 60 << 10]);
        let window = 65_535u64 << 14;
        let (mut written, mut sent) = (0u64, 0u64);
        // cwnd doubles each round trip, until the window is what limits.
        for round in 0.. {
            assert!(round < 40, "stalls at {sent}");
            while written < sent + 2 * window {
                let taken = peer.tcp.write(peer.now, peer.id, &chunk).unwrap();
                written += taken as u64;
                if taken < chunk.len() {
                    break;
                }
            }
            counter.bytes = 0;
            while peer.tcp.has_ready() {
                peer.tcp.poll_transmit(peer.now, &mut counter);
            }
            sent += counter.bytes;
            assert!(
                counter.bytes > 0 && counter.bytes <= window,
                "round {round}"
            );
            if window - counter.bytes < 1460 {
                break;
            }
            peer.now += 50 * MS;
            let ack = peer.segment(Flags::NONE, 1, (sent + 1) as u32 as i32, 0);
            let flow = peer.flow;
            let now = peer.now;
            peer.tcp
                .on_segment(now, &flow, true, ustack_tcp::Ecn::NotEct, ack)
                .unwrap();
        }
    }
}

/// Counts payload without looking at it.
#[derive(Debug, Default)]
struct Counter {
    bytes: u64,
}

impl ustack_tcp::Transmit for Counter {
    fn budget(&self) -> usize {
        1_000
    }

    fn path_mtu(&self, _remote: std::net::IpAddr) -> u16 {
        1500
    }

    fn push(&mut self, meta: &ustack_tcp::TxMeta<'_>, _payload: impl Iterator<Item = Bytes>) {
        self.bytes += u64::from(meta.payload_len);
    }
}

/// What lies in the window of any ACK that was sent is taken, even where rounding by the scale
/// makes a later one look smaller (RFC 7323 §2.4).
#[test]
#[covers("TS-6")]
fn rounding_does_not_take_back_what_was_offered() {
    Setup::each(|mut setup| {
        setup.options.recv_buffer = Some(1 << 20);
        let mut peer = Peer::open(&setup);
        let syn_ack = peer.take();
        let Options::Syn(syn) = &syn_ack[0].options else {
            panic!("a SYN,ACK")
        };
        let shift = syn.window_scale.unwrap().shift();
        assert!(shift > 0);
        // The SYN,ACK offered 65,535 unscaled: its right edge is no multiple of the scale.
        let edge = 1 + 65_535;
        for (seq, len) in [(1, 1), (2, 2), (4, 3), (7, 1_000)] {
            peer.recv(peer.segment(Flags::PSH, seq, 1, len));
            peer.run(Duration::from_millis(50));
        }
        let before = peer.tcp.connections().next().unwrap().bytes_received;
        assert_eq!(before, 1_006);
        // The last bytes of the first offer arrive, up to its very edge.
        let mut at = 1_007;
        while at < edge {
            let len = 1_000.min(edge - at);
            peer.recv(peer.segment(Flags::PSH, at, 1, len as usize));
            at += len;
        }
        let after = peer.tcp.connections().next().unwrap().bytes_received;
        assert_eq!(after, 65_535);
    });
}

/// Repairs wait for their turn when a late ACK says that none was needed.
#[test]
fn nothing_waits_to_be_paced_after_the_last_ack() {
    Setup::each(|setup| {
        let setup = setup.options(|options| options.max_pacing_rate = NonZeroU64::new(100_000));
        let mut peer = Peer::open(&setup);
        peer.write(5_000);
        peer.tcp.shutdown(peer.now, peer.id).unwrap();
        peer.run(100 * MS);
        assert_eq!(peer.state(), State::FinWait1);
        peer.run(5 * SEC);
        peer.ack(1_001);
        peer.ack(5_002);
        assert_eq!(peer.state(), State::FinWait2);
    });
}
