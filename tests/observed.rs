//! Two stacks under virtual time, observed by everything there is or by nothing: the wire is the
//! same, and what was written agrees with it.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, UNIX_EPOCH};

use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketOption;
use pcap_file::pcapng::blocks::opt_common::CommonOption;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use ustack::device::{
    Caps, Capture, CaptureOptions, Device, FlightRecorder, Impair, ImpairSpec, RecorderOptions,
    RxBatch, TxBatch, memory,
};
use ustack::observe::{EventLog, EventLogOptions};
use ustack::tcp::time::Instant;
use ustack::{Clock, Config, Stack, TcpListener, TcpStream};

const HOSTS: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 77, 0, 1), Ipv4Addr::new(10, 77, 0, 2)];
const LENGTH: usize = 700_000;

/// A file in memory.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl File {
    fn bytes(&self) -> Vec<u8> {
        self.0.lock().expect("no poison").clone()
    }
}

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no poison").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// When, in which direction, what: packets, offload included.
type Wire = Arc<Mutex<Vec<String>>>;

/// A device that notes all frames that go through.
struct Tape<D>(D, Wire, usize);

impl<D: Device> Device for Tape<D> {
    fn caps(&self) -> Caps {
        self.0.caps()
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_recv_ready(cx)
    }

    fn recv(&mut self, now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        let received = self.0.recv(now, batch)?;
        let mut wire = self.1.lock().expect("no poison");
        for frame in &batch.frames()[before..] {
            wire.push(format!("{now:?} in {:?} {:?}", frame.data, frame.offload));
        }
        Ok(received)
    }

    fn send(&mut self, now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let mut wire = self.1.lock().expect("no poison");
        for frame in batch.iter().skip(self.2) {
            let frame = frame.to_frame();
            wire.push(format!("{now:?} out {:?} {:?}", frame.data, frame.offload));
        }
        drop(wire);
        let sent = self.0.send(now, batch);
        self.2 = batch.len();
        sent
    }

    fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_send_ready(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

/// What a server's device saw, and what was written of it.
struct Seen {
    wire: Vec<String>,
    capture: Vec<u8>,
    log: String,
    /// Frames that were taken with the one before them.
    coalesced: u64,
}

fn config(host: usize) -> Config {
    Config::new()
        .address(HOSTS[host], 24)
        .clock(Clock::Tokio)
        .seed([host as u8; 32])
}

/// A server that is observed by everything there is.
fn watched(device: impl Device + 'static, capture: &File, log: &File) -> (Config, Box<dyn Device>) {
    let options = CaptureOptions {
        annotate: true,
        epoch: Some(UNIX_EPOCH + Duration::from_secs(1000)),
        queue: 1 << 20,
        queue_bytes: usize::MAX >> 8,
        ..CaptureOptions::default()
    };
    let recorder = FlightRecorder::new(RecorderOptions {
        size: 256 << 10,
        ..RecorderOptions::default()
    });
    let events = EventLog::new(log.clone(), &EventLogOptions::default()).expect("memory");
    let captured = Capture::new(device, capture.clone(), options).expect("memory");
    let device = recorder.record(captured);
    (config(1).events(Arc::new(events)), Box::new(device))
}

/// Uploads and downloads over a bad link; `observed`: with everything that looks at it.
async fn conversation(seed: u64, caps: Caps, observed: bool) -> Seen {
    let (left, right) = memory::pair(caps);
    let faults: ImpairSpec = format!("loss=0.7%,delay=3ms,reorder=0.3%,rate=200mbit,seed={seed}")
        .parse()
        .expect("faults");
    let wire = Wire::default();
    // Faults on the way out take super-segments, which the stack is to cut itself for a plain device.
    let out = Some(faults.clone()).filter(|_| caps.tso);
    let impaired = Impair::new(right, Some(faults), out);
    let device = Tape(impaired, Arc::clone(&wire), 0);
    let (capture, log) = (File::default(), File::default());
    let (server, device) = if observed {
        watched(device, &capture, &log)
    } else {
        (config(1), Box::new(device) as _)
    };
    let (client, client_driver) = Stack::new(config(0), left).expect("settings");
    let (server, server_driver) = Stack::new(server, device).expect("settings");
    let drivers = [tokio::spawn(client_driver), tokio::spawn(server_driver)];
    let at = SocketAddr::new(IpAddr::V4(HOSTS[1]), 80);
    let listener = TcpListener::bind(&server, at).expect("a free port");
    let (up, down) = tokio::join!(TcpStream::connect(&client, at), listener.accept());
    let (mut near, (mut far, _)) = (up.expect("connected"), down.expect("accepted"));
    let data: Vec<u8> = (0..LENGTH).map(|at| (at ^ (at >> 8)) as u8).collect();
    for turn in 0..2 {
        let (from, to) = if turn == 0 {
            (&mut near, &mut far)
        } else {
            (&mut far, &mut near)
        };
        let mut got = vec![0; LENGTH];
        let (written, read) = tokio::join!(from.write_all(&data), to.read_exact(&mut got));
        written.expect("written");
        read.expect("read");
        assert!(got == data, "seed {seed}: bytes differ");
    }
    drop((near, far));
    tokio::time::sleep(Duration::from_secs(1)).await;
    let coalesced = server.stats().device.rx_coalesced;
    for stack in [&client, &server] {
        stack.shutdown(Duration::ZERO).await;
    }
    for driver in drivers {
        let _ = driver.await.expect("no panic");
    }
    drop((client, server, listener));
    let wire = wire.lock().expect("no poison").clone();
    Seen {
        wire,
        capture: capture.bytes(),
        log: String::from_utf8(log.bytes()).expect("UTF-8"),
        coalesced,
    }
}

fn run(seed: u64, caps: Caps, observed: bool) -> Seen {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(conversation(seed, caps, observed))
}

const DEVICES: [Caps; 2] = [Caps::plain(1500), Caps::offload(1500)];

#[test]
fn the_wire_is_the_same_whether_anybody_looks_or_not() {
    for seed in 1..=6 {
        for caps in DEVICES {
            let (seen, unseen) = (run(seed, caps, true), run(seed, caps, false));
            assert!(seen.wire.len() > 500, "{}", seen.wire.len());
            assert_eq!(seen.wire.len(), unseen.wire.len(), "seed {seed}");
            for (seen, unseen) in seen.wire.iter().zip(&unseen.wire) {
                assert_eq!(seen, unseen, "seed {seed}");
            }
            assert!(seen.log.lines().count() > 100 && unseen.log.is_empty());
        }
    }
}

/// Comment, direction and bytes of each packet of the device.
fn packets(capture: &[u8]) -> Vec<(String, bool, Vec<u8>)> {
    let mut reader = PcapNgReader::new(capture).expect("a capture");
    let mut packets = Vec::new();
    while let Some(block) = reader.next_block() {
        let (block, _) = block.expect("whole blocks");
        let Block::EnhancedPacket(packet) = block else {
            continue;
        };
        let comment = packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Common(CommonOption::Comment(text)) => Some(text.to_string()),
            _ => None,
        });
        if packet.interface_id == 0 {
            let is_sent = packet.options.contains(&EnhancedPacketOption::Flags(2));
            packets.push((comment.unwrap_or_default(), is_sent, packet.data.to_vec()));
        }
    }
    packets
}

fn number(comment: &str, words: &str) -> Option<u64> {
    let (_, rest) = comment.split_once(words)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest[..end.unwrap_or(rest.len())].parse().ok()
}

