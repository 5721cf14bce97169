//! Listeners under load, and errors from the network.

use covers::covers;
use packetdrill::kernel::{Fd, PollFd};

use super::bench::*;

/// A peer that has sent a SYN and got the answer.
fn half_open(dut: &mut Dut, local: std::net::SocketAddr) -> Peer {
    let mut peer = dut.peer(local);
    peer.send(dut, SYN, b"");
    peer.expect(dut, SYN | ACK);
    peer
}

/// Whether a program that polls the listener finds a connection.
fn is_ready(dut: &mut Dut, listener: Fd) -> bool {
    let listener = PollFd {
        fd: listener,
        events: libc::POLLIN,
        revents: 0,
    };
    dut.kernel.poll(&mut [listener]) > 0
}

/// Handshakes with and without a SYN cookie: which segments complete them, data included.
#[test]
#[covers("SY-2", "SM-7")]
fn tcp_syncookie() {
    for family in 0..2 {
        for (flags, is_accepted) in [
            (ACK, true),
            (ACK | PSH, true),
            (ACK | SYN, false),
            (ACK | FIN, true),
            (ACK | RST, false),
            (RST, false),
        ] {
            for is_cookie in [false, true] {
                cookie(family, flags, is_accepted, is_cookie);
            }
        }
    }
}

fn cookie(family: usize, flags: u8, is_accepted: bool, is_cookie: bool) {
    let mut dut = Dut::with(family, |options| options.tcp.max_syn_backlog = 1);
    let (listener, local) = dut.listen(1);
    let without = half_open(&mut dut, local);
    let with = half_open(&mut dut, local);
    // Only the one that is remembered is answered again.
    dut.wait(millis(1500));
    let mut again = Vec::new();
    while let Some((at, packet)) = dut.kernel.pop_sent() {
        again.push(Seg::parse(at, &packet).expect("a segment").ports.1);
    }
    assert_eq!(again, [without.addr.port()]);
    let mut peer = if is_cookie { with } else { without };
    assert!(!is_ready(&mut dut, listener));
    peer.send(&mut dut, flags, SAMPLE);
    assert_eq!(is_ready(&mut dut, listener), is_accepted, "{flags:#x}");
    if is_accepted {
        let fd = dut.accept(listener);
        assert_eq!(dut.read(fd, 100), Ok(SAMPLE.to_vec()));
        let end = if flags & FIN != 0 {
            Ok(vec![])
        } else {
            Err(libc::EAGAIN)
        };
        assert_eq!(dut.read(fd, 100), end);
    }
}

const BACKLOG: usize = 10;

/// A full accept queue: late ACKs are as if lost, SYNs are dropped, other ACKs reset; once there
/// is room the handshakes go on; and what nobody accepted is reset with the listener.
#[test]
#[covers("SY-4", "SM-1")]
fn tcp_listen_backlog() {
    for family in 0..2 {
        listen_backlog(family);
    }
}

