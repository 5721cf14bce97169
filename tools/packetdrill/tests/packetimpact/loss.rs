//! What is lost, late or old.

use std::time::Duration;

use covers::covers;

use super::bench::*;

/// Payload of the segments here, as without an MSS option.
const SIZE: usize = 536;

/// How far away the peer is.
const RTT: Duration = millis(30);

/// `TCP_CA_Open`, `TCP_CA_Recovery`, `TCP_CA_Loss`.
const OPEN: u8 = 0;
const RECOVERY: u8 = 3;
const LOSS: u8 = 4;

const ESTABLISHED: u8 = 1;

/// What `TCP_INFO` says.
struct Info {
    state: u8,
    ca_state: u8,
    rto: Duration,
    rtt: Duration,
    rttvar: Duration,
    cwnd: u32,
}

fn info(dut: &mut Dut, fd: i32) -> Info {
    let raw = dut
        .kernel
        .getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 256)
        .expect("a connection");
    let word = |at: usize| u32::from_ne_bytes(raw[at..at + 4].try_into().expect("four bytes"));
    let micros = |at| Duration::from_micros(word(at).into());
    Info {
        state: raw[0],
        ca_state: raw[1],
        rto: micros(8),
        rtt: micros(68),
        rttvar: micros(72),
        cwnd: word(80),
    }
}

/// A timestamps option with two bytes of padding before it.
fn timestamps(value: u32, echo: u32) -> Vec<u8> {
    [
        &[1, 1, 8, 10],
        &value.to_be_bytes()[..],
        &echo.to_be_bytes(),
    ]
    .concat()
}

/// The two numbers of a segment's timestamps.
fn timestamps_of(seg: &Seg) -> (u32, u32) {
    let body = seg.option(8).expect("timestamps");
    let word = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
    (word(0), word(4))
}

/// A segment is sent again and again, at intervals that the timeout of the time allows, each about
/// twice the one before.
#[test]
#[covers("RT-7", "MUST-18", "MUST-19")]
fn tcp_retransmits() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = dut.connected();
        dut.nodelay(fd);
        dut.write(fd, SAMPLE);
        peer.expect_data(&mut dut, SAMPLE);
        peer.send(&mut dut, PSH | ACK, SAMPLE);
        peer.expect_ack(&mut dut);
        dut.write(fd, SAMPLE);
        let first = peer.expect_data(&mut dut, SAMPLE);
        // One tail loss probe may come before the timeouts.
        let mut last = first.at;
        let mut gaps = Vec::new();
        for _ in 0..7 {
            let rto = info(&mut dut, fd).rto;
            let again = peer.next(&mut dut, millis(60_000)).expect("again");
            assert_eq!((again.seq, &again.payload[..]), (first.seq, SAMPLE));
            gaps.push((again.at - last, rto));
            last = again.at;
        }
        for (gap, rto) in &gaps[1..] {
            assert!(*gap + millis(1) >= *rto, "{gaps:?}");
        }
        for pair in gaps[2..].windows(2) {
            let ratio = pair[1].0.as_secs_f64() / pair[0].0.as_secs_f64();
            assert!((1.9..2.1).contains(&ratio), "{gaps:?}");
        }
    }
}

/// What a program can ask about its connection: state, round trip, window; and that a timeout is
/// one.
#[test]
#[covers("MUST-18", "CC-8")]
fn tcp_info() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = dut.connected();
        dut.write(fd, SAMPLE);
        peer.expect_data(&mut dut, SAMPLE);
        dut.wait(RTT);
        peer.ack(&mut dut);
        let before = info(&mut dut, fd);
        assert_eq!((before.state, before.ca_state), (ESTABLISHED, OPEN));
        assert!(!before.rtt.is_zero() && !before.rttvar.is_zero() && !before.rto.is_zero());
        assert!(before.cwnd > 1);
        dut.write(fd, SAMPLE);
        let sent = peer.expect_data(&mut dut, SAMPLE);
        let deadline = before.rto * 2;
        let again = peer.next(&mut dut, deadline).expect("again, in time");
        assert_eq!(again.seq, sent.seq);
        while info(&mut dut, fd).ca_state == OPEN {
            // The first was a tail loss probe.
            let again = peer.next(&mut dut, deadline).expect("a timeout");
            assert_eq!(again.seq, sent.seq);
        }
        let after = info(&mut dut, fd);
        assert_eq!((after.ca_state, after.cwnd), (LOSS, 1));
    }
}

