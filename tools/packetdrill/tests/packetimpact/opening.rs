//! Connections that open, or do not.

use covers::covers;
use packetdrill::kernel::{PollFd, Reply};

use super::bench::*;

/// A `connect` under way, and the peer that has seen its SYN.
fn syn_sent(dut: &mut Dut) -> (i32, Peer, Seg) {
    let (fd, local) = dut.bound();
    let mut peer = dut.peer(local);
    peer.seq = 0xffff_fff0;
    let connecting = dut.kernel.connect(fd, Some(peer.addr));
    assert_eq!(connecting, Err(libc::EINPROGRESS));
    let syn = peer.expect(dut, SYN);
    (fd, peer, syn)
}

/// In SYN-RECEIVED only the ACK of our SYN opens; others are answered with a reset of that number.
#[test]
#[covers("SM-7")]
fn tcp_acceptable_ack_syn_rcvd() {
    for family in 0..2 {
        for offset in [0, 1, 2] {
            let mut dut = Dut::new(family);
            let (listener, local) = dut.listen(1);
            let mut peer = dut.peer(local);
            peer.send(&mut dut, SYN, b"");
            let syn_ack = peer.expect(&mut dut, SYN | ACK);
            peer.ack = syn_ack.seq.wrapping_add(offset);
            peer.ack(&mut dut);
            if offset == 1 {
                dut.accept(listener);
                continue;
            }
            let reset = peer.next(&mut dut, SECOND).expect("a reset");
            assert_eq!((reset.flags, reset.seq), (RST, peer.ack));
            assert_eq!(dut.kernel.accept(listener, 0), Err(libc::EAGAIN));
        }
    }
}

/// A reset ends a handshake; the ACK that follows belongs to no connection.
#[test]
#[covers("MUST-11")]
fn tcp_synrcvd_reset() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (_, local) = dut.listen(1);
        let mut peer = dut.peer(local);
        peer.send(&mut dut, SYN, b"");
        peer.expect(&mut dut, SYN | ACK);
        peer.send(&mut dut, RST, b"");
        peer.ack(&mut dut);
        assert_eq!(peer.expect(&mut dut, RST).seq, peer.ack);
    }
}

/// A reset ends `connect`, from SYN-SENT and from the SYN-RECEIVED of a simultaneous open.
#[test]
#[covers("SM-3", "MUST-10", "MUST-11")]
fn tcp_synsent_reset() {
    for family in 0..2 {
        for is_simultaneous in [false, true] {
            let mut dut = Dut::new(family);
            let (fd, mut peer, _) = syn_sent(&mut dut);
            if is_simultaneous {
                peer.send(&mut dut, SYN, b"");
                peer.expect(&mut dut, SYN | ACK);
                peer.send(&mut dut, RST, b"");
            } else {
                peer.send(&mut dut, RST | ACK, b"");
            }
            peer.ack(&mut dut);
            assert_eq!(peer.expect(&mut dut, RST).seq, peer.ack);
            let refused = dut.kernel.connect(fd, Some(peer.addr));
            let expected = [libc::ECONNREFUSED, libc::ECONNRESET];
            assert!(expected.contains(&refused.unwrap_err()));
        }
    }
}

/// An ICMP error that quotes the SYN ends `connect` while a program looks on, and leaves nothing
/// behind.
#[test]
#[covers("MUST-54", "SHLD-26")]
fn tcp_connect_icmp_error() {
    for (family, kind) in [(0, [3, 1]), (1, [1, 3])] {
        let mut dut = Dut::new(family);
        let (fd, mut peer, syn) = syn_sent(&mut dut);
        assert_eq!(dut.error(fd), 0);
        let looked_at = PollFd {
            fd,
            events: libc::POLLHUP,
            revents: 0,
        };
        dut.inject_icmp([kind[0], kind[1], 0, 0, 0, 0, 0, 0], &syn.packet);
        assert_eq!(dut.kernel.poll(&mut [looked_at]), 1);
        assert_eq!(dut.error(fd), libc::EHOSTUNREACH);
        assert_eq!(dut.error(fd), 0, "told once");
        peer.ack(&mut dut);
        assert_eq!(peer.expect(&mut dut, RST).seq, peer.ack);
    }
}

/// The window of the ACK that opens the connection holds, not that of the SYN; and it is unsigned.
#[test]
#[covers("SM-10", "MUST-1")]
fn tcp_handshake_window_size() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (listener, local) = dut.listen(1);
        let mut peer = dut.peer(local);
        peer.window = 0;
        peer.send(&mut dut, SYN, b"");
        peer.expect(&mut dut, SYN | ACK);
        peer.window = 1 << 15;
        peer.ack(&mut dut);
        let fd = dut.accept(listener);
        let before = dut.now();
        dut.write(fd, SAMPLE);
        let data = peer.expect_data(&mut dut, SAMPLE);
        assert_eq!((data.flags, data.at), (PSH | ACK, before), "at once");
    }
}

/// What a program sends or waits for during the handshake: delivered when it succeeds, refused
/// when it is reset.
#[test]
#[covers("SM-3")]
fn tcp_queue_send_recv_in_syn_sent() {
    for family in 0..2 {
        for is_send in [true, false] {
            for is_opened in [true, false] {
                let mut dut = Dut::new(family);
                let (fd, mut peer, _) = syn_sent(&mut dut);
                assert_eq!(dut.read(fd, SAMPLE.len()), Err(libc::EAGAIN));
                let mut call = dut.begin(if is_send {
                    send_call(fd, SAMPLE)
                } else {
                    recv_call(fd, SAMPLE.len())
                });
                dut.wait(millis(100));
                assert!(call.is_blocked(&mut dut));
                if !is_opened {
                    peer.send(&mut dut, RST | ACK, b"");
                    assert_eq!(call.answer(&mut dut), Err(libc::ECONNREFUSED));
                    continue;
                }
                peer.send(&mut dut, SYN | ACK, b"");
                if is_send {
                    assert_eq!(call.answer(&mut dut), Ok(Reply::Count(SAMPLE.len())));
                    let opening = peer.expect(&mut dut, ACK);
                    if opening.payload.is_empty() {
                        peer.expect_data(&mut dut, SAMPLE);
                    }
                    peer.send(&mut dut, PSH | ACK, SAMPLE);
                    peer.expect_ack(&mut dut);
                } else {
                    peer.expect_ack(&mut dut);
                    peer.send(&mut dut, PSH | ACK, SAMPLE);
                    peer.expect_ack(&mut dut);
                    let Ok(Reply::Received(received)) = call.answer(&mut dut) else {
                        panic!("nothing received");
                    };
                    assert_eq!(received.data, SAMPLE);
                }
            }
        }
    }
}

/// Closing a listener resets what it has not accepted yet.
#[test]
fn tcp_noaccept_close_rst() {
    for family in 0..2 {
        let mut dut = Dut::new(family);
        let (listener, local) = dut.listen(1);
        let mut peer = dut.peer(local);
        peer.connect(&mut dut, &[]);
        let waiting = PollFd {
            fd: listener,
            events: libc::POLLIN,
            revents: 0,
        };
        assert_eq!(dut.kernel.poll(&mut [waiting]), 1);
        assert_eq!(dut.kernel.close(listener), Ok(()));
        peer.expect(&mut dut, RST | ACK);
    }
}
