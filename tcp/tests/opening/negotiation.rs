//! What the two SYNs agree on: window scale and timestamps (RFC 7323 §2, §3).

use covers::covers;
use ustack_tcp::seq::WindowScale;
use ustack_tcp::testing::pattern;
use ustack_tcp::{Dropped, Event, Flags, Options, Segment, SocketOptions, Verdict};

use crate::host::{SEC, each};

fn plain() -> SocketOptions {
    SocketOptions::default()
}

#[test]
#[covers("TS-1", "TS-2", "TS-4")]
fn windows_are_scaled_only_if_both_ends_said_so() {
    // Their shift, and what it comes to; what we send shows it, a window of 20 units.
    for (shift, used) in [
        (None, 0),
        (Some(0), 0),
        (Some(7), 7),
        (Some(15), 14),
        (Some(255), 14),
    ] {
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            let mut syn = peer.syn_segment();
            let mut raw = peer.syn;
            // As the parser hands it out: the shift is limited there (TS-4).
            raw.window_scale = shift.map(WindowScale::new);
            syn.options = Options::Syn(raw);
            host.recv(&peer, syn).unwrap();
            let answer = host.one();
            peer.note(&answer);
            // The window of a SYN is never scaled: 65,535 means that.
            assert_eq!(answer.window.0, 65_535);
            let Options::Syn(options) = answer.options else {
                unreachable!("a SYN")
            };
            let ours = options.window_scale.map(WindowScale::shift);
            assert_eq!(ours, shift.map(|_| 9), "only in answer to theirs");

            peer.win = 20;
            host.recv(&peer, peer.ack()).unwrap();
            let (id, _) = host.tcp.accept(listener).unwrap();
            host.tcp.write(host.now, id, &pattern(0, 60_000)).unwrap();
            let sent = host.take();
            let bytes: usize = sent.iter().map(|(_, segment)| segment.payload.len()).sum();
            // The initial window of ten segments ends it, if theirs does not.
            let window = 20usize << used;
            let whole = if window > 1_000 {
                window - window % 1_000
            } else {
                window
            };
            assert_eq!(bytes, whole.min(10_000));
            // Ours after the handshake: 128 KiB of buffer, in units of 512 or of 1.
            let field = sent[0].1.window.0;
            assert_eq!(field, if shift.is_some() { 256 } else { 65_535 });
        });
    }
}

#[test]
#[covers("TS-2")]
fn a_connecting_end_scales_nothing_in_its_syn() {
    each(|mut host| {
        let mut peer = host.peer().with_timestamps(3);
        peer.win = 3;
        let (id, syn) = host.connect(&mut peer, plain());
        assert_eq!(syn.window.0, 65_535);
        host.recv(&peer, peer.syn_ack(0)).unwrap();
        // The window of the SYN,ACK is three bytes, not three times 128.
        host.one();
        host.tcp.write(host.now, id, &pattern(0, 3)).unwrap();
        assert_eq!(peer.relative(&host.one()).3, 3);
        host.tcp.write(host.now, id, &pattern(3, 100)).unwrap();
        host.none();
    });
}

#[test]
#[covers("TS-4")]
fn a_scale_on_any_other_segment_means_nothing() {
    // Bytes, since a segment of ours cannot say such a thing.
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer();
        peer.syn.window_scale = Some(WindowScale::new(0));
        host.syn(&mut peer);
        let header = peer.segment(Flags::ACK, 1, 1, 0).header();
        let (from, to) = (peer.flow.remote.port(), peer.flow.local.port());
        let mut bytes = ustack_tcp::wire::emit(&header, from, to).to_vec();
        bytes[12] += 1 << 4; // one word of options
        bytes.extend([1, 3, 3, 7]);
        let parsed = ustack_tcp::wire::parse(bytes.into(), None).unwrap();
        let mut ack = parsed.segment;
        ack.window.0 = 100;
        host.recv(&peer, ack).unwrap();
        let (id, _) = host.tcp.accept(listener).unwrap();
        host.tcp.write(host.now, id, &pattern(0, 5_000)).unwrap();
        let bytes: usize = host
            .take()
            .iter()
            .map(|(_, segment)| segment.payload.len())
            .sum();
        assert_eq!(bytes, 100);
    });
}

