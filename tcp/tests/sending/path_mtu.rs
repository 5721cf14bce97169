//! The path takes less than the device: reports, black holes, and the way back up.

use covers::covers;

use crate::peer::{Peer, Setup, overhead};

/// MTU 1500 at the device and at the peer.
fn wide(setup: Setup) -> Setup {
    let mut setup = setup;
    setup.config.mtu = 1500;
    setup.syn.mss = Some(1500 - overhead(setup.ipv6));
    setup
}

#[test]
#[covers("PM-1")]
fn a_report_lowers_at_once_and_what_was_lost_leaves_again() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&wide(setup));
        peer.take();
        let mss = usize::from(1500 - overhead(peer.flow.is_ipv6()));
        peer.write(4 * mss);
        assert_eq!(peer.take()[0].packet, 1500);
        let now = peer.now;
        peer.too_big(1, 1400);
        let again = peer.take();
        assert_eq!(again[0].seq, 1);
        assert!(again.iter().all(|sent| sent.packet <= 1400), "{again:?}");
        assert!(
            again.iter().all(|sent| sent.at == now),
            "no timer waited for"
        );
        peer.ack(4 * mss as i32 + 1);
        peer.write(3_000);
        let sent = peer.take();
        assert_eq!(sent[0].packet, 1400);
        assert!(sent.iter().all(|sent| sent.packet <= 1400));
    });
}
