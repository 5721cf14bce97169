use super::*;
use crate::batch::Frame;
use crate::device::memory;
use crate::observe::{Frames, NoteList, timer};

/// A device, and its other end.
fn recorded() -> (Recorder<memory::MemoryDevice>, memory::MemoryDevice) {
    let flight = FlightRecorder::new(RecorderOptions::default());
    let (inside, peer) = memory::pair(Caps {
        mtu: 1500,
        tx_checksum: false,
        tso: false,
        uso: false,
    });
    (flight.record(inside), peer)
}

fn frame(byte: u8) -> Frame {
    Frame {
        data: vec![byte; 60].into(),
        ..Frame::default()
    }
}

/// Ends a half turn at this time, in which a frame of this byte was sent and a timer fired for it.
fn send(device: &mut impl Device, at: u64, byte: u8) {
    let record = timer(Instant::from_millis(at), 7, Timer::DelayedAck);
    let (mut batch, mut notes) = (TxBatch::new(), NoteList::default());
    batch.push_frame(frame(byte));
    notes.push(&record, Frames::Sent { first: 0, count: 1 });
    batch.put_notes(|list| {
        *list = notes;
        0
    });
    device.send(Instant::from_millis(at), &mut batch).unwrap();
}

/// Time, first byte and number of notes of each packet in the ring.
fn packets(kept: &Kept) -> Vec<(u64, u8, usize)> {
    let mut packets = Vec::new();
    ring::each(&[kept.ring.lock().copy()], |at, head, part| {
        packets.push((at.as_millis(), head.data[0], part.notes.len()));
    });
    packets
}

#[test]
fn what_is_missed_while_the_ring_is_read_is_no_more_than_its_half_turn() {
    let (mut device, peer) = recorded();
    let kept = Arc::clone(&device.kept);
    let mut batch = RxBatch::new();
    // The end of a half turn is missed: what has arrived in it stays as it was.
    peer.push(frame(1));
    device.recv(Instant::from_millis(1), &mut batch).unwrap();
    let reader = kept.ring.lock();
    send(&mut device, 1, 2);
    drop(reader);
    send(&mut device, 2, 3);
    let expected = vec![(1, 1, 0), (2, 3, 1)];
    assert_eq!(packets(&kept), expected);
    // The beginning is missed: so is what goes with it, and no more.
    let reader = kept.ring.lock();
    peer.push(frame(4));
    device.recv(Instant::from_millis(3), &mut batch).unwrap();
    drop(reader);
    send(&mut device, 3, 5);
    send(&mut device, 4, 6);
    assert_eq!(packets(&kept), [&expected[..], &[(4, 6, 1)]].concat());
    assert_eq!(device.flight.counters().missed.load(Ordering::Relaxed), 3);
}

/// A file that somebody orders while a half turn is under way has what is noted at its end.
#[test]
fn a_file_waits_for_the_end_of_a_half_turn() {
    let (mut device, peer) = recorded();
    let kept = Arc::clone(&device.kept);
    peer.push(frame(1));
    let now = Instant::from_millis(1);
    device.recv(now, &mut RxBatch::new()).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(30);
    let copy = std::thread::spawn(move || kept.copy(until).unwrap());
    send(&mut device, 1, 2);
    let mut notes = 0;
    ring::each(&[copy.join().unwrap()], |_, _, part| {
        notes += part.notes.len();
    });
    assert_eq!(notes, 1);
    // Who cannot wait has what there is.
    peer.push(frame(3));
    device.recv(now, &mut RxBatch::new()).unwrap();
    let mut packets = 0;
    let copy = device.kept.copy(std::time::Instant::now()).unwrap();
    ring::each(&[copy], |_, _, _| packets += 1);
    assert_eq!(packets, 3);
}