#[test]
#[covers("TS-7")]
fn timestamps_are_on_every_segment_or_on_none() {
    for timestamps in [true, false] {
        each(|mut host| {
            let listener = host.listen(|_| {});
            let mut peer = host.peer();
            if timestamps {
                peer = peer.with_timestamps(40);
            }
            let mut sent = vec![host.syn(&mut peer)];
            host.recv(&peer, peer.ack()).unwrap();
            let (id, _) = host.tcp.accept(listener).unwrap();
            host.recv(&peer, peer.segment(Flags::ACK | Flags::PSH, 1, 1, 100))
                .unwrap();
            host.tcp.write(host.now, id, &pattern(0, 5_000)).unwrap();
            host.pass(5 * SEC); // retransmissions
            host.recv(&peer, peer.segment(Flags::ACK | Flags::FIN, 101, 1001, 0))
                .unwrap();
            host.tcp.shutdown(host.now, id).unwrap();
            host.pass(SEC);
            sent.extend(host.take().into_iter().map(|(_, segment)| segment));
            assert!(sent.len() > 8);
            for segment in &sent {
                assert_eq!(
                    segment.options.timestamps().is_some(),
                    timestamps,
                    "{segment:?}"
                );
            }
        });
    }
}

/// The handshake of a peer that stops using timestamps it agreed on is not completed by that (TS-8).
#[test]
fn an_ack_without_the_agreed_timestamp_opens_nothing() {
    each(|mut host| {
        let listener = host.listen(|_| {});
        let mut peer = host.peer().with_timestamps(40);
        host.syn(&mut peer);
        let mut ack = peer.ack();
        ack.options = Options::none();
        assert_eq!(host.recv(&peer, ack), Err(Dropped::NoTimestamp));
        host.none();
        host.recv(&peer, peer.ack()).unwrap();
        assert!(host.tcp.accept(listener).is_some());
    });
}

/// What a SYN has announced holds, whatever buffer the application asks for before the handshake
/// is over: the peer shifts by what it read there, and may send all of the window (SHLD-14).
#[test]
#[covers("TS-2")]
fn a_buffer_changed_meanwhile_changes_neither_scale_nor_window() {
    for bytes in [1_000, 4 << 20] {
        let change = |options: &mut SocketOptions| options.recv_buffer = Some(bytes);
        let check = |syn: &Segment, later: &Segment| {
            let Options::Syn(options) = syn.options else {
                unreachable!("a SYN")
            };
            let shift = options.window_scale.map_or(0, WindowScale::shift);
            let window = u32::from(later.window.0) << shift;
            let offered = u32::from(syn.window.0);
            assert!(
                window <= offered.max(bytes) && window + (1 << shift) > offered,
                "{window} after {offered}"
            );
        };
        each(|mut host| {
            let mut peer = host.peer();
            peer.syn.window_scale = Some(WindowScale::new(2));
            let (id, syn) = host.connect(&mut peer, plain());
            host.tcp.set_options(host.now, id, change).unwrap();
            host.recv(&peer, peer.syn_ack(0)).unwrap();
            check(&syn, &host.one());
        });
        each(|mut host| {
            let listener = host.listen(|options| options.hold = true);
            let mut peer = host.peer();
            peer.syn.window_scale = Some(WindowScale::new(2));
            host.recv(&peer, peer.syn_segment()).unwrap();
            host.none();
            let held = host.events.iter().find_map(|event| match event {
                Event::Incoming { conn, .. } => Some(*conn),
                _ => None,
            });
            let id = held.expect("a SYN to decide on");
            host.tcp.decide(host.now, id, Verdict::Accept);
            let syn = host.one();
            peer.note(&syn);
            host.tcp.set_options(host.now, id, change).unwrap();
            host.recv(&peer, peer.segment(Flags::ACK | Flags::FIN, 1, 1, 0))
                .unwrap();
            assert!(host.tcp.accept(listener).is_some());
            check(&syn, &host.one());
        });
    }
}