/// Segments that were taken for one, or cut from one, each have their own numbers.
#[test]
fn each_packet_of_a_train_has_its_own_numbers() {
    for seed in 1..=4 {
        let seen = run(seed, DEVICES[0], true);
        assert!(seen.coalesced > 50, "{}: there are trains", seen.coalesced);
        let mut initial = [None; 2];
        let (mut accepted, mut sent) = (0, 0);
        for (comment, is_sent, packet) in packets(&seen.capture) {
            let context = format!("seed {seed}: {comment}");
            assert!(!comment.is_empty(), "{packet:?}");
            let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().expect("four"));
            let (seq, flags) = (word(24), packet[33]);
            let len = packet.len() - 20 - usize::from(packet[32] >> 4) * 4;
            let first = initial[usize::from(is_sent)].get_or_insert(seq);
            let end = u64::from(seq.wrapping_sub(*first)) + len as u64 + u64::from(flags & 1);
            if len == 0 {
                continue;
            }
            if is_sent && comment.starts_with("new data") {
                let (_, send) = comment.split_once("; snd una ").expect("variables");
                assert_eq!(number(send, " nxt "), Some(end), "{context}");
                sent += 1;
            } else if comment.starts_with(&format!("accepted {len};")) {
                assert_eq!(number(&comment, "rcv nxt "), Some(end), "{context}");
                accepted += 1;
            }
        }
        assert!(accepted > 200 && sent > 200, "{accepted} {sent}");
    }
}

/// The log tells of each segment once.
#[test]
fn the_log_agrees_with_the_wire() {
    for caps in DEVICES {
        let seen = run(9, caps, true);
        let lines: Vec<serde_json::Value> = seen
            .log
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let told = |event: &str| -> u64 {
            let lines = lines.iter().filter(|line| line["event"] == event);
            lines
                .map(|line| line["len"].as_u64().expect("a length"))
                .sum()
        };
        let in_order: u64 = lines
            .iter()
            .filter_map(|line| line["in_order"].as_u64())
            .sum();
        // FIN counts one.
        assert_eq!(in_order, LENGTH as u64 + 1);
        assert!(told("sent") >= LENGTH as u64 && told("received") >= LENGTH as u64);
        assert!(lines.iter().all(|line| line["event"] != "dropped"));
    }
}

/// What `ustack plot` draws is the same, whichever of the two it reads.
#[test]
fn plots_of_log_and_capture_agree() {
    let (mut again, mut recoveries) = (0, 0);
    for seed in 1..=4 {
        for caps in DEVICES {
            let seen = run(seed, caps, true);
            let context = format!("seed {seed}, {caps:?}");
            let log = plot::events::read(&mut seen.log.as_bytes(), |_, _| true).expect("a log");
            let capture = plot::annotated::read(&seen.capture[..], |_, _| true);
            let capture = capture.expect("an annotated capture");
            let ([log], [capture]) = (&log.traces[..], &capture.traces[..]) else {
                panic!("{context}: one connection");
            };
            assert_eq!(
                (log.local, log.remote),
                (capture.local, capture.remote),
                "{context}"
            );
            assert_eq!(bytes_sent(log), bytes_sent(capture), "{context}");
            assert_eq!(repairs(log), repairs(capture), "{context}");
            assert_eq!(states(log), states(capture), "{context}");
            again += log
                .sent
                .iter()
                .filter(|segment| segment.kind.is_retransmission())
                .count();
            recoveries += log.recoveries.len();
        }
    }
    assert!(again > 20 && recoveries > 5, "{again} {recoveries}");
}

/// Bytes that left, by reason.
fn bytes_sent(trace: &plot::Trace) -> BTreeMap<plot::trace::Kind, u64> {
    let mut bytes = BTreeMap::new();
    for segment in &trace.sent {
        *bytes.entry(segment.kind).or_default() += u64::from(segment.len);
    }
    bytes
}

/// Episodes of loss recovery: what began them, what was lost, whether it was a false alarm.
fn repairs(trace: &plot::Trace) -> Vec<(&str, u64, bool)> {
    let recoveries = trace.recoveries.iter();
    recoveries
        .map(|recovery| (&recovery.by[..], recovery.lost, recovery.undone))
        .collect()
}

fn states(trace: &plot::Trace) -> Vec<&str> {
    trace.states.iter().map(|(_, state)| &state[..]).collect()
}
