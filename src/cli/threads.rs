//! The threads that shards run on, each with a runtime of its own.

use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The caller's runtime and as many threads beside it as it takes. Dropped, they end.
#[derive(Debug)]
pub(crate) struct Threads {
    handles: Vec<Handle>,
    beside: Vec<JoinHandle<()>>,
    /// A thread ends when its sender is dropped.
    ends: Vec<oneshot::Sender<()>>,
}

impl Threads {
    /// Threads for `count` shards, of which the caller's, within whose runtime this is called, is
    /// the first.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut threads = Self {
            handles: vec![Handle::current()],
            beside: Vec::new(),
            ends: Vec::new(),
        };
        for shard in 1..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            threads.handles.push(runtime.handle().clone());
            let (end, ended) = oneshot::channel();
            threads.ends.push(end);
            let thread = std::thread::Builder::new()
                .name(format!("shard {shard}"))
                .spawn(move || {
                    // An error says that the sender was dropped, which is what ends us.
                    let _ = runtime.block_on(ended);
                    // A file that is being read is not waited for.
                    runtime.shutdown_background();
                })?;
            threads.beside.push(thread);
        }
        Ok(threads)
    }

    /// Where each shard's tasks are spawned.
    pub(crate) fn handles(&self) -> &[Handle] {
        &self.handles
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.ends.clear();
        for thread in self.beside.drain(..) {
            // One that panicked has nothing more to tell.
            let _ = thread.join();
        }
    }
}
