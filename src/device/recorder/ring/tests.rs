use ustack_tcp::observe::{Records, Timer};

use super::*;
use crate::batch::{Offload, TxBatch};
use crate::observe::{self, Noted};

fn frame(byte: u8, len: usize) -> Frame {
    Frame {
        data: vec![byte; len].into(),
        ..Frame::default()
    }
}

fn at(n: u64) -> Instant {
    Instant::from_millis(n)
}

/// First bytes and lengths of packets, and how many notes each has and had before it.
fn told(copies: &[Vec<u8>]) -> Vec<(u64, u8, u32, usize, usize)> {
    let mut told = Vec::new();
    each(copies, |at, head, part| {
        let (notes, before) = (part.notes.len(), part.before.len());
        told.push((at.as_millis(), head.data[0], head.len, notes, before));
        assert_eq!(head.data.len(), KEPT.min(head.len as usize));
    });
    told
}

fn timer() -> Records {
    let record = observe::timer(at(0), 7, Timer::DelayedAck);
    [&record].into_iter().collect()
}

/// Something happened, to these frames or none.
fn note(ring: &mut Ring, at: Instant, frames: Frames) {
    for packed in timer().packed() {
        ring.note(at, Told::Tcp(packed), frames);
    }
}

#[test]
fn the_last_packets_stay_in_memory_that_is_taken_once() {
    let mut ring = Ring::new(100_000);
    let memory = |ring: &Ring| -> usize {
        let capacities = ring.chunks.iter().map(|chunk| chunk.bytes.capacity());
        capacities.sum()
    };
    let before = memory(&ring);
    for n in 0..5_000_u64 {
        let len = 40 + (n % 250) as usize;
        ring.receive(at(n), &[frame(n as u8, len)]);
        ring.end_turn();
    }
    assert_eq!(memory(&ring), before);
    let told = told(&[ring.copy()]);
    assert!(told.len() > 500, "{}", told.len());
    for (n, packet) in (0..5_000).rev().zip(told.iter().rev()) {
        assert_eq!(*packet, (n, n as u8, 40 + n as u32 % 250, 0, 0));
    }
}

#[test]
fn notes_find_their_packets() {
    let mut ring = Ring::new(100_000);
    let mut batch = TxBatch::new();
    for byte in [10, 11] {
        batch.push(&[byte; 60], [vec![byte; 1000].into()], Offload::default());
    }
    for n in 0..3 {
        ring.receive(at(1), &[frame(n, 50)]);
    }
    ring.send(at(2), 100, batch.iter());
    let received = |first| Frames::Received { first, count: 1 };
    let sent = Frames::Sent {
        first: 101,
        count: 1,
    };
    note(&mut ring, at(2), Frames::None);
    for (first, fate) in [
        (1, Fate::Dropped(Dropped::Truncated)),
        (2, Fate::HandedOver(3)),
    ] {
        ring.note(at(2), Told::Other(fate), received(first));
    }
    note(&mut ring, at(2), sent);
    ring.end_turn();
    let expected = [
        (2, 0, 50, 0, 0),
        (2, 1, 50, 1, 0),
        (2, 2, 50, 1, 0),
        (2, 10, 1060, 0, 0),
        (2, 11, 1060, 1, 1), // the first of its flow
    ];
    assert_eq!(told(&[ring.copy()]), expected);
    let mut notes = Vec::new();
    each(&[ring.copy()], |_, _, part| {
        notes.extend(part.notes.iter().map(|note| note.what));
    });
    let timer = timer().iter().next().expect("one");
    let expected = [
        Noted::Dropped(Dropped::Truncated),
        Noted::HandedOver(3),
        Noted::Tcp(timer),
    ];
    assert_eq!(notes, expected);
}

#[test]
fn half_turns_of_several_shards_stand_in_order_of_time() {
    let rings: Vec<_> = (0..3_u64)
        .map(|shard| {
            let mut ring = Ring::new(100_000);
            for n in 0..20 {
                ring.receive(at(n * 3 + shard), &[frame(shard as u8, 50)]);
                let frames = Frames::Received { first: 0, count: 1 };
                note(&mut ring, at(n * 3 + shard), frames);
                note(&mut ring, at(n * 3 + shard), Frames::None);
                ring.end_turn();
            }
            ring.copy()
        })
        .collect();
    let times: Vec<_> = told(&rings).iter().map(|told| told.0).collect();
    assert_eq!(times, (0..60).collect::<Vec<_>>());
    // What happened since a packet of the same shard stands before the next one.
    assert!(told(&rings)[3..].iter().all(|told| told.4 == 1));
}

