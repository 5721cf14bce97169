//! The `io::ErrorKind`s of kernel sockets.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::{Config, Stack, TcpListener, TcpStream};

use super::{Net, PLAIN, V4, V6, alone, at, config, connected, net, within};

#[tokio::test(start_paused = true)]
async fn nobody_listens() {
    let net = net(PLAIN);
    for server in [V4[1], V6[1]] {
        let error = within(1, TcpStream::connect(&net.client, at(server, 81)))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let mut config = config(0);
    config.tcp.syn_retries = 2;
    let (stack, _driver, cable) = alone(config);
    let error = within(60, TcpStream::connect(&stack, at(V4[1], 80)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let syns = std::iter::from_fn(|| cable.pop()).count();
    assert_eq!(syns, 3, "one SYN and two more");
}

#[tokio::test(start_paused = true)]
async fn the_peer_resets() {
    let net = net(PLAIN);
    let (mut client, server) = connected(&net).await;
    server.abort();
    let error = within(5, client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "told once");
    let error = client.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    client
        .shutdown()
        .await
        .expect("nothing left to complain of");
}

#[tokio::test(start_paused = true)]
async fn the_peer_resets_after_its_fin() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    server.shutdown().await.unwrap();
    assert_eq!(within(5, client.read(&mut [0; 8])).await.unwrap(), 0);
    server.abort();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let error = client.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "EOF was told");
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_wakes_a_blocked_writer() {
    let net = net(PLAIN);
    let (mut client, server) = connected(&net).await;
    let writer = tokio::spawn(async move {
        let chunk = vec![0; 1 << 20];
        loop {
            if let Err(error) = client.write_all(&chunk).await {
                return error.kind();
            }
        }
    });
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!writer.is_finished());
    server.abort();
    assert_eq!(within(5, writer).await.unwrap(), ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn writing_after_fin() {
    let net = net(PLAIN);
    let (mut client, _server) = connected(&net).await;
    client.shutdown().await.unwrap();
    let error = client.write(b"x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_checked() {
    let net = net(PLAIN);
    let listener = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap();
    let again = TcpListener::bind(&net.server, at(V4[1], 80)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    drop(listener);
    TcpListener::bind(&net.server, at(V4[1], 80)).expect("free again");

    let foreign = TcpListener::bind(&net.server, at(V4[0], 80)).unwrap_err();
    assert_eq!(foreign.kind(), ErrorKind::AddrNotAvailable);
    let opaque = TcpListener::builder(&net.server)
        .transparent(true)
        .bind(at(V4[0], 80))
        .unwrap_err();
    assert_eq!(opaque.kind(), ErrorKind::InvalidInput);
    let nowhere = TcpStream::connect(&net.client, at([224, 0, 0, 1].into(), 80)).await;
    assert_eq!(nowhere.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[tokio::test(start_paused = true)]
async fn a_family_without_an_address() {
    let (left, _right) = ustack::device::memory::pair(PLAIN);
    let (stack, _driver) = Stack::new(Config::new().address(V4[0], 24), left).unwrap();
    let error = TcpStream::connect(&stack, at(V6[1], 80)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(error.to_string().contains("no IPv6 address"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_vanishes_times_the_connection_out() {
    let mut config_with_patience = config(0);
    config_with_patience.tcp.retries = 4;
    let (client, client_driver, near) = alone(config_with_patience);
    let (server, server_driver, far) = alone(config(1));
    let cable = Arc::new((near, far));
    let relay = tokio::spawn({
        let cable = Arc::clone(&cable);
        async move {
            loop {
                let (near, far) = &*cable;
                std::iter::from_fn(|| near.pop()).for_each(|frame| assert!(far.push(frame)));
                std::iter::from_fn(|| far.pop()).for_each(|frame| assert!(near.push(frame)));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let net = Net {
        client,
        server,
        drivers: [client_driver, server_driver],
    };
    let (mut client, _server) = connected(&net).await;
    relay.abort(); // the cable is cut; both ends still have theirs
    client.write_all(b"anybody?").await.unwrap();
    let error = within(600, client.read(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(net.client.stats().tcp.connections, 1, "its handle lives");
    drop(client);
    tokio::task::yield_now().await;
    assert_eq!(net.client.stats().tcp.connections, 0);
}
