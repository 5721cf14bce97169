//! The options of TCP sockets, by what they do.

use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::tcp::{CongestionAlgorithm, Keepalive, SocketOptions, State};
use ustack::{Config, ConnectOptions, TcpListener, TcpStream};

use super::{Net, PLAIN, V4, V6, at, config, connected, net, net_with, pattern, within};

/// An open connection: the client's end and the server's.
async fn open(net: &Net, socket: SocketOptions) -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(&net.server, at(V4[1], 0)).unwrap();
    let options = ConnectOptions::new().socket(socket);
    let client = TcpStream::connect_with(&net.client, listener.local_addr(), options);
    let (client, server) = within(10, async { tokio::join!(client, listener.accept()) }).await;
    (client.unwrap(), server.unwrap().0)
}

#[tokio::test(start_paused = true)]
async fn what_was_set_can_be_read() {
    let net = net(PLAIN);
    let (stream, _server) = open(&net, SocketOptions::default()).await;
    let time = Duration::from_secs(7);
    for on in [true, false] {
        stream.set_nodelay(on).unwrap();
        stream.set_cork(on).unwrap();
        stream.set_quickack(on).unwrap();
        let read = (stream.nodelay(), stream.cork(), stream.quickack());
        let (nodelay, cork, quickack) = (read.0.unwrap(), read.1.unwrap(), read.2.unwrap());
        assert_eq!((nodelay, cork, quickack), (on, on, on));
    }
    let keepalive = Keepalive {
        idle: time,
        interval: time,
        count: 3,
    };
    stream.set_keepalive(Some(keepalive)).unwrap();
    assert_eq!(stream.keepalive().unwrap(), Some(keepalive));
    stream.set_user_timeout(Some(time)).unwrap();
    assert_eq!(stream.user_timeout().unwrap(), Some(time));
    stream.set_linger(Some(time)).unwrap();
    assert_eq!(stream.linger().unwrap(), Some(time));
    stream.set_notsent_lowat(Some(1000)).unwrap();
    assert_eq!(stream.notsent_lowat().unwrap(), Some(1000));
    stream.set_congestion(CongestionAlgorithm::Reno).unwrap();
    assert_eq!(
        stream.congestion().unwrap(),
        Some(CongestionAlgorithm::Reno)
    );
    stream.set_tos(0xb8 | 3).unwrap();
    assert_eq!(stream.tos().unwrap(), 0xb8, "the ECN bits are TCP's");
    stream.set_ttl(std::num::NonZeroU8::new(9)).unwrap();
    assert_eq!(stream.ttl().unwrap(), std::num::NonZeroU8::new(9));
    stream.set_recv_buffer_size(30_000).unwrap();
    assert_eq!(stream.recv_buffer_size().unwrap(), 30_000);
    stream.set_send_buffer_size(20_000).unwrap();
    assert_eq!(stream.send_buffer_size().unwrap(), Some(20_000));
    stream.set_send_buffer_size(0).unwrap();
    assert_eq!(stream.send_buffer_size().unwrap(), Some(4_608));
    assert_eq!(stream.max_segment().unwrap(), 1448);
    stream.set_max_segment(Some(600)).unwrap();
    assert_eq!(stream.max_segment().unwrap(), 588, "less 12 for timestamps");
}

#[tokio::test(start_paused = true)]
async fn a_cork_holds_back_until_it_is_drawn() {
    let net = net(PLAIN);
    let (mut client, mut server) = open(&net, SocketOptions::default()).await;
    client.set_cork(true).unwrap();
    client.write_all(b"half").await.unwrap();
    let mut buf = [0; 16];
    let early = tokio::time::timeout(Duration::from_millis(150), server.read(&mut buf)).await;
    assert!(early.is_err(), "{early:?}");
    client.write_all(b" and half").await.unwrap();
    client.set_cork(false).unwrap();
    let len = within(1, server.read(&mut buf)).await.unwrap();
    assert_eq!(&buf[..len], b"half and half");
}

