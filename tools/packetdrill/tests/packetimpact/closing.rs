//! Connections that end.

use covers::covers;

use super::bench::*;

/// Half closed by us, and acknowledged: FIN-WAIT-2.
pub(crate) fn fin_wait_2(dut: &mut Dut, fd: i32, peer: &mut Peer) {
    assert_eq!(dut.kernel.close(fd), Ok(()));
    peer.expect(dut, FIN | ACK);
    peer.ack(dut);
}

/// A FIN that is not acknowledged is sent again, in FIN-WAIT-1 and in CLOSING.
#[test]
#[covers("RT-7")]
fn tcp_fin_retransmission() {
    for family in 0..2 {
        for flags in [FIN | ACK, ACK] {
            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected();
            dut.write(fd, SAMPLE);
            peer.expect_data(&mut dut, SAMPLE);
            peer.ack(&mut dut);
            assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_WR), Ok(()));
            let fin = peer.expect(&mut dut, FIN | ACK);
            peer.ack = fin.seq;
            peer.send(&mut dut, flags, b"");
            if flags & FIN != 0 {
                let ack = peer.expect(&mut dut, ACK);
                assert_eq!(ack.ack, peer.seq);
            }
            let again = peer.expect(&mut dut, FIN | ACK);
            assert_eq!((again.seq, again.ack), (fin.seq, peer.seq));
        }
    }
}

/// A reset in TIME-WAIT: ignored by default (RFC 1337); with `tcp_rfc1337` off, as other stacks'
/// default is, the connection is gone.
#[test]
#[covers("TW-4")]
fn tcp_timewait_reset() {
    for family in 0..2 {
        for is_ignored in [true, false] {
            let mut dut = Dut::with(family, |options| options.tcp.rfc1337 = is_ignored);
            let (fd, mut peer) = dut.connected();
            fin_wait_2(&mut dut, fd, &mut peer);
            peer.send(&mut dut, FIN | ACK, b"");
            peer.expect_ack(&mut dut);
            peer.send(&mut dut, RST, b"");
            peer.ack(&mut dut);
            assert_eq!(peer.is_reset(&mut dut), !is_ignored);
        }
    }
}

/// Where a segment lies that is out of order.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Odd {
    /// Its sequence number, so far beyond the right edge of the window.
    Seq(u16),
    /// Its acknowledgement, so far beyond what we have sent.
    Ack(u32),
}

const ODD: [Odd; 6] = [
    Odd::Seq(0),
    Odd::Seq(1),
    Odd::Seq(2),
    Odd::Ack(0),
    Odd::Ack(1),
    Odd::Ack(2),
];

/// Sends data that is odd in this way; `window` is what we last offered.
fn send_odd(dut: &mut Dut, peer: &Peer, odd: Odd, window: u16) {
    let (mut peer, mut offset) = (peer.clone(), 0);
    match odd {
        Odd::Seq(beyond) => offset = i64::from(window) + i64::from(beyond),
        Odd::Ack(beyond) => peer.ack = peer.ack.wrapping_add(beyond),
    }
    peer.send_at(dut, offset, ACK, SAMPLE);
}

/// Data beyond the window, and data that acknowledges what was never sent: an ACK, and nothing
/// taken in, in each state that takes data or has done so.
#[test]
#[covers("SM-5", "SM-9")]
fn tcp_unacc_seq_ack() {
    for family in 0..2 {
        for odd in ODD {
            in_established(family, odd);
            in_close_wait(family, odd);
            in_fin_wait_2_and_time_wait(family, odd);
            in_closing(family, odd);
        }
    }
}

fn in_established(family: usize, odd: Odd) {
    let mut dut = Dut::new(family);
    let (fd, mut peer) = dut.connected();
    peer.send(&mut dut, PSH | ACK, SAMPLE);
    let window = peer.expect_ack(&mut dut).window;
    assert_eq!(dut.read(fd, 100), Ok(SAMPLE.to_vec()));
    dut.drain();
    send_odd(&mut dut, &peer, odd, window);
    let ack = peer.next(&mut dut, SECOND).expect("an ACK");
    let taken = odd == Odd::Ack(0);
    let expected = if taken {
        peer.seq.wrapping_add(SAMPLE.len() as u32)
    } else {
        peer.seq
    };
    assert_eq!((ack.flags, ack.ack), (ACK, expected), "{odd:?}");
    assert_eq!(dut.read(fd, 100).is_ok(), taken, "{odd:?}");
}

