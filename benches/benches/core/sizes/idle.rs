//! Connections through the whole stack: a device whose clients open one after the other, a listener,
//! and the streams that it hands out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use core_bench::peer::{Client, SERVER, Segment};
use ustack::batch::{Checksum, Frame, Offload, RxBatch, TxBatch};
use ustack::device::{Caps, Device};
use ustack::{Stack, TcpListener};
use ustack_tcp::time::Instant;

use super::Size;

/// Handshakes at the same time.
const BURST: u32 = 128;

/// What so many established connections and their streams take.
pub(super) fn measure(connections: u32) -> Size {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    super::measure(connections, || {
        let streams = runtime.block_on(open(connections));
        (streams, &runtime)
    })
}

async fn open(
    connections: u32,
) -> (
    Stack,
    Vec<ustack::TcpStream>,
    tokio::task::JoinHandle<io::Result<()>>,
) {
    let mut tcp = ustack::tcp::Config::default();
    tcp.max_connections = connections as usize;
    let config = ustack::Config::new()
        .address(SERVER.0, 8)
        .tcp(tcp)
        .seed([7; 32]);
    let accepted = Arc::new(AtomicU32::new(0));
    let clients = Clients {
        accepted: Arc::clone(&accepted),
        opened: 0,
        connections,
        acks: VecDeque::new(),
        waker: None,
    };
    let (stack, driver) = Stack::new(config, clients).expect("settings that work");
    let driver = tokio::spawn(driver);
    let listener = TcpListener::bind(&stack, SERVER.into()).expect("a free port");
    let mut streams = Vec::with_capacity(connections as usize);
    while streams.len() < connections as usize {
        let (stream, _) = listener.accept().await.expect("a connection");
        streams.push(stream);
        accepted.store(streams.len() as u32, Relaxed);
    }
    (stack, streams, driver)
}

/// A device at whose other end clients connect.
struct Clients {
    accepted: Arc<AtomicU32>,
    opened: u32,
    connections: u32,
    /// What the clients answer.
    acks: VecDeque<Segment>,
    waker: Option<Waker>,
}

impl Clients {
    fn next(&mut self) -> Option<Segment> {
        if let Some(ack) = self.acks.pop_front() {
            return Some(ack);
        }
        let has_room = self.opened - self.accepted.load(Relaxed) < BURST;
        (has_room && self.opened < self.connections).then(|| {
            self.opened += 1;
            Client::new(self.opened - 1).syn()
        })
    }

    fn has_next(&self) -> bool {
        let has_room = self.opened - self.accepted.load(Relaxed) < BURST;
        !self.acks.is_empty() || has_room && self.opened < self.connections
    }
}

impl Device for Clients {
    fn caps(&self) -> Caps {
        Caps {
            tx_checksum: true,
            ..Caps::plain(1500)
        }
    }

    fn poll_recv_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_next() {
            return Poll::Ready(Ok(()));
        }
        if self.opened < self.connections {
            cx.waker().wake_by_ref(); // the listener makes room
        }
        self.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn recv(&mut self, _now: Instant, batch: &mut RxBatch) -> io::Result<usize> {
        let before = batch.len();
        while batch.room() > 0
            && let Some(segment) = self.next()
        {
            let mut packet = vec![0; 64];
            let len = segment.write(&mut packet);
            packet.truncate(len);
            batch.push(Frame {
                data: packet.into(),
                offload: Offload {
                    checksum: Checksum::Verified,
                    gso: None,
                },
            });
        }
        Ok(batch.len() - before)
    }

    fn send(&mut self, _now: Instant, batch: &mut TxBatch) -> io::Result<usize> {
        let frames = batch.len();
        for frame in batch.iter() {
            let answer = Segment::read(frame.headers);
            let mut client = Client::new(answer.flow);
            client.syn();
            client.on_segment(&answer);
            self.acks.push_back(client.ack());
        }
        batch.clear();
        if let Some(waker) = self.waker.take().filter(|_| frames > 0) {
            waker.wake();
        }
        Ok(frames)
    }

    fn poll_send_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
