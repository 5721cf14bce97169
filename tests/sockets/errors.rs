//! The `io::ErrorKind`s of kernel sockets.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::{Config, Stack, TcpListener, TcpStream};

use super::{PLAIN, V4, V6, alone, at, config, connected, net, within};

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
    let mut client = config(0);
    client.tcp.retries = 4;
    let net = super::net_with(PLAIN, client, config(1));
    let (mut client, server) = connected(&net).await;
    // The server's cable stays, but nobody serves it: everything sent is lost.
    std::mem::forget(server);
    net.drivers[1].abort();
    let error = within(600, async {
        loop {
            if let Err(error) = client.write(&[0; 1000]).await {
                return error;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
    // The aborted driver drops its device, which ends the client's, too.
    assert!(
        matches!(
            error.kind(),
            ErrorKind::TimedOut | ErrorKind::ConnectionAborted
        ),
        "{error}"
    );
}