fn in_close_wait(family: usize, odd: Odd) {
    let mut dut = Dut::new(family);
    let (fd, mut peer) = dut.connected();
    peer.send(&mut dut, FIN | ACK, b"");
    let window = peer.expect_ack(&mut dut).window;
    send_odd(&mut dut, &peer, odd, window);
    assert_answer(&mut dut, &mut peer, odd);
    // It was CLOSE-WAIT all the time.
    assert_eq!(dut.kernel.close(fd), Ok(()));
    peer.expect(&mut dut, FIN | ACK);
    peer.ack(&mut dut);
    peer.send(&mut dut, ACK, SAMPLE);
    peer.expect(&mut dut, RST);
}

fn in_fin_wait_2_and_time_wait(family: usize, odd: Odd) {
    let mut dut = Dut::new(family);
    let (fd, mut peer) = dut.connected();
    assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_WR), Ok(()));
    let window = peer.expect(&mut dut, FIN | ACK).window;
    peer.ack(&mut dut);
    send_odd(&mut dut, &peer, odd, window);
    let ack = peer.next(&mut dut, SECOND).expect("an ACK in FIN-WAIT-2");
    assert_eq!(ack.flags, ACK, "{odd:?}");
    peer.seq = ack.ack;
    peer.send(&mut dut, FIN | ACK, b"");
    peer.expect_ack(&mut dut);
    send_odd(&mut dut, &peer, odd, window);
    assert_answer(&mut dut, &mut peer, odd);
}

fn in_closing(family: usize, odd: Odd) {
    let mut dut = Dut::new(family);
    let (fd, mut peer) = dut.connected();
    assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_WR), Ok(()));
    let fin = peer.expect(&mut dut, FIN | ACK);
    let end = peer.ack;
    peer.ack = fin.seq;
    peer.send(&mut dut, FIN | ACK, b"");
    let window = peer.next(&mut dut, SECOND).expect("an ACK").window;
    peer.ack = match odd {
        Odd::Seq(_) => fin.seq, // or it would leave CLOSING
        Odd::Ack(_) => end,
    };
    send_odd(&mut dut, &peer, odd, window);
    assert_answer(&mut dut, &mut peer, odd);
}

/// What is odd behind the peer's FIN is answered at once; what is not is text where none can be,
/// and ignored (RFC 9293 §3.10.7.4, seventh step).
fn assert_answer(dut: &mut Dut, peer: &mut Peer, odd: Odd) {
    let expected = (odd != Odd::Ack(0)).then_some((ACK, peer.seq));
    // Our FIN may be sent again in its time; only what comes at once is an answer.
    let answer = peer.next(dut, millis(10));
    assert_eq!(answer.map(|seg| (seg.flags, seg.ack)), expected, "{odd:?}");
}

/// An ACK within the user timeout finds the connection, one after it a reset; for data and for a
/// FIN.
#[test]
#[covers("UT-1", "MUST-21")]
fn tcp_user_timeout() {
    for family in 0..2 {
        for (timeout, delay) in [(0, 3000), (5000, 4000), (5000, 7000)] {
            for is_fin in [false, true] {
                let mut dut = Dut::new(family);
                let (fd, mut peer) = dut.connected();
                if timeout != 0 {
                    dut.set(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, timeout);
                }
                if is_fin {
                    assert_eq!(dut.kernel.close(fd), Ok(()));
                    peer.expect(&mut dut, FIN | ACK);
                } else {
                    let data: Vec<u8> = (0..100).collect();
                    dut.write(fd, &data);
                    peer.expect_data(&mut dut, &data);
                }
                dut.wait(millis(delay));
                dut.drain();
                peer.ack(&mut dut);
                let is_late = timeout != 0 && delay > timeout as u64;
                assert_eq!(peer.is_reset(&mut dut), is_late, "{timeout} {delay}");
            }
        }
    }
}
