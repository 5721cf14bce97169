//! Many threads and the real clock: no lock is held too long, no waker lost.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use ustack::device::memory;
use ustack::{Clock, TcpListener, TcpStream};

use super::{OFFLOAD, PLAIN, V4, at, config, pattern, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_two_tasks_stream_both_ways_at_once() {
    for caps in [OFFLOAD, PLAIN] {
        let (left, right) = memory::pair(caps);
        let (client, _) = start(config(0).clock(Clock::Monotonic), left);
        let (server, _) = start(config(1).clock(Clock::Monotonic), right);
        let listener = TcpListener::bind(&server, at(V4[1], 7)).unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                    let _ = writer.shutdown().await;
                });
            }
        });
        let mut clients = JoinSet::new();
        for number in 0..32 {
            let stack = client.clone();
            clients.spawn(async move {
                let stream = TcpStream::connect(&stack, at(V4[1], 7)).await.unwrap();
                let (mut reader, mut writer) = stream.into_split();
                let data = pattern(1_000_000 + number);
                let sender = tokio::spawn({
                    let data = data.clone();
                    async move { writer.write_all(&data).await }
                });
                let mut answer = Vec::new();
                reader.read_to_end(&mut answer).await.unwrap();
                sender.await.unwrap().unwrap();
                assert!(answer == data, "connection {number}");
            });
        }
        let all = async {
            while let Some(client) = clients.join_next().await {
                client.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all)
            .await
            .unwrap_or_else(|_| panic!("stuck: {:#?}", server.stats()));
    }
}

#[tokio::test]
async fn a_round_trip_takes_no_timer() {
    let (left, right) = memory::pair(OFFLOAD);
    let (client, _) = start(config(0).clock(Clock::Monotonic), left);
    let (server, _) = start(config(1).clock(Clock::Monotonic), right);
    let listener = TcpListener::bind(&server, at(V4[1], 7)).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(byte) = stream.read_u8().await {
            stream.write_u8(byte).await.unwrap();
        }
    });
    let mut stream = TcpStream::connect(&client, at(V4[1], 7)).await.unwrap();
    let begin = Instant::now();
    for byte in 0..=255 {
        stream.write_u8(byte).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), byte);
    }
    let took = begin.elapsed();
    // A delayed ACK or Nagle in the way of each would be 10 s, a timer of 1 ms half a second.
    assert!(
        took < Duration::from_millis(200),
        "256 round trips took {took:?}"
    );
}