/// A segment with an old timestamp is answered and not taken in; our own timestamps never go
/// back.
#[test]
#[covers("TS-7", "TS-9", "TS-11")]
fn tcp_paws_mechanism() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (listener, local) = dut.listen(1);
        let mut peer = dut.peer(local);
        let mut now = 0xffff_ff00; // wraps on the way
        let syn_ack = peer.connect_with_timestamps(&mut dut, now);
        let (mut value, echo) = timestamps_of(&syn_ack);
        assert_eq!(echo, now);
        let fd = dut.accept(listener);
        for _ in 0..100 {
            dut.wait(millis(3));
            now = now.wrapping_add(3);
            peer.options = timestamps(now, value);
            peer.send(&mut dut, ACK, SAMPLE);
            let ack = peer.expect_ack(&mut dut);
            let (later, echo) = timestamps_of(&ack);
            assert_eq!(echo, now);
            assert!(later.wrapping_sub(value) < 1 << 31, "never back");
            value = later;
            assert_eq!(dut.read(fd, 100), Ok(SAMPLE.to_vec()));
            dut.drain();
            peer.options = timestamps(now.wrapping_sub(100), value);
            peer.send_at(&mut dut, 0, ACK, SAMPLE);
            let ack = peer.expect_ack(&mut dut);
            assert_eq!(timestamps_of(&ack).1, now, "not the old one");
            assert_eq!(dut.read(fd, 100), Err(libc::EAGAIN));
        }
    }
}

impl Peer {
    fn connect_with_timestamps(&mut self, dut: &mut Dut, now: u32) -> Seg {
        self.options = timestamps(now, 0);
        self.send(dut, SYN, b"");
        let syn_ack = self.expect(dut, SYN | ACK);
        self.options = timestamps(now, timestamps_of(&syn_ack).0);
        self.ack(dut);
        syn_ack
    }

    /// Acknowledges up to here, and these ranges beyond, in segments from `base`.
    fn sack(&mut self, dut: &mut Dut, base: u32, ack: u32, from: u32, to: u32) {
        let edge = |n: u32| base.wrapping_add(n * SIZE as u32).to_be_bytes();
        self.options = [&[1, 1, 5, 10], &edge(from)[..], &edge(to)].concat();
        self.ack_to(dut, base.wrapping_add(ack * SIZE as u32));
        self.options.clear();
    }
}

/// A connection with SACK that has had ten round trips, and the next sequence number.
fn far_peer(dut: &mut Dut) -> (i32, Peer, u32) {
    let (listener, local) = dut.listen(1);
    let mut peer = dut.peer(local);
    // SACK permitted, and the MSS that goes without saying over IPv4.
    let mss = (SIZE as u16).to_be_bytes();
    let options = [2, 4, mss[0], mss[1], 1, 1, 4, 2];
    peer.connect(dut, &options);
    let fd = dut.accept(listener);
    for _ in 0..10 {
        send(dut, fd, &mut peer, 1);
        dut.wait(RTT);
        peer.ack(dut);
    }
    let base = peer.ack;
    (fd, peer, base)
}

/// Sends so many segments; when the last of them left.
fn send(dut: &mut Dut, fd: i32, peer: &mut Peer, count: u32) -> ustack::tcp::time::Instant {
    let mut at = dut.now();
    for _ in 0..count {
        dut.write(fd, &[7; SIZE]);
        at = peer.expect_data(dut, &[7; SIZE]).at;
    }
    at
}

/// The next segment, which repeats the one of this number.
#[track_caller]
fn again(dut: &mut Dut, peer: &mut Peer, base: u32, number: u32, within: Duration) -> Seg {
    let seg = peer.next(dut, within).expect("sent again");
    let expected = base.wrapping_add(number * SIZE as u32);
    assert_eq!((seg.seq, seg.payload.len()), (expected, SIZE));
    seg
}

