//! Explicit congestion notification on the data path (RFC 3168 §6.1).

use ustack_tcp::{Ecn, Flags};

use crate::peer::{Peer, everywhere, seg};

#[test]
fn without_agreement_nothing_is_marked_nor_echoed() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mut out = peer.write(5000);
        out.extend(peer.send(seg(1, 2000, 1001).ecn(Ecn::Ce).with(Flags::ECE)));
        out.extend(peer.send(seg(2001, 2000, 5001).with(Flags::CWR)));
        assert!(out.len() >= 6 && out.iter().all(|out| out.ecn == Ecn::NotEct));
        assert!(
            out.iter()
                .all(|out| !out.has(Flags::ECE) && !out.has(Flags::CWR))
        );
    });
}
