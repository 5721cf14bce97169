//! Who keeps what alive, and how things end.

use std::io::ErrorKind;
use std::time::Duration;

use etherparse::PacketBuilderStep;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use ustack::device::channel::channel;
use ustack::{TcpListener, TcpStream};

use super::{PLAIN, V4, alone, at, config, connected, net, pattern, segment_to_7, start, within};

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_still_sends_what_it_has() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    let data = pattern(100_000);
    client.write_all(&data).await.unwrap();
    drop(client);
    let mut received = Vec::new();
    within(60, server.read_to_end(&mut received)).await.unwrap();
    assert!(received == data);
}

#[tokio::test(start_paused = true)]
async fn dropping_unread_bytes_resets() {
    let net = net(PLAIN);
    let (mut client, server) = connected(&net).await;
    client.write_all(b"unread").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(server);
    let error = within(5, client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn sockets_outlive_the_handles_of_their_stack() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    drop((net.client, net.server));
    client.write_all(b"still here").await.unwrap();
    drop(client);
    let mut text = String::new();
    within(5, server.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "still here");
}

#[tokio::test(start_paused = true)]
async fn sockets_fail_when_the_driver_is_dropped() {
    let net = net(PLAIN);
    let (mut client, _server) = connected(&net).await;
    let listener = TcpListener::bind(&net.client, at(V4[0], 80)).unwrap();
    let stack = net.client.clone();
    let reader = tokio::spawn(async move { (client.read(&mut [0; 8]).await, client) });
    let acceptor = tokio::spawn(async move { listener.accept().await });
    tokio::task::yield_now().await;
    net.drivers[0].abort();
    let (read, mut client) = within(5, reader).await.unwrap();
    let error = read.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    assert_eq!(error.to_string(), "the stack's driver was dropped");
    let written = client.write(b"x").await.unwrap_err();
    assert_eq!(written.kind(), ErrorKind::ConnectionAborted);
    let accepted = within(5, acceptor).await.unwrap().unwrap_err();
    assert_eq!(accepted.kind(), ErrorKind::ConnectionAborted);
    let connect = TcpStream::connect(&stack, at(V4[1], 80)).await.unwrap_err();
    assert_eq!(connect.kind(), ErrorKind::ConnectionAborted);
    within(5, stack.shutdown(Duration::from_secs(1))).await;
}

#[tokio::test(start_paused = true)]
async fn a_device_that_dies_ends_the_driver_with_its_error() {
    let (stack, driver, cable) = alone(config(0));
    tokio::task::yield_now().await;
    drop(cable);
    within(5, driver).await.unwrap().unwrap_err();
    let error = TcpStream::connect(&stack, at(V4[1], 80)).await.unwrap_err();
    assert!(error.to_string().contains("device failed"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn shutdown_flushes_and_ends_the_driver() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    let listener = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap();
    let acceptor = tokio::spawn(async move { listener.accept().await });
    let data = pattern(1 << 16);
    server.write_all(&data).await.unwrap();
    let stack = net.server.clone();
    let shutdown = tokio::spawn(async move { stack.shutdown(Duration::from_secs(10)).await });
    let mut received = Vec::new();
    within(5, client.read_to_end(&mut received)).await.unwrap();
    assert!(received == data, "what was queued arrives before the FIN");
    let refused = TcpStream::connect(&net.client, at(V4[1], 80))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    drop(client);
    within(5, shutdown).await.unwrap();
    let [_, driver] = net.drivers;
    within(1, driver).await.unwrap().expect("a good end");
    assert!(within(1, acceptor).await.unwrap().is_err());
    assert_eq!(
        server.read(&mut [0; 8]).await.unwrap(),
        0,
        "the client's FIN came before the end"
    );
}

/// As with `tokio::net`, who is never kept waiting lets others have their turn all the same.
#[tokio::test(start_paused = true)]
async fn who_never_waits_lets_others_have_their_turn() {
    const OFTEN: u32 = 1_000;
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    server.write_all(&pattern(50_000)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (gone, driver, _cable) = alone(config(1));
    let listener = TcpListener::bind(&gone, at(V4[1], 80)).unwrap();
    driver.abort();
    tokio::task::yield_now().await;
    for what in ["read", "write", "accept"] {
        let others = tokio::spawn(async {});
        let mut operations = 0;
        while !others.is_finished() {
            match what {
                "read" => drop(client.read_u8().await.unwrap()),
                "write" => client.write_all(b".").await.unwrap(),
                _ => drop(listener.accept().await.unwrap_err()),
            }
            operations += 1;
            assert!(operations < OFTEN, "{what}");
        }
    }
}

/// Who shuts a tunnel down no longer takes packets from its device.
#[tokio::test(start_paused = true)]
async fn shutdown_ends_although_the_device_takes_nothing() {
    let (device, _receiver, packets) = channel(PLAIN, 1);
    let (stack, driver) = start(config(1), device);
    let listener = TcpListener::bind(&stack, at(V4[1], 7)).unwrap();
    for port in 0..20 {
        let syn = segment_to_7(4000 + port, 1000, PacketBuilderStep::syn);
        packets.send_frame(syn).await.unwrap();
    }
    let begin = Instant::now();
    within(60, stack.shutdown(Duration::from_secs(10))).await;
    assert!(
        begin.elapsed() < Duration::from_secs(11),
        "{:?}",
        begin.elapsed()
    );
    drop((listener, driver));
}

/// A device that is slow gets every reset all the same.
#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_a_device_that_is_slow() {
    const CONNECTIONS: u16 = 20;
    let (device, mut receiver, packets) = channel(PLAIN, 1);
    let (stack, _driver) = start(config(1), device);
    let _listener = TcpListener::bind(&stack, at(V4[1], 7)).unwrap();
    for port in 0..CONNECTIONS {
        let syn = segment_to_7(4000 + port, 1000, PacketBuilderStep::syn);
        packets.send_frame(syn).await.unwrap();
        let syn_ack = receiver.recv().await.unwrap().data;
        let iss = u32::from_be_bytes(*syn_ack[24..].first_chunk().unwrap());
        let ack = segment_to_7(4000 + port, 1001, |segment| {
            segment.ack(iss.wrapping_add(1))
        });
        packets.send_frame(ack).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let ended = tokio::spawn(async move { stack.shutdown(Duration::ZERO).await });
    let mut resets = 0;
    while let Some(packet) = within(60, receiver.recv()).await {
        resets += u16::from(packet.data[20 + 13] & 4 != 0);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    assert!(
        begin.elapsed() > Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    assert_eq!(resets, CONNECTIONS);
    within(1, ended).await.unwrap();
}

/// Whoever cannot wait any longer says so.
#[tokio::test(start_paused = true)]
async fn a_second_shutdown_may_be_sooner() {
    let net = net(PLAIN);
    let (_client, _server) = connected(&net).await;
    let begin = Instant::now();
    let (patient, hasty) = (Duration::from_secs(100), Duration::from_secs(1));
    let first = net.server.shutdown(patient);
    let second = async {
        tokio::time::sleep(hasty).await;
        net.server.shutdown(hasty).await;
    };
    within(200, async { tokio::join!(first, second) }).await;
    assert!(begin.elapsed() < 3 * hasty, "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn shutdown_resets_what_is_left_at_the_deadline() {
    let net = net(PLAIN);
    let (mut client, _server) = connected(&net).await;
    let start = Instant::now();
    within(60, net.server.shutdown(Duration::from_secs(10))).await;
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(10) && took < Duration::from_secs(11),
        "{took:?}"
    );
    assert_eq!(
        client.read(&mut [0; 8]).await.unwrap(),
        0,
        "the FIN came first"
    );
    assert_eq!(net.client.stats().tcp.counters.estab_resets, 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_read_loses_nothing() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    let mut buf = [0; 16];
    tokio::select! {
        biased;
        _ = server.read(&mut buf) => unreachable!("nothing was sent"),
        () = tokio::task::yield_now() => {}
    }
    client.write_all(b"here").await.unwrap();
    let len = within(5, server.read(&mut buf)).await.unwrap();
    assert_eq!(&buf[..len], b"here");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_accept_loses_no_connection() {
    let net = net(PLAIN);
    let listener = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap();
    tokio::select! {
        biased;
        _ = listener.accept() => unreachable!("nobody connects yet"),
        () = tokio::task::yield_now() => {}
    }
    TcpStream::connect(&net.client, at(V4[1], 80))
        .await
        .unwrap();
    within(5, listener.accept()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_connect_leaves_nothing() {
    let (stack, _driver, _cable) = alone(config(0));
    let attempt = TcpStream::connect(&stack, at(V4[1], 80));
    tokio::time::timeout(Duration::from_millis(100), attempt)
        .await
        .expect_err("nobody answers");
    assert_eq!(stack.stats().tcp.connections, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_stack_sleeps() {
    let net = net(PLAIN);
    let (client, server) = connected(&net).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = net.server.stats().device.turns;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let turns = net.server.stats().device.turns - before;
    assert!(turns < 10, "{turns} turns in ten idle minutes");
    drop((client, server));
}
