//! Windows, ours and the peer's.

use covers::covers;

use super::bench::*;

/// A connection that has sent and received a sample, and knows its round-trip time.
fn warm(dut: &mut Dut) -> (i32, Peer) {
    let (fd, mut peer) = dut.connected();
    dut.nodelay(fd);
    dut.write(fd, SAMPLE);
    peer.expect_data(dut, SAMPLE);
    peer.send(dut, PSH | ACK, SAMPLE);
    peer.expect_ack(dut);
    assert_eq!(dut.read(fd, SAMPLE.len()), Ok(SAMPLE.to_vec()));
    (fd, peer)
}

/// The next segment, a zero-window probe: an old byte's number, no data.
fn probe(dut: &mut Dut, peer: &mut Peer, time: std::time::Duration) -> Seg {
    let probe = peer.next(dut, time).expect("a probe");
    assert_eq!((probe.flags & !PSH, probe.payload.len()), (ACK, 0));
    assert_eq!(probe.seq, peer.ack.wrapping_sub(1), "an old number");
    probe
}

/// A peer that closes its window after data was acknowledged is probed for a new one.
#[test]
#[covers("MUST-35")]
fn tcp_window_shrink() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = warm(&mut dut);
        for _ in 0..2 {
            dut.write(fd, SAMPLE);
            peer.expect_data(&mut dut, SAMPLE);
        }
        peer.window = 0;
        peer.ack(&mut dut);
        dut.write(fd, SAMPLE);
        probe(&mut dut, &mut peer, SECOND);
    }
}

/// No probes while there is nothing to send; the first comes a timeout after there is; a window
/// that opens is used at once; and a probe of the peer's is answered.
#[test]
#[covers("MUST-36", "SHLD-29", "SM-5")]
fn tcp_zero_window_probe() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = warm(&mut dut);
        peer.window = 0;
        peer.ack(&mut dut);
        dut.assert_silent(millis(2000));
        let written = dut.now();
        dut.write(fd, SAMPLE);
        let first = probe(&mut dut, &mut peer, SECOND);
        assert!(first.at > written);
        peer.window = u16::MAX;
        peer.ack(&mut dut);
        peer.expect_data(&mut dut, SAMPLE);
        peer.ack(&mut dut);
        peer.send_at(&mut dut, -1, ACK, b"");
        peer.expect_ack(&mut dut);
    }
}

/// Probes that are answered keep the connection, and come at growing intervals.
#[test]
#[covers("MUST-37", "SHLD-30")]
fn tcp_zero_window_probe_retransmit() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = warm(&mut dut);
        peer.window = 0;
        peer.send(&mut dut, PSH | ACK, SAMPLE);
        peer.expect_ack(&mut dut);
        assert_eq!(dut.read(fd, SAMPLE.len()), Ok(SAMPLE.to_vec()));
        let mut last = dut.now();
        dut.write(fd, SAMPLE);
        let mut gap = millis(0);
        for _ in 0..6 {
            let found = probe(&mut dut, &mut peer, millis(60_000)).at;
            let slack = millis(1);
            assert!(
                found - last + slack >= gap * 2,
                "{:?} after {gap:?}",
                found - last
            );
            (gap, last) = (found - last, found);
            peer.ack(&mut dut);
        }
        peer.window = u16::MAX;
        peer.ack(&mut dut);
        peer.expect_data(&mut dut, SAMPLE);
    }
}

/// The user timeout counts while the window is closed, too.
#[test]
#[covers("UT-1", "MUST-21")]
fn tcp_zero_window_probe_usertimeout() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = warm(&mut dut);
        peer.window = 0;
        peer.ack(&mut dut);
        let written = dut.now();
        dut.write(fd, SAMPLE);
        let first = probe(&mut dut, &mut peer, SECOND).at - written;
        let limit = first.as_millis() as i32;
        dut.set(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, limit);
        peer.ack(&mut dut);
        dut.write(fd, SAMPLE);
        dut.wait(first * 8);
        dut.drain();
        peer.ack(&mut dut);
        assert!(peer.is_reset(&mut dut));
    }
}

