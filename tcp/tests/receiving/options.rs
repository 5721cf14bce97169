//! Options as bytes on the wire (RFC 9293 §3.1, §3.2): what is read, stepped over, and survived.

use bytes::Bytes;
use covers::covers;
use ustack_tcp::segment::{FastOpen, SynOptions, Timestamps};
use ustack_tcp::{CloseReason, Config, Ecn, Event, Flags, Options, SocketOptions, wire};

use crate::peer::{Net, Out, Peer, everywhere, seg, syn_with_ts};

const MSS_700: [u8; 4] = [2, 4, 700_u16.to_be_bytes()[0], 700_u16.to_be_bytes()[1]];

/// A segment with these option bytes, as it comes from IP; numbers as in [`seg`].
fn raw(peer: &Peer, seg: &crate::peer::Seg, options: &[u8]) -> Bytes {
    let plain = peer.wire(seg);
    let mut bytes = wire::emit(&plain.header(), 5000, 80)[..20].to_vec();
    bytes.extend_from_slice(options);
    while !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
    bytes[12] = (bytes.len() as u8 / 4) << 4 | bytes[12] & 1;
    bytes.extend_from_slice(&plain.payload);
    bytes.into()
}

fn deliver(peer: &mut Peer, seg: &crate::peer::Seg, options: &[u8]) -> Vec<Out> {
    let bytes = raw(peer, seg, options);
    let parsed = wire::parse(bytes, None).expect("a whole header");
    peer.on_segment(Ecn::NotEct, parsed.segment);
    peer.turn()
}

/// Opens a connection with a SYN of these option bytes; the largest segment that is sent then.
fn sent_after_syn(net: Net, options: &[u8]) -> usize {
    let Options::Syn(parsed) = parse_syn(options) else {
        panic!("a SYN");
    };
    let mut peer = Peer::open_with(net, Config::default(), SocketOptions::default(), parsed);
    peer.write(5000)
        .iter()
        .map(|out| out.len)
        .max()
        .unwrap_or(0)
}

/// The bytes of a SYN through the parser.
fn parse_syn(options: &[u8]) -> Options {
    let mut bytes = vec![0; 20];
    (bytes[2], bytes[3], bytes[13]) = (0, 80, 2);
    bytes.extend_from_slice(options);
    while !bytes.len().is_multiple_of(4) {
        bytes.push(0);
    }
    bytes[12] = (bytes.len() as u8 / 4) << 4;
    let parsed = wire::parse(bytes.into(), None).expect("a whole header");
    parsed.segment.options
}

/// What is sent to a peer that named no MSS, which the script's MTU caps over IPv6.
const fn default_mss(net: Net) -> usize {
    if net.ipv6 { 1000 } else { 536 }
}

#[test]
#[covers("MUST-4", "MUST-64")]
fn mss_nop_and_end_in_every_order_and_alignment() {
    const END: &[u8] = &[0];
    const NOP: &[u8] = &[1];
    everywhere(|net| {
        for (order, heard) in [
            ([&MSS_700[..], NOP, END], true),
            ([&MSS_700, END, NOP], true),
            ([NOP, &MSS_700, END], true),
            ([NOP, END, &MSS_700], false),
            ([END, &MSS_700, NOP], false),
            ([END, NOP, &MSS_700], false),
        ] {
            let wanted = if heard { 700 } else { default_mss(net) };
            assert_eq!(sent_after_syn(net, &order.concat()), wanted, "{order:?}");
        }
        for nops in 0..8 {
            let mut options = vec![1; nops];
            options.extend(MSS_700);
            options.extend([3, 3, 0]);
            assert_eq!(sent_after_syn(net, &options), 700, "{nops}");
        }
        // On data, too: timestamps after any number of NOPs.
        for nops in 0..=3 {
            let socket = SocketOptions::default();
            let mut peer = Peer::open_with(net, Config::default(), socket, syn_with_ts());
            let mut options = vec![1; nops];
            options.extend([8, 10, 0, 0, 4, 0, 0, 0, 0, 0]);
            deliver(&mut peer, &seg(1, 100, 1), &options);
            assert_eq!(peer.read(), 100, "{nops}");
        }
    });
}