fn listen_backlog(family: usize) {
    let mut dut = Dut::with(family, |options| options.tcp.max_syn_backlog = BACKLOG);
    let (listener, local) = dut.listen(BACKLOG as i32);
    let mut waiting: Vec<_> = (0..BACKLOG).map(|_| half_open(&mut dut, local)).collect();
    // One more than the backlog, by cookies.
    let queued: Vec<_> = (0..=BACKLOG)
        .map(|n| {
            let mut peer = half_open(&mut dut, local);
            peer.send(&mut dut, ACK, &[n as u8]);
            peer.expect_ack(&mut dut);
            peer
        })
        .collect();
    // The ACKs of the first ones have no place to go: their SYN,ACK comes again.
    let started: Vec<_> = waiting.iter().map(|peer| peer.ack).collect();
    for peer in &mut waiting {
        peer.ack(&mut dut);
    }
    dut.wait(millis(3000));
    let mut again = std::collections::BTreeSet::new();
    while let Some((at, packet)) = dut.kernel.pop_sent() {
        let seg = Seg::parse(at, &packet).expect("a segment");
        assert_eq!(seg.flags, SYN | ACK, "{seg:?}");
        again.insert(seg.ports.1);
    }
    assert_eq!(again.len(), BACKLOG);
    // An ACK of nothing, and a SYN.
    let mut stranger = dut.peer(local);
    stranger.ack(&mut dut);
    stranger.expect(&mut dut, RST);
    let mut late = dut.peer(local);
    late.send(&mut dut, SYN, b"");
    assert!(late.next(&mut dut, millis(1)).is_none(), "dropped");
    // Room again.
    for mut peer in queued {
        let fd = dut.accept(listener);
        let data = dut.read(fd, 2).expect("a byte");
        assert_eq!(data.len(), 1);
        assert_eq!(dut.kernel.close(fd), Ok(()));
        peer.expect_fin(&mut dut);
    }
    for (n, (peer, ack)) in waiting.iter_mut().zip(started).enumerate() {
        peer.ack = ack;
        let data: &[u8] = if n % 2 == 0 { b"" } else { b"x" };
        peer.send(&mut dut, ACK, data);
        if !data.is_empty() {
            peer.expect_ack(&mut dut);
        }
    }
    assert!(is_ready(&mut dut, listener));
    let connecting: Vec<_> = (0..2).map(|_| half_open(&mut dut, local)).collect();
    assert_eq!(dut.kernel.shutdown(listener, libc::SHUT_RD), Ok(()));
    // Whose handshake is complete hears at once, the others with what they send next.
    let ports = waiting.iter().map(|peer| peer.addr.port());
    let mut resets = std::collections::BTreeSet::new();
    while let Some((at, packet)) = dut.next(SECOND) {
        let seg = Seg::parse(at, &packet).expect("a segment");
        assert_eq!(seg.flags, RST | ACK, "{seg:?}");
        assert!(resets.insert(seg.ports.1), "twice");
    }
    assert!(ports.eq(resets), "all of them");
    for mut peer in connecting {
        peer.ack(&mut dut);
        peer.expect(&mut dut, RST);
    }
}

impl Peer {
    /// A FIN, after an ACK perhaps.
    fn expect_fin(&mut self, dut: &mut Dut) {
        while self.next(dut, SECOND).expect("a FIN").flags & FIN == 0 {}
        self.ack(dut);
    }
}

/// The codes of destination unreachable by which a peer refuses; by all others it cannot be
/// reached.
const REFUSALS: [&[u8]; 2] = [&[2, 3], &[4]];

/// Those that there are, but for "fragmentation needed".
const CODES: [&[u8]; 2] = [
    &[0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    &[0, 1, 2, 3, 4, 5, 6],
];

/// Destination unreachable ends `connect` at once. An open connection goes on; when its user
/// timeout ends it, the program hears why.
#[test]
#[covers("MUST-54", "MUST-56", "SHLD-25", "SHLD-26", "MUST-47")]
fn tcp_network_unreachable() {
    for (family, codes) in CODES.into_iter().enumerate() {
        let kind = [3, 1][family];
        for &code in codes {
            let errno = if REFUSALS[family].contains(&code) {
                libc::ECONNREFUSED
            } else {
                libc::EHOSTUNREACH
            };
            let mut dut = Dut::new(family);
            let (fd, local) = dut.bound();
            let mut peer = dut.peer(local);
            let connecting = dut.kernel.connect(fd, Some(peer.addr));
            assert_eq!(connecting, Err(libc::EINPROGRESS));
            let syn = peer.expect(&mut dut, SYN);
            dut.inject_icmp([kind, code, 0, 0, 0, 0, 0, 0], &syn.packet);
            assert_eq!(dut.error(fd), errno, "code {code}");

            let mut dut = Dut::new(family);
            let (fd, mut peer) = dut.connected();
            dut.set(fd, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, 50);
            dut.write(fd, b"Hello");
            let sent = peer.expect_data(&mut dut, b"Hello");
            dut.inject_icmp([kind, code, 0, 0, 0, 0, 0, 0], &sent.packet);
            dut.write(fd, b"Hello");
            dut.wait(millis(500));
            let failed = dut
                .kernel
                .write(fd, packetdrill::kernel::Data::Bytes(b"Hello".to_vec()));
            assert_eq!(failed, Err(libc::EHOSTUNREACH), "code {code}");
        }
    }
}
