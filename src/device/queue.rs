//! A bounded queue of frames between two tasks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use super::Frame;

/// One reader, one writer, at most `capacity` frames. A full queue refuses; what happens to the
/// refused frame is its owner's to decide.
#[derive(Debug)]
pub(super) struct FrameQueue {
    state: Mutex<State>,
    capacity: usize,
    readable: AtomicWaker,
    writable: AtomicWaker,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Frame>,
    closed: bool,
}

/// The other end is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

impl FrameQueue {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            capacity: capacity.max(1),
            readable: AtomicWaker::new(),
            writable: AtomicWaker::new(),
            dropped: AtomicU64::new(0),
        }
    }

    /// Appends a frame, or gives it back when the queue is full.
    pub(super) fn push(&self, frame: Frame) -> Result<Option<Frame>, Closed> {
        {
            let mut state = self.state.lock();
            if state.closed {
                return Err(Closed);
            }
            if state.frames.len() >= self.capacity {
                return Ok(Some(frame));
            }
            state.frames.push_back(frame);
        }
        self.readable.wake();
        Ok(None)
    }

    /// Takes the oldest frame; `Err` once the queue is closed and empty.
    pub(super) fn pop(&self) -> Result<Option<Frame>, Closed> {
        let frame = {
            let mut state = self.state.lock();
            match state.frames.pop_front() {
                None if state.closed => return Err(Closed),
                frame => frame,
            }
        };
        if frame.is_some() {
            self.writable.wake();
        }
        Ok(frame)
    }

    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.readable.register(cx.waker());
        let state = self.state.lock();
        ready_if(!state.frames.is_empty() || state.closed)
    }

    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.writable.register(cx.waker());
        let state = self.state.lock();
        ready_if(state.frames.len() < self.capacity || state.closed)
    }

    /// No frame goes in any more; those inside may still be taken.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.readable.wake();
        self.writable.wake();
    }

    pub(super) fn count_drop(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

fn ready_if(ready: bool) -> Poll<()> {
    if ready {
        Poll::Ready(())
    } else {
        Poll::Pending
    }
}