#[test]
#[covers("MUST-6")]
fn unknown_kinds_are_stepped_over_on_syns_and_on_data() {
    everywhere(|net| {
        for kind in (30..=253).filter(|&kind| kind != 34) {
            for len in [2, 3, 4, 7, 20, 36] {
                let mut options = vec![kind, len];
                options.resize(usize::from(len), 0xff);
                options.extend(MSS_700);
                let parsed = parse_syn(&options);
                let wanted = SynOptions {
                    mss: Some(700),
                    ..SynOptions::default()
                };
                assert_eq!(parsed, Options::Syn(wanted), "kind {kind}, {len} bytes");
            }
        }
        let mut unknown = vec![99, 20];
        unknown.resize(20, 0xff);
        assert_eq!(sent_after_syn(net, &[&unknown[..], &MSS_700].concat()), 700);
        let mut peer = Peer::open(net);
        let mut at = 1;
        for kind in (30..=253).filter(|&kind| kind != 34) {
            for len in [2, 3, 2 + kind % 39, 40] {
                let mut options = vec![kind, len];
                options.resize(usize::from(len), 0xff);
                deliver(&mut peer, &seg(at, 10, 1), &options);
                assert_eq!(peer.read(), 10, "kind {kind}, {len} bytes");
                at += 10;
            }
        }
        assert_eq!((&*peer.state(), peer.info().snd_mss), ("ESTABLISHED", 1000));
    });
}

/// Shifts as the wire has them: above 14 they are 14, in a SYN; on data and on ACKs they mean
/// nothing.
#[test]
#[covers("TS-4", "TS-2")]
fn a_shift_is_14_at_most_and_for_syns_only() {
    everywhere(|net| {
        for (shift, window) in [(13, 1 << 13), (14, 1 << 14), (15, 1 << 14), (255, 1 << 14)] {
            let Options::Syn(parsed) = parse_syn(&[&MSS_700[..], &[1, 3, 3, shift]].concat())
            else {
                panic!("a SYN");
            };
            let mut peer =
                Peer::open_with(net, Config::default(), SocketOptions::default(), parsed);
            // A congestion window that is no limit here.
            let mut acked = 1;
            let mut out = Vec::new();
            while peer.info().snd_cwnd < 40_000 {
                let room = peer.tcp.write_room(peer.conn).expect("open");
                out.extend(peer.write(room.min(60_000)));
                acked = out.last().map_or(acked, |last| last.seq + last.len as u32);
                out = peer.send(seg(1, 0, acked));
            }
            while let Some(last) = out.last() {
                acked = last.seq + last.len as u32;
                out = peer.send(seg(1, 0, acked));
            }
            // One unit of window; the shift that comes with it changes nothing.
            deliver(&mut peer, &seg(1, 0, acked).win(1), &[1, 3, 3, 2]);
            let sent: usize = peer.write(60_000).iter().map(|out| out.len).sum();
            assert!(sent <= window && sent + 700 > window, "{shift}: {sent}");
        }
    });
}

#[test]
#[covers("MUST-7", "MUST-68")]
fn impossible_lengths_are_survived() {
    everywhere(|net| {
        let mut at = 1;
        let mut peer = Peer::open(net);
        for kind in [2, 3, 4, 5, 8, 34, 77, 254] {
            for len in [0, 1, 5, 200, 255] {
                // The last option of the header, one byte longer than it.
                let options = [1, 1, kind, len];
                let answers = deliver(&mut peer, &seg(at, 10, 1), &options);
                assert!(answers.len() <= 1, "kind {kind} len {len}: {answers:?}");
                at += 10;
                // What comes before such a length counts, what comes after does not.
                let syn = [
                    &MSS_700[..],
                    &[kind, if len == 5 { 0 } else { len }],
                    &[3, 3, 7],
                ];
                let Options::Syn(syn) = parse_syn(&syn.concat()) else {
                    panic!("a SYN");
                };
                assert_eq!((syn.mss, syn.window_scale), (Some(700), None));
            }
        }
        assert_eq!(peer.read() as u32, at - 1, "the text was good");
        // A kind in the very last byte has no length at all.
        deliver(&mut peer, &seg(at, 10, 1), &[1, 1, 1, 77]);
        assert_eq!((peer.read(), &*peer.state()), (10, "ESTABLISHED"));
    });
}

