use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ustack_tcp::time::{Duration, Instant};

use super::super::{Lane, QueueLimit};
use crate::checksum::{Sum, checksum};

fn lane(spec: &str) -> Lane {
    Lane::new(spec.parse().unwrap(), 0)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// A packet that holds its number.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[..8].copy_from_slice(&number.to_be_bytes());
    packet
}

fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(packet[..8].try_into().unwrap())
}

/// An IPv4 packet with a valid header.
fn v4(len: usize, tos: u8, flags: u8) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[..2].copy_from_slice(&[0x45, tos]);
    packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    packet[6] = flags;
    packet[8..10].copy_from_slice(&[64, 6]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    let sum = checksum(&packet[..20]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn v6(len: usize, traffic_class: u8) -> Vec<u8> {
    let mut packet = vec![0; len];
    packet[0] = 0x60 | traffic_class >> 4;
    packet[1] = traffic_class << 4 | 0x0f;
    packet[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
    packet[6..8].copy_from_slice(&[6, 64]);
    packet[23] = 1;
    packet[39] = 2;
    packet
}

/// Everything that has come out by `now`, as numbers.
fn out(lane: &mut Lane, now: Instant) -> Vec<u64> {
    std::iter::from_fn(|| lane.poll_due(now))
        .map(|packet| number(&packet))
        .collect()
}

/// The numbers of the first `count` packets that do not arrive.
fn lost(spec: &str, count: u64) -> Vec<u64> {
    let mut lane = lane(spec);
    let at = Instant::from_millis(1);
    let lost = |number: &u64| {
        lane.on_packet(at, numbered(*number, 100));
        lane.poll_due(at + Duration::from_secs(100)).is_none()
    };
    (1..=count).filter(lost).collect()
}

#[test]
fn the_same_numbers_are_lost_whatever_else_happens() {
    let plain = lost("loss=3%,seed=7", 10_000);
    assert!((250..350).contains(&plain.len()), "{}", plain.len());
    for other in ["reorder=5%,delay=1ms", "corrupt=1%", "ce=10%", "mtu=1400"] {
        assert_eq!(lost(&format!("loss=3%,{other},seed=7"), 10_000), plain);
    }
    // Neither when packets come nor how long they are matters.
    let mut slow = lane("loss=3%,seed=7,rate=10mbit");
    let mut arrived = Vec::new();
    for n in 1..=10_000 {
        let now = Instant::from_millis(n * 3);
        slow.on_packet(now, numbered(n, 60 + (n % 1400) as usize));
        arrived.extend(out(&mut slow, now + Duration::from_millis(2)));
    }
    let missing: Vec<_> = (1..=10_000).filter(|n| !arrived.contains(n)).collect();
    assert_eq!(missing, plain);
    assert_ne!(lost("loss=3%,seed=8", 10_000), plain);
}

#[test]
fn a_pattern_loses_its_numbers() {
    let expected: Vec<u64> = [5, 8, 9, 10, 11, 12, 100, 200].into();
    assert_eq!(lost("drop=5;8-12;every:100", 250), expected);
}

/// Mean loss is p/(p+r), a burst lasts 1/r packets on average (Gilbert 1960).
#[test]
fn bursts_are_as_long_and_as_frequent_as_the_model_says() {
    let count = 200_000;
    let lost = lost("gemodel=1%/25%,seed=3", count);
    let share = lost.len() as f64 / count as f64;
    assert!((share - 0.01 / 0.26).abs() < 0.003, "{share}");
    let bursts = 1 + lost.windows(2).filter(|pair| pair[1] > pair[0] + 1).count();
    let length = lost.len() as f64 / bursts as f64;
    assert!((length - 4.0).abs() < 0.25, "{length}");
    let partial = self::lost("gemodel=1%/25%/50%/1%,seed=3", count).len() as f64 / count as f64;
    let expected = (0.01 * 0.5 + 0.25 * 0.01) / 0.26;
    assert!((partial - expected).abs() < 0.003, "{partial}");
}

#[test]
fn a_queue_in_bytes_counts_what_is_being_sent() {
    let mut lane = lane("rate=8mbit,queue=3kB");
    let now = Instant::from_millis(1);
    for n in 1..=10 {
        lane.on_packet(now, numbered(n, 1000));
    }
    assert_eq!((lane.queue_packets(), lane.queue_bytes()), (3, 3000));
    assert_eq!(get(&lane.counters().overflowed), 7);
    // A packet of 1,000 bytes takes 1 ms.
    assert_eq!(lane.next_due(), Some(Instant::from_millis(2)));
    assert_eq!(out(&mut lane, Instant::from_millis(3)), [1, 2]);
    assert_eq!(lane.last_sojourn(), Duration::from_millis(2));
    assert_eq!((lane.queue_packets(), lane.queue_bytes()), (1, 1000));
    // One packet always fits.
    let mut tiny = self::lane("rate=8mbit,queue=1B");
    tiny.on_packet(now, numbered(1, 1000));
    tiny.on_packet(now, numbered(2, 1000));
    assert_eq!(out(&mut tiny, Instant::from_millis(9)), [1]);
}

#[test]
fn a_new_rate_holds_at_once_for_the_packet_on_the_wire_too() {
    let mut lane = lane("rate=8mbit");
    let start = Instant::from_millis(1);
    lane.on_packet(start, numbered(1, 1000));
    lane.on_packet(start, numbered(2, 1000));
    // Half of the first packet is sent; the rest takes four times as long.
    lane.set_rate(start + Duration::from_micros(500), Some(2_000_000));
    assert_eq!(lane.next_due(), Some(start + Duration::from_micros(2500)));
    assert_eq!(out(&mut lane, start + Duration::from_millis(3)), [1]);
    lane.set_rate(start + Duration::from_millis(3), Some(0));
    assert_eq!(lane.next_due(), None);
    assert!(out(&mut lane, start + Duration::from_secs(30)).is_empty());
    let end = start + Duration::from_secs(31);
    lane.set_rate(end, None);
    assert_eq!(out(&mut lane, end), [2]);
    assert_eq!(lane.spec().rate, None);
}

#[test]
fn a_new_delay_overtakes_nothing() {
    let mut lane = lane("delay=50ms");
    let start = Instant::from_millis(1);
    lane.on_packet(start, numbered(1, 100));
    lane.set_delay(start, Duration::from_millis(1));
    lane.on_packet(start, numbered(2, 100));
    assert!(out(&mut lane, start + Duration::from_millis(49)).is_empty());
    assert_eq!(out(&mut lane, start + Duration::from_millis(50)), [1, 2]);
}

#[test]
fn what_is_held_back_comes_late_instead_of_early() {
    let mut lane = lane("delay=10ms,reorder=2%,hold=3ms,seed=1");
    let mut late = 0;
    let mut seen = 0;
    for n in 0..10_000 {
        let now = Instant::from_micros(n * 100);
        lane.on_packet(now, numbered(n * 100, 100));
        while let Some(packet) = lane.poll_due(now) {
            let took = now - Instant::from_micros(number(&packet));
            assert!(took == Duration::from_millis(10) || took == Duration::from_millis(13));
            late += u64::from(took == Duration::from_millis(13));
            seen += 1;
        }
    }
    assert!(seen > 9_800 && (150..250).contains(&late), "{seen} {late}");
}

/// 10 Mbit/s offered to 8 Mbit/s for ten seconds.
fn overload(spec: &str, packet: impl Fn() -> Vec<u8>) -> Lane {
    let mut lane = lane(spec);
    for n in 0..12_500 {
        let now = Instant::from_micros(1 + n * 800);
        lane.on_packet(now, packet());
        while lane.poll_due(now).is_some() {}
    }
    lane
}

#[test]
fn codel_drops_what_cannot_be_marked_and_keeps_the_queue_short() {
    let spec = "rate=8mbit,queue=2000,codel";
    let lane = overload(spec, || v4(1000, 0, 0x40));
    let dropped = get(&lane.counters().codel_dropped);
    assert!((500..2500).contains(&dropped), "{dropped}");
    assert_eq!(get(&lane.counters().marked), 0);
    let tail = overload("rate=8mbit,queue=2000", || v4(1000, 0, 0x40));
    assert!(lane.last_sojourn() * 2 < tail.last_sojourn());
    assert!(lane.last_sojourn() >= Duration::from_millis(5));

    let marking = overload(spec, || v4(1000, 2, 0x40));
    assert_eq!(get(&marking.counters().codel_dropped), 0);
    assert!(get(&marking.counters().marked) > 100);
    let dropping = overload("rate=8mbit,queue=2000,codel=drop", || v4(1000, 2, 0x40));
    assert_eq!(get(&dropping.counters().codel_dropped), dropped);
}

/// RFC 8289 §5.3: the first drop an interval after the target was first exceeded, the next ones
/// after interval, interval/√2, interval/√3 …
#[test]
fn codel_drops_at_the_times_of_its_control_law() {
    // 1 ms a packet, and a standing queue from the first moment on.
    let mut lane = lane("rate=8mbit,codel,queue=1000");
    let start = Instant::from_millis(1);
    for n in 0..900 {
        lane.on_packet(start, numbered(n, 1000));
    }
    let mut drops = Vec::new();
    for ms in 1..=320 {
        let before = get(&lane.counters().codel_dropped);
        lane.advance(start + Duration::from_millis(ms));
        if get(&lane.counters().codel_dropped) > before {
            drops.push(ms);
        }
    }
    // Exceeded from 5 ms on, so dropping starts at 105 ms; then 100, 70.7 and 57.7 ms later.
    assert_eq!(drops, [105, 205, 276]);
}

#[test]
fn an_empty_queue_ends_codels_dropping() {
    let mut lane = lane("rate=8mbit,codel");
    for burst in 0..20 {
        // 90 packets take 90 ms: the queue is empty before an interval is over.
        let start = Instant::from_millis(1 + burst * 100);
        for n in 0..90 {
            lane.on_packet(start, numbered(n, 1000));
        }
    }
    lane.advance(Instant::from_millis(10_000));
    assert_eq!(get(&lane.counters().codel_dropped), 0);
}

#[test]
fn marks_are_for_packets_that_know_ecn_and_keep_checksums_right() {
    for (packet, marked) in [
        (v4(100, 0x02, 0), true),
        (v4(100, 0xb9, 0), true),
        (v4(100, 0xb8, 0), false),
        (v6(100, 0x01), true),
        (v6(100, 0x03), true),
        (v6(100, 0xb8), false),
        (vec![0x45], false),
        (vec![], false),
    ] {
        let mut lane = lane("ce=100%");
        lane.on_packet(Instant::ZERO, packet.clone());
        let out = lane.poll_due(Instant::ZERO).unwrap();
        assert_eq!(get(&lane.counters().marked), u64::from(marked));
        match out.first().map(|byte| byte >> 4) {
            Some(4) if marked => {
                assert_eq!(checksum(&out[..20]), 0);
                assert_eq!((out[1], out.len()), (packet[1] | 3, packet.len()));
            }
            Some(6) if marked => assert_eq!(out[1], packet[1] | 0x30),
            _ => assert_eq!(out, packet),
        }
    }
}

#[test]
fn every_checksum_survives_its_mark() {
    for tail in 0..=u16::MAX {
        let mut packet = v4(20, 0x01, 0);
        packet[4..6].copy_from_slice(&tail.to_be_bytes());
        packet[10..12].fill(0);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        assert!(super::super::packet::mark_ce(&mut packet));
        assert_eq!(checksum(&packet), 0, "{tail:#x}");
    }
}

#[test]
fn too_large_packets_are_refused_with_the_mtu_that_fits() {
    let mut lane = lane("mtu=1400");
    lane.on_packet(Instant::ZERO, v4(1401, 0, 0x40));
    let answer = lane.poll_answer().unwrap();
    assert_eq!(checksum(&answer[..20]), 0);
    assert_eq!(checksum(&answer[20..]), 0);
    assert_eq!(answer[12..20], [10, 0, 0, 2, 10, 0, 0, 1]);
    assert_eq!(
        (answer[20], answer[21], &answer[26..28]),
        (3, 4, &1400_u16.to_be_bytes()[..])
    );
    assert_eq!(answer[28..48], v4(1401, 0, 0x40)[..20]);
    assert_eq!(answer.len(), 576);

    lane.on_packet(Instant::ZERO, v6(1500, 0));
    let answer = lane.poll_answer().unwrap();
    assert_eq!((answer[23], answer[39], answer.len()), (2, 1, 1280));
    let ends = [8, 24].map(|at| {
        let octets: [u8; 16] = answer[at..at + 16].try_into().unwrap();
        std::net::IpAddr::from(octets)
    });
    let mut sum = Sum::pseudo_header(ends[0], ends[1], 58, 1240);
    sum.add(&answer[40..]);
    assert_eq!(sum.checksum(), 0);
    assert_eq!(
        (answer[40], &answer[44..48]),
        (2, &1400_u32.to_be_bytes()[..])
    );

    // A router would fragment it; and what fits passes.
    lane.on_packet(Instant::ZERO, v4(1401, 0, 0));
    lane.on_packet(Instant::ZERO, v4(1400, 0, 0x40));
    assert_eq!(lane.poll_answer(), None);
    assert_eq!(get(&lane.counters().oversized), 3);
    assert_eq!(
        lane.poll_due(Instant::ZERO).map(|packet| packet.len()),
        Some(1400)
    );
    // Nobody fetches the answers: they do not pile up.
    for _ in 0..1000 {
        lane.on_packet(Instant::ZERO, v4(1401, 0, 0x40));
    }
    assert_eq!(std::iter::from_fn(|| lane.poll_answer()).count(), 64);
}

#[test]
fn a_late_caller_gets_everything_at_its_exact_order_and_the_queue_as_it_was() {
    let mut prompt = lane("rate=8mbit,delay=5ms,reorder=3%,loss=1%,queue=20,seed=4");
    let mut late = lane("rate=8mbit,delay=5ms,reorder=3%,loss=1%,queue=20,seed=4");
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for n in 0..5000 {
        let now = Instant::from_micros(1 + n * 950);
        while let Some(due) = prompt.next_due().filter(|&due| due <= now) {
            first.extend(out(&mut prompt, due));
        }
        prompt.on_packet(now, numbered(n, 1000));
        late.on_packet(now, numbered(n, 1000));
        assert_eq!(prompt.queue_packets(), late.queue_packets());
    }
    let end = Instant::from_millis(60_000);
    first.extend(out(&mut prompt, end));
    second.extend(out(&mut late, end));
    assert_eq!(first, second);
    assert!(get(&prompt.counters().overflowed) > 0);
}

#[test]
fn a_limit_may_change() {
    let mut lane = lane("rate=8mbit,queue=10");
    for n in 0..20 {
        lane.on_packet(Instant::ZERO, numbered(n, 1000));
    }
    assert_eq!(lane.queue_packets(), 10);
    lane.set_queue(Some(QueueLimit::Packets(12)));
    lane.set_loss(0.0);
    for n in 0..20 {
        lane.on_packet(Instant::ZERO, numbered(n, 1000));
    }
    assert_eq!(lane.queue_packets(), 12);
}
