mod grammar;
mod lane;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::*;
use crate::device::gso;
use crate::device::gso::tests::{assert_valid, super_segment};
use crate::device::memory::{self, MemoryDevice};

const CAPS: Caps = Caps {
    mtu: 1500,
    tx_checksum: true,
    tso: true,
    uso: true,
};

fn outbound(spec: &str) -> (Impair<MemoryDevice>, MemoryDevice) {
    let (a, b) = memory::pair_with_queue(CAPS, 1_000_000);
    (Impair::new(a, None, Some(spec.parse().unwrap())), b)
}

fn number(value: u32) -> Frame {
    let mut data = vec![0; 100];
    data[..4].copy_from_slice(&value.to_be_bytes());
    Frame {
        data: data.into(),
        ..Frame::default()
    }
}

fn numbers(device: &MemoryDevice) -> Vec<u32> {
    let next = || device.pop().map(|frame| frame.data);
    std::iter::from_fn(next)
        .map(|data| u32::from_be_bytes(data[..4].try_into().unwrap()))
        .collect()
}

/// Sends numbered packets, one each `gap`, and runs on until nothing is held back. Returns what
/// arrived and when (in microseconds).
fn run(spec: &str, count: u32, gap: Duration) -> Vec<(u64, u32)> {
    let (mut device, other) = outbound(spec);
    let mut batch = TxBatch::new();
    let mut seen = Vec::new();
    let mut now = Instant::from_millis(1);
    let start = now;
    let mut sent = 0;
    loop {
        let next_send = (sent < count).then(|| start + gap * sent);
        let Some(next) = [next_send, device.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
        else {
            return seen;
        };
        now = now.max(next);
        if next_send.is_some_and(|at| at <= now) {
            batch.push_frame(number(sent));
            sent += 1;
        }
        device.send(now, &mut batch).unwrap();
        seen.extend(
            numbers(&other)
                .into_iter()
                .map(|n| (now.as_micros() - 1000, n)),
        );
    }
}

fn order(seen: &[(u64, u32)]) -> Vec<u32> {
    seen.iter().map(|(_, n)| *n).collect()
}

fn share(counter: &AtomicU64, of: u32) -> f64 {
    counter.load(Relaxed) as f64 / f64::from(of)
}

#[test]
fn each_fault_happens_as_often_as_asked() {
    let (mut device, other) = outbound("loss=10%,duplicate=5%,corrupt=2%,reorder=1%,seed=3");
    let mut batch = TxBatch::new();
    let count = 100_000;
    for n in 0..count {
        batch.push_frame(number(n));
        device
            .send(Instant::from_micros(u64::from(n)), &mut batch)
            .unwrap();
    }
    device
        .send(Instant::from_millis(1_000_000), &mut batch)
        .unwrap();
    let counters = device.counters();
    let lane = &counters.outbound;
    let left = count - lane.lost.load(Relaxed) as u32;
    assert!((share(&lane.lost, count) - 0.10).abs() < 0.005);
    assert!((share(&lane.duplicated, left) - 0.05).abs() < 0.003);
    assert!((share(&lane.corrupted, left) - 0.02).abs() < 0.002);
    assert!((share(&lane.reordered, left) - 0.01).abs() < 0.002);
    let arrived = std::iter::from_fn(|| other.pop()).count() as u32;
    assert_eq!(arrived, left + lane.duplicated.load(Relaxed) as u32);
    assert_eq!(lane.overflowed.load(Relaxed), 0);
    assert_eq!(counters.inbound.packets.load(Relaxed), 0);
}

#[test]
fn a_seed_repeats_a_run_and_another_does_not() {
    let gap = Duration::from_micros(100);
    let spec = "loss=5%,delay=10ms,jitter=2ms,reorder=2%,duplicate=1%";
    let first = run(&format!("{spec},seed=7"), 2000, gap);
    assert_eq!(first, run(&format!("{spec},seed=7"), 2000, gap));
    assert_ne!(first, run(&format!("{spec},seed=8"), 2000, gap));
}

#[test]
fn both_directions_of_one_spec_have_their_own_fate() {
    let (a, b) = memory::pair(CAPS);
    let spec: ImpairSpec = "loss=50%,seed=1".parse().unwrap();
    let mut device = Impair::new(a, Some(spec.clone()), Some(spec));
    let mut tx = TxBatch::new();
    for n in 0..64 {
        tx.push_frame(number(n));
        b.push(number(n));
    }
    device.send(Instant::ZERO, &mut tx).unwrap();
    let out = numbers(&b);
    let mut rx = RxBatch::new();
    let mut inward = Vec::new();
    while device.recv(Instant::ZERO, &mut rx).unwrap() > 0 {
        inward.extend(
            rx.drain()
                .map(|frame| u32::from_be_bytes(frame.data[..4].try_into().unwrap())),
        );
    }
    assert_ne!(out, inward);
    assert!(
        out.len() > 16 && inward.len() > 8,
        "{} {}",
        out.len(),
        inward.len()
    );
}

#[test]
fn delay_holds_every_packet_exactly_as_long() {
    let seen = run("delay=10ms", 10, Duration::from_millis(1));
    let expected: Vec<_> = (0..10).map(|n| (10_000 + 1000 * u64::from(n), n)).collect();
    assert_eq!(seen, expected);
}

#[test]
fn jitter_varies_the_delay_and_keeps_the_order() {
    let seen = run(
        "delay=10ms,jitter=2ms,seed=1",
        1000,
        Duration::from_micros(500),
    );
    assert_eq!(order(&seen), (0..1000).collect::<Vec<_>>());
    let delays: Vec<_> = seen
        .iter()
        .map(|(at, n)| at - 500 * u64::from(*n))
        .collect();
    assert!(
        delays.iter().all(|delay| (8_000..=12_000).contains(delay)),
        "{delays:?}"
    );
    assert!(delays.iter().max().unwrap() - delays.iter().min().unwrap() > 3_000);
}

#[test]
fn reordered_packets_overtake_those_on_their_way() {
    let seen = run(
        "delay=10ms,reorder=2%,seed=1",
        1000,
        Duration::from_micros(500),
    );
    let mut arrived = order(&seen);
    let early = seen
        .iter()
        .filter(|(at, n)| *at == 500 * u64::from(*n))
        .count();
    assert!((10..=35).contains(&early), "{early}");
    arrived.sort_unstable();
    assert_eq!(arrived, (0..1000).collect::<Vec<_>>());
    // Without a delay to skip, they come later instead.
    let seen = run("reorder=2%,seed=1", 1000, Duration::from_micros(500));
    assert!(!order(&seen).is_sorted());
}

#[test]
fn a_bottleneck_spaces_packets_and_its_queue_drops() {
    // 100 bytes at 800 kbit/s take 1 ms.
    let seen = run("rate=800kbit,queue=5", 20, Duration::ZERO);
    let expected: Vec<_> = (0..5).map(|n| (1000 * (u64::from(n) + 1), n)).collect();
    assert_eq!(seen, expected);
    // At its own rate nothing is lost, and the delay is on top, outside the queue.
    let seen = run(
        "rate=800kbit,queue=2,delay=50ms",
        100,
        Duration::from_millis(1),
    );
    assert_eq!(seen.len(), 100);
    assert_eq!(seen[0].0, 51_000);
}

#[test]
fn a_queue_without_a_rate_limits_what_is_on_its_way() {
    assert_eq!(run("delay=5ms,queue=3", 10, Duration::ZERO).len(), 3);
}

#[test]
fn super_segments_suffer_as_wire_packets() {
    let (mut device, other) = outbound("loss=20%,seed=1");
    assert!(device.caps().tso);
    let mut batch = TxBatch::new();
    batch.push_frame(super_segment(false, &vec![5; 45 * 1448], 1448));
    device.send(Instant::ZERO, &mut batch).unwrap();
    let counters = device.counters();
    assert_eq!(counters.outbound.packets.load(Relaxed), 45);
    let mut arrived = 0;
    while let Some(frame) = other.pop() {
        assert_eq!(frame.offload, Offload::default());
        assert_valid(&frame.data);
        arrived += 1;
    }
    assert!((30..=42).contains(&arrived), "{arrived}");
}

#[test]
fn corruption_is_not_hidden_by_a_verified_checksum() {
    let (a, b) = memory::pair(CAPS);
    let mut device = Impair::new(a, Some("corrupt=100%,seed=1".parse().unwrap()), None);
    let frame = super_segment(false, &[5; 3000], 1448);
    b.push(frame.clone());
    let mut rx = RxBatch::new();
    assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 3);
    let mut clean = Vec::new();
    gso::cut(&frame, |packet| clean.push(packet)).unwrap();
    for (frame, clean) in rx.drain().zip(clean) {
        assert_eq!(frame.offload.checksum, Checksum::Complete);
        let flipped: u32 = frame
            .data
            .iter()
            .zip(&clean)
            .map(|(a, b)| (a ^ b).count_ones())
            .sum();
        assert_eq!(flipped, 1);
    }
}

