use std::net::SocketAddr;
use std::sync::Mutex;

use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;

use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionOption;
use pcap_file::pcapng::blocks::interface_statistics::InterfaceStatisticsOption;

use pcap_file::pcapng::blocks::opt_common::CommonOption;
use ustack_tcp::observe::{self, Blocks, Outcome, Record, Timer, What, Why};
use ustack_tcp::seq::WireSeq;
use ustack_tcp::{Flags, FlowKey, State};

use super::*;
use crate::device::gso::tests::{assert_valid, super_datagram, super_segment};
use crate::device::memory;
use crate::observe::{Frames, NoteList};

const CAPS: Caps = Caps {
    mtu: 1500,
    tx_checksum: true,
    tso: true,
    uso: true,
};

/// A file in memory, and how many writes it got.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<Vec<u8>>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().concat()
    }
}

fn options(epoch: u64) -> CaptureOptions {
    CaptureOptions {
        interface: "us0".into(),
        epoch: Some(UNIX_EPOCH + Duration::from_secs(epoch)),
        ..CaptureOptions::default()
    }
}

struct Packet {
    time: Duration,
    outgoing: bool,
    len: u32,
    data: Vec<u8>,
}

/// The whole blocks at the beginning of a file: packets, and whether statistics ended it.
fn read(bytes: &[u8]) -> (Vec<Packet>, Option<Vec<InterfaceStatisticsOption<'static>>>) {
    let (mut packets, mut statistics) = (Vec::new(), None);
    let Ok(mut reader) = PcapNgReader::new(bytes) else {
        return (packets, statistics);
    };
    while let Some(Ok((block, _))) = reader.next_block() {
        match block {
            Block::EnhancedPacket(packet) => packets.push(Packet {
                time: packet.timestamp,
                outgoing: packet.options.contains(&EnhancedPacketOption::Flags(2)),
                len: packet.original_len,
                data: packet.data.to_vec(),
            }),
            Block::InterfaceDescription(interface) => {
                let name = InterfaceDescriptionOption::IfName("us0".into());
                assert!(interface.options.contains(&name));
            }
            Block::InterfaceStatistics(block) => {
                let owned = block.options.iter().map(|option| match option {
                    InterfaceStatisticsOption::IsbIfRecv(n) => {
                        InterfaceStatisticsOption::IsbIfRecv(*n)
                    }
                    InterfaceStatisticsOption::IsbOsDrop(n) => {
                        InterfaceStatisticsOption::IsbOsDrop(*n)
                    }
                    other => panic!("{other:?}"),
                });
                statistics = Some(owned.collect());
            }
            other => panic!("{other:?}"),
        }
    }
    (packets, statistics)
}

fn sample(options: CaptureOptions) -> Vec<u8> {
    let file = File::default();
    let (a, b) = memory::pair(CAPS);
    let mut device = Capture::new(a, file.clone(), options).unwrap();
    let mut batch = TxBatch::new();
    batch.push_frame(super_segment(false, &[3; 5000], 1448));
    batch.push_frame(super_datagram(&[4; 2500], 1000));
    device
        .send(Instant::from_nanos(1_500_000_001), &mut batch)
        .unwrap();
    b.push(super_segment(true, &[5; 100], 1428));
    let mut rx = RxBatch::new();
    device.recv(Instant::from_millis(2000), &mut rx).unwrap();
    drop(device);
    file.bytes()
}

#[test]
fn what_went_through_is_read_back() {
    let (packets, statistics) = read(&sample(options(1000)));
    let lens: Vec<_> = packets.iter().map(|packet| packet.len).collect();
    assert_eq!(lens, [5052, 1028, 1028, 528, 172]);
    for packet in &packets {
        assert_valid(&packet.data);
    }
    let outgoing: Vec<_> = packets.iter().map(|packet| packet.outgoing).collect();
    assert_eq!(outgoing, [true, true, true, true, false]);
    assert_eq!(packets[0].time, Duration::new(1001, 500_000_001));
    assert_eq!(packets[4].time, Duration::new(1002, 0));
    let expected = vec![
        InterfaceStatisticsOption::IsbIfRecv(3),
        InterfaceStatisticsOption::IsbOsDrop(0),
    ];
    assert_eq!(statistics, Some(expected));
}

#[test]
fn segments_can_be_shown_as_on_the_wire() {
    let split = CaptureOptions {
        split: true,
        ..options(0)
    };
    let (packets, _) = read(&sample(split));
    assert_eq!(packets.len(), 4 + 3 + 1);
    for packet in &packets {
        assert_valid(&packet.data);
    }
}

#[test]
fn one_direction_can_be_asked_for() {
    for (text, count) in [("in", 1), ("out", 4)] {
        let one = CaptureOptions {
            direction: Some(text.parse().unwrap()),
            ..options(0)
        };
        let (packets, _) = read(&sample(one));
        assert_eq!(packets.len(), count);
        let is_out = |packet: &Packet| packet.outgoing;
        assert!(
            packets
                .iter()
                .map(is_out)
                .all(|is_out| is_out == (text == "out"))
        );
    }
    assert!("inout".parse::<CaptureDirection>().is_err());
}

