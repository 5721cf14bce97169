//! Datagrams, fragments and pings of a stack of several shards.

use std::io::ErrorKind;

use ustack::{PingSocket, UdpSocket};

use super::super::{V4, V6, at, config, pattern, within};
use super::{IN_TURN, net};

#[tokio::test(start_paused = true)]
async fn a_datagram_finds_its_socket_from_any_queue() {
    let (many, peer) = net(3);
    let client = UdpSocket::bind(&peer, at(V4[0], 0)).unwrap();
    for port in [7000, 7001, 7002] {
        let server = UdpSocket::bind(&many.stack, at(V4[1], port)).unwrap();
        for arrival in [0, 1, 2, IN_TURN] {
            many.steering.set(arrival);
            client.send_to(b"hello", server.local_addr()).await.unwrap();
            let mut buf = [0; 16];
            let (len, from) = within(1, server.recv_from(&mut buf)).await.unwrap();
            assert_eq!((&buf[..len], from), (&b"hello"[..], client.local_addr()));
            server.send_to(b"back", from).await.unwrap();
            assert_eq!(within(1, client.recv(&mut buf)).await.unwrap(), 4);
        }
        let taken = UdpSocket::bind(&many.each[0], at(V4[1], port)).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse, "one socket to a port");
    }
}

#[tokio::test(start_paused = true)]
async fn ephemeral_sockets_live_where_they_are_made() {
    let (many, _peer) = net(4);
    for (index, shard) in many.each.iter().enumerate() {
        for _ in 0..3 {
            let port = UdpSocket::bind(shard, at(V4[1], 0))
                .unwrap()
                .local_addr()
                .port();
            assert_eq!(many.stack.shard_of_port(port), index);
        }
    }
}

/// A closed port is told of once, whichever queue the datagram came by; and the error finds the
/// connected socket from any queue.
#[tokio::test(start_paused = true)]
async fn port_unreachable_goes_both_ways() {
    let (many, peer) = net(3);
    let asking = UdpSocket::bind(&peer, at(V4[0], 0)).unwrap();
    for arrival in 0..3 {
        many.steering.set(arrival);
        asking.connect(at(V4[1], 99)).unwrap();
        asking.send(b"anybody?").await.unwrap();
        let error = within(1, asking.recv(&mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
    let stats = many.stack.stats();
    assert_eq!((stats.udp.no_ports, stats.ip.icmp_out_msgs), (3, 3));

    for (shard, arrival) in [(0, 0), (0, 1), (1, 2), (2, 0)] {
        many.steering.set(arrival);
        let socket = UdpSocket::bind(&many.each[shard], at(V6[1], 0)).unwrap();
        socket.connect(at(V6[0], 99)).unwrap();
        socket.send(b"anybody?").await.unwrap();
        let error = within(1, socket.recv(&mut [0; 8])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

/// Fragments of a datagram that come by different queues meet.
#[tokio::test(start_paused = true)]
async fn fragments_meet() {
    let (many, peer) = net(4);
    many.steering.set(IN_TURN);
    for (here, there) in [(V4[0], V4[1]), (V6[0], V6[1])] {
        let client = UdpSocket::bind(&peer, at(here, 0)).unwrap();
        for port in 7000..7008 {
            let server = UdpSocket::bind(&many.stack, at(there, port)).unwrap();
            let data = pattern(20_000 + usize::from(port));
            client.send_to(&data, at(there, port)).await.unwrap();
            let datagram = within(1, server.recv_datagram()).await.unwrap();
            assert!(datagram.data == data);
        }
    }
    let ip = many.stack.stats().ip;
    assert_eq!((ip.reasm_oks, ip.reasm_fails), (16, 0));
    assert_eq!(
        ip.in_receives,
        ip.in_delivers + ip.reasm_held + ip.dropped()
    );
}

/// Replies find the socket that asked, in fragments too; requests are answered where they come.
#[tokio::test(start_paused = true)]
async fn pings_go_both_ways() {
    let (many, peer) = net(3);
    many.steering.set(IN_TURN);
    for (here, there) in [(V4[1], V4[0]), (V6[1], V6[0])] {
        for (index, shard) in many.each.iter().enumerate() {
            let socket = PingSocket::bind(shard, here).unwrap();
            assert_eq!(usize::from(socket.ident()) % 3, index);
            for len in [56, 5000] {
                let data = pattern(len);
                socket.send_to(len as u16, &data, there).unwrap();
                let pong = within(1, socket.recv()).await.unwrap();
                assert!(pong.data == data && pong.seq == len as u16);
            }
        }
        let socket = PingSocket::bind(&peer, there).unwrap();
        for seq in 0..6 {
            socket.send_to(seq, b"anybody there?", here).unwrap();
            assert_eq!(within(1, socket.recv()).await.unwrap().seq, seq);
        }
    }
}

/// A socket for every foreign port is found from any queue, and there is only one.
#[tokio::test(start_paused = true)]
async fn a_socket_for_every_port_hears_all_queues() {
    let (many, peer) = super::net_with(3, config(1).transparent(true), super::PLAIN);
    let every = UdpSocket::bind_transparent(&many.each[2], "0.0.0.0:0".parse().unwrap()).unwrap();
    let again = UdpSocket::bind_transparent(&many.stack, "0.0.0.0:0".parse().unwrap());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
    let client = UdpSocket::bind(&peer, at(V4[0], 0)).unwrap();
    for arrival in 0..3 {
        many.steering.set(arrival);
        for port in 50..53 {
            let to = at([192, 0, 2, 7].into(), port);
            client.send_to(b"hello", to).await.unwrap();
            let datagram = within(1, every.recv_datagram()).await.unwrap();
            assert_eq!((datagram.local, datagram.remote), (to, client.local_addr()));
        }
    }
}

/// Pings to other hosts are all relayed at one place.
#[tokio::test(start_paused = true)]
async fn foreign_pings_are_found_from_any_queue() {
    let (many, peer) = super::net_with(3, config(1).transparent(true), super::PLAIN);
    let socket = PingSocket::bind(&peer, V4[0]).unwrap();
    for arrival in 0..3 {
        many.steering.set(arrival);
        socket
            .send_to(arrival as u16, b"there?", [192, 0, 2, 7].into())
            .unwrap();
        let echo = within(1, many.stack.foreign_echo()).await.unwrap();
        many.stack.send_echo_reply(&echo);
        let pong = within(1, socket.recv()).await.unwrap();
        assert_eq!(usize::from(pong.seq), arrival);
    }
}