/// Sends until the window is closed; returns the last ACK.
fn fill(dut: &mut Dut, peer: &mut Peer, fd: i32, mut len: usize) -> Seg {
    for n in 0..100_000 {
        peer.send(dut, PSH | ACK, &vec![n as u8; len]);
        let ack = peer.expect_ack(dut);
        if n == 0 {
            assert_eq!(dut.read(fd, len).map(|data| data.len()), Ok(len));
            dut.drain();
        }
        if ack.window == 0 {
            return ack;
        }
        len = len.min(usize::from(ack.window));
    }
    panic!("the window never closes");
}

/// A program that does not read closes the window; a little read does not open it, much does; a
/// program that reads all the time never closes it.
#[test]
#[covers("MUST-39")]
fn tcp_zero_receive_window() {
    for family in 0..2 {
        for len in [64, 512, 1024] {
            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected();
            fill(&mut dut, &mut peer, fd, len);

            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected();
            for n in 0..2000 {
                peer.send(&mut dut, PSH | ACK, &vec![n as u8; len]);
                let ack = peer.next(&mut dut, SECOND).expect("an ACK");
                assert_ne!(ack.window, 0);
                assert_eq!(dut.read(fd, len).map(|data| data.len()), Ok(len));
                dut.drain();
            }
        }
        let mut dut = Dut::new(family);
        let (fd, mut peer) = dut.connected();
        let mss = [1460, 1440][family];
        fill(&mut dut, &mut peer, fd, mss);
        let mut read = |dut: &mut Dut, len: usize| {
            assert_eq!(dut.read(fd, len).map(|data| data.len()), Ok(len));
            dut.wait(SECOND); // or the limit on such answers holds it back
            dut.drain();
            peer.send_at(dut, -1, ACK, b"");
            peer.next(dut, SECOND).expect("an ACK").window
        };
        assert_eq!(read(&mut dut, mss - 1), 0, "less than a segment");
        let mut reads = 0;
        while read(&mut dut, mss - 1) == 0 {
            reads += 1;
            assert!(reads < 100, "it opens again");
        }
    }
}

/// Windows around a segment's size: what does not fit is cut, what does is not, and the ACK of the
/// peer's data rides on what is sent next.
#[test]
fn tcp_send_window_sizes_piggyback() {
    let len = SAMPLE.len();
    for family in 0..2 {
        for (window, first, second, is_queued) in [
            (len - 1, &SAMPLE[..len - 1], &SAMPLE[len - 1..], false),
            (len, SAMPLE, SAMPLE, true),
            (len + 1, SAMPLE, SAMPLE, true),
        ] {
            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected_with(&[], window as u16);
            dut.nodelay(fd);
            dut.write(fd, SAMPLE);
            peer.expect_data(&mut dut, first);
            if is_queued {
                dut.write(fd, SAMPLE);
            }
            peer.send(&mut dut, PSH | ACK, SAMPLE);
            let next = peer.expect_data(&mut dut, second);
            assert_eq!(next.ack, peer.seq, "with the ACK");
        }
    }
}

/// Small writes are held under a cork until a full segment is there, and the rest with it; a
/// window below that lets everything go.
#[test]
#[covers("MUST-14")]
fn tcp_cork_mss() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let mss = [536_u16, 1220][family];
        let [high, low] = mss.to_be_bytes();
        let (fd, mut peer) = dut.connected_with(&[2, 4, high, low], u16::MAX);
        dut.set(fd, libc::IPPROTO_TCP, libc::TCP_CORK, 1);
        dut.write(fd, SAMPLE);
        dut.write(fd, SAMPLE);
        dut.assert_silent(millis(50));
        let large = vec![0; usize::from(mss) + 1];
        dut.write(fd, &large);
        let all = [SAMPLE, SAMPLE, &large].concat();
        peer.expect_data(&mut dut, &all[..mss.into()]);
        peer.ack(&mut dut);
        peer.expect_data(&mut dut, &all[mss.into()..]);
        peer.window = 2 * SAMPLE.len() as u16;
        peer.ack(&mut dut);
        dut.write(fd, SAMPLE);
        dut.write(fd, SAMPLE);
        peer.expect_data(&mut dut, &[SAMPLE, SAMPLE].concat());
    }
}