#[test]
fn more_due_packets_than_a_batch_holds_come_with_the_next_one() {
    let (a, b) = memory::pair(CAPS);
    let mut device = Impair::new(a, Some(ImpairSpec::default()), None);
    b.push(super_segment(false, &vec![5; 45 * 1448], 1448));
    let mut rx = RxBatch::new();
    assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 32);
    assert!(device.poll_timeout().is_some());
    rx.drain().for_each(drop);
    assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 13);
    assert_eq!(device.poll_timeout(), None);
}

#[test]
fn an_untouched_direction_keeps_its_super_segments() {
    let (mut device, other) = outbound("loss=100%,seed=1");
    let frame = super_segment(false, &[5; 3000], 1448);
    other.push(frame.clone());
    let mut rx = RxBatch::new();
    device.recv(Instant::ZERO, &mut rx).unwrap();
    assert_eq!(rx.frames(), [frame]);
}

#[test]
fn word_of_a_packet_too_large_goes_back_to_its_sender() {
    let mut large = vec![0; 1500];
    large[..2].copy_from_slice(&[0x45, 0]);
    large[6] = 0x40;
    let frame = Frame {
        data: large.into(),
        ..Frame::default()
    };
    let spec: ImpairSpec = "mtu=1400".parse().unwrap();
    // The stack's own packet: the answer comes in.
    let (mut device, other) = outbound("mtu=1400");
    let (mut tx, mut rx) = (TxBatch::new(), RxBatch::new());
    tx.push_frame(frame.clone());
    device.send(Instant::ZERO, &mut tx).unwrap();
    assert!(device.poll_timeout().is_some());
    assert_eq!(device.recv(Instant::ZERO, &mut rx).unwrap(), 1);
    assert_eq!(rx.frames()[0].data[20..22], [3, 4]);
    assert!(other.pop().is_none() && device.poll_timeout().is_none());
    // A packet to the stack: the answer goes out.
    let (a, b) = memory::pair(CAPS);
    let mut device = Impair::new(a, Some(spec), None);
    b.push(frame);
    assert_eq!(device.recv(Instant::ZERO, &mut RxBatch::new()).unwrap(), 0);
    device.send(Instant::ZERO, &mut TxBatch::new()).unwrap();
    assert_eq!(b.pop().unwrap().data[20..22], [3, 4]);
    assert_eq!(device.poll_timeout(), None);
}
