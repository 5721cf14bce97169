//! Bytes over connections.

use std::io::IoSlice;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::device::{Impair, ImpairSpec, memory};
use ustack::{ConnectOptions, TcpListener, TcpStream};

use super::{OFFLOAD, PLAIN, V4, V6, at, config, connected, net, net_with, pattern, start, within};

async fn echo(mut stream: TcpStream) -> std::io::Result<u64> {
    let (mut reader, mut writer) = stream.split();
    let copied = tokio::io::copy(&mut reader, &mut writer).await?;
    writer.shutdown().await?;
    Ok(copied)
}

async fn round_trip(mut stream: TcpStream, data: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let (mut reader, mut writer) = stream.split();
    let (sent, received) = tokio::join!(
        async {
            writer.write_all(data).await?;
            writer.shutdown().await
        },
        reader.read_to_end(&mut answer)
    );
    sent.expect("sent");
    received.expect("received");
    answer
}

/// Sends all of `data` as one chunk, and closes.
async fn send_all(mut client: TcpStream, mut data: Bytes) {
    client.write_chunk(&mut data).await.unwrap();
    assert!(data.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_megabyte_is_echoed_over_both_families_and_devices() {
    for caps in [PLAIN, OFFLOAD] {
        for server in [V4[1], V6[1]] {
            let net = net(caps);
            let listener = TcpListener::bind(&net.server, at(server, 7)).unwrap();
            let served = tokio::spawn(async move { echo(listener.accept().await?.0).await });
            let stream = TcpStream::connect(&net.client, at(server, 7))
                .await
                .unwrap();
            assert_eq!(stream.peer_addr(), at(server, 7));
            let data = pattern(1 << 20);
            let answer = within(60, round_trip(stream, &data)).await;
            assert!(answer == data, "{caps:?} {server}: other bytes came back");
            assert_eq!(served.await.unwrap().unwrap(), 1 << 20);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_four_connections_keep_their_bytes_apart() {
    let net = net(OFFLOAD);
    let listener = TcpListener::bind(&net.server, at(V4[1], 7)).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(echo(stream));
        }
    });
    let clients: Vec<_> = (0..64u8)
        .map(|number| {
            let stack = net.client.clone();
            tokio::spawn(async move {
                let stream = TcpStream::connect(&stack, at(V4[1], 7)).await.unwrap();
                let data = vec![number; 50_000 + usize::from(number)];
                assert!(
                    round_trip(stream, &data).await == data,
                    "connection {number}"
                );
            })
        })
        .collect();
    for client in clients {
        within(120, client).await.unwrap();
    }
    assert_eq!(net.server.stats().tcp.dropped.values().sum::<u64>(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_direction_goes_on_after_the_other_has_ended() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let mut question = String::new();
    server.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0, "EOF stays EOF");
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.write_all(b"answer ").await.unwrap();
    }
    drop(server);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer answer answer ");
}

#[tokio::test(start_paused = true)]
async fn slices_are_written_in_one_piece() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    assert!(tokio::io::AsyncWrite::is_write_vectored(&client));
    let body = pattern(10_000);
    let bufs = [
        IoSlice::new(b"head "),
        IoSlice::new(&body),
        IoSlice::new(b""),
    ];
    let written = client.write_vectored(&bufs).await.unwrap();
    assert_eq!(written, 10_005);
    let mut received = vec![0; written];
    server.read_exact(&mut received).await.unwrap();
    assert_eq!(&received[..5], b"head ");
    assert!(received[5..] == body);
}

#[tokio::test(start_paused = true)]
async fn chunks_pass_without_a_copy_api() {
    let net = net(OFFLOAD);
    let (client, mut server) = connected(&net).await;
    let data = Bytes::from(pattern(300_000));
    let sender = tokio::spawn(send_all(client, data.clone()));
    let mut received = Vec::new();
    while let Some(chunk) = server.read_chunk(100_000).await.unwrap() {
        assert!(!chunk.is_empty() && chunk.len() <= 100_000);
        received.extend_from_slice(&chunk);
    }
    assert!(received == data);
    sender.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn as_many_chunks_as_are_there_come_in_one_call() {
    let net = net(PLAIN);
    let (client, mut server) = connected(&net).await;
    let data = Bytes::from(pattern(300_000));
    let sender = tokio::spawn(send_all(client, data.clone()));
    let mut chunks = [const { Bytes::new() }; 8];
    assert_eq!(server.read_chunks(&mut []).await.unwrap(), Some(0));
    let (mut received, mut most) = (Vec::new(), 0);
    while let Some(count) = server.read_chunks(&mut chunks).await.unwrap() {
        assert!((1..=chunks.len()).contains(&count));
        most = most.max(count);
        chunks[..count]
            .iter()
            .for_each(|chunk| received.extend_from_slice(chunk));
    }
    assert!(received == data);
    assert!(most > 1, "a device without offload brings many short ones");
    assert_eq!(server.read_chunks(&mut chunks).await.unwrap(), None);
    sender.await.unwrap();
}

/// What the caller has left in the slots may be anybody's, and its end may call the stack.
#[tokio::test(start_paused = true)]
async fn chunks_make_room_without_the_lock() {
    struct Owner {
        _closes: TcpStream,
    }
    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            b"of a connection that closes with it"
        }
    }
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    let (mut other, held) = connected(&net).await;
    client.write_all(b"hello").await.unwrap();
    let mut chunks = [Bytes::from_owner(Owner { _closes: held })];
    assert_eq!(server.read_chunks(&mut chunks).await.unwrap(), Some(1));
    assert_eq!(chunks[0], b"hello"[..]);
    assert_eq!(other.read(&mut [0; 1]).await.unwrap(), 0, "it is closed");
}