/// Of half a turn whose beginning is gone, what is left says nothing of frames that are others'.
#[test]
fn a_turn_that_lost_its_beginning() {
    let mut ring = Ring::new(0); // as small as can be
    for n in 0..200 {
        ring.receive(at(1), &[frame(n, 500)]);
    }
    for first in [0, 190, 199] {
        note(&mut ring, at(1), Frames::Received { first, count: 1 });
    }
    ring.end_turn();
    let told = told(&[ring.copy()]);
    let first = told[0].1;
    assert!((10..190).contains(&first), "{first}");
    for (_, byte, _, notes, _) in told {
        assert_eq!(notes, usize::from([190, 199].contains(&byte)), "{byte}");
    }
}

/// A segment from this port, with as many bytes of options and of text.
fn segment(is_v6: bool, port: u16, options: usize, text: usize) -> Vec<u8> {
    let builder = if is_v6 {
        etherparse::PacketBuilder::ipv6([1; 16], [2; 16], 64)
    } else {
        etherparse::PacketBuilder::ipv4([10, 77, 0, 1], [10, 77, 0, 2], 64)
    };
    let options = vec![1; options]; // no operation, each of them
    let builder = builder.tcp(port, 80, 0, 1000).options_raw(&options);
    let mut packet = Vec::new();
    let builder = builder.expect("options fit");
    builder
        .write(&mut packet, &vec![7; text])
        .expect("a vector takes all");
    packet
}

/// Of packets in a row that are alike the headers are kept, however long these are, of others more.
#[test]
fn of_packets_in_a_row_less_is_kept() {
    for (is_v6, options, of_next) in [
        (false, 0, KEPT_OF_NEXT),
        (false, 40, KEPT_OF_NEXT),
        (true, 12, KEPT_OF_NEXT),
        (true, 40, KEPT),
    ] {
        let one = |port, text| segment(is_v6, port, options, text);
        let packets = [
            one(1, 900),
            one(1, 900),
            one(1, 900),
            one(2, 900),
            one(2, 901),
            one(2, 1),
        ];
        let short = packets[5].len().min(KEPT);
        let expected = [KEPT, of_next, of_next, KEPT, KEPT, short];
        let kept = |ring: &Ring| {
            let mut kept = Vec::new();
            each(&[ring.copy()], |_, head, _| {
                let packet = &packets[kept.len()];
                assert_eq!(head.data, &packet[..head.data.len()]);
                assert_eq!(head.len as usize, packet.len());
                kept.push(head.data.len());
            });
            kept
        };
        let mut ring = Ring::new(100_000);
        let frames = packets.clone().map(|packet| Frame {
            data: packet.into(),
            ..Frame::default()
        });
        ring.receive(at(1), &frames);
        assert_eq!(
            kept(&ring),
            expected,
            "received, {options} bytes of options"
        );
        let (mut ring, mut batch) = (Ring::new(100_000), TxBatch::new());
        for packet in &packets {
            let ip_len = if is_v6 { 40 } else { 20 };
            let (headers, text) = packet.split_at(ip_len + 20 + options);
            batch.push(headers, [text.to_vec().into()], Offload::default());
        }
        ring.send(at(1), 0, batch.iter());
        assert_eq!(kept(&ring), expected, "sent, {options} bytes of options");
    }
}

/// Behind IPv6 extension headers TCP's may lie anywhere: of those as much is kept as of others.
#[test]
fn behind_extension_headers_no_less_is_kept() {
    let mut packet = segment(true, 1, 40, 900);
    packet[6] = 60; // destination options
    packet.splice(40..40, [6, 0, 1, 4, 0, 0, 0, 0]); // TCP follows these, which are padding
    let frame = || Frame {
        data: packet.clone().into(),
        ..Frame::default()
    };
    let mut ring = Ring::new(100_000);
    ring.receive(at(1), &[frame(), frame()]);
    let mut kept = Vec::new();
    each(&[ring.copy()], |_, head, _| kept.push(head.data.len()));
    assert_eq!(kept, [KEPT, KEPT]);
}
