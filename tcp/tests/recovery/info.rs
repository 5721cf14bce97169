//! A loss, timeouts, a shut window and a paced flow, as `TCP_INFO` tells of them.

use ustack_tcp::time::Duration;
use ustack_tcp::{CaState, CongestionAlgorithm, Info};

use crate::peer::{MS, Peer, SEC, Setup};
use crate::{ack, wrote};

fn info(peer: &Peer) -> Info {
    peer.tcp.info(peer.now, peer.id).unwrap()
}

/// Segments: unacknowledged, SACKed, lost, repaired now, repaired ever.
const fn scoreboard(info: &Info) -> (u32, u32, u32, u32, u64) {
    (
        info.unacked,
        info.sacked,
        info.lost,
        info.retrans,
        info.total_retrans,
    )
}

/// Bytes: sent, again, acknowledged, not yet sent.
const fn bytes(info: &Info) -> (u64, u64, u64, u32) {
    (
        info.bytes_sent,
        info.bytes_retrans,
        info.bytes_acked,
        info.notsent_bytes,
    )
}

const fn ages(info: &Info) -> (Option<Duration>, Duration, Duration) {
    (info.last_data_sent, info.last_ack_recv, info.busy_time)
}

#[test]
fn a_loss_that_was_none() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 20);
        assert_eq!(peer.take().len(), 10);
        let new = info(&peer);
        assert_eq!(new.ca_state, CaState::Open);
        assert_eq!(scoreboard(&new), (10, 0, 0, 0, 0));
        assert_eq!(bytes(&new), (10_000, 0, 0, 10_000));
        assert_eq!((new.snd_cwnd, new.snd_ssthresh), (10_000, None));
        assert_eq!((new.snd_wnd, new.rcv_wnd), (65_535, 128 << 10));
        assert_eq!((new.rcv_ssthresh, new.rcv_space), (128 << 10, 0));
        assert_eq!((new.rcv_mss, new.reordering), (536, 3));
        assert_eq!((new.ato, new.rcv_rtt), (40 * MS, Some(10 * MS)));
        assert_eq!((new.pacing_rate, new.delivery_rate), (None, None));

        peer.now += 50 * MS;
        assert_eq!(ages(&info(&peer)), (Some(50 * MS), 50 * MS, 50 * MS));
        assert_eq!(ack(&mut peer, 2, &[]), [10, 11, 12, 13]);
        peer.now += 20 * MS;
        let acked = info(&peer);
        assert_eq!(ages(&acked), (Some(20 * MS), 20 * MS, 70 * MS));
        assert_eq!(scoreboard(&acked), (12, 0, 0, 0, 0));
        assert_eq!(bytes(&acked), (14_000, 0, 2_000, 6_000));
        assert_eq!((acked.delivered, acked.snd_cwnd), (2, 12_000));

        assert_eq!(ack(&mut peer, 2, &[(3, 7)]), [2, 14]);
        let repaired = info(&peer);
        assert_eq!(repaired.ca_state, CaState::Recovery);
        assert_eq!(scoreboard(&repaired), (13, 4, 1, 1, 1));
        assert_eq!(bytes(&repaired), (16_000, 1_000, 2_000, 5_000));
        assert_eq!((repaired.delivered, repaired.segs_out), (6, 16));
        assert_eq!(repaired.snd_ssthresh, Some(6_000));

        // The repair was needless.
        peer.now += 20 * MS;
        ack(&mut peer, 10, &[(2, 3)]);
        let undone = info(&peer);
        assert_eq!(undone.ca_state, CaState::Open);
        assert_eq!((undone.snd_ssthresh, undone.dsack_dups), (None, 1));
        assert_eq!((undone.unacked, undone.total_retrans), (10, 1));
        assert_eq!(bytes(&undone), (21_000, 1_000, 10_000, 0));
        ack(&mut peer, 20, &[]);
        peer.now += SEC;
        let done = info(&peer);
        assert_eq!((done.unacked, done.delivered), (0, 20));
        assert_eq!(ages(&done), (Some(SEC), SEC, 90 * MS));
    });
}

#[test]
fn timeouts_and_probes() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 1);
        peer.take();
        let rto = info(&peer).rto;
        while info(&peer).retransmits < 3 {
            peer.now = peer.tcp.poll_timeout().unwrap();
            peer.turn();
        }
        let lost = info(&peer);
        assert_eq!((lost.ca_state, lost.backoff), (CaState::Loss, 3));
        assert_eq!((lost.rto, lost.probes), (8 * rto, 0));
        assert_eq!((lost.unacked, lost.retrans), (1, 1));
    });
}

#[test]
fn probes_of_a_shut_window() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 1);
        peer.take();
        peer.win = 0;
        ack(&mut peer, 1, &[]);
        peer.write(1_000);
        for probes in 1..4 {
            while info(&peer).probes < probes {
                peer.now = peer.tcp.poll_timeout().unwrap();
                peer.turn();
            }
            let shut = info(&peer);
            assert_eq!((shut.probes, shut.backoff), (probes, probes));
            assert_eq!((shut.snd_wnd, shut.retransmits), (0, 0));
            assert_eq!((shut.notsent_bytes, shut.unacked), (1_000, 0));
        }
    });
}

#[test]
fn rates() {
    Setup::each(|mut setup| {
        setup.options.congestion = Some(CongestionAlgorithm::Bbr);
        setup.options.nodelay = true;
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.write(10_000);
        assert_eq!(peer.run(9 * MS).len(), 10);
        ack(&mut peer, 10, &[]);
        let sampled = info(&peer);
        assert_eq!(sampled.delivery_rate, Some(10_000 * 1000 / 9));
        assert!(
            sampled.delivery_rate_app_limited,
            "nothing more was written"
        );
        // BBR: 2.77 times the bandwidth in Startup, less one hundredth.
        let paced = sampled.pacing_rate.unwrap() as f64 / 1e7 * 9.0;
        assert!((paced - 2.77 * 0.99).abs() < 1e-3, "{paced}");
        assert_eq!(sampled.min_rtt, Some(9 * MS));
    });
}