#[test]
fn a_snap_length_keeps_the_true_length() {
    let short = CaptureOptions {
        snaplen: 60,
        ..options(0)
    };
    let (packets, _) = read(&sample(short));
    assert!(packets.iter().all(|packet| packet.data.len() == 60));
    assert_eq!(packets[0].len, 5052);
}

#[test]
fn a_file_cut_at_any_byte_gives_all_whole_blocks() {
    let bytes = sample(options(0));
    let mut most = 0;
    for end in 0..=bytes.len() {
        let (packets, _) = read(&bytes[..end]);
        assert!(packets.len() >= most, "cut at {end}");
        for packet in &packets {
            assert_valid(&packet.data);
        }
        most = packets.len();
    }
    assert_eq!(most, 5);
}

#[test]
fn blocks_reach_the_file_whole_while_the_capture_runs() {
    let file = File::default();
    let (a, b) = memory::pair(CAPS);
    let mut device = Capture::new(a, file.clone(), options(0)).unwrap();
    let mut rx = RxBatch::new();
    let counters = device.counters();
    for n in 1..=20 {
        b.push(super_segment(false, &[n; 100], 1428));
        device.recv(Instant::ZERO, &mut rx).unwrap();
        rx.drain().for_each(drop);
    }
    drop(device);
    assert_eq!(counters.written.load(Ordering::Relaxed), 20);
    // Whatever the timing was: every prefix of writes ends at a block's end.
    let writes = file.0.lock().unwrap().clone();
    let mut prefix = Vec::new();
    for write in writes {
        prefix.extend_from_slice(&write);
        let mut rest = &prefix[..];
        while !rest.is_empty() {
            let len = u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
            rest = &rest[len..];
        }
    }
}

/// A file whose writes wait until the test lets them go.
struct Stuck(std::sync::mpsc::Receiver<()>, File, bool);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The headers pass: they are written before the thread starts.
        if std::mem::replace(&mut self.2, true) {
            let _ = self.0.recv();
        }
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_slow_file_drops_and_counts_and_never_stalls() {
    let (release, wait) = std::sync::mpsc::channel();
    let file = File::default();
    let (a, b) = memory::pair(CAPS);
    let small = CaptureOptions {
        queue: 4,
        ..options(0)
    };
    let mut device = Capture::new(a, Stuck(wait, file.clone(), false), small).unwrap();
    let counters = device.counters();
    let mut rx = RxBatch::new();
    for n in 0..100 {
        b.push(super_segment(false, &[n; 100], 1428));
        device.recv(Instant::ZERO, &mut rx).unwrap();
        rx.drain().for_each(drop);
    }
    let dropped = counters.dropped.load(Ordering::Relaxed);
    assert!(dropped >= 50, "{dropped}");
    drop(release);
    drop(device);
    let written = counters.written.load(Ordering::Relaxed);
    assert_eq!(written + counters.dropped.load(Ordering::Relaxed), 100);
    let (packets, statistics) = read(&file.bytes());
    assert_eq!(packets.len() as u64, written);
    assert!(
        statistics
            .unwrap()
            .contains(&InterfaceStatisticsOption::IsbOsDrop(dropped))
    );
    assert_eq!(counters.waiting.load(Ordering::Relaxed), 0);
}

/// A disk that is full after the headers.
struct Full(bool);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_no_error_of_the_device() {
    let (a, b) = memory::pair(CAPS);
    let mut device = Capture::new(a, Full(false), options(0)).unwrap();
    let mut rx = RxBatch::new();
    for n in 0..10 {
        b.push(super_segment(false, &[n; 100], 1428));
        assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 1);
        rx.drain().for_each(drop);
    }
    drop(device);
    let (a, _b) = memory::pair(CAPS);
    assert!(Capture::new(a, Full(true), options(0)).is_err());
}

#[test]
fn a_frame_offered_twice_is_recorded_once() {
    let file = File::default();
    let (a, mut outgoing, _incoming) = crate::device::channel::channel(CAPS, 1);
    let mut device = Capture::new(a, file.clone(), options(0)).unwrap();
    let mut batch = TxBatch::new();
    for n in 0..3 {
        batch.push_frame(super_segment(false, &[n; 100], 1428));
    }
    let mut cx = Context::from_waker(std::task::Waker::noop());
    while !batch.is_empty() {
        device.send(Instant::ZERO, &mut batch).unwrap();
        assert!(outgoing.poll_recv(&mut cx).is_ready());
    }
    drop(device);
    assert_eq!(read(&file.bytes()).0.len(), 3);
}

