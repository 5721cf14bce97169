//! How long a socket that was closed stays.

use covers::covers;
use packetdrill::kernel::Call;

use super::bench::*;
use super::closing::fin_wait_2;

/// FIN-WAIT-2 of a socket that nobody has any more ends after TCP_LINGER2: late segments are
/// answered with a reset; not before.
#[test]
#[covers("SM-17")]
fn fin_wait2_timeout() {
    for family in 0..2 {
        for is_short in [true, false] {
            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected();
            if is_short {
                dut.set(fd, libc::IPPROTO_TCP, libc::TCP_LINGER2, 1);
            }
            fin_wait_2(&mut dut, fd, &mut peer);
            dut.wait(millis(5000));
            dut.drain();
            peer.ack(&mut dut);
            assert_eq!(peer.is_reset(&mut dut), is_short);
        }
    }
}

/// How a socket is closed: SO_LINGER of zero resets, none says FIN, some waits for its time or for
/// the end.
#[test]
fn tcp_linger() {
    for family in 0..2 {
        linger_zero(family);
        for seconds in [Some(3), None] {
            for (writes, shuts) in [(false, false), (true, false), (true, true)] {
                linger_some(family, seconds, writes, shuts);
            }
        }
        // A socket that never was connected has nothing to wait for.
        let mut dut = Dut::new(family);
        let fd = dut.socket(libc::SOCK_STREAM);
        dut.linger(fd, Some(3));
        let mut close = dut.begin(Call::Close(fd));
        assert!(!close.is_blocked(&mut dut));
    }
}

fn linger_zero(family: usize) {
    for shuts in [false, true] {
        let mut dut = Dut::new(family);
        let (fd, mut peer) = dut.connected();
        dut.linger(fd, Some(0));
        if shuts {
            assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_RDWR), Ok(()));
            peer.expect(&mut dut, FIN | ACK);
        }
        assert_eq!(dut.kernel.close(fd), Ok(()));
        peer.expect(&mut dut, RST | ACK);
    }
}

fn linger_some(family: usize, seconds: Option<i32>, writes: bool, shuts: bool) {
    let mut dut = Dut::new(family);
    let (fd, mut peer) = dut.connected();
    dut.linger(fd, seconds);
    if writes {
        dut.write(fd, SAMPLE);
        peer.expect_data(&mut dut, SAMPLE);
    }
    if shuts {
        assert_eq!(dut.kernel.shutdown(fd, libc::SHUT_RDWR), Ok(()));
    }
    let mut close = dut.begin(Call::Close(fd));
    let fin = peer.expect(&mut dut, FIN | ACK);
    assert_eq!(fin.seq.wrapping_add(1), peer.ack);
    if seconds.is_some() {
        dut.wait(millis(2900));
        assert!(close.is_blocked(&mut dut), "three seconds");
        dut.wait(millis(200));
    }
    assert!(!close.is_blocked(&mut dut));
}
