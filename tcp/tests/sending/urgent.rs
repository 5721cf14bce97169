//! Urgent data, and what IP is told of each segment: DSCP, ECN, TTL.

use core::num::NonZeroU8;

use covers::covers;
use ustack_tcp::testing::pattern;
use ustack_tcp::{Ecn, Flags};

use crate::peer::{Peer, SEC, Setup, texts};

#[test]
#[covers("MUST-30", "MUST-62", "SHLD-13")]
fn the_pointer_names_the_byte_after_urgent_data() {
    Setup::each(|mut setup| {
        setup.config.tso = true;
        let mut peer = Peer::open(&setup);
        peer.take();
        peer.write(1);
        peer.take();
        // Nagle does not hold urgent data (one byte is outstanding).
        let data = pattern(1, 2_500);
        peer.tcp.write_urgent(peer.now, peer.id, &data).unwrap();
        peer.turn();
        let sent = peer.take();
        assert_eq!(texts(&sent), [(2, 1000), (1002, 1000), (2002, 500)]);
        for sent in &sent {
            assert!(sent.has(Flags::URG));
            assert_eq!(sent.seq + i32::from(sent.urgent), 2_502);
        }
        // Once it is acknowledged, nothing is urgent any more.
        peer.ack(2_502);
        let data = pattern(2_501, 10);
        peer.tcp.write(peer.now, peer.id, &data).unwrap();
        peer.turn();
        let sent = peer.take();
        assert_eq!(texts(&sent), [(2_502, 10)]);
        assert!(!sent[0].has(Flags::URG) && sent[0].urgent == 0);
    });
}

/// A retransmission has its own distance to the end; bytes after it are not urgent.
#[test]
#[covers("MUST-62")]
fn the_pointer_moves_with_the_segment() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup.options(|options| options.nodelay = true));
        let data = pattern(0, 300);
        peer.tcp.write_urgent(peer.now, peer.id, &data).unwrap();
        peer.turn();
        peer.tcp
            .write(peer.now, peer.id, &pattern(300, 200))
            .unwrap();
        peer.turn();
        peer.take();
        let again = peer.run(SEC / 2);
        assert!(again.iter().any(|sent| sent.seq == 1));
        for sent in again {
            let urgent = (sent.has(Flags::URG), sent.urgent);
            match sent.seq {
                1 => assert_eq!(urgent, (true, 300)),
                _ => assert_eq!(urgent, (false, 0), "{sent:?}"),
            }
        }
    });
}

#[test]
#[covers("MUST-31", "MUST-62")]
fn urgent_data_of_any_length() {
    Setup::each(|setup| {
        let mut peer = Peer::open(&setup);
        peer.take();
        let total = 100_000;
        let data = pattern(0, total);
        assert_eq!(peer.tcp.write_urgent(peer.now, peer.id, &data), Ok(total));
        peer.turn();
        let mut acked = 1;
        while acked <= total as i32 {
            for sent in peer.take() {
                assert!(sent.has(Flags::URG));
                let left = total as i32 + 1 - sent.seq;
                assert_eq!(i32::from(sent.urgent), left.min(65_535));
                acked = sent.end();
            }
            peer.ack(acked);
        }
    });
}

/// Set at any time, the same on every segment from then on, retransmissions and control included.
#[test]
#[covers("MUST-48", "MUST-49", "SHLD-21", "SHLD-22", "SHLD-23")]
fn dscp_and_ttl_are_the_applications() {
    Setup::each(|setup| {
        let setup = setup.options(|options| {
            options.dscp = 46;
            options.ttl = NonZeroU8::new(5);
        });
        let mut peer = Peer::open(&setup);
        let opening = peer.take();
        assert!(opening[0].has(Flags::SYN));
        peer.write(2_500);
        let mut sent = peer.run(2 * SEC);
        sent.extend(opening);
        assert!(sent.len() > 4);
        for sent in &sent {
            assert_eq!((sent.dscp, sent.ttl), (46, Some(5)), "{sent:?}");
            assert_eq!(sent.ecn, Ecn::NotEct);
        }
        peer.set(|options| {
            options.dscp = 10;
            options.ttl = NonZeroU8::new(255);
        });
        peer.ack(2_501);
        peer.write(100);
        peer.tcp.abort(peer.now, peer.id);
        peer.turn();
        sent = peer.take();
        assert!(sent.last().unwrap().has(Flags::RST));
        for sent in &sent {
            assert_eq!((sent.dscp, sent.ttl), (10, Some(255)), "{sent:?}");
        }
        // TIME-WAIT, too, where a record is all that is left.
        let mut peer = Peer::open(&setup);
        peer.tcp.release(peer.now, peer.id);
        peer.turn();
        peer.recv(peer.segment(Flags::FIN, 1, 2, 0));
        peer.now += SEC;
        peer.recv(peer.segment(Flags::FIN, 1, 2, 0));
        let sent = peer.take();
        assert!(sent.len() >= 4 && sent.last().unwrap().flags == Flags::ACK);
        for sent in &sent {
            assert_eq!((sent.dscp, sent.ttl), (46, Some(5)), "{sent:?}");
        }
    });
}