#[tokio::test(start_paused = true)]
async fn owned_halves_work_apart_and_come_together_again() {
    let net = net(PLAIN);
    let (client, server) = connected(&net).await;
    let (mut reader, mut writer) = client.into_split();
    let (mut server_reader, server_writer) = server.into_split();
    writer.write_all(b"abc").await.unwrap();
    let mut buf = [0; 3];
    server_reader.read_exact(&mut buf).await.unwrap();

    drop(server_writer);
    assert_eq!(
        reader.read(&mut buf).await.unwrap(),
        0,
        "a dropped write half says FIN"
    );
    let mut client = reader.reunite(writer).expect("halves of one stream");
    client.write_all(b"def").await.unwrap();
    drop(client);
    let mut rest = Vec::new();
    server_reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"def");
}

#[tokio::test(start_paused = true)]
async fn halves_of_different_streams_stay_apart() {
    let net = net(PLAIN);
    let (client, server) = connected(&net).await;
    let (reader, _writer) = client.into_split();
    let (_reader, writer) = server.into_split();
    assert!(reader.reunite(writer).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_holds_the_writer_back() {
    let net = net(PLAIN);
    let (mut client, mut server) = connected(&net).await;
    let total = 40 << 20;
    let writer = tokio::spawn(async move {
        let chunk = pattern(1 << 20);
        for _ in 0..total >> 20 {
            client.write_all(&chunk).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(
        !writer.is_finished(),
        "40 MiB do not fit the buffers of both ends"
    );
    let mut received = 0;
    let mut buf = vec![0; 1 << 20];
    while received < total {
        let len = within(60, server.read(&mut buf)).await.unwrap();
        assert!(len > 0);
        received += len;
    }
    writer.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stack_reaches_its_own_addresses() {
    let net = net(OFFLOAD);
    let listener = TcpListener::bind(&net.server, at(V6[1], 7)).unwrap();
    tokio::spawn(async move { echo(listener.accept().await?.0).await });
    let stream = TcpStream::connect(&net.server, at(V6[1], 7)).await.unwrap();
    let data = pattern(200_000);
    assert!(within(60, round_trip(stream, &data)).await == data);
    let stats = net.server.stats();
    assert!(stats.device.loopback_frames > 0);
    assert_eq!(stats.device.tx_frames, 0, "nothing of it leaves the host");
}

#[tokio::test(start_paused = true)]
async fn a_full_backlog_makes_clients_wait() {
    let net = net(PLAIN);
    let listener = TcpListener::builder(&net.server)
        .backlog(2)
        .bind(at(V4[1], 7))
        .unwrap();
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let stack = net.client.clone();
            tokio::spawn(async move { TcpStream::connect(&stack, at(V4[1], 7)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let connections = net.server.connections();
    let open = connections
        .iter()
        .filter(|connection| connection.state == ustack::tcp::State::Established)
        .count();
    assert_eq!(open, 2, "connections with a backlog of 2");
    let mut streams = Vec::new();
    for _ in 0..5 {
        streams.push(within(60, listener.accept()).await.unwrap().0);
    }
    for client in clients {
        client.await.unwrap().expect("a repeated SYN finds room");
    }
    assert!(net.server.stats().tcp.dropped[&ustack::tcp::Dropped::BacklogFull] > 0);
}

#[tokio::test(start_paused = true)]
async fn a_transparent_listener_takes_every_destination() {
    let net = net_with(PLAIN, config(0), config(1).transparent(true));
    let listener = TcpListener::builder(&net.server)
        .transparent(true)
        .bind(at([0, 0, 0, 0].into(), 0))
        .unwrap();
    let destination = at([192, 0, 2, 7].into(), 8080);
    let (client, accepted) = tokio::join!(
        TcpStream::connect(&net.client, destination),
        listener.accept()
    );
    let (mut client, (mut server, peer)) = (client.unwrap(), accepted.unwrap());
    assert_eq!(server.local_addr(), destination);
    assert_eq!(peer, client.local_addr());
    client.write_all(b"x").await.unwrap();
    assert_eq!(server.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn a_connection_starts_where_it_is_told_to() {
    let net = net(PLAIN);
    let listener = TcpListener::bind(&net.server, at(V4[1], 7)).unwrap();
    let options = ConnectOptions::new().local(at(V4[0], 4321));
    let stream = TcpStream::connect_with(&net.client, at(V4[1], 7), options)
        .await
        .unwrap();
    assert_eq!(stream.local_addr(), at(V4[0], 4321));
    assert_eq!(listener.accept().await.unwrap().1, at(V4[0], 4321));
}

#[tokio::test(start_paused = true)]
async fn options_can_be_read_back() {
    let net = net(PLAIN);
    let (client, _server) = connected(&net).await;
    assert!(!client.nodelay().unwrap());
    client.set_nodelay(true).unwrap();
    assert!(client.nodelay().unwrap());
    let keepalive = ustack::tcp::Keepalive::default();
    client.set_keepalive(Some(keepalive)).unwrap();
    assert_eq!(client.keepalive().unwrap(), Some(keepalive));
}

#[tokio::test(start_paused = true)]
async fn bytes_survive_a_bad_link() {
    let spec = "loss=3%,delay=10ms,jitter=2ms,reorder=1%,duplicate=0.5%,corrupt=0.1%,seed=7";
    for caps in [PLAIN, OFFLOAD] {
        let (left, right) = memory::pair(caps);
        let spec: ImpairSpec = spec.parse().unwrap();
        let left = Impair::new(left, Some(spec.clone()), Some(spec));
        let (client, _client_driver) = start(config(0), left);
        let (server, _server_driver) = start(config(1), right);
        let listener = TcpListener::bind(&server, at(V4[1], 7)).unwrap();
        tokio::spawn(async move { echo(listener.accept().await?.0).await });
        let stream = TcpStream::connect(&client, at(V4[1], 7)).await.unwrap();
        let data = pattern(1 << 20);
        assert!(
            within(300, round_trip(stream, &data)).await == data,
            "{caps:?}"
        );
    }
}
