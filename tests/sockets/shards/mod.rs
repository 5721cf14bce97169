//! A stack of several shards behind a device whose queues are chosen by the test, wrongly on
//! purpose, under virtual time.

mod datagrams;
mod lifetime;
mod tcp;
mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use ustack::device::Device;
use ustack::device::memory::{self, MemoryDevice};
use ustack::{Config, Stack};

use super::{OFFLOAD, PLAIN, Running, config, start};

/// By which queue packets come in: this one, or one after the other.
#[derive(Clone)]
struct Steering(Arc<AtomicUsize>);

const IN_TURN: usize = usize::MAX;

impl Steering {
    fn set(&self, queue: usize) {
        self.0.store(queue, Ordering::Relaxed);
    }
}

/// A switch between a cable and the queues of a device.
struct Switch {
    cable: MemoryDevice,
    queues: Vec<MemoryDevice>,
    steering: Steering,
    turn: usize,
}

impl Switch {
    fn move_frames(&mut self) -> bool {
        let mut has_moved = false;
        while let Some(frame) = self.cable.pop() {
            self.turn += 1;
            let queue = match self.steering.0.load(Ordering::Relaxed) {
                IN_TURN => self.turn % self.queues.len(),
                queue => queue,
            };
            self.queues[queue].push(frame);
            has_moved = true;
        }
        for queue in &self.queues {
            while let Some(frame) = queue.pop() {
                self.cable.push(frame);
                has_moved = true;
            }
        }
        has_moved
    }

    /// Ready once an end is gone.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.move_frames() {}
        let ends = std::iter::once(&mut self.cable).chain(&mut self.queues);
        let mut is_over = false;
        for end in ends {
            is_over |= end.poll_recv_ready(cx).is_ready();
        }
        if is_over && !self.move_frames() {
            return Poll::Ready(());
        }
        if is_over {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Host 1 with several shards.
struct Many {
    stack: Stack,
    /// A handle to each shard.
    each: Vec<Stack>,
    drivers: Vec<Running>,
    steering: Steering,
}

/// A host of so many shards, and the other end of its cable.
fn many(shards: usize, config: Config, caps: ustack::device::Caps) -> (Many, MemoryDevice) {
    let (queues, ends): (Vec<_>, Vec<_>) = (0..shards).map(|_| memory::pair(caps)).unzip();
    let (cable, far) = memory::pair(caps);
    let steering = Steering(Arc::new(AtomicUsize::new(IN_TURN)));
    let mut switch = Switch {
        cable,
        queues: ends,
        steering: steering.clone(),
        turn: 0,
    };
    tokio::spawn(poll_fn(move |cx| switch.poll(cx)));
    let (stack, drivers) = Stack::with_queues(config, queues).expect("the settings are right");
    let many = Many {
        each: stack.each_shard().collect(),
        stack,
        drivers: drivers.into_iter().map(tokio::spawn).collect(),
        steering,
    };
    (many, far)
}

/// A host of several shards, and another of one.
fn net(shards: usize) -> (Many, Stack) {
    net_with(shards, config(1), PLAIN)
}

fn net_with(shards: usize, config: Config, caps: ustack::device::Caps) -> (Many, Stack) {
    let (many, far) = many(shards, config, caps);
    let (peer, _driver) = start(super::config(0), far);
    (many, peer)
}
