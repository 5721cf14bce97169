//! Connections of a stack of several shards.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::socket::ConnectOptions;
use ustack::{IncomingListener, TcpListener, TcpStream};

use super::super::{V4, V6, at, config, pattern, within};
use super::{IN_TURN, OFFLOAD, net, net_with};

/// Every byte there and back.
async fn echo(mut near: TcpStream, mut far: TcpStream, len: usize) {
    let data = pattern(len);
    let echo = tokio::spawn(async move {
        let (mut reader, mut writer) = far.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut answer = Vec::new();
    {
        let (mut reader, mut writer) = near.split();
        let write = async {
            writer.write_all(&data).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, reader.read_to_end(&mut answer));
        read.unwrap();
    }
    assert!(answer == data, "{} bytes of {len}", answer.len());
    echo.await.unwrap();
}

/// A listener of the whole stack accepts what any shard has.
#[tokio::test(start_paused = true)]
async fn one_listener_accepts_at_every_shard() {
    let (many, peer) = net(3);
    let listener = TcpListener::bind(&many.stack, at(V4[1], 0)).unwrap();
    for round in 0..9 {
        many.steering.set(round % 3);
        let (near, far) = tokio::join!(
            TcpStream::connect(&peer, listener.local_addr()),
            listener.accept()
        );
        let (near, (far, from)) = (near.unwrap(), far.unwrap());
        assert_eq!(near.local_addr(), from);
        within(60, echo(near, far, 100_000)).await;
    }
    let stats = many.stack.stats();
    assert_eq!(
        (stats.tcp.counters.passive_opens, stats.device.handed_over),
        (9, 0)
    );
}

/// A listener of one shard takes what arrives there; what arrives elsewhere finds it.
#[tokio::test(start_paused = true)]
async fn a_listener_of_one_shard_is_found_from_the_others() {
    let (many, peer) = net(3);
    let listener = TcpListener::bind(&many.each[1], at(V4[1], 90)).unwrap();
    for arrival in [0, 1, 2, IN_TURN] {
        many.steering.set(arrival);
        let (near, far) = tokio::join!(
            TcpStream::connect(&peer, listener.local_addr()),
            listener.accept()
        );
        within(60, echo(near.unwrap(), far.unwrap().0, 10_000)).await;
    }
    let again = TcpListener::bind(&many.stack, at(V4[1], 90)).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AddrInUse);
    TcpListener::bind(&many.each[0], at(V4[1], 90)).expect("a part of its own");
}

#[tokio::test(start_paused = true)]
async fn an_ephemeral_port_is_the_same_at_every_shard() {
    let (many, _peer) = net(4);
    let listener = TcpListener::bind(&many.stack, at(V4[1], 0)).unwrap();
    for shard in &many.each {
        let taken = TcpListener::bind(shard, listener.local_addr()).unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    }
    let address = listener.local_addr();
    drop(listener);
    TcpListener::bind(&many.stack, address).expect("free again, everywhere");
}

/// The kernel moves a flow under way, again and again: no reset, no byte lost.
#[tokio::test(start_paused = true)]
async fn a_flow_that_is_moved_goes_on() {
    for caps in [super::PLAIN, OFFLOAD] {
        let (many, peer) = net_with(3, config(1), caps);
        let listener = TcpListener::bind(&many.stack, at(V6[1], 80)).unwrap();
        many.steering.set(0);
        let (near, far) = tokio::join!(
            TcpStream::connect(&peer, listener.local_addr()),
            listener.accept()
        );
        let steering = many.steering.clone();
        let mover = tokio::spawn(async move {
            for queue in [1, 2, IN_TURN, 0].into_iter().cycle() {
                steering.set(queue);
                tokio::task::yield_now().await;
            }
        });
        within(60, echo(near.unwrap(), far.unwrap().0, 3_000_000)).await;
        mover.abort();
        let stats = many.stack.stats();
        assert!(stats.device.handed_over > 100, "{:?}", stats.device);
        assert_eq!(stats.device.handover_dropped, 0);
        assert_eq!(stats.tcp.counters.out_rsts, 0);
    }
}

/// A connection that is opened here lives at the shard of its port, whichever way answers come.
#[tokio::test(start_paused = true)]
async fn a_connection_lives_at_the_shard_of_its_port() {
    let (many, peer) = net(3);
    let listener = TcpListener::bind(&peer, at(V4[0], 80)).unwrap();
    let mut ports = Vec::new();
    for shard in [0, 1, 2, 0, 1, 2] {
        many.steering.set((shard + 1) % 3);
        let (near, far) = tokio::join!(
            TcpStream::connect(&many.each[shard], listener.local_addr()),
            listener.accept()
        );
        let near = near.unwrap();
        let port = near.local_addr().port();
        assert_eq!(usize::from(port) % 3, shard);
        assert_eq!(many.stack.shard_of_port(port), shard);
        ports.push(port);
        within(60, echo(near, far.unwrap().0, 10_000)).await;
    }
    // Without a choice of shard, one after the other.
    let mut shards = Vec::new();
    for _ in 0..3 {
        let stream = TcpStream::connect(&many.stack, listener.local_addr());
        shards.push(stream.await.unwrap().local_addr().port() % 3);
    }
    shards.sort_unstable();
    assert_eq!(shards, [0, 1, 2]);
    // A port of one's own choice decides.
    let local = ConnectOptions::new().local(at(V4[1], 4001));
    TcpStream::connect_with(&many.each[0], listener.local_addr(), local.clone())
        .await
        .expect("at shard 2");
    let again = TcpStream::connect_with(&many.each[1], listener.local_addr(), local).await;
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
}

#[tokio::test(start_paused = true)]
async fn the_ports_of_all_shards_can_be_used() {
    let mut config = config(1);
    config.tcp.ephemeral_ports = (5000, 5004);
    let (many, peer) = net_with(2, config, super::PLAIN);
    let listener = TcpListener::bind(&peer, at(V4[0], 80)).unwrap();
    let mut streams = Vec::new();
    for _ in 0..5 {
        let stream = TcpStream::connect(&many.stack, listener.local_addr());
        streams.push(stream.await.expect("a port is free"));
    }
    let none = TcpStream::connect(&many.stack, listener.local_addr()).await;
    assert_eq!(none.unwrap_err().kind(), ErrorKind::AddrNotAvailable);
    drop(streams.remove(3));
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_at_any_shard() {
    let (many, peer) = net(4);
    for arrival in [0, 1, 2, 3] {
        many.steering.set(arrival);
        let refused = within(1, TcpStream::connect(&peer, at(V4[1], 81))).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
    let counters = many.stack.stats().tcp.counters;
    assert_eq!((counters.out_rsts, counters.in_segs), (4, 4), "one each");
}

/// To its own address a shard is as good as the other.
#[tokio::test(start_paused = true)]
async fn a_host_talks_to_itself() {
    let (many, _peer) = net(3);
    let listener = TcpListener::bind(&many.each[2], at(V4[1], 80)).unwrap();
    for shard in &many.each {
        let (near, far) = tokio::join!(
            TcpStream::connect(shard, listener.local_addr()),
            listener.accept()
        );
        within(60, echo(near.unwrap(), far.unwrap().0, 100_000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn held_syns_of_all_shards_are_handed_out() {
    let (many, peer) = net(3);
    let listener = IncomingListener::bind(&many.stack, at(V4[1], 80)).unwrap();
    for arrival in 0..3 {
        many.steering.set(arrival);
        let client = peer.clone();
        let near = tokio::spawn(async move { TcpStream::connect(&client, at(V4[1], 80)).await });
        let incoming = within(1, listener.next()).await.unwrap();
        let far = within(1, incoming.accept()).await.unwrap();
        within(60, echo(near.await.unwrap().unwrap(), far, 10_000)).await;
    }
    let waiting = tokio::spawn(async move { TcpStream::connect(&peer, at(V4[1], 80)).await });
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(listener);
    let refused = within(1, waiting).await.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

/// Tasks that wait at once for the connections of several shards all get theirs.
#[tokio::test(start_paused = true)]
async fn many_tasks_accept_from_many_shards() {
    let (many, peer) = net(4);
    let listener = TcpListener::bind(&many.stack, at(V4[1], 80)).unwrap();
    let listener = std::sync::Arc::new(listener);
    let mut accepting = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let listener = std::sync::Arc::clone(&listener);
        accepting.spawn(async move { listener.accept().await.unwrap().1 });
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut streams = Vec::new();
    for round in 0..16 {
        many.steering.set(round % 4);
        streams.push(TcpStream::connect(&peer, at(V4[1], 80)).await.unwrap());
    }
    let mut seen = within(5, accepting.join_all()).await;
    let mut expected: Vec<_> = streams.iter().map(TcpStream::local_addr).collect();
    seen.sort_unstable();
    expected.sort_unstable();
    assert_eq!(seen, expected);
}
