//! Beginning and end of a stack of several shards.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use ustack::device::Caps;
use ustack::device::memory::{self, MemoryDevice};
use ustack::{Clock, Config, Stack, TcpListener, TcpStream, UdpSocket};

use super::super::{OFFLOAD, PLAIN, V4, at, config, pattern, start, within};
use super::{IN_TURN, Steering, Switch, net};

#[tokio::test(start_paused = true)]
async fn queues_must_be_of_one_device() {
    let (near, _far) = memory::pair(PLAIN);
    let (other, _end) = memory::pair(Caps::plain(1400));
    let error = Stack::with_queues(config(1), vec![near, other]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let none = Stack::with_queues(config(1), Vec::<MemoryDevice>::new()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::InvalidInput);
}

/// What was written still goes out at every shard before any driver ends.
#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_every_shard() {
    let (many, peer) = net(3);
    let listener = TcpListener::bind(&many.stack, at(V4[1], 80)).unwrap();
    let mut pairs = Vec::new();
    for queue in 0..3 {
        many.steering.set(queue);
        let (near, far) = tokio::join!(
            TcpStream::connect(&peer, listener.local_addr()),
            listener.accept()
        );
        pairs.push((near.unwrap(), far.unwrap().0));
    }
    // From now on everything comes in where it does not belong.
    many.steering.set(0);
    let mut reading = tokio::task::JoinSet::new();
    let mut writers = Vec::new();
    for (number, (mut near, mut far)) in pairs.into_iter().enumerate() {
        far.write_all(&pattern(40_000)).await.unwrap();
        writers.push(far);
        reading.spawn(async move {
            tokio::time::sleep(Duration::from_secs(number as u64)).await;
            let mut read = Vec::new();
            near.read_to_end(&mut read).await.map(|_| read.len())
        });
    }
    within(60, many.stack.shutdown(Duration::from_secs(30))).await;
    for driver in many.drivers {
        driver.await.unwrap().expect("ended in good order");
    }
    while let Some(read) = reading.join_next().await {
        assert_eq!(read.unwrap().unwrap(), 40_000);
    }
    let late = TcpListener::bind(&many.stack, at(V4[1], 81)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::ConnectionAborted);
}

/// Without one of its drivers a stack would be deaf in one ear: it ends.
#[tokio::test(start_paused = true)]
async fn the_end_of_one_driver_is_the_end() {
    let (many, _peer) = net(3);
    let listener = TcpListener::bind(&many.each[2], at(V4[1], 80)).unwrap();
    let socket = UdpSocket::bind(&many.each[0], at(V4[1], 0)).unwrap();
    let accepting = tokio::spawn(async move { listener.accept().await.map(drop) });
    tokio::time::sleep(Duration::from_millis(1)).await;
    let mut drivers = many.drivers;
    drivers.remove(1).abort();
    let error = within(1, accepting).await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    let error = within(1, socket.recv(&mut [0; 8])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    for driver in drivers {
        let error = within(1, driver).await.unwrap().unwrap_err();
        assert!(error.to_string().contains("dropped"), "{error}");
    }
    within(1, many.stack.shutdown(Duration::ZERO)).await;
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

type Thread = thread::JoinHandle<std::io::Result<()>>;

/// An echo at each of two shards on threads of their own, and the other ends of their queues.
fn echo_on_threads(config: Config) -> (Stack, Vec<Thread>, Vec<MemoryDevice>) {
    let (here, ends): (Vec<_>, Vec<_>) = (0..2).map(|_| memory::pair(OFFLOAD)).unzip();
    let (stack, drivers) = Stack::with_queues(config, here).unwrap();
    let mut threads = Vec::new();
    for (driver, stack) in drivers.into_iter().zip(stack.each_shard()) {
        let listener = TcpListener::bind(&stack, at(V4[1], 80)).unwrap();
        threads.push(thread::spawn(move || {
            let runtime = runtime();
            runtime.spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        let _ = tokio::io::copy(&mut reader, &mut writer).await;
                        let _ = writer.shutdown().await;
                    });
                }
            });
            runtime.block_on(driver)
        }));
    }
    (stack, threads, ends)
}

/// Every byte there and back over a connection of its own.
async fn echo(client: Stack, len: usize) {
    let stream = TcpStream::connect(&client, at(V4[1], 80)).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let data = pattern(len);
    let sent = data.clone();
    tokio::spawn(async move { writer.write_all(&sent).await });
    let mut answer = vec![0; len];
    reader.read_exact(&mut answer).await.unwrap();
    assert!(answer == data);
}

/// The real clock, applications beside their packets, and a cable that steers every packet wrong
/// half of the time.
#[test]
fn shards_run_on_threads_of_their_own() {
    for busy_poll in [Duration::ZERO, Duration::from_millis(20)] {
        let monotonic = |host| config(host).clock(Clock::Monotonic);
        let (stack, threads, queues) = echo_on_threads(monotonic(1).busy_poll(busy_poll));
        let (cable, far) = memory::pair(OFFLOAD);
        runtime().block_on(async move {
            let mut switch = Switch {
                cable,
                queues,
                steering: Steering(Arc::new(IN_TURN.into())),
                turn: 0,
            };
            tokio::spawn(poll_fn(move |cx| switch.poll(cx)));
            let (client, _driver) = start(monotonic(0), far);
            let mut clients = tokio::task::JoinSet::new();
            for number in 0..8 {
                clients.spawn(echo(client.clone(), 300_000 + number));
            }
            let all = tokio::time::timeout(Duration::from_secs(120), clients.join_all()).await;
            all.expect("all in time");
            let stats = stack.stats();
            assert!(stats.device.handed_over > 0);
            // Nobody's: an ACK that was overtaken by the last one, of a connection that is gone.
            assert!(stats.tcp.counters.estab_resets == 0);
            assert_eq!(stats.device.busy_polls > 0, !busy_poll.is_zero());
            stack.shutdown(Duration::from_secs(1)).await;
        });
        for thread in threads {
            thread.join().unwrap().expect("ended in good order");
        }
    }
}