/// A receive buffer takes no more than it holds: what comes beyond is neither acknowledged nor
/// delivered. It is small from the start here: making it small later takes no promise back
/// (RFC 9293 §3.8.6), and other stacks do.
#[test]
fn tcp_rcv_buf_space() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (listener, local) = dut.bound();
        dut.set(listener, libc::SOL_SOCKET, libc::SO_RCVBUF, 4096);
        dut.kernel.listen(listener, 1).expect("listening");
        let mut peer = dut.peer(local);
        let window = usize::from(peer.connect(&mut dut, &[]).window);
        assert!(window <= 8192, "{window}");
        let fd = dut.accept(listener);
        let sent: Vec<u8> = (0..=window).map(|n| n as u8).collect();
        let start = peer.seq;
        for piece in sent.chunks(1400) {
            peer.send(&mut dut, ACK, piece);
        }
        dut.wait(SECOND);
        let mut acked = start;
        while let Some(ack) = peer.next(&mut dut, millis(0)) {
            acked = ack.ack;
        }
        let mut received = Vec::new();
        while let Ok(data) = dut.read(fd, sent.len()) {
            received.extend(data);
        }
        assert!(!received.is_empty() && received.len() < sent.len());
        assert!(received == sent[..received.len()]);
        assert_eq!(acked.wrapping_sub(start) as usize, received.len());
    }
}

/// Segments at the window's right edge and beyond: an ACK for each, and few for many. Where other
/// stacks let an empty segment touch the edge, RFC 9293 §3.10.7.4 has it outside; and the ACK bit
/// is looked at only after the sequence number.
#[test]
#[covers("SM-5", "BL-4", "BL-6")]
fn tcp_outside_the_window() {
    let shapes: [(u8, &[u8]); 5] = [
        (SYN, b""),
        (SYN | ACK, b""),
        (ACK, b""),
        (FIN, b""),
        (ACK, b"abc123"),
    ];
    for family in 0..2 {
        for (flags, payload) in shapes {
            for offset in 0..=2 {
                let mut dut = Dut::new(family);
                let (_, peer, window) = established(&mut dut);
                outside(&mut dut, peer, window + offset, flags, payload);
                let mut dut = Dut::new(family);
                let (fd, mut peer, _) = established(&mut dut);
                assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_WR), Ok(()));
                let fin = peer.expect(&mut dut, FIN | ACK);
                peer.ack = fin.seq; // not acknowledged: CLOSING
                peer.send(&mut dut, FIN | ACK, b"");
                let ack = peer.next(&mut dut, SECOND).expect("an ACK of the FIN");
                peer.ack = fin.seq;
                outside(
                    &mut dut,
                    peer,
                    i64::from(ack.window) + offset,
                    flags,
                    payload,
                );
            }
        }
    }
}

/// A connection, and how far its right edge lies from what the peer sends next.
fn established(dut: &mut Dut) -> (i32, Peer, i64) {
    let (listener, local) = dut.listen(1);
    let mut peer = dut.peer(local);
    let window = peer.connect(dut, &[]).window;
    let fd = dut.accept(listener);
    dut.drain();
    (fd, peer, window.into())
}

/// Sends what lies outside; asserts on the answer.
fn outside(dut: &mut Dut, mut peer: Peer, at: i64, flags: u8, payload: &[u8]) {
    let expected = peer.seq;
    peer.send_at(dut, at, flags, payload);
    // A FIN of ours is sent again in its time; only what comes at once is an answer.
    let ack = peer.next(dut, millis(1)).expect("an ACK");
    assert_eq!((ack.flags, ack.ack), (ACK, expected), "{flags:#x} {at}");
    if flags & FIN != 0 {
        return; // text is always answered: it may be a retransmission
    }
    let mut more = 0;
    for _ in 0..100 {
        peer.send_at(dut, at, flags, b"");
        more += i32::from(peer.next(dut, millis(0)).is_some());
    }
    assert!(more < 10, "{more} ACKs for a hundred of {flags:#x}");
}