#[tokio::test(start_paused = true)]
async fn a_linger_of_zero_resets_on_drop() {
    for (linger, kind) in [
        (Some(Duration::ZERO), Some(ErrorKind::ConnectionReset)),
        (Some(Duration::from_secs(1)), None),
        (None, None),
    ] {
        let net = net(PLAIN);
        let (client, mut server) = open(&net, SocketOptions::default()).await;
        client.set_linger(linger).unwrap();
        drop(client);
        let read = within(5, server.read(&mut [0; 10])).await;
        assert_eq!(read.err().map(|error| error.kind()), kind, "{linger:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_taken_once() {
    let net = net(PLAIN);
    let (client, mut server) = open(&net, SocketOptions::default()).await;
    assert!(server.take_error().unwrap().is_none());
    client.abort();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = server.take_error().unwrap().expect("an error");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(server.take_error().unwrap().is_none());
    let read = server.read(&mut [0; 10]).await;
    assert_eq!(read.expect("EOF, as the error was told"), 0);
}

#[tokio::test(start_paused = true)]
async fn info_tells_what_happened() {
    let net = net(PLAIN);
    let (mut client, mut server) = open(&net, SocketOptions::default()).await;
    client.write_all(&[7; 10_000]).await.unwrap();
    let mut buf = vec![0; 10_000];
    within(5, server.read_exact(&mut buf)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (ours, theirs) = (client.info().unwrap(), server.info().unwrap());
    assert_eq!(ours.state, Some(State::Established));
    assert_eq!((ours.bytes_acked, theirs.bytes_received), (10_000, 10_000));
    assert_eq!(ours.data_segs_out, 7);
    assert_eq!(theirs.data_segs_in, 7);
    assert!(ours.rtt.is_some() && ours.timestamps && ours.sack);
}

#[tokio::test(start_paused = true)]
async fn urgent_data_is_pointed_to_and_read_in_line() {
    let net = net(PLAIN);
    let (mut client, mut server) = open(&net, SocketOptions::default()).await;
    client.write_all(b"quiet").await.unwrap();
    client
        .write_urgent(&mut Bytes::from_static(b"LOUD"))
        .await
        .unwrap();
    client.write_all(b"quiet").await.unwrap();
    let left = within(5, server.urgent()).await.unwrap();
    assert!(left > 0 && !server.at_mark().unwrap());
    // However much there is room for, a read stops at the mark.
    let (mut before, mut buffer) = (Vec::new(), [0; 100]);
    while !server.at_mark().unwrap() {
        let count = within(5, server.read(&mut buffer)).await.unwrap();
        before.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(before, b"quietLOUD");
    let mut after = [0; 5];
    within(5, server.read_exact(&mut after)).await.unwrap();
    assert_eq!((&after, server.at_mark().unwrap()), (b"quiet", false));
}

#[tokio::test(start_paused = true)]
async fn an_address_is_free_again_when_its_connections_are_gone() {
    let net = net(PLAIN);
    for local in [at(V4[1], 8080), at(V6[1], 8080)] {
        let listener = TcpListener::bind(&net.server, local).unwrap();
        let client = TcpStream::connect(&net.client, local);
        let (client, server) = within(5, async { tokio::join!(client, listener.accept()) }).await;
        drop((server.unwrap(), listener));
        let mut client = client.unwrap();
        within(5, client.read(&mut [0; 1])).await.unwrap();
        drop(client); // the server's end is in TIME-WAIT
        tokio::time::sleep(Duration::from_secs(1)).await;
        let strict = || TcpListener::builder(&net.server).reuse_address(false);
        let error = strict().bind(local).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        drop(TcpListener::bind(&net.server, local).expect("reused"));
        tokio::time::sleep(Duration::from_secs(120)).await;
        drop(strict().bind(local).expect("nothing is left"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_listener_defers_until_there_is_data() {
    let net = net(PLAIN);
    let builder = TcpListener::builder(&net.server);
    let listener = builder
        .defer_accept(Duration::from_secs(30))
        .recv_buffer_size(40_000)
        .max_segment(900)
        .bind(at(V4[1], 80))
        .unwrap();
    let mut client = within(5, TcpStream::connect(&net.client, at(V4[1], 80)))
        .await
        .unwrap();
    assert_eq!(client.max_segment().unwrap(), 888);
    let early = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
    assert!(early.is_err());
    client.write_all(b"now").await.unwrap();
    let (server, _) = within(5, listener.accept()).await.unwrap();
    assert_eq!(server.recv_buffer_size().unwrap(), 40_000);
}

#[tokio::test(start_paused = true)]
async fn the_second_connection_brings_data_with_its_syn() {
    let net = net(PLAIN);
    let listener = TcpListener::builder(&net.server)
        .fast_open(16)
        .bind(at(V4[1], 80))
        .unwrap();
    for _ in 0..2 {
        let options = ConnectOptions::new().fast_open(Bytes::from_static(b"hello"));
        let client = TcpStream::connect_with(&net.client, at(V4[1], 80), options);
        let (client, server) = within(5, async { tokio::join!(client, listener.accept()) }).await;
        let (client, mut server) = (client.unwrap(), server.unwrap().0);
        let mut data = [0; 5];
        within(5, server.read_exact(&mut data)).await.unwrap();
        assert_eq!(&data, b"hello");
        drop((client, server));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let much = ConnectOptions::new().fast_open(vec![0; 1 << 20].into());
    let error = TcpStream::connect_with(&net.client, at(V4[1], 80), much).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidInput);
}

/// What memory has no room for as the SYN leaves follows as soon as the connection is open.
#[tokio::test(start_paused = true)]
async fn what_a_connection_opens_with_arrives_when_memory_is_short() {
    const CONNECTIONS: usize = 30;
    let memory = config(0).memory(Config::MIN_MEMORY);
    let net = net_with(PLAIN, memory, config(1));
    let listener = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap();
    let data = pattern(100_000);
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let options = ConnectOptions::new().fast_open(data.clone().into());
            let stack = net.client.clone();
            tokio::spawn(
                async move { TcpStream::connect_with(&stack, at(V4[1], 80), options).await },
            )
        })
        .collect();
    for _ in 0..CONNECTIONS {
        let (mut server, _) = within(60, listener.accept()).await.unwrap();
        let mut received = vec![0; data.len()];
        within(60, server.read_exact(&mut received)).await.unwrap();
        assert!(received == data);
    }
    for client in clients {
        within(60, client).await.unwrap().unwrap();
    }
}

/// Buffers that are too small for anything are as large as the smallest, however they were asked for.
#[tokio::test(start_paused = true)]
async fn buffers_of_nothing_still_carry_data() {
    let none = SocketOptions {
        send_buffer: Some(0),
        recv_buffer: Some(0),
        ..SocketOptions::default()
    };
    let net = net_with(PLAIN, config(0).socket(none), config(1).socket(none));
    let (mut client, mut server) = connected(&net).await;
    assert_eq!(client.send_buffer_size().unwrap(), Some(4_608));
    assert_eq!(server.recv_buffer_size().unwrap(), 2_304);
    let data = pattern(50_000);
    let mut received = vec![0; data.len()];
    let both = async { tokio::join!(client.write_all(&data), server.read_exact(&mut received)) };
    let (written, read) = within(600, both).await;
    written.unwrap();
    read.unwrap();
    assert!(received == data);
}