/// All queues of a device stand in one file, which is whole once the last of them is gone.
#[test]
fn queues_share_a_file() {
    let file = File::default();
    let (ends, others): (Vec<_>, Vec<_>) = (0..3).map(|_| memory::pair(CAPS)).unzip();
    let mut ends = ends.into_iter();
    let first = Capture::new(ends.next().unwrap(), file.clone(), options(1000)).unwrap();
    let mut queues: Vec<_> = ends.map(|end| first.beside(end)).collect();
    queues.insert(0, first);
    for (millis, queue) in (1..).zip(&mut queues) {
        let mut batch = TxBatch::new();
        batch.push_frame(super_segment(false, &[3; 5000], 1448));
        queue
            .send(Instant::from_millis(millis), &mut batch)
            .unwrap();
    }
    let counters = queues[0].counters();
    for queue in queues {
        assert_eq!(read(&file.bytes()).1, None, "not whole yet");
        drop(queue);
    }
    let (packets, statistics) = read(&file.bytes());
    let times: Vec<_> = packets
        .iter()
        .map(|packet| packet.time.subsec_millis())
        .collect();
    assert_eq!(times, [1, 2, 3]);
    assert!(statistics.is_some());
    assert_eq!(counters.written.load(Ordering::Relaxed), 3);
    drop(others);
}

fn record(host: u8, what: What) -> Record {
    let end = |host| SocketAddr::from(([10, 0, 0, host], 80));
    Record {
        at: Instant::ZERO,
        flow: FlowKey {
            local: end(1),
            remote: end(host),
        },
        what,
        state: State::Established,
        now: None,
    }
}

fn sent(host: u8) -> Record {
    let packet = observe::Packet {
        seq: WireSeq(1),
        ack: WireSeq(1),
        flags: Flags::ACK,
        len: 100,
        segments: 1,
        size: 100,
        window: 1000,
        sack: Blocks::new(&[]),
    };
    record(host, What::Sent(packet, Why::NewData))
}

/// A half turn in which such records were written, those of packets sent with a frame each.
fn half_turn(device: &mut impl Device, records: &[Record]) {
    let mut batch = TxBatch::new();
    let mut notes = NoteList::default();
    for record in records {
        let mut frames = Frames::None;
        if let What::Sent(..) = record.what {
            let first = batch.pushed();
            batch.push_frame(super_segment(false, &[3; 100], 1448));
            frames = Frames::Sent { first, count: 1 };
        }
        notes.push(record, frames);
    }
    batch.put_notes(|list| {
        *list = notes;
        0
    });
    device.send(Instant::ZERO, &mut batch).unwrap();
}

/// The comments of all packets.
fn comments(bytes: &[u8]) -> Vec<String> {
    let mut comments = Vec::new();
    let mut reader = PcapNgReader::new(bytes).unwrap();
    while let Some(Ok((block, _))) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block {
            let comment = packet.options.iter().find_map(|option| match option {
                EnhancedPacketOption::Common(CommonOption::Comment(text)) => Some(text.to_string()),
                _ => None,
            });
            comments.push(comment.unwrap_or_default());
        }
    }
    comments
}

fn annotated() -> CaptureOptions {
    CaptureOptions {
        annotate: true,
        ..options(0)
    }
}

#[test]
fn events_wait_for_a_packet_of_their_own_flow() {
    let file = File::default();
    let (a, _b) = memory::pair(CAPS);
    let mut device = Capture::new(a, file.clone(), annotated()).unwrap();
    let probe = |host| record(host, What::Timer(Timer::TailProbe));
    half_turn(&mut device, &[probe(2), probe(3), sent(3)]);
    half_turn(&mut device, &[sent(3), sent(2)]);
    drop(device);
    let told = comments(&file.bytes());
    let words = "; before that; tail probe timer";
    let is_told: Vec<_> = told.iter().map(|told| told.ends_with(words)).collect();
    assert_eq!(is_told, [true, false, true], "{told:?}");
}

#[test]
fn what_a_packet_brought_about_that_is_not_shown_is_told_by_the_next() {
    let file = File::default();
    let (a, b) = memory::pair(CAPS);
    let options = CaptureOptions {
        direction: Some(CaptureDirection::In),
        ..annotated()
    };
    let mut device = Capture::new(a, file.clone(), options).unwrap();
    let lost = record(2, What::Lost { bytes: 700 });
    half_turn(
        &mut device,
        &[record(2, What::Timer(Timer::TailProbe)), sent(2), lost],
    );
    b.push(super_segment(true, &[5; 100], 1428));
    let mut rx = RxBatch::new();
    device.recv(Instant::ZERO, &mut rx).unwrap();
    let (packet, outcome) = match sent(2).what {
        What::Sent(packet, _) => (packet, Outcome::default()),
        _ => unreachable!("it is one"),
    };
    let mut notes = NoteList::default();
    let frames = Frames::Received { first: 0, count: 1 };
    notes.push(&record(2, What::Received(packet, outcome)), frames);
    let mut batch = TxBatch::new();
    batch.put_notes(|list| {
        *list = notes;
        0
    });
    device.send(Instant::ZERO, &mut batch).unwrap();
    drop(device);
    let told = comments(&file.bytes());
    assert_eq!(told.len(), 1);
    let words = "; before that; tail probe timer; 700 judged lost";
    assert!(told[0].ends_with(words), "{told:?}");
}
