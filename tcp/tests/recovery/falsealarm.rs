//! Timeouts and repairs that were needless: F-RTO (RFC 5682), Eifel (RFC 3522, RFC 4015), D-SACK
//! (RFC 3708).

use covers::covers;
use ustack_tcp::segment::Timestamps;
use ustack_tcp::{Flags, Options};

use crate::peer::{MS, Peer, SEC, Setup};
use crate::{ack, ack_bytes, at, segments, wrote};

fn window(peer: &Peer) -> (u32, Option<u32>) {
    let info = peer.tcp.info(peer.now, peer.id).unwrap();
    (info.snd_cwnd, info.snd_ssthresh)
}

/// Ten segments in flight; all ACKs are late by more than a timeout.
fn spike(setup: &Setup) -> (Peer, Vec<u32>) {
    let mut peer = wrote(setup, 40);
    assert_eq!(segments(&peer.take()).len(), 10);
    let mut again = Vec::new();
    let end = peer.now + 300 * MS;
    while peer.now < end {
        again.extend(segments(&peer.run(10 * MS)));
    }
    (peer, again)
}

/// RFC 5682 §2: two ACKs in a row for what was sent once. Without SACK or timestamps.
#[test]
#[covers("RT-11")]
fn a_late_window_of_acks_restores_the_window() {
    Setup::each(|setup| {
        for sack in [false, true] {
            let mut setup = setup.clone();
            setup.syn.sack_permitted = sack;
            let (mut peer, again) = spike(&setup);
            // One repair by the timer; with SACK a probe of new data before.
            assert_eq!(again.iter().filter(|&&n| n < 10).count(), 1, "{again:?}");
            assert_eq!(window(&peer).0, 1000);
            let new = ack(&mut peer, 1, &[]);
            assert_eq!(new.len(), 2, "two new segments: {new:?}");
            assert!(new.iter().all(|&n| n >= 10), "{new:?}");
            let more = ack(&mut peer, 2, &[]);
            assert!(more.iter().all(|&n| n >= 10), "nothing needless: {more:?}");
            assert!(window(&peer).0 >= 10_000, "{:?}", window(&peer));
            assert_eq!(window(&peer).1, None);
            for una in 3..=10 {
                assert!(ack(&mut peer, una, &[]).iter().all(|&n| n >= 10));
            }
        }
    });
}

/// RFC 5682 §2.1 step 2b: two segments, so a FIN that would be the third waits for the next ACK.
#[test]
#[covers("RT-11")]
fn nothing_follows_the_two_new_segments() {
    Setup::each(|mut setup| {
        setup.syn.sack_permitted = false;
        let mut peer = wrote(&setup, 12);
        assert_eq!(segments(&peer.take()).len(), 10);
        peer.run(300 * MS);
        assert_eq!(ack(&mut peer, 1, &[]), [10, 11]);
        peer.tcp.shutdown(peer.now, peer.id).unwrap();
        let held = peer.run(50 * MS); // longer than pacing would hold it
        assert!(held.is_empty(), "the timeout may have been needless");
        let segment = peer.segment(Flags::NONE, 1, at(2), 0);
        peer.recv(segment);
        let sent = peer.take();
        assert!(
            sent.len() == 1 && sent[0].flags.contains(Flags::FIN),
            "{sent:?}"
        );
    });
}

/// The second ACK is a duplicate: the losses were real.
#[test]
#[covers("RT-11")]
fn a_duplicate_after_the_first_ack_means_loss() {
    Setup::each(|mut setup| {
        setup.syn.sack_permitted = false;
        let (mut peer, _) = spike(&setup);
        assert_eq!(ack(&mut peer, 1, &[]), [10, 11]);
        assert_eq!(ack(&mut peer, 1, &[])[..1], [1]);
        assert!(window(&peer).0 <= 3000);
        assert_eq!(window(&peer).1, Some(5000));
    });
}

/// With SACK: the new data arrived, the old did not.
#[test]
#[covers("RT-11")]
fn sacks_of_the_new_data_alone_mean_loss() {
    Setup::each(|setup| {
        let (mut peer, again) = spike(&setup);
        let probe = again.iter().filter(|&&n| n >= 10).count() as u32;
        let new = ack(&mut peer, 1, &[]);
        assert_eq!(new, [10 + probe, 11 + probe]);
        let sent = ack(&mut peer, 1, &[(10 + probe, 11 + probe)]);
        assert_eq!(sent[0], 1);
        assert!(window(&peer).1.is_some());
    });
}

/// Eifel: the echo is older than the retransmission, so the first ACK decides.
#[test]
#[covers("RT-11")]
fn an_old_echo_shows_a_spurious_timeout_at_once() {
    Setup::each(|setup| {
        let mut setup = setup.timestamps();
        setup.config.mtu += 12;
        setup.syn.mss = Some(1012);
        setup.syn.sack_permitted = false;
        let mut peer = wrote(&setup, 40);
        let first = peer.take();
        let tsval = first[0].options.timestamps().unwrap().tsval;
        let end = peer.now + 300 * MS;
        let again = segments(&peer.run(end - peer.now));
        assert_eq!(again, [0]);
        let mut segment = peer.segment(Flags::NONE, 1, at(1), 0);
        if let Options::Segment(options) = &mut segment.options {
            options.timestamps = Some(Timestamps {
                tsval: 1000,
                tsecr: tsval,
            });
        }
        peer.recv(segment);
        let sent = segments(&peer.take());
        assert!(sent.iter().all(|&n| n >= 10), "nothing needless: {sent:?}");
        assert!(window(&peer).0 >= 10_000);
        assert_eq!(window(&peer).1, None);
    });
}

/// A repair that reordering caused: its D-SACK brings the window back, and the reordering window
/// stays open from then on.
#[test]
#[covers("RT-11", "RK-3")]
fn a_d_sack_takes_a_needless_repair_back() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 10);
        peer.take();
        let before = window(&peer);
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 0, &[(1, 4)]), [0]);
        assert!(window(&peer).1.is_some());
        peer.now += MS;
        ack(&mut peer, 10, &[]);
        peer.now += 9 * MS;
        ack_bytes(&mut peer, at(10), &[(at(0), at(1))]);
        assert!(window(&peer).0 >= before.0);
        assert_eq!(window(&peer).1, before.1);
        // Three SACKed segments do not do any more.
        peer.write(5000);
        peer.take();
        peer.now += 10 * MS;
        assert_eq!(ack(&mut peer, 10, &[(11, 14)]), []);
    });
}

/// One of two repairs was needed: no way back.
#[test]
#[covers("RT-11")]
fn a_needed_repair_keeps_the_reduction() {
    Setup::each(|setup| {
        let mut peer = wrote(&setup, 10);
        peer.take();
        peer.now += 10 * MS;
        let mut sent = ack(&mut peer, 0, &[(2, 8)]);
        assert_eq!(sent[..2], [0, 1]);
        peer.now += 10 * MS;
        sent = ack(&mut peer, 10, &[]);
        assert_eq!(sent, []);
        ack_bytes(&mut peer, at(10), &[(at(0), at(1))]);
        assert_eq!(window(&peer).1, Some(5000));
        peer.run(SEC);
    });
}