#[test]
#[covers("MUST-65")]
fn an_mss_on_data_changes_nothing_and_is_never_sent() {
    everywhere(|net| {
        let mut peer = Peer::open(net);
        let mss_100 = [2, 4, 0, 100];
        deliver(&mut peer, &seg(1, 100, 1), &mss_100);
        deliver(&mut peer, &seg(101, 0, 1), &mss_100);
        assert_eq!(peer.info().snd_mss, 1000);
        let out = peer.write(5000);
        assert!(out.iter().all(|out| out.len == 1000), "{out:?}");
        peer.send(seg(2001, 100, 1)); // SACK blocks, for company
        peer.tcp.shutdown(peer.now, peer.conn).expect("open");
        peer.turn();
        assert!(peer.all.len() > 6);
        for sent in &peer.all {
            let bytes = wire::emit(&sent.header(), 80, 5000);
            let has_mss = kinds(&bytes[20..]).contains(&2);
            assert_eq!(has_mss, sent.has(Flags::SYN), "{sent:?}");
        }
    });
}

/// The kinds of options, in order.
fn kinds(mut rest: &[u8]) -> Vec<u8> {
    let mut kinds = Vec::new();
    while let [kind, tail @ ..] = rest {
        kinds.push(*kind);
        rest = match kind {
            0 => break,
            1 => tail,
            _ => &rest[usize::from(tail[0])..],
        };
    }
    kinds
}

#[test]
#[covers("MUST-69", "MUST-14")]
fn what_follows_the_end_of_our_options_is_zero() {
    let timestamps = Some(Timestamps {
        tsval: 0x0101_0101,
        tsecr: 0x0202_0202,
    });
    for set in 0..16 {
        for cookie in [None, Some(0), Some(4), Some(6), Some(8), Some(16)] {
            let options = SynOptions {
                mss: Some(1460),
                window_scale: (set & 1 > 0).then(|| crate::peer::scale(7)),
                sack_permitted: set & 2 > 0,
                timestamps: timestamps.filter(|_| set & 4 > 0),
                fast_open: cookie.map(|len| FastOpen::new(&[9; 16][..len])),
            };
            if Options::Syn(options).len() > 40 {
                continue;
            }
            let mut header = segment().header();
            (header.flags, header.options) = (Flags::SYN, Options::Syn(options));
            let bytes = wire::emit(&header, 80, 5000);
            assert_eq!(bytes.len() % 4, 0);
            assert_eq!(usize::from(bytes[12] >> 4) * 4, bytes.len());
            let list = kinds(&bytes[20..]);
            if let Some(end) = list.iter().position(|&kind| kind == 0) {
                let zeros = bytes.iter().rev().take_while(|&&byte| byte == 0).count();
                assert!(end == list.len() - 1 && zeros >= 1);
            }
            // And the whole list reads back.
            let parsed = wire::parse(bytes.to_vec().into(), None).expect("ours");
            assert_eq!(parsed.segment.options, Options::Syn(options));
        }
    }
}

#[test]
#[covers("MUST-5")]
fn options_are_accepted_on_any_segment() {
    everywhere(|net| {
        let socket = SocketOptions::default();
        let mut peer = Peer::open_with(net, Config::default(), socket, syn_with_ts());
        let stamped = |val: u8| [1, 1, 8, 10, 0, 0, 8, val, 0, 0, 0, 0];
        deliver(&mut peer, &seg(1, 100, 1), &stamped(1));
        assert_eq!(peer.read(), 100);
        peer.write(100);
        deliver(&mut peer, &seg(101, 0, 101), &stamped(2));
        assert_eq!(peer.info().bytes_acked, 100);
        deliver(&mut peer, &seg(101, 0, 101).with(Flags::FIN), &stamped(3));
        assert_eq!(peer.state(), "CLOSE-WAIT");
        let options = [99, 4, 1, 1, 1, 1, 1, 1];
        deliver(&mut peer, &seg(102, 0, 101).only(Flags::RST), &options);
        let reset = Event::Closed(peer.conn, CloseReason::Reset);
        assert!(peer.events.contains(&reset));
    });
}

fn segment() -> ustack_tcp::Segment {
    let bytes = [
        0, 9, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
    ];
    let parsed = wire::parse(Bytes::copy_from_slice(&bytes), None).expect("a header");
    parsed.segment
}
