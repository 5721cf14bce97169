//! What a TUN device counts, and what the kernel counts for it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// A counter on a cache line of its own.
#[derive(Debug, Default)]
pub struct Counter(CachePadded<AtomicU64>);

impl Counter {
    pub(super) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one device, shared with whoever shows them. A super-packet is one frame.
#[derive(Debug, Default)]
pub struct DeviceCounters {
    /// Frames received.
    pub rx_frames: Counter,
    /// Bytes of frames received, without virtio-net headers.
    pub rx_bytes: Counter,
    /// Frames dropped since their virtio-net header did not fit them.
    pub rx_malformed: Counter,
    /// Reads that failed for a reason that passes.
    pub rx_errors: Counter,
    /// Frames sent.
    pub tx_frames: Counter,
    /// Bytes of frames sent, without virtio-net headers.
    pub tx_bytes: Counter,
    /// Frames dropped while the link was down.
    pub tx_link_down: Counter,
    /// Frames that the kernel refused for good.
    pub tx_invalid: Counter,
    /// Frames of which the kernel took a part only.
    pub tx_short: Counter,
    /// Frames dropped since the kernel had no memory for them, many times over.
    pub tx_no_memory: Counter,
}

impl DeviceCounters {
    /// Frames to send that were dropped, for whatever reason.
    pub fn tx_dropped(&self) -> u64 {
        [
            &self.tx_link_down,
            &self.tx_invalid,
            &self.tx_short,
            &self.tx_no_memory,
        ]
        .iter()
        .map(|counter| counter.get())
        .sum()
    }
}

/// The kernel's own count of packets to us that it dropped because the device's queue was full:
/// silent losses that only this number shows.
///
/// It stays readable after privileges are dropped, and in another network namespace: the open
/// `/proc/thread-self/net/dev` belongs to the namespace in which it was opened.
#[derive(Debug)]
pub struct KernelDrops {
    file: File,
    name: String,
}

impl KernelDrops {
    /// The count of interface `name`, in the calling thread's network namespace.
    pub fn open(name: &str) -> io::Result<Self> {
        let file = File::open("/proc/thread-self/net/dev")?;
        Ok(Self::from_fd(file.into(), name))
    }

    /// As [`KernelDrops::open`], with the file opened by somebody else, perhaps elsewhere.
    pub fn from_fd(fd: OwnedFd, name: &str) -> Self {
        Self {
            file: fd.into(),
            name: name.to_owned(),
        }
    }

    /// The open file, to be passed on.
    pub fn into_fd(self) -> OwnedFd {
        self.file.into()
    }

    /// Packets dropped so far; `None` when the interface is gone.
    pub fn read(&self) -> Option<u64> {
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match self.file.read_at(&mut chunk, text.len() as u64) {
                Ok(0) | Err(_) => break,
                Ok(len) => text.extend_from_slice(&chunk[..len]),
            }
        }
        tx_dropped(&String::from_utf8_lossy(&text), &self.name)
    }
}

/// The twelfth column of the interface's line: `drop` under `Transmit`.
fn tx_dropped(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().nth(11)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_table_is_read() {
        let text = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
   us0:  123456     789    1    2    3     4          5         6      777      88    9   42    0     0       0          0
";
        assert_eq!(tx_dropped(text, "us0"), Some(42));
        assert_eq!(tx_dropped(text, "us"), None);
        assert_eq!(tx_dropped(text, "us01"), None);
    }

    #[test]
    fn the_loopback_interface_has_a_count() {
        assert!(KernelDrops::open("lo").unwrap().read().is_some());
        assert_eq!(KernelDrops::open("nosuch0").unwrap().read(), None);
    }
}