/// Losses are found by time: the tail is probed after two round trips, a hole once something sent
/// later has arrived and a little more, also when that was a retransmission, and without a
/// timeout when the retransmission itself was lost.
#[test]
#[covers("TL-1", "RK-2", "RK-3", "RK-6", "RK-7")]
fn tcp_rack() {
    for family in 0..2 {
        all_lost(family);
        tail_lost(family);
        retransmission_tells(family);
        hole(family);
        reordered(family);
        retransmission_lost(family);
    }
}

/// Nothing of five is acknowledged: the last is sent again, two round trips later.
fn all_lost(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    let last = send(&mut dut, fd, &mut peer, 5);
    let pto = info(&mut dut, fd).rtt * 2;
    let probe = again(&mut dut, &mut peer, base, 4, SECOND);
    assert!(probe.at - last >= pto, "{:?} {pto:?}", probe.at - last);
}

/// Six of ten are.
fn tail_lost(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    let last = send(&mut dut, fd, &mut peer, 10);
    peer.ack_to(&mut dut, base.wrapping_add(6 * SIZE as u32));
    let pto = info(&mut dut, fd).rtt * 2;
    let probe = again(&mut dut, &mut peer, base, 9, SECOND);
    assert!(probe.at - last >= pto, "{:?} {pto:?}", probe.at - last);
}

/// The second of three arrived: the first is lost, and once its repetition has arrived, the third.
fn retransmission_tells(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    send(&mut dut, fd, &mut peer, 3);
    dut.wait(RTT);
    peer.sack(&mut dut, base, 0, 1, 2);
    let limit = info(&mut dut, fd).rtt * 2;
    again(&mut dut, &mut peer, base, 0, limit);
    dut.wait(RTT);
    peer.ack_to(&mut dut, base.wrapping_add(2 * SIZE as u32));
    again(&mut dut, &mut peer, base, 2, limit);
}

/// Two holes before what arrived.
fn hole(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    send(&mut dut, fd, &mut peer, 4);
    dut.wait(RTT);
    peer.sack(&mut dut, base, 0, 2, 4);
    let limit = info(&mut dut, fd).rtt * 2;
    again(&mut dut, &mut peer, base, 0, limit);
    again(&mut dut, &mut peer, base, 1, limit);
}

/// Reordering was seen, and a needless repetition: the next hole is given more time.
fn reordered(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    send(&mut dut, fd, &mut peer, 4);
    dut.wait(RTT);
    for first in [3, 2, 1] {
        peer.sack(&mut dut, base, 0, first, 4);
    }
    while peer.next(&mut dut, millis(0)).is_some() {}
    peer.sack(&mut dut, base, 4, 0, 2); // D-SACK
    dut.drain();
    let base = base.wrapping_add(4 * SIZE as u32);
    let sent = send(&mut dut, fd, &mut peer, 4);
    dut.wait(RTT);
    peer.sack(&mut dut, base, 0, 1, 4);
    let rtt = info(&mut dut, fd).rtt;
    let seg = again(&mut dut, &mut peer, base, 0, SECOND);
    assert!(seg.at - sent >= rtt, "{:?} {rtt:?}", seg.at - sent);
}

/// What is sent again is lost again: found without a timeout, in the same recovery.
fn retransmission_lost(family: usize) {
    let mut dut = Dut::new(family);
    let (fd, mut peer, base) = far_peer(&mut dut);
    send(&mut dut, fd, &mut peer, 5);
    dut.wait(RTT);
    peer.sack(&mut dut, base, 0, 1, 5);
    let limit = info(&mut dut, fd).rtt * 2;
    again(&mut dut, &mut peer, base, 0, limit);
    dut.wait(millis(1)); // or nobody knows which of the two left first
    dut.write(fd, &[7; SIZE]);
    again(&mut dut, &mut peer, base, 5, SECOND);
    dut.wait(RTT);
    peer.sack(&mut dut, base, 0, 1, 6);
    again(&mut dut, &mut peer, base, 0, limit);
    assert_eq!(info(&mut dut, fd).ca_state, RECOVERY);
}
