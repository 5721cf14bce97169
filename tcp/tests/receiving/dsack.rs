//! D-SACK: the examples of RFC 2883 §4, and its bounds.

use covers::covers;
use ustack_tcp::segment::SynOptions;
use ustack_tcp::{Config, Options, SocketOptions};

use crate::peer::{Out, Peer, everywhere, seg, syn};

/// The one segment that answers a segment of the RFC's examples, whose numbers are kept: 500 is
/// the first of the stream.
fn answer(peer: &mut Peer, from: u32, to: u32) -> Option<Out> {
    let mut out = peer.send(seg(from - 499, (to - from) as usize, 1));
    assert!(out.len() <= 1, "{out:?}");
    out.pop()
}

fn expect(peer: &mut Peer, (from, to): (u32, u32), number: u32, blocks: &[(u32, u32)]) {
    let out = answer(peer, from, to).expect("an ACK");
    let sack: Vec<_> = out.sack.iter().map(|(l, r)| (l + 499, r + 499)).collect();
    assert_eq!((out.ack + 499, &*sack), (number, blocks), "{from}-{to}");
}

#[test]
#[covers("SK-8")]
fn example_1_and_2_duplicates_below_the_cumulative_ack() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        answer(&mut peer, 500, 1000);
        answer(&mut peer, 1000, 1500); // whose ACKs were lost
        expect(&mut peer, (500, 1000), 1500, &[(500, 1000)]);
        expect(&mut peer, (1000, 1500), 1500, &[(1000, 1500)]);
        // Reported once: what else is answered says nothing of it.
        expect(&mut peer, (2000, 2500), 1500, &[(2000, 2500)]);
        expect(&mut peer, (500, 1000), 1500, &[(500, 1000), (2000, 2500)]);
    });
}

#[test]
#[covers("SK-8")]
fn example_3_a_duplicate_above_the_cumulative_ack() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        answer(&mut peer, 500, 1000);
        expect(&mut peer, (1500, 2000), 1000, &[(1500, 2000)]);
        expect(&mut peer, (2000, 2500), 1000, &[(1500, 2500)]);
        expect(&mut peer, (2000, 2500), 1000, &[(2000, 2500), (1500, 2500)]);
        // The enclosing block comes second even when another one is more recent.
        expect(&mut peer, (4000, 4500), 1000, &[(4000, 4500), (1500, 2500)]);
        expect(
            &mut peer,
            (1500, 2000),
            1000,
            &[(1500, 2000), (1500, 2500), (4000, 4500)],
        );
    });
}

#[test]
#[covers("SK-8")]
fn example_4_one_duplicate_part() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        answer(&mut peer, 500, 1000);
        expect(&mut peer, (2000, 2500), 1000, &[(2000, 2500)]);
        expect(&mut peer, (1000, 1500), 1500, &[(2000, 2500)]);
        expect(&mut peer, (1000, 2500), 2500, &[(1000, 1500)]);
    });
}

#[test]
#[covers("SK-8")]
fn example_5_two_parts_below_the_cumulative_ack() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        answer(&mut peer, 500, 1000);
        expect(&mut peer, (3000, 3500), 1000, &[(3000, 3500)]);
        expect(&mut peer, (1000, 1500), 1500, &[(3000, 3500)]);
        expect(&mut peer, (2000, 2500), 1500, &[(2000, 2500), (3000, 3500)]);
        expect(&mut peer, (1000, 2500), 2500, &[(1000, 1500), (3000, 3500)]);
    });
}

#[test]
#[covers("SK-8")]
fn example_6_two_parts_above_the_cumulative_ack() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        answer(&mut peer, 500, 1000);
        expect(&mut peer, (3500, 4000), 1000, &[(3500, 4000)]);
        expect(&mut peer, (1500, 2000), 1000, &[(1500, 2000), (3500, 4000)]);
        expect(
            &mut peer,
            (2500, 3000),
            1000,
            &[(2500, 3000), (1500, 2000), (3500, 4000)],
        );
        expect(
            &mut peer,
            (1500, 3000),
            1000,
            &[(1500, 2000), (1500, 3000), (3500, 4000)],
        );
    });
}

/// Two duplicates that one turn brings are two reports, in two ACKs.
#[test]
#[covers("SK-8", "CC-12")]
fn a_batch_of_duplicates_is_reported_in_full() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(1, 5000, 1));
        let out = peer.batch([seg(1, 1000, 1), seg(3001, 500, 1), seg(3501, 500, 1)]);
        let blocks: Vec<_> = out.iter().map(|out| &*out.sack).collect();
        assert_eq!(blocks, [&[(1, 1001)], &[(3001, 4001)]]);
        let many = (0..100).map(|n| seg(1 + 20 * n, 10, 1));
        assert!(peer.batch(many).len() <= 100);
    });
}

/// Duplicates of two blocks in one turn: each report is followed by its own block, whichever is
/// more recent by then.
#[test]
#[covers("SK-8")]
fn each_report_is_followed_by_the_block_around_it() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        peer.send(seg(2001, 1000, 1));
        peer.send(seg(5001, 1000, 1));
        let out = peer.batch([seg(2001, 500, 1), seg(5001, 500, 1)]);
        let (one, two) = ((2001, 3001), (5001, 6001));
        assert_eq!(out[0].sack, [(2001, 2501), one, two]);
        assert_eq!(out[1].sack, [(5001, 5501), two, one]);
    });
}

#[test]
#[covers("SK-1")]
fn no_sack_without_permission() {
    everywhere(|net| {
        let options = SynOptions {
            sack_permitted: false,
            ..syn()
        };
        let (config, socket) = (Config::default(), SocketOptions::default());
        let mut peer = Peer::open_with(net, config, socket, options);
        let Options::Syn(answer) = &peer.syn_ack.options else {
            panic!("{:?}", peer.syn_ack)
        };
        assert!(!answer.sack_permitted, "nobody asked");
        let mut out = peer.send(seg(1001, 1000, 1));
        out.extend(peer.send(seg(1, 500, 1)));
        out.extend(peer.send(seg(1, 500, 1)));
        out.extend(peer.send(seg(1001, 500, 1)));
        assert!(out.len() >= 3 && out.iter().all(|out| out.sack.is_empty()));
    });
}
