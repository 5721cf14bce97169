//! SYNs that wait for a decision.

use std::io::ErrorKind;
use std::time::Duration;

use etherparse::PacketBuilderStep;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;
use ustack::{IncomingListener, TcpListener, TcpStream};

use super::{Net, PLAIN, V4, V6, alone, at, config, net, net_with, segment_to_7, within};

fn connect(net: &Net, to: std::net::SocketAddr) -> JoinHandle<std::io::Result<TcpStream>> {
    let stack = net.client.clone();
    tokio::spawn(async move { TcpStream::connect(&stack, to).await })
}

#[tokio::test(start_paused = true)]
async fn the_client_knows_nothing_until_it_is_accepted() {
    let net = net(PLAIN);
    let listener = IncomingListener::bind(&net.server, at(V4[1], 7)).unwrap();
    let client = connect(&net, at(V4[1], 7));
    let incoming = within(5, listener.next()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert!(!client.is_finished(), "held");
    assert_eq!(incoming.local_addr(), at(V4[1], 7));
    assert_eq!(incoming.peer_addr().ip(), V4[0]);
    let mut server = within(5, incoming.accept()).await.unwrap();
    let mut client = within(5, client).await.unwrap().unwrap();
    server.write_all(b"at last").await.unwrap();
    drop(server);
    let mut text = String::new();
    within(5, client.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "at last");
}

#[tokio::test(start_paused = true)]
async fn refused_and_unreachable_are_told_apart() {
    let net = net_with(PLAIN, config(0), config(1).transparent(true));
    for any in [
        at([0, 0, 0, 0].into(), 0),
        at(std::net::Ipv6Addr::UNSPECIFIED.into(), 0),
    ] {
        let listener = TcpListener::builder(&net.server)
            .transparent(true)
            .bind_incoming(any)
            .unwrap();
        let destination = if any.is_ipv4() {
            at([192, 0, 2, 7].into(), 443)
        } else {
            "[2001:db8::7]:443".parse().unwrap()
        };
        let client = connect(&net, destination);
        let incoming = within(5, listener.next()).await.unwrap();
        assert_eq!(incoming.local_addr(), destination);
        incoming.refuse();
        let error = within(1, client).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

        let client = connect(&net, destination);
        within(5, listener.next()).await.unwrap().unreachable();
        let error = within(200, client).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable, "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_syn_comes_again() {
    let net = net(PLAIN);
    let listener = IncomingListener::bind(&net.server, at(V6[1], 7)).unwrap();
    let client = connect(&net, at(V6[1], 7));
    drop(within(5, listener.next()).await.unwrap());
    let again = within(5, listener.next()).await.unwrap();
    let (accepted, client) = tokio::join!(again.accept(), client);
    accepted.unwrap();
    client.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn only_so_many_are_held() {
    let net = net(PLAIN);
    let listener = TcpListener::builder(&net.server)
        .hold(3)
        .bind_incoming(at(V4[1], 7))
        .unwrap();
    let clients: Vec<_> = (0..5).map(|_| connect(&net, at(V4[1], 7))).collect();
    let held = [
        within(5, listener.next()).await.unwrap(),
        within(5, listener.next()).await.unwrap(),
        within(5, listener.next()).await.unwrap(),
    ];
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(net.server.stats().tcp.incoming_overflow, 2);
    let mut open = Vec::new();
    for incoming in held {
        open.push(within(5, incoming.accept()).await.unwrap());
    }
    for _ in 0..2 {
        let incoming = within(10, listener.next()).await.unwrap();
        open.push(within(5, incoming.accept()).await.unwrap());
    }
    for client in clients {
        within(5, client).await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_listener_refuses_but_lets_decisions_finish() {
    let net = net(PLAIN);
    let listener = IncomingListener::bind(&net.server, at(V4[1], 7)).unwrap();
    let first = connect(&net, at(V4[1], 7));
    let incoming = within(5, listener.next()).await.unwrap();
    let second = connect(&net, at(V4[1], 7));
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(listener);
    let error = within(5, second).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    let (accepted, first) = tokio::join!(incoming.accept(), first);
    accepted.unwrap();
    first.unwrap().unwrap();
    let third = within(5, connect(&net, at(V4[1], 7))).await.unwrap();
    assert_eq!(third.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_gives_up_fails_the_acceptance() {
    let net = net(PLAIN);
    let listener = IncomingListener::bind(&net.server, at(V4[1], 7)).unwrap();
    let client = connect(&net, at(V4[1], 7));
    let incoming = within(5, listener.next()).await.unwrap();
    client.abort();
    let _ = client.await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let result = within(300, incoming.accept()).await;
    assert!(result.is_err(), "nobody is there: {result:?}");
    assert_eq!(net.server.connections().len(), 0);
}

/// A SYN, and before anybody has decided a RST.
#[tokio::test(start_paused = true)]
async fn a_client_that_resets_its_syn_fails_the_acceptance() {
    let (stack, _driver, cable) = alone(config(1));
    let listener = IncomingListener::bind(&stack, at(V4[1], 7)).unwrap();
    assert!(cable.push(segment_to_7(4000, 1000, PacketBuilderStep::syn)));
    let incoming = within(5, listener.next()).await.unwrap();
    assert!(cable.push(segment_to_7(4000, 1001, PacketBuilderStep::rst)));
    tokio::time::sleep(Duration::from_millis(10)).await;
    let error = within(5, incoming.accept()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted, "{error}");
    assert!(error.to_string().contains("10.77.0.1:4000"), "{error}");
    assert_eq!(stack.connections().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_acceptance_leaves_nothing() {
    let net = net(PLAIN);
    let listener = IncomingListener::bind(&net.server, at(V4[1], 7)).unwrap();
    let client = connect(&net, at(V4[1], 7));
    let incoming = within(5, listener.next()).await.unwrap();
    tokio::select! {
        biased;
        _ = incoming.accept() => unreachable!("the SYN,ACK has not even left"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(net.server.connections().len(), 0);
    client.abort();
}
