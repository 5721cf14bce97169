//! Proportional rate reduction (RFC 9937): how much leaves per ACK of a recovery.

use covers::covers;
use ustack_tcp::{CongestionAlgorithm, Flags};

use crate::peer::{MS, Peer, Setup};
use crate::{ack, segments, wrote};

/// Twenty segments in flight, nothing SACKed, 30 ms of round trips behind.
fn twenty(setup: &Setup) -> (Peer, u32) {
    let mut peer = wrote(setup, 100);
    peer.take();
    peer.now += 10 * MS;
    let sent = ack(&mut peer, 10, &[]);
    assert_eq!(
        sent.len(),
        18,
        "eight a segment at once at most: RFC 9406 §4.3"
    );
    peer.now += 10 * MS;
    let sent = ack(&mut peer, 12, &[]);
    assert_eq!(sent, [28, 29, 30, 31]);
    (peer, 12)
}

/// The target is ssthresh of RecoverFS: with three segments SACKed by the ACK that begins it,
/// all twenty count.
#[test]
#[covers("PR-1", "PR-2")]
fn one_segment_for_every_two_that_arrive() {
    Setup::each(|setup| {
        let (mut peer, base) = twenty(&setup);
        // Twenty in flight; the first is lost, and one ACK reports the next three.
        assert_eq!(ack(&mut peer, base, &[(base + 1, base + 4)]), [base]);
        let mut sent = 1;
        for arrived in 4..20 {
            sent += ack(&mut peer, base, &[(base + 1, base + 1 + arrived)]).len();
            // ceil(prr_delivered · 10 / 20), what ssthresh was set to by then.
            let target = (arrived as usize * 10).div_ceil(20);
            let flight = peer.tcp.info(peer.now, peer.id).unwrap();
            let in_flight = flight.unacked + flight.retrans - flight.sacked - flight.lost;
            assert!(
                sent <= target.max(1) && (sent + 1 >= target || in_flight == 10),
                "{sent} left for {arrived} that arrived"
            );
        }
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!(info.snd_ssthresh, Some(10_000));
    });
}

/// CUBIC: seven for ten.
#[test]
#[covers("PR-2")]
fn seven_segments_for_every_ten_that_arrive() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 100);
        peer.set(|options| options.congestion = Some(CongestionAlgorithm::Cubic));
        peer.take();
        peer.now += 10 * MS;
        ack(&mut peer, 10, &[]);
        peer.now += 10 * MS;
        let flight = 10 + segments(&peer.take()).len();
        assert!(flight >= 10);
        let outstanding = peer.tcp.info(peer.now, peer.id).unwrap().unacked;
        let first = ack(&mut peer, 10, &[(11, 14)]);
        assert_eq!(first[0], 10);
        let mut sent = first.len() as u32;
        for arrived in 4..outstanding {
            sent += ack(&mut peer, 10, &[(11, 11 + arrived)]).len() as u32;
        }
        let target = outstanding * 7 / 10;
        assert!(sent.abs_diff(target) <= 1, "{sent} of {outstanding}");
    });
}

/// Ten of twenty are lost: below ssthresh a plain ACK lets out what it delivers, one that moves
/// SND.UNA and shows no loss one more; the repair ends with ssthresh in flight.
#[test]
#[covers("PR-3")]
fn heavy_loss_is_repaired_at_the_rate_of_delivery() {
    Setup::each(|setup| {
        let (mut peer, base) = twenty(&setup);
        // 10 to 19 of them arrive, one by one. The third says that 0 to 9 are lost.
        assert_eq!(ack(&mut peer, base, &[(base + 10, base + 11)]).len(), 1);
        assert_eq!(ack(&mut peer, base, &[(base + 10, base + 12)]).len(), 1);
        let mut repaired = Vec::new();
        for arrived in 3..=10 {
            let sent = ack(&mut peer, base, &[(base + 10, base + 10 + arrived)]);
            assert_eq!(sent.len(), 1, "{arrived}: {sent:?}");
            repaired.extend(sent);
        }
        assert_eq!(repaired, (base..base + 8).collect::<Vec<_>>());
        // The repairs arrive: each ACK is safe, and lets out two at most.
        peer.now += 10 * MS;
        let mut sent = Vec::new();
        for una in 1..=10 {
            let now = ack(&mut peer, base + una, &[(base + 10, base + 20)]);
            assert!(now.len() <= 2, "{una}: {now:?}");
            sent.extend(now);
            if una == 8 {
                peer.now += 10 * MS;
            }
        }
        assert_eq!(
            sent.len(),
            11,
            "ten arrived, and one more fits below ssthresh"
        );
        let end = ack(&mut peer, base + 22, &[]);
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        let ssthresh = info.snd_ssthresh.unwrap() / 1000;
        assert!(info.unacked.abs_diff(ssthresh) <= 1, "{info:?}, {end:?}");
        assert_eq!(info.snd_cwnd, info.snd_ssthresh.unwrap());
    });
}

/// The ACK that ends a recovery is a whole window's, and leaves cwnd at ssthresh: what it
/// acknowledges was sent in recovery (RFC 6582 §3.2 step 3).
#[test]
#[covers("NR-2", "PR-3")]
fn the_ack_that_ends_a_recovery_does_not_grow_the_window() {
    Setup::each(|setup| {
        let (mut peer, base) = twenty(&setup);
        assert_eq!(ack(&mut peer, base, &[(base + 1, base + 4)]), [base]);
        for arrived in 4..20 {
            ack(&mut peer, base, &[(base + 1, base + 1 + arrived)]);
        }
        peer.now += 10 * MS;
        let last = peer.tcp.info(peer.now, peer.id).unwrap().unacked;
        assert_eq!(last, 29, "the repair, what is SACKed and nine new ones");
        ack(&mut peer, base + last, &[]);
        let info = peer.tcp.info(peer.now, peer.id).unwrap();
        assert_eq!((info.snd_cwnd, info.snd_ssthresh), (10_000, Some(10_000)));
    });
}

/// Recovery by the reordering timer: one repair leaves although no ACK brought it.
#[test]
#[covers("PR-3")]
fn a_repair_leaves_on_entry_whatever_the_window() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 10);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(7, 8)]), []);
        let sent = segments(&peer.run_until_sent(100 * MS));
        assert_eq!(sent, [0], "one, and not all seven at once");
    });
}

/// Duplicate ACKs without SACK are cheap to make up: a thousand let out no more than was in flight.
#[test]
#[covers("PR-5")]
fn made_up_duplicates_buy_nothing() {
    Setup::each(|mut setup| {
        setup.syn.sack_permitted = false;
        let mut peer = wrote(&setup, 200);
        assert_eq!(segments(&peer.take()).len(), 10);
        peer.now += 10 * MS;
        let mut sent = Vec::new();
        for _ in 0..1000 {
            peer.recv(peer.segment(Flags::NONE, 1, 1, 0));
            sent.extend(segments(&peer.take()));
        }
        assert_eq!(sent[..3], [10, 11, 0], "limited transmit, then the repair");
        assert!(sent.len() <= 12, "{sent:?}");
    });
}
