//! Orders of files: who gives one waits for nothing. A thread carries them out, and lasts no longer than
//! there are any: in a process with a second thread the kernel counts who holds a descriptor, at each
//! read and write of it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crossbeam::queue::ArrayQueue;
use parking_lot::Mutex;

/// Orders that may wait for the thread.
const ORDERS: usize = 4;

/// Takes orders. Dropped, it waits for those it has taken.
#[derive(Debug)]
pub(super) struct Orders {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Queue {
    waiting: ArrayQueue<String>,
    /// Whether there is a thread, which looks once more before it ends.
    is_served: AtomicBool,
}

impl Orders {
    pub(super) fn new() -> Self {
        Self {
            queue: Arc::new(Queue {
                waiting: ArrayQueue::new(ORDERS),
                is_served: AtomicBool::new(false),
            }),
            thread: Mutex::new(None),
        }
    }

    /// Has `work` done with this. It is not when too many orders wait, or where there is no thread.
    pub(super) fn give(&self, why: &str, work: impl Fn(&str) + Send + 'static) -> io::Result<()> {
        let queue = &self.queue;
        let is_full = |_| io::Error::other("too many files are being written");
        queue.waiting.push(why.to_owned()).map_err(is_full)?;
        if queue.is_served.swap(true, Ordering::SeqCst) {
            return Ok(());
        }
        let serve = {
            let queue = Arc::clone(queue);
            move || queue.serve(work)
        };
        match thread::Builder::new().name("recorder".into()).spawn(serve) {
            Ok(thread) => {
                *self.thread.lock() = Some(thread); // one before it has no more to do
                Ok(())
            }
            Err(error) => {
                queue.is_served.store(false, Ordering::SeqCst);
                queue.waiting.pop();
                Err(error)
            }
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        // The thread itself may be dropping this, in a panic.
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|it| it.thread().id() != thread::current().id()) {
            let _ = thread.join(); // one that panicked has nothing more to tell
        }
    }
}

impl Queue {
    fn serve(&self, work: impl Fn(&str)) {
        // The stack goes first, where there are not cores for both.
        let _ = rustix::process::nice(19);
        loop {
            let serving = Serving(&self.is_served);
            while let Some(why) = self.waiting.pop() {
                work(&why);
            }
            drop(serving);
            if self.waiting.is_empty() || self.is_served.swap(true, Ordering::SeqCst) {
                return;
            }
        }
    }
}

/// A thread is at work; not so when it panics.
struct Serving<'a>(&'a AtomicBool);

impl Drop for Serving<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn orders_are_carried_out_one_after_the_other_and_beyond_the_bound_not_taken() {
        let orders = Orders::new();
        let ((does, done), (go, gate)) = (channel(), channel::<()>());
        let gate = Mutex::new(gate);
        let work = move |why: &str| {
            gate.lock().recv().unwrap();
            does.send(why.to_owned()).unwrap();
        };
        let busy = |_: &str| unreachable!("a thread is there already");
        orders.give("0", work).unwrap();
        while !orders.queue.waiting.is_empty() {
            thread::yield_now(); // it has taken the first
        }
        for why in ["1", "2", "3", "4"] {
            orders.give(why, busy).unwrap();
        }
        assert!(orders.give("5", busy).is_err());
        (0..5).for_each(|_| go.send(()).unwrap());
        drop(orders); // waits
        assert_eq!(done.try_iter().collect::<String>(), "01234");
    }

    #[test]
    fn a_thread_that_panicked_is_followed_by_another() {
        let orders = Orders::new();
        orders.give("0", |_| panic!("as it should")).unwrap();
        let first = orders.thread.lock().take().unwrap();
        assert!(first.join().is_err());
        let (does, done) = channel();
        let work = move |why: &str| does.send(why.to_owned()).unwrap();
        orders.give("1", work).unwrap();
        assert_eq!(done.recv().unwrap(), "1");
        assert_eq!(done.recv().ok(), None, "the thread has ended");
    }
}
