use bytes::Bytes;
use covers::covers;

use super::transmit::BURST;
use super::*;
use crate::error::SendError;
use crate::queue::OVERHEAD;
use crate::socket::{Transmit, TxMeta};
use alloc::vec;
use core::num::NonZeroU16;

#[derive(Default)]
struct Recorder {
    budget: usize,
    sent: Vec<(TxMeta, Bytes)>,
}

impl Transmit for Recorder {
    fn budget(&self) -> usize {
        self.budget - self.sent.len()
    }

    fn path_mtu(&self, _remote: IpAddr) -> u16 {
        1500
    }

    fn push(&mut self, meta: &TxMeta, payload: Bytes) {
        self.sent.push((*meta, payload));
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn udp() -> Udp {
    let config = Config {
        addresses: ["10.0.0.1", "10.0.0.2", "fd00::1"]
            .map(|ip| ip.parse().expect("an address"))
            .to_vec(),
        broadcasts: vec!["10.0.0.255".parse().expect("an address")],
        ..Config::default()
    };
    Udp::new(config, [7; 32])
}

fn bind(udp: &mut Udp, local: &str) -> SocketId {
    udp.bind(BindOptions::new(addr(local))).expect("bind")
}

/// Sends over a path of 1,500 bytes.
fn send(
    udp: &mut Udp,
    id: SocketId,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    data: Bytes,
) -> Result<(), SendError> {
    udp.send(id, local, remote, data, |_| 1500)
}

fn deliver(udp: &mut Udp, local: &str, remote: &str, ours: bool) -> Result<(), Dropped> {
    udp.on_datagram(
        Datagram::new(addr(local), addr(remote), Bytes::from_static(b"x")),
        ours,
    )
}

fn drain(udp: &mut Udp) -> Vec<(TxMeta, Bytes)> {
    let mut tx = Recorder {
        budget: 10_000,
        sent: vec![],
    };
    udp.poll_transmit(&mut tx);
    tx.sent
}

#[test]
#[covers("UD-7")]
fn the_most_specific_socket_wins() {
    let mut udp = udp();
    let any = bind(&mut udp, "0.0.0.0:53");
    let one = bind(&mut udp, "10.0.0.1:53");
    let connected = bind(&mut udp, "10.0.0.2:53");
    udp.connect(connected, addr("10.9.9.9:1000"))
        .expect("connect");
    for (local, remote, expected) in [
        ("10.0.0.1:53", "10.9.9.9:1000", one),
        ("10.0.0.2:53", "10.9.9.9:1000", connected),
        ("10.0.0.2:53", "10.9.9.9:1001", any),
    ] {
        deliver(&mut udp, local, remote, true).expect("delivered");
        assert_eq!(udp.poll_event(), Some(Event::Readable(expected)));
        let datagram = udp.recv(expected).expect("no error").expect("a datagram");
        assert_eq!(
            (datagram.local, datagram.remote),
            (addr(local), addr(remote))
        );
    }
    assert_eq!(
        deliver(&mut udp, "10.0.0.1:54", "10.9.9.9:1", true),
        Err(Dropped::NoSocket)
    );
    assert_eq!(udp.counters().no_ports, 1);
}

/// A socket bound to any address and then connected hears its peer on whichever address.
#[test]
fn a_wildcard_socket_can_connect() {
    let mut udp = udp();
    let id = bind(&mut udp, "0.0.0.0:0");
    let port = udp.local_addr(id).expect("bound").port();
    udp.connect(id, addr("10.9.9.9:7")).expect("connect");
    assert_eq!(udp.peer_addr(id), Some(addr("10.9.9.9:7")));
    let local = std::format!("10.0.0.2:{port}");
    deliver(&mut udp, &local, "10.9.9.9:7", true).expect("its peer");
    assert_eq!(
        deliver(&mut udp, &local, "10.9.9.9:8", true),
        Err(Dropped::NoSocket)
    );
}

#[test]
fn only_transparent_sockets_take_foreign_datagrams() {
    let mut udp = udp();
    let plain = bind(&mut udp, "0.0.0.0:53");
    assert_eq!(
        deliver(&mut udp, "8.8.8.8:53", "10.9.9.9:1", false),
        Err(Dropped::NoSocket)
    );
    let every = BindOptions {
        transparent: true,
        ..BindOptions::new(addr("0.0.0.0:0"))
    };
    let every = udp.bind(every).expect("bind");
    deliver(&mut udp, "8.8.8.8:53", "10.9.9.9:1", false).expect("taken");
    let datagram = udp.recv(every).expect("no error").expect("a datagram");
    assert_eq!(datagram.local, addr("8.8.8.8:53"));
    assert_eq!(
        deliver(&mut udp, "10.0.0.1:0", "10.9.9.9:1", true),
        Err(Dropped::NoSocket)
    );
    // Our own closed ports stay closed, our own open ones stay the socket's.
    assert_eq!(
        deliver(&mut udp, "10.0.0.1:99", "10.9.9.9:1", true),
        Err(Dropped::NoSocket)
    );
    deliver(&mut udp, "10.0.0.1:53", "10.9.9.9:1", true).expect("plain");
    assert!(udp.recv(plain).expect("no error").is_some());
    // The answer leaves from the foreign address.
    let data = Bytes::from_static(b"answer");
    send(
        &mut udp,
        every,
        Some(addr("8.8.8.8:53")),
        Some(addr("10.9.9.9:1")),
        data,
    )
    .expect("sent");
    assert_eq!(drain(&mut udp)[0].0.local, addr("8.8.8.8:53"));
}

#[test]
#[covers("UD-7", "IP-4")]
fn an_address_that_is_not_ours_cannot_be_bound_or_sent_from() {
    let mut udp = udp();
    assert_eq!(
        udp.bind(BindOptions::new(addr("10.0.0.9:1"))),
        Err(BindError::AddrNotAvailable)
    );
    let id = bind(&mut udp, "10.0.0.1:5");
    assert_eq!(
        udp.bind(BindOptions::new(addr("10.0.0.1:5"))),
        Err(BindError::AddrInUse)
    );
    let peer = Some(addr("10.9.9.9:1"));
    for local in ["10.0.0.2:5", "10.0.0.1:6", "[fd00::1]:5"] {
        assert_eq!(
            send(&mut udp, id, Some(addr(local)), peer, Bytes::new()),
            Err(SendError::InvalidLocal)
        );
    }
    // Bound to any, the source may be chosen among ours (UD-7).
    let any = bind(&mut udp, "0.0.0.0:6");
    send(&mut udp, any, Some(addr("10.0.0.2:6")), peer, Bytes::new()).expect("sent");
    assert_eq!(drain(&mut udp)[0].0.local, addr("10.0.0.2:6"));
}

#[test]
fn impossible_destinations_are_refused() {
    let mut udp = udp();
    let id = bind(&mut udp, "0.0.0.0:5");
    assert_eq!(
        send(&mut udp, id, None, None, Bytes::new()),
        Err(SendError::DestinationRequired)
    );
    for remote in [
        "0.0.0.0:1",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "10.0.0.9:0",
        "[::2]:1",
        "127.0.0.1:1",
        "10.0.0.255:1",
    ] {
        assert_eq!(
            send(&mut udp, id, None, Some(addr(remote)), Bytes::new()),
            Err(SendError::InvalidRemote)
        );
        assert_eq!(
            udp.connect(id, addr(remote)),
            Err(ConnectError::InvalidRemote)
        );
    }
}

/// RFC 6056: free, unpredictable, not a counter; exhaustion is an error, not a loop.
#[test]
fn ephemeral_ports_are_spread_and_run_out() {
    let config = Config {
        ephemeral_ports: (40_000, 40_999),
        ..Config::default()
    };
    let mut first = Udp::new(config.clone(), [1; 32]);
    let mut second = Udp::new(config, [2; 32]);
    let ports = |udp: &mut Udp| -> Vec<u16> {
        (0..1000)
            .map(|_| {
                let id = bind(udp, "0.0.0.0:0");
                udp.local_addr(id).expect("bound").port()
            })
            .collect()
    };
    let (a, b) = (ports(&mut first), ports(&mut second));
    let mut sorted = a.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (40_000..=40_999).collect::<Vec<_>>());
    assert_ne!(a, b, "the key decides");
    let neighbours = a[..500].windows(2).filter(|w| w[1] == w[0] + 1).count();
    assert!(
        neighbours < 50,
        "{neighbours} of 499 follow their predecessor"
    );
    assert_eq!(
        first.bind(BindOptions::new(addr("0.0.0.0:0"))),
        Err(BindError::AddrNotAvailable)
    );
}

/// D-14: what is full drops and counts; empty datagrams are charged too.
#[test]
fn the_receive_queue_is_bounded_in_bytes() {
    let mut udp = udp();
    let options = BindOptions {
        recv_buffer: 10 * OVERHEAD as u32,
        ..BindOptions::new(addr("10.0.0.1:9"))
    };
    let id = udp.bind(options).expect("bind");
    let empty = || Datagram::new(addr("10.0.0.1:9"), addr("10.9.9.9:1"), Bytes::new());
    for _ in 0..10 {
        udp.on_datagram(empty(), true).expect("room");
    }
    assert_eq!(udp.on_datagram(empty(), true), Err(Dropped::BufferFull));
    assert_eq!(udp.counters().rcvbuf_errors, 1);
    assert_eq!(udp.poll_event(), Some(Event::Readable(id)));
    assert_eq!(udp.poll_event(), None, "one event, not ten");
    for _ in 0..10 {
        assert_eq!(
            udp.recv(id).expect("no error").expect("empty").data,
            Bytes::new()
        );
    }
    assert_eq!(udp.recv(id), Ok(None));
    assert_eq!(udp.queued_bytes(id), Some((0, 0)));
}

#[test]
fn the_send_queue_blocks_and_says_when_it_has_room() {
    let mut udp = udp();
    let options = BindOptions {
        send_buffer: 4000,
        ..BindOptions::new(addr("10.0.0.1:9"))
    };
    let id = udp.bind(options).expect("bind");
    let to = Some(addr("10.9.9.9:1"));
    let data = Bytes::from(vec![1; 1500]);
    assert!(!udp.has_ready());
    send(&mut udp, id, None, to, data.clone()).expect("room");
    send(&mut udp, id, None, to, data.clone()).expect("room");
    assert_eq!(
        send(&mut udp, id, None, to, data.clone()),
        Err(SendError::WouldBlock)
    );
    assert!(udp.has_ready());
    assert_eq!(drain(&mut udp).len(), 2);
    assert_eq!(udp.poll_event(), Some(Event::Writable(id)));
    assert_eq!(udp.poll_event(), None);
    assert!(!udp.has_ready());
    assert_eq!(udp.counters().sndbuf_errors, 1);
    assert_eq!(udp.counters().out_datagrams, 2);
}

/// UD-10: 65,507 bytes over IPv4, 65,527 over IPv6, not one more.
#[test]
#[covers("UD-10")]
fn the_largest_datagram_is_as_large_as_ip_allows() {
    let mut udp = udp();
    for (local, remote, max) in [
        ("10.0.0.1:1", "10.9.9.9:1", 65_507),
        ("[fd00::1]:1", "[fd00::9]:1", 65_527),
    ] {
        let id = bind(&mut udp, local);
        let to = Some(addr(remote));
        send(&mut udp, id, None, to, vec![0; max].into()).expect("fits");
        assert_eq!(
            send(&mut udp, id, None, to, vec![0; max + 1].into()),
            Err(SendError::MessageTooLong)
        );
    }
}

/// PM-11: with DF, what the path does not take is an error, and the limit can be asked for.
#[test]
#[covers("PM-11")]
fn dont_fragment_knows_the_path() {
    let mut udp = udp();
    for (local, remote, most) in [
        ("10.0.0.1:9", "10.9.9.9:1", 1472),
        ("[fd00::1]:9", "[fd00::9]:1", 1452),
    ] {
        let options = BindOptions {
            mtu_discover: MtuDiscover::Do,
            ..BindOptions::new(addr(local))
        };
        let id = udp.bind(options).expect("bind");
        let try_send = |udp: &mut Udp, len: usize, mtu: u16| {
            udp.send(id, None, Some(addr(remote)), vec![0; len].into(), |_| mtu)
        };
        for (mtu, most) in [(1500, most), (1400, most - 100), (9000, most + 7500)] {
            let limit = udp.max_unfragmented(id, Some(addr(remote)), |_| mtu);
            assert_eq!(limit, Ok(most));
            assert_eq!(try_send(&mut udp, most, mtu), Ok(()));
            let refused = try_send(&mut udp, most + 1, mtu);
            assert_eq!(refused, Err(SendError::MessageTooLong));
        }
        assert_eq!(
            udp.max_unfragmented(id, None, |_| 1500),
            Err(SendError::DestinationRequired)
        );
        drain(&mut udp);
        udp.close(id);
    }
}

/// PM-11: the path became narrower while datagrams were queued, or ICMP says so of one that is
/// gone: the socket hears of it, once.
#[test]
#[covers("PM-11")]
fn a_narrower_path_is_reported() {
    let mut udp = udp();
    let options = BindOptions {
        mtu_discover: MtuDiscover::Do,
        ..BindOptions::new(addr("10.0.0.1:9"))
    };
    let id = udp.bind(options).expect("bind");
    udp.connect(id, addr("10.9.9.9:1")).expect("connect");
    for len in [2000, 100] {
        udp.send(id, None, None, vec![0; len].into(), |_| 9000)
            .expect("fits");
    }
    assert_eq!(drain(&mut udp).len(), 1, "the recorder's path takes 1,500");
    assert_eq!(udp.poll_event(), Some(Event::Writable(id)));
    assert_eq!(udp.poll_event(), Some(Event::Readable(id)));
    assert_eq!(udp.recv(id), Err(SocketError::MessageTooLong));
    assert_eq!(udp.recv(id), Ok(None));
    let too_big = IcmpError::PacketTooBig { mtu: 1400 };
    udp.on_icmp_error(addr("10.0.0.1:9"), addr("10.9.9.9:1"), too_big);
    assert_eq!(udp.recv(id), Err(SocketError::MessageTooLong));
    // Who lets IP fragment needs not know; who probes is told, and may go on.
    for (port, mtu_discover, expected) in [
        (10, MtuDiscover::Want, Ok(None)),
        (11, MtuDiscover::Probe, Err(SocketError::MessageTooLong)),
    ] {
        let local = SocketAddr::new(addr("10.0.0.1:0").ip(), port);
        let options = BindOptions {
            mtu_discover,
            ..BindOptions::new(local)
        };
        let id = udp.bind(options).expect("bind");
        udp.connect(id, addr("10.9.9.9:1")).expect("connect");
        udp.on_icmp_error(local, addr("10.9.9.9:1"), too_big);
        assert_eq!(udp.recv(id), expected);
        udp.send(id, None, None, vec![0; 1472].into(), |_| 1400)
            .expect("leaves in fragments, or as a probe");
    }
    assert_eq!(drain(&mut udp).len(), 2);
}

/// `[::]` takes both families and answers each in its own; what is bound to IPv4 alone comes
/// first. The IPv6 way to write an IPv4 address means the same socket.
#[test]
#[covers("UD-7")]
fn an_unspecified_ipv6_socket_takes_both_families() {
    let mut udp = udp();
    let both = bind(&mut udp, "[::]:53");
    for (local, remote) in [
        ("10.0.0.2:53", "10.9.9.9:1"),
        ("[fd00::1]:53", "[fd00::9]:1"),
    ] {
        deliver(&mut udp, local, remote, true).expect("delivered");
        let datagram = udp.recv(both).expect("no error").expect("a datagram");
        assert_eq!(datagram.local, addr(local));
        assert_eq!(datagram.remote, addr(remote));
        send(
            &mut udp,
            both,
            Some(addr(local)),
            Some(addr(remote)),
            Bytes::new(),
        )
        .expect("sent");
        send(&mut udp, both, None, Some(addr(remote)), Bytes::new()).expect("sent");
        let sources: Vec<_> = drain(&mut udp).iter().map(|(meta, _)| meta.local).collect();
        assert_eq!(sources, [addr(local), addr("[::]:53")], "or IP's choice");
        let other = if local.starts_with('[') {
            "10.0.0.2:53"
        } else {
            "[fd00::1]:53"
        };
        let crossed = send(
            &mut udp,
            both,
            Some(addr(other)),
            Some(addr(remote)),
            Bytes::new(),
        );
        assert_eq!(crossed, Err(SendError::InvalidLocal));
    }
    let v4 = bind(&mut udp, "0.0.0.0:53");
    deliver(&mut udp, "10.0.0.2:53", "10.9.9.9:1", true).expect("delivered");
    assert!(udp.recv(v4).expect("no error").is_some());
    udp.close(v4);
    udp.connect(both, addr("[::ffff:10.9.9.9]:1"))
        .expect("connect");
    assert_eq!(udp.peer_addr(both), Some(addr("10.9.9.9:1")));
    deliver(&mut udp, "10.0.0.2:53", "10.9.9.9:1", true).expect("its peer");
    let stranger = deliver(&mut udp, "10.0.0.2:53", "10.9.9.9:2", true);
    assert_eq!(stranger, Err(Dropped::NoSocket));
    // A socket of one IPv6 address is no IPv4 socket.
    let one = bind(&mut udp, "[fd00::1]:54");
    let crossed = send(&mut udp, one, None, Some(addr("10.9.9.9:1")), Bytes::new());
    assert_eq!(crossed, Err(SendError::InvalidRemote));
}

/// UD-7, IP-7: TTL and DSCP can be changed at any time, for what is sent from then on.
#[test]
#[covers("UD-7", "IP-7")]
fn ttl_and_dscp_are_the_sockets() {
    let mut udp = udp();
    let id = bind(&mut udp, "10.0.0.1:9");
    let to = Some(addr("10.9.9.9:1"));
    send(&mut udp, id, None, to, Bytes::new()).expect("sent");
    assert!(udp.set_ttl(id, NonZeroU8::new(1)) && udp.set_dscp(id, 46));
    assert_eq!((udp.ttl(id), udp.dscp(id)), (NonZeroU8::new(1), Some(46)));
    send(&mut udp, id, None, to, Bytes::new()).expect("sent");
    let seen: Vec<_> = drain(&mut udp)
        .iter()
        .map(|(meta, _)| (meta.ttl, meta.dscp, meta.ecn))
        .collect();
    assert_eq!(seen, [(None, 0, 0), (NonZeroU8::new(1), 46, 0)]);
    udp.close(id);
    assert!(!udp.set_ttl(id, None) && !udp.set_dscp(id, 0));
}

/// UD-6: the connected socket hears of it, once; others never do.
#[test]
#[covers("UD-6")]
fn port_unreachable_refuses_the_connected_socket_once() {
    let mut udp = udp();
    let id = bind(&mut udp, "10.0.0.1:9");
    let other = bind(&mut udp, "10.0.0.1:10");
    udp.connect(id, addr("10.9.9.9:1")).expect("connect");
    for port in [9, 10] {
        udp.on_icmp_error(
            SocketAddr::new(addr("10.0.0.1:0").ip(), port),
            addr("10.9.9.9:1"),
            IcmpError::PortUnreachable,
        );
    }
    assert_eq!(udp.poll_event(), Some(Event::Readable(id)));
    assert_eq!(udp.poll_event(), Some(Event::Writable(id)));
    assert_eq!(udp.poll_event(), None);
    assert_eq!(udp.recv(id), Err(SocketError::ConnectionRefused));
    assert_eq!(udp.recv(id), Ok(None));
    assert_eq!(udp.recv(other), Ok(None));
    udp.on_icmp_error(
        addr("10.0.0.1:9"),
        addr("10.9.9.9:1"),
        IcmpError::PortUnreachable,
    );
    assert_eq!(
        send(&mut udp, id, None, None, Bytes::new()),
        Err(SendError::Socket(SocketError::ConnectionRefused))
    );
    send(&mut udp, id, None, None, Bytes::new()).expect("the error is spent");
}

/// A joined super-datagram is one charge and as many datagrams as the wire carried.
#[test]
fn a_super_datagram_is_read_piece_by_piece() {
    let mut udp = udp();
    let id = bind(&mut udp, "10.0.0.1:9");
    let mut datagram = Datagram::new(
        addr("10.0.0.1:9"),
        addr("10.9.9.9:1"),
        Bytes::from_static(b"aaabbbcc"),
    );
    datagram.stride = NonZeroU16::new(3);
    udp.on_datagram(datagram, true).expect("room");
    assert_eq!(udp.counters().in_datagrams, 3);
    for expected in ["aaa", "bbb", "cc"] {
        let piece = udp.recv(id).expect("no error").expect("a piece");
        assert_eq!((piece.data, piece.stride), (Bytes::from(expected), None));
    }
    assert_eq!(udp.recv(id), Ok(None));
    assert_eq!(udp.queued_bytes(id), Some((0, 0)));
}

#[test]
fn a_closed_socket_sends_what_it_has_and_is_gone() {
    let mut udp = udp();
    let id = bind(&mut udp, "10.0.0.1:9");
    send(
        &mut udp,
        id,
        None,
        Some(addr("10.9.9.9:1")),
        Bytes::from_static(b"x"),
    )
    .expect("room");
    udp.close(id);
    assert_eq!(udp.recv(id), Err(SocketError::NotFound));
    assert_eq!(udp.socket_count(), 1);
    let again = bind(&mut udp, "10.0.0.1:9");
    assert_eq!(drain(&mut udp).len(), 1);
    assert_eq!(udp.socket_count(), 1);
    assert_ne!(again, id);
    udp.close(again);
    let reused = bind(&mut udp, "10.0.0.1:9");
    assert_eq!(
        udp.recv(again),
        Err(SocketError::NotFound),
        "an old id never finds the new socket"
    );
    assert_eq!(udp.recv(reused), Ok(None));
}

#[test]
fn sockets_take_turns() {
    let mut udp = udp();
    let ids = [bind(&mut udp, "10.0.0.1:1"), bind(&mut udp, "10.0.0.1:2")];
    for id in ids {
        for _ in 0..40 {
            send(&mut udp, id, None, Some(addr("10.9.9.9:1")), Bytes::new()).expect("room");
        }
    }
    let sent = drain(&mut udp);
    assert_eq!(sent.len(), 80);
    let first_of_second = sent
        .iter()
        .position(|(meta, _)| meta.local.port() == 2)
        .expect("both send");
    assert_eq!(first_of_second, BURST);
}

/// Queues of many sockets have limits together; who waits for the others hears of room.
#[test]
fn all_queues_together_have_a_limit() {
    let config = Config {
        addresses: vec![addr("10.0.0.1:0").ip()],
        limited: true,
        ..Config::default()
    };
    let mut udp = Udp::new(config, [7; 32]);
    let local = ["10.0.0.1:1", "10.0.0.1:2"];
    let [one, other] = local.map(|local| bind(&mut udp, local));
    let to = |n: usize| {
        Datagram::new(
            addr(local[n]),
            addr("10.0.0.9:9"),
            Bytes::from(vec![0; 744]),
        )
    };
    assert_eq!(udp.on_datagram(to(0), true), Err(Dropped::BufferFull));
    udp.limit_memory(1000, 2000);
    assert_eq!(udp.on_datagram(to(0), true), Ok(()));
    assert_eq!(udp.on_datagram(to(1), true), Ok(()));
    assert_eq!(udp.on_datagram(to(1), true), Err(Dropped::BufferFull));
    assert_eq!((udp.charged(), udp.counters().mem_errors), ((0, 2000), 2));
    assert_eq!(udp.counters().rcvbuf_errors, 0);
    assert!(matches!(udp.recv(one), Ok(Some(_))));
    assert_eq!(udp.on_datagram(to(1), true), Ok(()));
    udp.close(other);
    assert_eq!(udp.charged(), (0, 0));

    while udp.poll_event().is_some() {}
    let other = bind(&mut udp, local[1]);
    let remote = Some(addr("10.0.0.9:9"));
    let data = || Bytes::from(vec![0; 744]);
    assert_eq!(send(&mut udp, one, None, remote, data()), Ok(()));
    let refused = send(&mut udp, other, None, remote, data());
    assert_eq!(refused, Err(SendError::WouldBlock));
    udp.limit_memory(1999, 0);
    assert_eq!((udp.poll_event(), udp.is_starved()), (None, true));
    let mut tx = Recorder {
        budget: 10,
        ..Recorder::default()
    };
    udp.poll_transmit(&mut tx);
    udp.limit_memory(1000, 0);
    assert_eq!(udp.poll_event(), Some(Event::Writable(other)));
    assert_eq!((udp.charged(), udp.is_starved()), ((0, 0), false));
    assert_eq!(send(&mut udp, other, None, remote, data()), Ok(()));
}
