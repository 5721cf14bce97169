//! Plain devices whose packets the kernel takes in by a thread of its own (NAPI).

mod common;

use std::future::poll_fn;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::Test;
use common::device::{gone_soon, open, open_when_free, options};
use ustack::device::tun::{self, DeviceKind, TunOptions};
use ustack::device::{Device, Frame, RxBatch, TxBatch};
use ustack_tcp::time::Instant;

fn main() -> ExitCode {
    common::main(vec![
        Test::new("what_leaves_a_plain_device_is_joined", joined).needs(&["ip"]),
        Test::new("a_burst_leaves_whole", burst).needs(&["ip"]),
        Test::new("closing_discards_nothing", closing).needs(&["ip"]),
    ])
}

/// A count of the kernel's in this namespace, of `/proc/net/snmp` or `netstat`.
fn count(file: &str, group: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let mut lines = text.lines().filter(|line| line.starts_with(group));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|it| it == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

/// Packets that IPv4 has taken in; of a joined one, those that it was joined of.
fn taken_in() -> u64 {
    count("netstat", "IpExt:", "InNoECTPkts")
}

/// The same, joined ones as one.
fn seen() -> u64 {
    count("snmp", "Ip:", "InReceives")
}

fn wait_taken_in(packets: u64) {
    let begin = std::time::Instant::now();
    while taken_in() < packets {
        let so_far = taken_in();
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{so_far} of {packets} packets"
        );
    }
}

fn joined() {
    const ROUNDS: u32 = 20;
    const SEGMENTS: u32 = 64;
    const JOINS_WITHIN: Duration = Duration::from_secs(20);
    let mut switch = std::fs::OpenOptions::new();
    let may_switch = switch
        .write(true)
        .open("/sys/class/net/lo/threaded")
        .is_ok();
    if !may_switch {
        println!("/sys is not to be written to here: no NAPI, and nothing is joined");
    }
    let alone = TunOptions {
        napi: false,
        ..options(DeviceKind::Plain)
    };
    for (options, joins) in [(alone, false), (options(DeviceKind::Plain), may_switch)] {
        let mut opened = tun::open(&options).unwrap();
        assert_eq!(opened.report.warnings, Vec::<String>::new());
        assert_eq!(opened.report.napi, joins);
        assert_eq!(opened.report.to_string().contains("plain, NAPI, "), joins);
        let (before, seen_before) = (taken_in(), seen());
        let mut batch = TxBatch::new();
        let begin = std::time::Instant::now();
        let mut sent = 0;
        // When the thread runs while we write, packet by packet, is for the scheduler to say.
        let is_joined = || seen() - seen_before < taken_in() - before;
        let is_enough = |sent| {
            if joins {
                is_joined()
            } else {
                sent == ROUNDS * SEGMENTS
            }
        };
        while !is_enough(sent) {
            for segment in sent..sent + SEGMENTS {
                batch.push_frame(segment_to_the_kernel(segment.wrapping_mul(1000)));
            }
            while !batch.is_empty() {
                opened.tun.send(Instant::ZERO, &mut batch).unwrap();
            }
            sent += SEGMENTS;
            wait_taken_in(before + u64::from(sent));
            assert!(
                begin.elapsed() < JOINS_WITHIN,
                "{sent} packets, none joined"
            );
        }
        assert_eq!(is_joined(), joins);
        drop(opened);
        gone_soon();
    }
}

/// A segment of 1000 bytes that goes on with what came before.
fn segment_to_the_kernel(seq: u32) -> Frame {
    let builder = etherparse::PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64);
    let builder = builder.tcp(80, 4000, seq, 1000).ack(1);
    let mut data = Vec::new();
    builder.write(&mut data, &[0; 1000]).unwrap();
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

/// Several times as much as may wait for the kernel's thread, which has to share its CPU, is not lost.
fn burst() {
    while_cores_are_busy(send_burst);
}

/// What was sent is not lost when the device is closed then.
fn closing() {
    while_cores_are_busy(|| {
        for _ in 0..20 {
            let mut opened = open_when_free(DeviceKind::Plain);
            let before = taken_in();
            let mut batch = TxBatch::new();
            (0..1700).for_each(|_| batch.push_frame(datagram_to_the_kernel()));
            opened.tun.send(Instant::ZERO, &mut batch).unwrap();
            assert!(batch.is_empty());
            drop(opened);
            assert!(taken_in() - before >= 1700, "{}", taken_in() - before);
        }
    });
}

fn datagram_to_the_kernel() -> Frame {
    let mut data = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4([10, 77, 0, 2], [10, 77, 0, 1], 64);
    builder.udp(7, 7).write(&mut data, &[0; 1400]).unwrap();
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

/// Each core has another thread to run besides.
fn while_cores_are_busy(body: fn()) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let done = std::panic::catch_unwind(body);
        is_over.store(true, Ordering::Relaxed);
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn send_burst() {
    const DATAGRAMS: u64 = 60_000;
    let mut opened = open(DeviceKind::Plain);
    let before = taken_in();
    let frame = datagram_to_the_kernel();
    let begin = std::time::Instant::now();
    let now = || Instant::from_nanos(begin.elapsed().as_nanos() as u64);
    let (mut batch, mut left, mut rx) = (TxBatch::new(), DATAGRAMS, RxBatch::new());
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(async {
        while left > 0 || !batch.is_empty() {
            while left > 0 && batch.len() < 64 {
                batch.push_frame(frame.clone());
                left -= 1;
            }
            opened.tun.recv(now(), &mut rx).unwrap();
            rx.drain().for_each(drop);
            opened.tun.send(now(), &mut batch).unwrap();
            if !batch.is_empty() {
                let wait = opened
                    .tun
                    .poll_timeout()
                    .map_or(Duration::MAX, |at| at - now());
                assert!(wait <= Duration::from_millis(1), "it says nothing of room");
                let room = poll_fn(|cx| opened.tun.poll_send_ready(cx));
                let _ = tokio::time::timeout(wait, room).await;
            }
        }
    });
    let counters = opened.tun.counters();
    assert_eq!(
        (counters.tx_frames.get(), counters.tx_dropped()),
        (DATAGRAMS, 0)
    );
    wait_taken_in(before + DATAGRAMS);
}
